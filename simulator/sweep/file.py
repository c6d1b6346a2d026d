"""Sweep files: chips × works × axes under constraints, a search over them, or a plain list of jobs.

    skipper: 1
    chips: {escalate: {arch: escalate}}
    works: {resnet18: {trace: resnet18, set: {bases: 6, weight_density: 0.05}}}
    axes:
      array.blocks: [8, 16, 32, 64]
      dram.bandwidth: {from: 6.4 GB/s, to: 102.4 GB/s, points: 5, scale: log}
      work.activation_density: [0.3, 0.5]
    linked:
      - {array.slices: [4, 6], channel_accumulation.adders: [8, 16]}
    constraints: [array.blocks * array.slices <= 256]
    budget: {area_mm2: 20, buffer_bytes: 1 MiB}

An axis ``work.KEY`` is a parameter of the works, every other one of the chips. Constraints are expressions over axes
and other parameters of the chip that are numbers, in base units, and ``area_mm2``, ``multipliers``, ``buffer_bytes``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictFloat, StrictInt, StrictStr, ValidationError

from simulator.arch.config import complaint, parse_yaml
from simulator.arch.part import Part
from simulator.errors import InputError, nearest
from simulator.jobs import Machine, Name, Work
from simulator.sweep.axes import Axis, Range, Value, Written, values_of
from simulator.sweep.runs import OF_WORK

VERSION = 1
SUFFIXES = (".yaml", ".yml")
Objective = Literal["cycles", "seconds", "energy_pj", "area_mm2", "dram_bytes"]
"""What a search may make small."""


class Search(Part):
    """A search in the place of the whole grid."""

    method: Literal["tpe", "nsga2", "nsga3", "random"]
    """Optuna's sampler."""
    objectives: Annotated[list[Objective], Field(min_length=1)]
    """What is to be small."""
    trials: Annotated[int, Field(ge=1)]
    """Points to run; one that is drawn again is not run again and does not count."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the sampler."""
    population: Annotated[int, Field(ge=2)] = 32
    """Points of a generation of nsga2 and nsga3; of the others, points that are asked for at once."""


class Budget(Part):
    """What a design may take at most."""

    area_mm2: Annotated[float, Field(gt=0)] | None = None
    """Area in the chip's technology."""
    buffer_bytes: StrictStr | StrictInt | None = None
    """All buffers together, such as ``1 MiB``."""
    multipliers: Annotated[int, Field(gt=0)] | None = None
    """Multiply-accumulates per cycle."""


class Job(Part):
    """One run of a plain list."""

    chip: str
    """Of ``chips``."""
    work: str
    """Of ``works``."""
    set: dict[str, Value] = Field(default_factory=dict)
    """Parameters, as axes name them."""


class Sweep(Part):
    """What a sweep file says."""

    description: str = ""
    """In a sentence or two."""
    chips: Annotated[dict[Name, Machine], Field(min_length=1)]
    """Chips, each by a name of your own."""
    works: Annotated[dict[Name, Work], Field(min_length=1)]
    """Works, each by a name of your own."""
    memory: str = "simple"
    """As of ``skipper run``."""
    axes: dict[str, Axis] = Field(default_factory=dict)
    """By dotted key."""
    linked: list[dict[str, Axis]] = Field(default_factory=list)
    """Axes that go together, value by value."""
    constraints: list[StrictStr | StrictInt | StrictFloat] = Field(default_factory=list)
    """Expressions that must hold."""
    budget: Budget = Budget()
    """Limits."""
    search: Search | None = None
    """A search in the place of the grid."""
    jobs: list[Job] = Field(default_factory=list)
    """Or a plain list of runs, without axes."""


@dataclass(frozen=True)
class Named:
    """A sweep, what it is called, and its axes' values."""

    name: str
    origin: str
    text: str
    """What the file holds."""
    sweep: Sweep
    axes: Mapping[str, list[Written]]
    """Those that vary alone."""
    linked: tuple[Mapping[str, list[Written]], ...]
    """Those that go together, group by group."""

    @cached_property
    def varied(self) -> Mapping[str, list[Written]]:
        """All parameters that vary, in the order of the file, with their values."""
        found = dict(self.axes)
        for group in self.linked:
            found |= group
        for job in self.sweep.jobs:
            for key, value in job.set.items():
                found.setdefault(key, []).append(Written.of(value))
        return found

    def files(self) -> list[str]:
        """Return the files that works name: traces, workloads, tables, profiles."""
        works = self.sweep.works.values()
        named = {text for work in works for text in (work.trace, *work.set.values()) if isinstance(text, str)}
        named |= {each.text for key, values in self.varied.items() if key.startswith(OF_WORK) for each in values}
        return sorted(name for name in named if Path(name).is_file())


