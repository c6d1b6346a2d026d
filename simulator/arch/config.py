"""Configurations: YAML files in which every parameter says where it comes from.

A parameter is written as ``name: {value: 64 KiB, source: assumed, why: one sentence}``; sections nest. ``source`` is
``paper``, ``derived`` or ``assumed``; a parameter set on the command line becomes ``user``. ``name`` is optional: it
keeps the name of a resolved configuration that is written to a file of another name.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from simulator.arch.shipped import list_shipped, read_shipped
from simulator.errors import InputError, nearest

VERSION = 1
LARGEST = 2**20
"""Limit of every plain number, beyond all hardware, so that what is counted with them fits 64 bits."""
SOURCES = ("paper", "derived", "assumed", "user")


@dataclass(frozen=True)
class Provenance:
    """Where a parameter comes from."""

    source: str
    why: str


@dataclass(frozen=True)
class Config:
    """A configuration as it is written: nested values, and the provenance of each by its dotted key."""

    name: str
    """What the file says, or else its own name."""
    origin: str
    """The file, for messages."""
    accelerator: str
    description: str
    values: Mapping[str, Any]
    provenance: Mapping[str, Provenance]

    def overridden(self, settings: Mapping[str, str]) -> Config:
        """Return the configuration with parameters replaced, by dotted key.

        Raises:
            InputError: no such parameter (the nearest is named).

        """
        values, provenance = _copy(self.values), dict(self.provenance)
        for key, text in settings.items():
            if key not in provenance:
                hint = nearest(key, provenance).partition("; known")[0]  # all of them would fill the screen
                raise InputError(f"--set {key}: {self.origin} has no such parameter{hint}; 'skipper show' lists them")
            *sections, last = key.split(".")
            place = values
            for section in sections:
                place = place[section]
            place[last] = _parse_setting(text, f"--set {key}")
            provenance[key] = Provenance("user", "Set by the user of this run.")
        return Config(self.name, self.origin, self.accelerator, self.description, values, provenance)

    def dump(self, kind: str = "accelerator") -> str:
        """Return the configuration as YAML that ``parse_config`` reads again as that ``kind``, provenance included."""
        document = {
            "skipper": VERSION,
            "name": self.name,
            kind: self.accelerator,
            "description": self.description,
            **_annotated(self.values, self.provenance, ""),
        }
        stream = io.StringIO()
        _yaml(safe=False).dump(document, stream)
        return stream.getvalue()


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Arch(Generic[Model]):
    """A chip to simulate: a validated configuration, and how it was written."""

    chip: Model
    config: Config
    digest: str = field(init=False)
    """SHA-256 of accelerator and parameters, whatever their provenance or spelling."""

    def __post_init__(self) -> None:
        content = json.dumps([self.config.accelerator, self.chip.model_dump(mode="json")], sort_keys=True)
        object.__setattr__(self, "digest", hashlib.sha256(content.encode()).hexdigest())

    @property
    def name(self) -> str:
        """Name of the configuration."""
        return self.config.name


def list_configs() -> tuple[str, ...]:
    """Return the names of the shipped configurations."""
    return list_shipped("", ".yaml")


def list_memories() -> tuple[str, ...]:
    """Return the names of the shipped memories."""
    return list_shipped("memory", ".yaml")


def read_config(name_or_path: str | Path) -> Config:
    """Read a shipped configuration by name, or a ``.yaml`` file.

    Raises:
        InputError: no such file, not YAML, a duplicate key, a parameter without provenance, a newer format.

    """
    return parse_config(*read_shipped(name_or_path, "", (".yaml", ".yml"), "architecture"))


@lru_cache(maxsize=64)
def parse_config(text: str, name: str, origin: str, kind: str = "accelerator") -> Config:
    """Read a configuration from YAML text, of an accelerator or another ``kind`` of model; see ``read_config``.

    The same text gives the same object: a sweep reads its chip's file at every point.
    """
    document = parse_yaml(text, origin)
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise InputError(f"{origin}: expected a configuration (a mapping of sections), found {found}")
    version = document.pop("skipper", None)
    if version is None:
        raise InputError(f"{origin}: key 'skipper' is missing; expected 'skipper: {VERSION}', the format's version")
    if type(version) is not int or version != VERSION:
        newer = ", a newer Skipper's" if type(version) is int and version > VERSION else ""
        raise InputError(f"{origin}: key 'skipper' says format {version}{newer}; expected {VERSION}, the one read here")
    accelerator, description = document.pop(kind, None), document.pop("description", "")
    if not isinstance(accelerator, str):
        found = "missing" if accelerator is None else f"{accelerator!r}"
        raise InputError(f"{origin}: key '{kind}' is {found}; expected the name of the {kind}'s model")
    name = document.pop("name", name)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise InputError(f"{origin}: key 'name' is {name!r}; expected the configuration's name, a printable word")
    provenance: dict[str, Provenance] = {}
    values = _split(document, "", origin, provenance)
    return Config(name, origin, accelerator, str(description), values, provenance)


def validate(config: Config, model: type[Model]) -> Arch[Model]:
    """Check a configuration against an accelerator's model.

    It is read as the JSON document that it amounts to, strictly: ``2.0``, ``true`` and ``'2'`` are no integers, and a
    size has a unit, whereas code may build the same model from plain integers.

    Raises:
        InputError: an unknown, missing or unusable parameter; the sentence names file, key and expectation.

    """
    try:
        chip = model.model_validate_json(json.dumps(config.values, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{config.origin}: {complaint(error, model)}") from None
    for key, value in _numbers(config.values):
        if abs(value) > LARGEST:
            raise InputError(f"{config.origin}: key '{key}' should be at most {LARGEST}, not {value}")
    return Arch(chip, config)


def _numbers(node: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield the plain numbers of a configuration, in sections and lists, with their dotted keys."""
    if isinstance(node, (int, float)):
        yield key, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _numbers(value, f"{key}.{name}" if key else name)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _numbers(value, key)


