"""Workload files: found by name or path, what they extend put in, and every mistake refused in one sentence."""

from __future__ import annotations

import json
import keyword
import os
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.arch.config import complaint, parse_yaml
from simulator.errors import InputError, nearest
from simulator.library.schema import LAYERS, Block, Branches, Document, Group, Input, Layer, Parameter, Published

VERSION = 1
SUFFIXES = (".yaml", ".yml")
_PER_KEY = ("parameters", "blocks")
RESERVED = ("channels", "i", "out", "min", "max", "ceil", "floor", "densities", "layers", "profile")
"""Names that mean something in expressions or settings already."""


def list_workloads() -> tuple[str, ...]:
    """Return the names of the shipped workloads."""
    names = (entry.name for entry in files("simulator.workloads").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def read_workload(name_or_path: str | Path) -> tuple[Document, str, str]:
    """Return a workload as it is written, its name, and its origin (for messages).

    Args:
        name_or_path: a shipped workload's name, or a ``.yaml`` file.

    Raises:
        InputError: no such file, not YAML, files that extend each other in a circle, an unknown key or type of layer
            (the nearest is named), or a value that is none.

    """
    raw, name, origin = _merged(str(name_or_path), None, ())
    return parse_document(raw, origin), name, origin


def parse_document(raw: Mapping[str, Any], origin: str) -> Document:
    """Check a workload that is read, what it extends put in."""
    given = dict(raw)
    _require_version(given, origin)
    _require_known(Document, given, origin)
    layers = _layers(given.pop("layers", None), f"{origin}: layers")
    blocks = {}
    for name, block in _mapping(given.pop("blocks", {}), f"{origin}: key 'blocks'").items():
        where = f"{origin}: block '{name}'"
        content = dict(_mapping(block, where))
        inner = _layers(content.pop("layers", None), where)
        blocks[name] = _checked(Block, {**content, "layers": []}, where).model_copy(update={"layers": inner})
        _require_free(blocks[name].arguments, f"{where}: argument")
    stand_in = {"type": "parameters", "count": 0}
    parts: dict[str, Any] = {}
    for key, model in (("parameters", Parameter), ("published", Published)):
        entries = given.pop(key, {} if key == "parameters" else [])
        if isinstance(entries, dict):
            parts[key] = {n: _checked(model, e, f"{origin}: {key} '{n}'") for n, e in entries.items()}
        elif isinstance(entries, list):
            parts[key] = [_checked(model, e, f"{origin}: entry {n} of '{key}'") for n, e in enumerate(entries, 1)]
        else:
            raise InputError(f"{origin}: key '{key}' is {_shown(entries)}; expected its entries")
    _require_free(parts["parameters"], f"{origin}: parameter")
    if "input" in given:
        parts["input"] = _checked(Input, given["input"], f"{origin}: input")
    empty = {"parameters": {}, "published": [], "blocks": {}, "layers": [stand_in]}
    document = _checked(Document, {**given, **empty}, origin)
    whole: Document = document.model_copy(update={**parts, "blocks": blocks, "layers": layers})
    return whole


def _merged(reference: str, base: Path | None, seen: tuple[str, ...]) -> tuple[dict[str, Any], str, str]:
    """Return a file with what it extends put in."""
    text, name, origin, folder = _read(reference, base, seen)
    if any(os.path.realpath(origin) == os.path.realpath(one) for one in seen):
        raise InputError(f"{seen[0]}: workloads extend each other in a circle: {' → '.join((*seen, origin))}")
    raw = dict(_mapping(parse_yaml(text, origin), f"{origin}: a workload"))
    parent = raw.pop("extends", None)
    if parent is None:
        return raw, name, origin
    _require_version(raw, origin)
    if not isinstance(parent, str):
        raise InputError(f"{origin}: key 'extends' is {parent!r}; expected the name or the file of a workload")
    below = _merged(parent, folder, (*seen, origin))[0]
    for key in _PER_KEY:
        if key in raw and key in below:
            raw[key] = {
                **_mapping(below[key], f"{origin}: key '{key}' of '{parent}'"),
                **_mapping(raw[key], f"{origin}: key '{key}'"),
            }
    below.pop("published", None)  # the counts of another model
    return {**below, **raw}, name, origin


def _read(reference: str, base: Path | None, seen: tuple[str, ...]) -> tuple[str, str, str, Path | None]:
    """Return text, name, origin and folder of a workload; a path is relative to the file that extends it."""
    path = Path(reference)
    if path.suffix in SUFFIXES:
        path = path if base is None else base / path
        try:
            return path.read_text("utf-8"), path.stem, str(path), path.parent
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"{path}: cannot read the workload: {reason}") from None
    known = list_workloads()
    if reference not in known:
        where, hint = f"{seen[-1]}: " if seen else "", nearest(reference, known).partition("; known")[0]
        raise InputError(f"{where}'{reference}' is neither a shipped workload{hint} nor a .yaml file")
    text = files("simulator.workloads").joinpath(f"{reference}.yaml").read_text("utf-8")
    return text, reference, f"workloads/{reference}.yaml", base


