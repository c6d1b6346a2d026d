"""Axes: the values that a parameter takes, as they are written and as numbers in base units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr
from quantiphy import InvalidNumber, Quantity

from simulator.arch.part import Part
from simulator.errors import InputError

MOST = 1_000_000
"""Values of an axis, and points of a sweep, at most."""
Value = StrictBool | StrictInt | StrictFloat | StrictStr
"""A parameter's value as a file writes it: ``16``, ``64 KiB``, ``rows``."""


class Range(Part):
    """Numbers from one to another."""

    start: Value = Field(alias="from")
    """The first, such as ``64 KiB``."""
    to: Value
    """The last; met where the steps do."""
    step: Value | None = None
    """From one to the next; or"""
    points: Annotated[int, Field(ge=1)] | None = None
    """how many there are."""
    scale: Literal["linear", "log"] = "linear"
    """Whether equal steps or equal ratios lie between them."""


Axis = Annotated[list[Value], Field(min_length=1)] | Range
"""The values one by one, or a range."""


@dataclass(frozen=True)
class Written:
    """A value as it is written, and what it is in base units where it is a number."""

    text: str
    number: float | None

    @classmethod
    def of(cls, value: Any) -> Written:
        """Read a value."""
        if isinstance(value, bool):
            return cls(str(value).lower(), None)
        if isinstance(value, int | float):
            return cls(repr(value), float(value))
        return cls(str(value), _quantity(str(value))[0])

    @property
    def unit(self) -> str:
        """The base unit of the number: B, B/s, Hz, s; empty where it has none."""
        return _quantity(self.text)[1]


def values_of(axis: list[Any] | Range, where: str) -> list[Written]:
    """Return the values of an axis, in order.

    Raises:
        InputError: the range is empty, its ends are no numbers of one unit, or it says neither step nor points.

    """
    if isinstance(axis, list):
        found = [Written.of(value) for value in axis]
        seen: dict[str | float, Written] = {}
        for each in found:
            first = seen.setdefault(each.text if each.number is None else each.number, each)
            if first is not each:
                same = first.text == each.text
                what = (
                    f"value {each.text} stands twice" if same else f"values {first.text} and {each.text} are the same"
                )
                raise InputError(f"{where}: the {what}")
        return found
    (low, unit), (high, other) = (_number(end, where) for end in (axis.start, axis.to))
    if unit != other:
        raise InputError(f"{where}: 'from' is in {unit or 'no unit'} and 'to' in {other or 'no unit'}")
    if high < low:
        raise InputError(f"{where}: an empty range, from {axis.start} to {axis.to}")
    whole = bool(unit) or all(isinstance(end, int) for end in (axis.start, axis.to))
    return [_render(number, unit, whole) for number in dict.fromkeys(_numbers(axis, low, high, unit, whole, where))]


def _numbers(axis: Range, low: float, high: float, unit: str, whole: bool, where: str) -> Iterator[float]:
    if (axis.step is None) == (axis.points is None):
        raise InputError(f"{where}: expected either 'step' or 'points'")
    if axis.scale == "log" and (low <= 0 or axis.points is None):
        raise InputError(f"{where}: a range on a log scale has 'points' and begins above 0")
    if axis.step is not None:
        step, of_step = _number(axis.step, where)
        if step <= 0 or of_step != unit:
            raise InputError(f"{where}: 'step' is {axis.step}, expected a number above 0 in the unit of 'from'")
        steps = (high - low) / step
        _require_few(steps + 1, where)
        yield from (_short(low + place * step) for place in range(math.floor(steps + 1e-9) + 1))
        return
    count = axis.points or 1
    _require_few(count, where)
    for place in range(count):
        part = place / max(1, count - 1)
        number = low * (high / low) ** part if axis.scale == "log" else low + (high - low) * part
        yield round(number, 12) if unit == "s" else float(round(number)) if whole else _short(number)


def _require_few(count: float, where: str) -> None:
    if count > MOST:
        raise InputError(f"{where}: {count:,.6g} values, expected at most {MOST:,}")


def _short(number: float) -> float:
    """Return a number without the last digits, which are rounding's: 0.3, not 0.30000000000000004."""
    return float(f"{number:.12g}")


def _quantity(text: str) -> tuple[float | None, str]:
    """Return a number in base units and its unit, or None."""
    try:
        quantity = Quantity(text, binary=True)
    except InvalidNumber:
        return None, ""
    number = float(quantity)
    return (number, quantity.units) if math.isfinite(number) else (None, "")


def _number(value: Any, where: str) -> tuple[float, str]:
    number, unit = (None, "") if isinstance(value, bool) else _quantity(str(value))
    if number is None:
        raise InputError(f"{where}: '{value}' is no number; a range goes from one number to another")
    return number, unit


def _render(number: float, unit: str, whole: bool) -> Written:
    if unit == "s":
        return Written(f"{round(number * 10**12)} ps", number)
    text = str(int(number)) if whole and number.is_integer() else repr(number)
    return Written(f"{text} {unit}".rstrip(), number)


def combinations(axes: Mapping[str, list[Written]]) -> int:
    """Return how many points a grid of axes has."""
    return math.prod(len(values) for values in axes.values())
