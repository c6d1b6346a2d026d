"""The CA kernels unit by unit: what `accumulate_rows` computes for each pixel before it loses sight of the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.bits import pack
from simulator.hardware.channel_accumulation import (
    ChannelAccumulation,
    concentrate,
    issue_packed,
    issue_rows,
    issue_window,
    split_rows,
)
from simulator.hardware.pe_array import Rows

SEVEN = ((1, 0), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (1, 3))
"""Bit-Tactical's offsets for h = 2, in its order."""

Integers = NDArray[np.int64]


def accumulation(
    adders: int, look_ahead: int, offsets: tuple[tuple[int, int], ...] = (), ideal: bool = False
) -> ChannelAccumulation:
    return ChannelAccumulation(
        dilution="run_time",
        result_bits=16,
        adders=adders,
        network_lanes=64,
        concentration="ideal" if ideal else "window",
        look_ahead=look_ahead,
        offsets=offsets,
    )


def vectors(coefficients: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the maps and the signs of coefficients (T, C) as kernels take them: (W, T) words each."""
    return tuple(np.ascontiguousarray(pack(bits).T) for bits in (coefficients != 0, coefficients < 0))


def rows_of(activations: NDArray[Any], words: Integers, lengths: Integers) -> Rows:
    """Feed pixels (P, C) in rows of the given lengths."""
    return Rows(pack(activations != 0), words, np.concatenate(([0], np.cumsum(lengths))))


@dataclass(frozen=True)
class Units:
    """What each unit spent, matched and summed for each pixel, all of shape (P, T)."""

    cycles: Integers
    pairs: Integers
    sums: Integers


def run_units(unit: ChannelAccumulation, activations: NDArray[Any], coefficients: NDArray[Any]) -> Units:
    """Run pixels (P, C) through T units with coefficients (T, C), scratch used again from pixel to pixel."""
    window = unit.window()
    (maps, signs), (count, channels) = vectors(coefficients), coefficients.shape
    codes, sign_codes = (np.zeros((len(maps) + 1, count), np.uint64) for _ in range(2))
    rows = window.rows(channels, count)
    free, skipped = np.zeros(count, rows.dtype), np.zeros(count, rows.dtype)
    cycles, pairs, sums = (np.zeros((len(activations), count), kind) for kind in (np.int32, np.int32, np.int64))
    for p, (pixel, activation) in enumerate(zip(activations, pack(activations != 0), strict=True)):
        packed = pixel[pixel != 0].astype(np.int64)
        total = concentrate(activation, maps, codes)
        assert total == len(packed) == concentrate(activation, signs, sign_codes)
        pairs[p] = np.bitwise_count(codes[: -(-total // 64)]).sum(axis=0)
        if window.ideal:
            issue_packed(codes, total, window.adders, cycles[p], sign_codes, packed, sums[p])
        elif window.look_ahead == 0:
            issue_rows(codes, total, window.adders, cycles[p], sign_codes, packed, sums[p])
        else:
            total_rows = split_rows(codes, total, window.adders, window.look_ahead, rows)
            issue_window(
                rows, total_rows, window.adders, window.look_ahead, window.ahead, window.aside, free, skipped,
                cycles[p], sign_codes, packed, sums[p],
            )  # fmt: skip
    return Units(cycles.astype(np.int64), pairs.astype(np.int64), sums)
