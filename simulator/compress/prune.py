"""Magnitude pruning: keep the largest numbers, drop the rest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

__all__ = ["keep_largest", "prune"]


def keep_largest(x: NDArray[np.number], density: float, axis: int | None = None) -> NDArray[np.bool_]:
    """Return the mask, shaped like ``x``, of the largest magnitudes.

    Exactly ``⌊density · n + ½⌋`` of n elements are kept; among equal magnitudes those that come first in
    memory order.

    Args:
        x: finite numbers, any shape.
        density: share of elements kept, 0 … 1.
        axis: None prunes ``x`` as a whole; an axis prunes every index of it (say, every output channel)
            alone, all to the same density.

    Raises:
        InputError: the density lies outside 0 … 1, the axis does not exist or ``x`` is not finite.

    Source: Han et al., NeurIPS 2015, §3; PENNI (ICML 2020) prunes coefficients this way.

    """
    if not 0.0 <= density <= 1.0:
        raise InputError(f"a density lies in 0 … 1, not {density}")
    if not np.isfinite(x).all():
        raise InputError("numbers to prune must be finite; these hold NaN or infinity")
    if axis is None:
        return _largest_of_rows(_magnitude(x).reshape(1, -1), density).reshape(x.shape)
    if not -x.ndim <= axis < x.ndim:
        raise InputError(f"axis {axis} does not exist in an array of shape {x.shape}")
    front = np.moveaxis(_magnitude(x), axis, 0)
    kept = _largest_of_rows(front.reshape(front.shape[0], -1), density)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(front.shape), 0, axis))


def prune(x: NDArray[np.number], density: float, axis: int | None = None) -> NDArray[np.number]:
    """Return ``x`` with all but its largest magnitudes set to zero; see :func:`keep_largest`."""
    return np.where(keep_largest(x, density, axis), x, x.dtype.type(0))


def _magnitude(x: NDArray[np.number]) -> NDArray[np.number]:
    """Return |x|, in an integer type in which −128 of eight bits has one."""
    return np.abs(x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else x)


def _largest_of_rows(magnitude: NDArray[np.number], density: float) -> NDArray[np.bool_]:
    length = magnitude.shape[1]
    count = math.floor(density * length + 0.5)
    if count == 0:
        return np.zeros(magnitude.shape, dtype=np.bool_)
    last = np.partition(magnitude, length - count, axis=1)[:, length - count, None]
    above = magnitude > last
    equal = magnitude == last
    room = count - above.sum(axis=1, keepdims=True)
    kept: NDArray[np.bool_] = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return kept