def _split(node: Mapping[str, Any], prefix: str, origin: str, provenance: dict[str, Provenance]) -> dict[str, Any]:
    """Part values from their provenance."""
    values: dict[str, Any] = {}
    for key, entry in node.items():
        dotted = f"{prefix}{key}"
        if not isinstance(entry, dict):
            raise InputError(
                f"{origin}: key '{dotted}' is a bare value; "
                "expected {value: …, source: paper|derived|assumed, why: …}"
            )
        if "value" not in entry:
            values[key] = _split(entry, f"{dotted}.", origin, provenance)
            continue
        unknown = sorted(set(entry) - {"value", "source", "why"})
        if unknown:
            hint = nearest(unknown[0], ("source", "value", "why"))
            raise InputError(f"{origin}: key '{dotted}.{unknown[0]}' is unknown{hint}")
        source, why = entry.get("source"), entry.get("why")
        if source not in SOURCES:
            raise InputError(f"{origin}: key '{dotted}.source' is {source!r}; expected one of {', '.join(SOURCES)}")
        if not isinstance(why, str) or not why.strip():
            raise InputError(f"{origin}: key '{dotted}.why' is missing; expected where the value comes from")
        values[key] = entry["value"]
        provenance[dotted] = Provenance(source, why)
    return values


def _annotated(values: Mapping[str, Any], provenance: Mapping[str, Provenance], prefix: str) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in values.items():
        given = provenance.get(f"{prefix}{key}")
        if given is None:
            document[key] = _annotated(value, provenance, f"{prefix}{key}.")
        else:
            document[key] = {"value": value, "source": given.source, "why": given.why}
    return document


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _yaml(safe: bool = True) -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe" if safe else "rt", pure=True)
    yaml.width = 120
    return yaml


def parse_yaml(text: str, origin: str) -> Any:
    """Read YAML text, refused in one sentence where it is none, holds a key twice, or a section that holds itself."""
    from ruamel.yaml.error import YAMLError

    try:
        document = _yaml().load(text)
        # refuses a section that contains itself, keys that are no words, and half characters
        json.dumps(document, default=str, ensure_ascii=False).encode()
        return document
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{origin}{where}: not valid YAML: {problem}") from None


@lru_cache(maxsize=4096)
def _parse_setting(text: str, origin: str) -> Any:
    """Read one value; those of a sweep come back at many points."""
    return parse_yaml(text, origin)


def complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn the first of pydantic's complaints into a sentence that names the key."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    key = ".".join(parts) or "the configuration"
    if first["type"] == "extra_forbidden":
        return f"key '{key}' is unknown{nearest(parts[-1], _section(model, parts[:-1]).model_fields)}"
    if first["type"] == "missing":
        meaning = _section(model, parts[:-1]).model_fields[parts[-1]].description
        return f"key '{key}' is missing; expected {meaning.split('. ')[0].rstrip('.') if meaning else 'a section'}"
    while len(parts) > 1 and not parts[-1].isdigit() and parts[-1] not in _section(model, parts[:-1]).model_fields:
        parts.pop()  # a field of what the section is made into, which no file has
    key = ".".join(parts) or "the configuration"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):
        found = "" if first["type"] == "value_error" else ", not a section"
    else:
        found = "" if str(first["input"]) in message else f", not {first['input']!r}"
    if message.startswith("Input should be "):
        return f"key '{key}' {message.removeprefix('Input ')}{found}"
    return f"key '{key}': {message[:1].lower()}{message[1:]}{found}"


def _section(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Return the model of the section at ``path``; what is no section, such as the index in a list, is passed over."""
    for part in path:
        if part in model.model_fields:
            annotation = model.model_fields[part].annotation
            candidates = (annotation, *get_args(annotation))
            model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model