def _layers(raw: Any, where: str) -> list[Layer]:
    """Check a list of layers and what is in them."""
    if not isinstance(raw, list) or not raw:
        raise InputError(f"{where}: expected a list of one layer or more, not {_shown(raw)}")
    return [_layer(entry, f"{where}, layer {number}") for number, entry in enumerate(raw, 1)]


def _layer(raw: Any, where: str) -> Layer:
    given = dict(_mapping(raw, where))
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in LAYERS:
        said = "lacks the key 'type'" if kind is None else f"has the unknown type {kind!r}"
        raise InputError(f"{where} {said}{nearest(str(kind), LAYERS)}")
    model = LAYERS[kind]
    where = f"{where} ({given['name']})" if isinstance(given.get("name"), str) else f"{where} ({kind})"
    _require_known(model, given, where)
    inner: dict[str, Any] = {}
    if model is Group and given.get("layers") is not None:
        inner["layers"] = _layers(given.pop("layers"), where)
    if model is Branches:
        ways = given.pop("branches", None)
        if not isinstance(ways, list) or not ways:
            raise InputError(f"{where}: key 'branches' is {_shown(ways)}; expected a list of lists of layers")
        inner["branches"] = [
            [] if way == [] else _layers(way, f"{where}, branch {number}") for number, way in enumerate(ways, 1)
        ]
        given["branches"] = [[]]
    layer: Layer = _checked(model, given, where).model_copy(update=inner)
    if isinstance(layer, Group) and (layer.layers is None) == (layer.block is None):
        raise InputError(f"{where}: needs either layers or a block")
    if isinstance(layer, Group) and layer.block is None and layer.with_:
        raise InputError(f"{where}: key 'with' gives arguments to a block, and there is none")
    return layer


def _require_version(given: Mapping[str, Any], origin: str) -> None:
    version = given.get("skipper")
    if type(version) is not int or version != VERSION:
        found = "missing" if version is None else repr(version)
        raise InputError(f"{origin}: key 'skipper' is {found}; expected {VERSION}, the version of the format")


def _require_free(names: Collection[str], what: str) -> None:
    """Refuse names that cannot be told from others in expressions and settings."""
    for name in names:
        if name in RESERVED or keyword.iskeyword(name):
            raise InputError(f"{what} '{name}' is a word of expressions or settings already; expected another name")
    if len(set(names)) < len(names):
        raise InputError(f"{what}s {', '.join(names)}: expected each once")


def _require_known(model: type[Any], given: Mapping[str, Any], where: str) -> None:
    known = {field.alias or name for name, field in model.model_fields.items()}
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{nearest(str(key), known)}")


def _checked(model: type[Any], raw: Any, where: str) -> Any:
    _require_known(model, _mapping(raw, where), where)
    try:
        return model.model_validate_json(json.dumps(_mapping(raw, where), default=str))
    except ValidationError as error:
        said = complaint(error, model).replace("a valid integer", "a number or an expression")  # of what Number may be
        raise InputError(f"{where}: {said}") from None


def _mapping(raw: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise InputError(f"{what}: expected a mapping of keys to values, not {_shown(raw)}")
    return raw


def _shown(raw: Any) -> str:
    return "nothing" if raw is None else json.dumps(raw, default=str)[:60]
