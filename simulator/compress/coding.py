"""How many bits a sparse tensor takes: flat bitmap, two-level bitmap, run lengths.

Each function takes a mask (what is non-zero), lays it out along its last axis and returns one size per row. A
row stands alone: it begins at its own pointer, so that the hardware can start reading there.
:mod:`simulator.compress.bitstream` writes and reads the same formats bit by bit; the tests hold the sizes
counted here to the lengths written there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

__all__ = ["CODINGS", "bitmap_bits", "run_length_bits", "stored_bits", "two_level_bits"]

Mask = NDArray[np.bool_]
Bits = NDArray[np.int64]


def bitmap_bits(mask: Mask, value_bits: int) -> Bits:
    """Return the bits of each row under a flat bitmap: one bit per element, then the non-zero values, packed.

    Args:
        mask: what is non-zero, shape (…, n).
        value_bits: bits of a value, at least 1 (1: a ternary code's sign).

    Returns:
        Bits per row, int64, shape ``mask.shape[:-1]``.

    Raises:
        InputError: the mask is not boolean or has no axis, or a width is not positive.

    Source: SparTen (MICRO 2019) calls it SparseMap; ESCALATE's activations and coefficients.

    """
    _check(mask, value_bits=value_bits)
    return np.asarray(mask.shape[-1] + value_bits * _count(mask))


def two_level_bits(mask: Mask, value_bits: int, block: int = 16) -> Bits:
    """Return the bits of each row under a two-level bitmap.

    One bit per block says whether it holds a non-zero; only such blocks have a sub-map of one bit per
    element. A last block that is shorter has a shorter sub-map.

    Args:
        mask: what is non-zero, shape (…, n).
        value_bits: bits of a value, at least 1.
        block: elements in a block, 16 or 32 in the designs that use it.

    Returns:
        Bits per row, int64, shape ``mask.shape[:-1]``.

    Raises:
        InputError: the mask is not boolean or has no axis, or a width is not positive.

    """
    _check(mask, value_bits=value_bits, block=block)
    length = mask.shape[-1]
    whole = length // block
    blocks = mask[..., : whole * block].reshape(*mask.shape[:-1], whole, block)
    tail = mask[..., whole * block :]
    sub_maps = block * _count(np.any(blocks, axis=-1)) + tail.shape[-1] * np.any(tail, axis=-1)
    return np.asarray(-(-length // block) + sub_maps + value_bits * _count(mask))


def run_length_bits(mask: Mask, value_bits: int, run_bits: int = 4) -> Bits:
    """Return the bits of each row under run-length coding: (zeros before, value) for every non-zero.

    A run field of ``run_bits`` counts up to ``2^run_bits − 1`` zeros. A longer run is broken by a
    placeholder: a full run field and the *value zero*, together ``2^run_bits`` zeros. Zeros at the end of a
    row are not stored. A lone sign bit has no code for that zero, so signs (``value_bits`` = 1) take two bits
    here: see :func:`stored_bits`.

    Args:
        mask: what is non-zero, shape (…, n).
        value_bits: bits of a value, at least 1.
        run_bits: bits of a run field, 1 … 32.

    Returns:
        Bits per row, int64, shape ``mask.shape[:-1]``.

    Raises:
        InputError: the mask is not boolean or has no axis, or a width is out of range.

    Source: SCNN (ISCA 2017), 4-bit runs of at most 15 zeros; Eyeriss (JSSC 2017), 5-bit runs.

    """
    _check(mask, value_bits=value_bits, run_bits=run_bits)
    if run_bits > 32:
        raise InputError(f"run_bits lies in 1 … 32, not {run_bits}")
    length = mask.shape[-1]
    counts = _count(mask).reshape(-1)
    positions = np.flatnonzero(mask)
    zeros_before = np.diff(positions, prepend=-1) - 1
    filled = np.flatnonzero(counts)
    first = (np.cumsum(counts) - counts)[filled]
    zeros_before[first] = positions[first] - filled * length
    entries = counts
    if filled.size:
        entries[filled] += np.add.reduceat(zeros_before >> run_bits, first)
    return (entries * (run_bits + stored_bits(value_bits))).reshape(mask.shape[:-1])


def stored_bits(value_bits: int) -> int:
    """Return what run-length coding spends on a value: 2 bits on a sign, since placeholders read zero."""
    return max(value_bits, 2)


CODINGS: Final[dict[str, Callable[[Mask, int], Bits]]] = {
    "bitmap": bitmap_bits,
    "two_level": two_level_bits,
    "run_length": run_length_bits,
}


def _count(mask: Mask | np.bool_) -> Bits:
    """Count along the last axis; packed first, which is faster than adding booleans up."""
    return np.asarray(np.bitwise_count(np.packbits(mask, axis=-1)).sum(axis=-1, dtype=np.int64))


def _check(mask: Mask, **widths: int) -> None:
    if mask.dtype != np.bool_ or mask.ndim == 0:
        raise InputError(f"a mask is a boolean array of at least one axis, not {mask.dtype} of {mask.shape}")
    for name, width in widths.items():
        if width < 1:
            raise InputError(f"{name} is at least 1, not {width}")
