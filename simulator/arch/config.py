"""Configurations: YAML files in which every parameter says where it comes from.

A parameter is written as ``name: {value: 64 KiB, source: assumed, why: one sentence}``; sections nest. ``source`` is
``paper``, ``derived`` or ``assumed``; a parameter set on the command line becomes ``user``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from simulator.errors import InputError, nearest

VERSION = 1
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
                raise InputError(f"--set {key}: {self.origin} has no such parameter{nearest(key, provenance)}")
            *sections, last = key.split(".")
            place = values
            for section in sections:
                place = place[section]
            place[last] = _parse(text, f"--set {key}")
            provenance[key] = Provenance("user", "Set by the user of this run.")
        return Config(self.name, self.origin, self.accelerator, self.description, values, provenance)

    def dump(self) -> str:
        """Return the configuration as YAML that ``read_config`` reads again, provenance included."""
        document = {
            "skipper": VERSION,
            "accelerator": self.accelerator,
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
    folder = files("simulator.arch_configs")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def read_config(name_or_path: str | Path) -> Config:
    """Read a shipped configuration by name, or a file.

    Raises:
        InputError: no such file, not YAML, a duplicate key, a parameter without provenance, a newer format.

    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        known = list_configs()
        if str(name_or_path) not in known:
            raise InputError(f"{name_or_path}: no such architecture{nearest(str(name_or_path), known)}, or a .yaml file")
        text = files("simulator.arch_configs").joinpath(f"{name_or_path}.yaml").read_text("utf-8")
        return parse_config(text, str(name_or_path), f"{name_or_path}.yaml")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: cannot read the configuration: {reason}") from None
    return parse_config(text, path.stem, str(path))


def parse_config(text: str, name: str, origin: str) -> Config:
    """Read a configuration from YAML text; see ``read_config``."""
    document = _parse(text, origin)
    if not isinstance(document, dict):
        raise InputError(f"{origin}: expected a configuration (a mapping of sections), not {type(document).__name__}")
    version = document.pop("skipper", None)
    if version is None:
        raise InputError(f"{origin}: key 'skipper' is missing; expected 'skipper: {VERSION}', the version of the format")
    if not isinstance(version, int) or version != VERSION:
        raise InputError(f"{origin}: key 'skipper' says format {version}, but this version reads format {VERSION}")
    accelerator, description = document.pop("accelerator", None), document.pop("description", "")
    if not isinstance(accelerator, str):
        raise InputError(f"{origin}: key 'accelerator' is missing; expected the name of the accelerator's model")
    provenance: dict[str, Provenance] = {}
    values = _split(document, "", origin, provenance)
    return Config(name, origin, accelerator, str(description), values, provenance)


def validate(config: Config, model: type[Model]) -> Arch[Model]:
    """Check a configuration against an accelerator's model.

    Raises:
        InputError: an unknown, missing or unusable parameter; the sentence names file, key and expectation.

    """
    try:
        return Arch(model.model_validate(config.values), config)
    except ValidationError as error:
        raise InputError(f"{config.origin}: {_sentence(error, model)}") from None


def _split(node: Mapping[str, Any], prefix: str, origin: str, provenance: dict[str, Provenance]) -> dict[str, Any]:
    """Part values from their provenance."""
    values: dict[str, Any] = {}
    for key, entry in node.items():
        dotted = f"{prefix}{key}"
        if not isinstance(entry, dict):
            raise InputError(
                f"{origin}: key '{dotted}' is a bare value; expected {{value: …, source: paper|derived|assumed, why: …}}"
            )
        if "value" not in entry:
            values[key] = _split(entry, f"{dotted}.", origin, provenance)
            continue
        unknown = sorted(set(entry) - {"value", "source", "why"})
        if unknown:
            raise InputError(f"{origin}: key '{dotted}.{unknown[0]}' is unknown{nearest(unknown[0], ('source', 'value', 'why'))}")
        source, why = entry.get("source"), entry.get("why")
        if source not in SOURCES:
            raise InputError(f"{origin}: key '{dotted}.source' is {source!r}; expected one of {', '.join(SOURCES)}")
        if not isinstance(why, str) or not why.strip():
            raise InputError(f"{origin}: key '{dotted}.why' is missing; expected a sentence on where the value comes from")
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


def _parse(text: str, origin: str) -> Any:
    from ruamel.yaml.error import YAMLError

    try:
        return _yaml().load(text)
    except YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{origin}{where}: not valid YAML: {problem}") from None


def _sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn the first of pydantic's complaints into a sentence that names the key."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    key = ".".join(parts) or "the configuration"
    if first["type"] == "extra_forbidden":
        return f"key '{key}' is unknown{nearest(parts[-1], _fields(model, parts[:-1]))}"
    if first["type"] == "missing":
        return f"key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    found = "" if isinstance(first["input"], dict | BaseModel) or str(first["input"]) in message else f", not {first['input']!r}"
    return f"key '{key}': {message[:1].lower()}{message[1:]}{found}"


def _fields(model: type[BaseModel], path: list[str]) -> Iterator[str]:
    """Return the fields of the section at ``path``."""
    for part in path:
        annotation = model.model_fields[part].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return iter(model.model_fields)
