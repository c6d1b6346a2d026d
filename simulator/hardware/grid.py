"""Grids of units: as nearly square as may be."""

from __future__ import annotations

import math

MOST_ROWS = 64
"""Rows, and columns, of PEs that share a plane out among them, at most."""


def grid(units: int, most: int | None = None) -> tuple[int, int]:
    """Return the rows and columns that come nearest to so many units, at most ``most`` of either.

    There are at most about twice as many of the one as of the other, so that no number of units gives a row of them.
    """
    units = max(1, units)
    side = min(math.isqrt(units), most or units)
    least = max(1, round(side / math.sqrt(2)))
    shapes = [(rows, max(1, round(units / rows))) for rows in range(side, least - 1, -1)]
    return min(
        ((rows, min(columns, most or columns)) for rows, columns in shapes),
        key=lambda shape: abs(shape[0] * shape[1] - units),
    )
