"""Which rows of an embedding table are looked up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

_SCATTER = 2_654_435_761
"""A prime that parts neighbours in rank: popular rows are not adjacent in memory."""


def draw_lookups(rows: int, count: int, skew: float, seed: int) -> NDArray[np.int64]:
    """Draw the rows that are looked up, row of rank r with a probability near r^−skew (Zipf): always the same.

    Args:
        rows: of the table, below 2^31.
        count: how many look-ups.
        skew: 0: uniform; at most 10.
        seed: a whole number.

    Raises:
        InputError: a skew outside 0 to 10.

    """
    if not 0 <= skew <= 10:
        raise InputError(f"skew is {skew}, expected a number from 0 to 10")
    uniform = (np.random.PCG64(seed).random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    if abs(skew - 1) < 1e-9:
        places = np.power(float(rows + 1), uniform)
    else:  # the inverse of the distribution over the real numbers from 1 to rows + 1
        power = 1 - skew
        places = np.power(1 + uniform * (float(rows + 1) ** power - 1), 1 / power)
    ranks = np.clip(places.astype(np.int64) - 1, 0, rows - 1)
    scattered: NDArray[np.int64] = ranks * _SCATTER % rows
    return scattered