def schema_text() -> str:
    """Return the JSON schema of sweep files, for editors, as it is kept in sweeps/schema.json."""
    schema = Sweep.model_json_schema(by_alias=True)
    schema["properties"] = {"skipper": {"const": VERSION, "description": "Of the format."}, **schema["properties"]}
    schema["required"] = ["skipper", *schema["required"]]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def read_sweep(path: str | Path) -> Named:
    """Read a sweep file.

    Raises:
        InputError: it cannot be read, an unknown key (the nearest is named), an axis without values, two on one
            parameter, linked ones of different lengths.

    """
    origin = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{origin}: cannot read the sweep: {reason}") from None
    return parse_sweep(text, Path(path).stem, origin)


def parse_sweep(text: str, name: str, origin: str) -> Named:
    """Read a sweep from YAML text, see `read_sweep`."""
    raw = parse_yaml(text, origin)
    if not isinstance(raw, Mapping):
        raise InputError(f"{origin}: expected a sweep (a mapping of keys to values)")
    document = dict(raw)
    version = document.pop("skipper", None)
    if type(version) is not int or version != VERSION:
        found = "missing" if version is None else repr(version)
        raise InputError(f"{origin}: key 'skipper' is {found}; expected {VERSION}, the version of the format")
    _require_axes(document, origin)
    try:
        sweep = Sweep.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise InputError(f"{origin}: {complaint(error, Sweep)}") from None
    axes = {key: values_of(axis, f"{origin}: axis '{key}'") for key, axis in sweep.axes.items()}
    linked = tuple(
        {key: values_of(axis, f"{origin}: axis '{key}'") for key, axis in group.items()} for group in sweep.linked
    )
    _require_one_axis_each(axes, linked, origin)
    if any(not group for group in linked):
        raise InputError(f"{origin}: a group of linked axes is empty; expected two axes or more")
    _require_known_jobs(sweep, origin)
    _require_nothing_set_twice(sweep, (*axes, *(key for group in linked for key in group)), origin)
    return Named(name, origin, text, sweep, axes, linked)


def _require_axes(document: Mapping[str, Any], origin: str) -> None:
    """Refuse axes that are none by their own names, which the model of the whole file would not say."""
    linked = document.get("linked")
    for group in (document.get("axes"), *(linked if isinstance(linked, list) else ())):
        for key, axis in group.items() if isinstance(group, Mapping) else ():
            where = f"{origin}: axis '{key}'"
            if isinstance(axis, Mapping):
                _require_values([axis[end] for end in ("from", "to", "step") if end in axis], where)
                try:
                    Range.model_validate_json(json.dumps(axis, default=str))
                except ValidationError as error:
                    raise InputError(f"{where}: {complaint(error, Range)}") from None
            elif not isinstance(axis, list) or not axis:
                raise InputError(f"{where}: expected a list of values or a range (from, to, step or points)")
            else:
                _require_values(axis, where)


def _require_values(values: Iterable[Any], where: str) -> None:
    for value in values:
        if value is None or isinstance(value, list | Mapping) or (isinstance(value, float) and not isfinite(value)):
            what = {list: "a list", dict: "a section", type(None): "nothing"}.get(type(value), str(value))
            raise InputError(f"{where}: a value is {what}; expected numbers or text")


def _require_one_axis_each(
    axes: Mapping[str, list[Written]], linked: tuple[Mapping[str, list[Written]], ...], origin: str
) -> None:
    seen = set(axes)
    for group in linked:
        for key in group:
            if key in seen:
                raise InputError(f"{origin}: two axes are on one parameter, '{key}'")
            seen.add(key)
        lengths = {len(values) for values in group.values()}
        if len(lengths) > 1:
            sizes = ", ".join(f"'{key}' has {len(values)}" for key, values in group.items())
            raise InputError(f"{origin}: linked axes have as many values each, but {sizes}")


def _require_nothing_set_twice(sweep: Sweep, keys: tuple[str, ...], origin: str) -> None:
    for key in keys:
        of_work = key.startswith(OF_WORK)
        what, named = ("work", sweep.works) if of_work else ("chip", sweep.chips)
        for name, each in named.items():
            if (key.removeprefix(OF_WORK) if of_work else key) in each.set:
                raise InputError(f"{origin}: an axis is on '{key}', which the {what} '{name}' sets already")


def _require_known_jobs(sweep: Sweep, origin: str) -> None:
    if not sweep.jobs:
        return
    if sweep.axes or sweep.linked or sweep.search:
        raise InputError(f"{origin}: 'jobs' is a plain list of runs; expected no axes and no search beside it")
    for place, job in enumerate(sweep.jobs, 1):
        for what, name, known in (("chip", job.chip, sweep.chips), ("work", job.work, sweep.works)):
            if name not in known:
                raise InputError(f"{origin}: job {place}: there is no {what} '{name}'{nearest(name, known)}")
