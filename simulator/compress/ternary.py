"""Ternary codes: every number becomes −1, 0 or +1 times a scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest

__all__ = ["RULES", "least_squares_scale", "ternarise", "ttq_threshold", "twn_threshold"]

Floats = NDArray[np.floating]


def twn_threshold(magnitude: Floats, axes: tuple[int, ...]) -> Floats:
    """Return Δ = 0.7 · mean|x| over ``axes``, kept with length 1 (Li & Liu 2016, TWN, §2.2)."""
    threshold: Floats = 0.7 * magnitude.mean(axis=axes, keepdims=True)
    return threshold


def ttq_threshold(magnitude: Floats, axes: tuple[int, ...], share: float = 0.05) -> Floats:
    """Return Δ = t · max|x| over ``axes``, kept with length 1 (Zhu et al., ICLR 2017, TTQ, §4: t = 0.05)."""
    threshold: Floats = share * magnitude.max(axis=axes, keepdims=True)
    return threshold


RULES: Final[dict[str, Callable[[Floats, tuple[int, ...]], Floats]]] = {
    "twn": twn_threshold,
    "ttq": ttq_threshold,
}


def ternarise(x: Floats, rule: str = "twn", axis: int | None = None) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Round numbers to ternary codes: 0 where |x| ≤ Δ, else the sign.

    Args:
        x: finite numbers, any shape but empty.
        rule: how Δ is chosen, ``"twn"`` or ``"ttq"``; see :data:`RULES`.
        axis: None gives one Δ and one scale to all of ``x``; an axis gives each index of it (say, every
            output channel) its own.

    Returns:
        The codes (int8, −1, 0 or +1, shaped like ``x``) and the scale that fits ``x`` best, see
        :func:`least_squares_scale`.

    Raises:
        InputError: the rule is unknown, the axis does not exist, or ``x`` is empty or not finite.

    """
    if rule not in RULES:
        raise InputError(f"unknown ternary rule '{rule}'{nearest(rule, RULES)}")
    if x.size == 0 or not np.isfinite(x).all():
        raise InputError(f"numbers to ternarise must be finite and at least one; these have shape {x.shape}")
    magnitude = np.abs(x)
    codes = np.where(magnitude > RULES[rule](magnitude, _shared(x, axis)), np.sign(x), 0).astype(np.int8)
    return codes, least_squares_scale(x, codes, axis)


def least_squares_scale(x: Floats, codes: NDArray[np.int8], axis: int | None = None) -> NDArray[np.float64]:
    """Return α that minimises Σ (x − α·code)², that is Σ x·code ÷ Σ code²; 1 where there is no code but 0.

    Args:
        x: numbers, any shape.
        codes: ternary codes, shaped like ``x``.
        axis: None for one scale, of shape (); an axis for one per index of it, of a shape that broadcasts
            with ``x``.

    Raises:
        InputError: the shapes differ or the axis does not exist.

    Source: Li & Liu 2016, Ternary Weight Networks, §2.1.

    """
    if x.shape != codes.shape:
        raise InputError(f"numbers of shape {x.shape} and codes of shape {codes.shape} are not of one shape")
    shared = _shared(x, axis)
    total = np.sum(x * codes, axis=shared, keepdims=axis is not None, dtype=np.float64)
    count = np.count_nonzero(codes, axis=shared, keepdims=axis is not None)
    scale: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return scale


def _shared(x: Floats, axis: int | None) -> tuple[int, ...]:
    """Return the axes over which one scale is shared."""
    if axis is None:
        return tuple(range(x.ndim))
    if not -x.ndim <= axis < x.ndim:
        raise InputError(f"axis {axis} does not exist in an array of shape {x.shape}")
    return tuple(i for i in range(x.ndim) if i != axis % x.ndim)
