"""What the fields of a layer stand for: numbers, or expressions over the names that are known where they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from simulator.errors import InputError
from simulator.library.expression import LARGEST, Number, evaluate

Names = Mapping[str, Number]
"""What names in expressions stand for."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Name the layer in every refusal."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(("layer '", "operator '")):
            raise
        raise InputError(f"layer '{place}': {error}") from None


def value_of(value: str | Number, names: Names) -> Number:
    """Return the number that is written, or that an expression stands for.

    Raises:
        InputError: it is none, not finite, or of a magnitude above 2^53.

    """
    if isinstance(value, str):
        return evaluate(value, names)
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{value!r} is no finite number")
    if abs(value) > LARGEST:
        said = f"{value:.4g}" if isinstance(value, float) else f"a number of {len(str(abs(value)))} digits"
        raise InputError(f"{said} is too large, expected a magnitude of at most 2^53")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number(value: str | Number, names: Names, what: str) -> Number:
    """Return the number that a field stands for."""
    try:
        return value_of(value, names)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def whole(value: str | Number, names: Names, what: str, least: int = 1) -> int:
    """Return a whole number."""
    found = number(value, names, what)
    if not isinstance(found, int) or found < least:
        raise InputError(f"{what} is {_said(value, found)}, expected a whole number of at least {least}")
    return found


def flag(value: bool | str | Number, names: Names, what: str) -> bool:
    """Return whether a field is true."""
    return value if isinstance(value, bool) else bool(number(value, names, what))


def part(value: str | Number, names: Names, what: str) -> float:
    """Return a density."""
    found = number(value, names, what)
    if not 0 <= found <= 1:
        raise InputError(f"{what} is {_said(value, found)}, expected a number from 0 to 1")
    return float(found)


def pair(value: Any, names: Names, what: str, least: int = 1) -> tuple[int, int]:
    """Return (vertical, horizontal)."""
    both = value if isinstance(value, list) else [value, value]
    return whole(both[0], names, what, least), whole(both[1], names, what, least)


def _said(value: str | Number, found: Number) -> str:
    return f"'{value}' = {found}" if isinstance(value, str) else repr(found)
