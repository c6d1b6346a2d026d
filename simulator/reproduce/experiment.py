"""Experiment files: which chips run which work, and which published figures an expression of the results stands beside.

    skipper: 1
    title: SCNN against its dense twin
    source: Parashar et al., ISCA 2017, section 6
    chips:
      scnn: {arch: scnn}
      dcnn: {arch: dcnn}
    works:
      alexnet: {trace: "data:scnn_layer_densities.csv", set: {layers: AlexNet}}
    figures:
      - {name: AlexNet, unit: ×, published: 2.37, within: 0.1, sure: published text,
         ours: dcnn.alexnet.seconds / scnn.alexnet.seconds}

A name is one of ``values``, expressions themselves, or ``CHIP.WORK.QUANTITY``, ``CHIP.WORK.OPERATOR.QUANTITY``,
``CHIP.multipliers``; only what a figure names is run. See `simulator.reproduce.values` for the quantities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from simulator.arch.config import complaint, parse_yaml
from simulator.arch.part import Part
from simulator.errors import InputError, nearest
from simulator.jobs import Machine, Name, Work

VERSION = 1
SUFFIX = ".yaml"


class Figure(Part):
    """A published figure, and the expression whose value stands beside it."""

    name: str
    """What the figure is of."""
    published: float | None = None
    """The published figure; none for one that is shown for itself."""
    ours: str
    """Expression of the values of runs."""
    unit: str = ""
    """Of both."""
    within: Annotated[float, Field(gt=0)] | None = None
    """By how much of the published figure ours may differ to count as reproduced."""
    bound: Literal["about", "at most"] = "about"
    """Whether the published figure is one to be met, or a limit."""
    source: str = ""
    """Where the figure is published, if not where the experiment says."""
    sure: str = ""
    """How sure the published figure is."""
    why: str = ""
    """What may cause a difference."""


class Sensitivity(Part):
    """How much a figure depends on what was assumed of a kind of chip."""

    chips: Annotated[list[str], Field(min_length=1)]
    """Of ``chips``: those of one kind, which are changed together."""
    figure: str
    """Of ``figures``."""
    parameters: list[str] = Field(default_factory=list)
    """Of workloads, such as ``weight_density``: changed together in all ``works`` that set them."""
    factor: Annotated[float, Field(gt=1)] = 2.0
    """By which each assumed number is multiplied and divided; of a choice, every other one is tried."""


class Experiment(Part):
    """A published table, and what reproduces it."""

    title: str
    """In a few words."""
    source: str
    """The publication."""
    note: str = ""
    """What is to be known of it as a whole: what had to be assumed, and why."""
    normalise: list[str] = Field(default_factory=list)
    """What all chips get as much of as the first: see ``skipper compare``."""
    chips: Annotated[dict[Name, Machine], Field(min_length=1)]
    """By name."""
    works: Annotated[dict[Name, Work], Field(min_length=1)]
    """By name."""
    values: dict[Name, str] = Field(default_factory=dict)
    """Expressions that others may name."""
    figures: Annotated[list[Figure], Field(min_length=1)]
    """In order."""
    sensitivity: list[Sensitivity] = Field(default_factory=list)
    """Tornado figures."""


@dataclass(frozen=True)
class Named:
    """An experiment and what it is called."""

    name: str
    origin: str
    folder: Path
    """Where its own files are."""
    experiment: Experiment


def list_experiments() -> tuple[str, ...]:
    """Return the names of the shipped experiments."""
    names = (entry.name for entry in files("simulator.experiments").iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)))


def read_experiment(name_or_path: str | Path) -> Named:
    """Read a shipped experiment by name, or a ``.yaml`` file.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest is named), or a value that is none.

    """
    name = str(name_or_path)
    if name.endswith(SUFFIX):
        try:
            text, origin, folder = Path(name).read_text("utf-8"), name, Path(name).parent
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise InputError(f"{name}: cannot read the experiment: {reason}") from None
    elif name in list_experiments():
        origin = f"experiments/{name}{SUFFIX}"
        file = Path(str(files("simulator.experiments").joinpath(f"{name}{SUFFIX}")))
        text, folder = file.read_text("utf-8"), file.parent
    else:
        raise InputError(f"'{name}' is no experiment{nearest(name, (*list_experiments(), 'all'))}, or a .yaml file")
    return Named(Path(name).stem, origin, folder, _parsed(parse_yaml(text, origin), origin))


def _parsed(raw: Any, origin: str) -> Experiment:
    if not isinstance(raw, Mapping):
        raise InputError(f"{origin}: expected an experiment (a mapping of keys to values)")
    document = dict(raw)
    version = document.pop("skipper", None)
    if type(version) is not int or version != VERSION:
        found = "missing" if version is None else repr(version)
        raise InputError(f"{origin}: key 'skipper' is {found}; expected {VERSION}, the version of the format")
    try:
        experiment = Experiment.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise InputError(f"{origin}: {complaint(error, Experiment)}") from None
    names = [figure.name for figure in experiment.figures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{origin}: two figures are called '{twice[0]}'; expected different names")
    for entry in experiment.sensitivity:
        for what, given, known in (
            *(("chip", chip, list(experiment.chips)) for chip in entry.chips),
            ("figure", entry.figure, names),
            *(
                ("parameter", key, [k for work in experiment.works.values() for k in work.set])
                for key in entry.parameters
            ),
        ):
            if given not in known:
                raise InputError(f"{origin}: sensitivity: there is no {what} '{given}'{nearest(given, known)}")
    return experiment
