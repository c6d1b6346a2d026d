"""An experiment carried out: each published figure, ours, and by how much they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.arch import Arch
from simulator.arch.config import Provenance
from simulator.errors import InputError
from simulator.library.expression import evaluate
from simulator.reproduce.experiment import Experiment, Figure, Named
from simulator.reproduce.sensitivity import Tornado, tornado
from simulator.reproduce.values import DataMissingError, Values


@dataclass(frozen=True)
class Outcome:
    """A published figure and ours."""

    figure: Figure
    ours: float

    @property
    def error(self) -> float | None:
        """Ours over the published figure, less 1; None where nothing was published."""
        return None if self.figure.published is None else self.ours / self.figure.published - 1

    @property
    def held(self) -> bool | None:
        """Whether ours is as near as the experiment asks for; None where it does not ask."""
        if self.error is None:
            return None
        if self.figure.bound == "at most":
            return self.error <= 0
        return None if self.figure.within is None else abs(self.error) <= self.figure.within


@dataclass(frozen=True)
class Assumed:
    """A parameter of a chip that nobody published."""

    chip: str
    key: str
    value: str
    why: str


@dataclass(frozen=True, eq=False)
class Reproduced:
    """What an experiment found."""

    name: str
    experiment: Experiment
    outcomes: tuple[Outcome, ...]
    assumed: tuple[Assumed, ...]
    tornados: tuple[Tornado, ...]
    skipped: str = ""
    """Why it was not carried out, where it was not."""


def reproduce(named: Named, data: Path | None = None, progress: Callable[[str], None] = lambda run: None) -> Reproduced:
    """Carry an experiment out.

    Args:
        named: the experiment.
        data: folder of the real data that it may name.
        progress: called with what is run next.

    Returns:
        The figures; where real data are not at hand, none, and why.

    Raises:
        InputError: a chip cannot run the work, or an expression names what there is not.

    """
    experiment = named.experiment
    values = Values(experiment, data, named.folder, progress)
    try:
        outcomes = [Outcome(figure, _value(figure.ours, values, named, figure.name)) for figure in experiment.figures]
        tornados = [_tornado(named, values, place) for place in range(len(experiment.sensitivity))]
    except DataMissingError as error:
        return Reproduced(named.name, experiment, (), (), (), str(error))
    except InputError as error:
        raise InputError(f"{named.origin}: {str(error).removeprefix(f'{named.origin}: ')}") from None
    archs = {name: chip.arch for name, chip in values.chips.items()}
    assumed = [entry for name, arch in archs.items() for entry in assumptions(name, arch)]
    return Reproduced(named.name, experiment, tuple(outcomes), tuple(assumed), tuple(tornados))


def _value(text: str, values: Values, named: Named, figure: str) -> float:
    try:
        return float(evaluate(text, values))
    except DataMissingError:
        raise
    except InputError as error:
        raise InputError(f"{named.origin}: figure '{figure}': {error}") from None


def _tornado(named: Named, values: Values, place: int) -> Tornado:
    asked = named.experiment.sensitivity[place]
    figure = next(figure for figure in named.experiment.figures if figure.name == asked.figure)
    return tornado(asked, values, lambda changed: _value(figure.ours, changed, named, figure.name))


def assumptions(chip: str, arch: Arch[Any]) -> Sequence[Assumed]:
    """Return the parameters of a chip that are assumed."""

    def at(key: str) -> Any:
        value: Any = arch.config.values
        for part in key.split("."):
            value = value[part]
        return value

    sources: dict[str, Provenance] = dict(arch.config.provenance)
    return [Assumed(chip, key, str(at(key)), given.why) for key, given in sources.items() if given.source == "assumed"]
