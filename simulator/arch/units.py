"""Sizes, rates and times as they are written in files (``64 KiB``, ``800 MHz``, ``25.6 GB/s``), read into integers.

Each has an upper limit beyond all hardware, so that what is counted with them fits 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo
from quantiphy import InvalidNumber, Quantity


def _reader(unit: str, example: str, per: int = 1) -> Callable[[object, ValidationInfo], int]:
    expected = f"expected a quantity in {unit} such as '{example}'"

    def read(value: object, info: ValidationInfo) -> int:
        if info.mode == "python" and isinstance(value, int) and not isinstance(value, bool):
            return value  # base units, which code may give; in a file a bare number could be anything
        try:
            quantity = Quantity(str(value), binary=True)
        except InvalidNumber:
            raise ValueError(f"{expected}, not '{value}'") from None
        if quantity.units != unit:
            raise ValueError(f"{expected}, not '{value}'{'' if quantity.units else ', which has no unit'}")
        scaled = Decimal(repr(float(quantity))) * per  # decimal: 0.5 ns is 500 ps, not 499.99…
        if not scaled.is_finite() or scaled != int(scaled):
            raise ValueError(f"{expected}, a whole number of {'picoseconds' if per > 1 else unit}, not '{value}'")
        return int(scaled)

    return read


Bytes = Annotated[int, BeforeValidator(_reader("B", "64 KiB")), Field(gt=0, le=2**40)]
"""A size in bytes, up to 1 TiB."""
Hertz = Annotated[int, BeforeValidator(_reader("Hz", "800 MHz")), Field(gt=0, le=10**11)]
"""A frequency in hertz, up to 100 GHz."""
BytesPerSecond = Annotated[int, BeforeValidator(_reader("B/s", "25.6 GB/s")), Field(gt=0, le=2**48)]
"""A bandwidth in bytes per second, up to 256 TiB/s."""
Picoseconds = Annotated[int, BeforeValidator(_reader("s", "100 ns", per=10**12)), Field(ge=0, le=10**9)]
"""A time of up to a millisecond, kept in whole picoseconds."""
