"""Sizes, rates and times as they are written in files (``64 KiB``, ``800 MHz``, ``25.6 GB/s``), read into integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field
from quantiphy import InvalidNumber, Quantity


def _reader(unit: str, example: str, per: int = 1) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value  # already in base units: a value that the schema itself made
        try:
            quantity = Quantity(str(value), binary=True)
        except InvalidNumber:
            raise ValueError(f"expected a quantity in {unit} such as '{example}', not '{value}'") from None
        if quantity.units != unit:
            found = f"in {quantity.units}" if quantity.units else "without a unit"
            raise ValueError(f"expected a quantity in {unit} such as '{example}', not '{value}', which is {found}")
        scaled = float(quantity) * per
        if scaled != scaled or scaled in (float("inf"), float("-inf")) or scaled != round(scaled):
            raise ValueError(f"expected a whole number of base units in {unit} such as '{example}', not '{value}'")
        return round(scaled)

    return read


Bytes = Annotated[int, BeforeValidator(_reader("B", "64 KiB")), Field(gt=0)]
"""A size in bytes."""
Hertz = Annotated[int, BeforeValidator(_reader("Hz", "800 MHz")), Field(gt=0)]
"""A frequency in hertz."""
BytesPerSecond = Annotated[int, BeforeValidator(_reader("B/s", "25.6 GB/s")), Field(gt=0)]
"""A bandwidth in bytes per second."""
Picoseconds = Annotated[int, BeforeValidator(_reader("s", "100 ns", per=10**12)), Field(ge=0)]
"""A time, kept in whole picoseconds."""
