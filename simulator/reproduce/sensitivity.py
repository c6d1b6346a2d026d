"""What a figure owes to each assumption: every assumed parameter changed alone, up and down or to another choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from quantiphy import Quantity

from simulator.errors import InputError
from simulator.reproduce.experiment import Sensitivity
from simulator.reproduce.values import DataMissingError, Values


@dataclass(frozen=True)
class Bar:
    """A parameter, and the figure with it set otherwise."""

    key: str
    value: str
    """As the configuration has it."""
    others: tuple[tuple[str, float], ...]
    """(value, figure) of each other value that the chip can have."""

    def span(self, base: float) -> float:
        """Return how far the figure moves, all in all."""
        figures = [base, *(figure for _, figure in self.others)]
        return max(figures) - min(figures)


@dataclass(frozen=True)
class Tornado:
    """The bars of a figure, longest first."""

    asked: Sensitivity
    base: float
    bars: tuple[Bar, ...]
    fixed: tuple[str, ...]
    """Assumed parameters without another value that the chip can have."""


def tornado(asked: Sensitivity, values: Values, figure: Callable[[Values], float]) -> Tornado:
    """Change every assumed parameter of a chip, one at a time, and evaluate a figure."""
    arch = values.chips[asked.chips[0]].arch
    base, bars, fixed = figure(values), [], []
    for key, given in arch.config.provenance.items():
        if given.source != "assumed":
            continue
        found = tuple(_figures(key, asked, values, figure))
        if found:
            bars.append(Bar(key, _written(_at(arch.config.values, key)), found))
        else:
            fixed.append(key)
    for parameter in asked.parameters:
        found = tuple(_scaled(parameter, asked.factor, values, figure))
        written = {str(work.set[parameter]) for work in values.experiment.works.values() if parameter in work.set}
        bars.append(Bar(parameter, ", ".join(sorted(written)), found))
    bars.sort(key=lambda bar: -bar.span(base))
    return Tornado(asked, base, tuple(bars), tuple(fixed))


def _figures(
    key: str, asked: Sensitivity, values: Values, figure: Callable[[Values], float]
) -> Iterator[tuple[str, float]]:
    arch = values.chips[asked.chips[0]].arch
    for other in _others(arch.chip, _at(arch.config.values, key), key, asked.factor):
        try:
            yield other, figure(values.changing(asked.chips, {key: other}))
        except DataMissingError:
            raise
        except InputError:
            continue  # a value that the chip or the work does not allow


def _scaled(
    parameter: str, factor: float, values: Values, figure: Callable[[Values], float]
) -> Iterator[tuple[str, float]]:
    for times, sign in ((1 / factor, "÷"), (factor, "×")):
        try:
            yield f"{sign} {factor:g}", figure(values.scaling(parameter, times))
        except DataMissingError:
            raise
        except InputError:
            continue  # a density above 1


def _others(chip: BaseModel, written: object, key: str, factor: float) -> Iterator[str]:
    """Yield the other values to try, as they are written."""
    *sections, last = key.split(".")
    part: Any = chip
    for section in sections:
        part = getattr(part, section)
    value, annotation = getattr(part, last), type(part).model_fields[last].annotation
    if get_origin(annotation) is Literal:
        yield from (str(choice) for choice in get_args(annotation) if choice != value)
    elif isinstance(value, bool):
        yield str(not value).lower()
    elif isinstance(value, int):
        numbers = dict.fromkeys((round(value / factor), round(value * factor)))
        yield from (_as_written(number, written) for number in numbers)
    elif isinstance(value, float):
        yield from (repr(value / factor), repr(value * factor))


def _as_written(value: int, written: object) -> str:
    """Return a whole number in the unit of a value that is written with one."""
    if not isinstance(written, str):
        return str(value)
    unit = Quantity(written, binary=True).units
    shown: str = Quantity(value / 10**12 if unit == "s" else value, unit).render(prec=9)
    return shown


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
