"""Checks shared by tensors and operators: each returns the clean value or raises one sentence."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from simulator.errors import InputError

Shape = tuple[int, ...]


def whole(value: Any, what: str, least: int) -> int:
    """Return `value` as an int of at least `least`, or raise an InputError that begins with `what`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise InputError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return number


def pair(value: Any, what: str, least: int) -> tuple[int, int]:
    """Return (vertical, horizontal) from one whole number or two."""
    both = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(both) != 2:
        raise InputError(f"{what} must be one whole number or two, not {value!r}")
    return whole(both[0], what, least), whole(both[1], what, least)


def sizes(value: Any, what: str) -> Shape:
    """Return a shape of one axis or more, each of size 1 or more."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise InputError(f"{what} must be a list of one size or more, not {value!r}")
    return tuple(whole(size, f"every size of {what}", 1) for size in value)


def label(value: Any, what: str) -> str:
    """Return a non-empty printable string."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InputError(f"{what} must be a printable text of one character or more, not {value!r}")
    return value


def real(value: Any, what: str) -> float:
    """Return a finite number, or raise an InputError that begins with `what`."""
    try:
        number = float("nan") if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not math.isfinite(number):
        raise InputError(f"{what} must be a finite number, not {value!r}")
    return number


def fraction(value: Any, what: str) -> float:
    """Return a number above 0 and at most 1."""
    number = real(value, what)
    if not 0 < number <= 1:
        raise InputError(f"{what} must be above 0 and at most 1, not {value!r}")
    return number
