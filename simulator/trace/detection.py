"""Low-rank detection of strong connections, exact in integers: what every detector unit must equal.

Tokens X are projected by a sparse ternary P, brought to few bits by a shift, multiplied by W̃_Q or W̃_K of the
head, brought to few bits again; the products of these Q̃ and K̃ estimate the scores of attention:
S̃ = Q̃·K̃ᵀ, Q̃ = X·P·W̃_Q, K̃ = X·P·W̃_K. Source: DOTA (ASPLOS 2022), DSA (arXiv 2110.11299).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace.checks import whole
from simulator.trace.connections import per_head
from simulator.trace.reference import Integers, matmul

PRECISIONS = (2, 4, 8)
MAX_SHIFT = 62


def limits(precision: int) -> tuple[int, int]:
    """Return the least and the largest number of so many bits, two's complement: −2^(p−1), 2^(p−1) − 1.

    Raises:
        InputError: a precision other than 2, 4 and 8 bits.

    """
    if isinstance(precision, bool) or precision not in PRECISIONS:
        raise InputError(f"precision must be 2, 4 or 8 bits, not {precision!r}")
    return -(1 << (precision - 1)), (1 << (precision - 1)) - 1


def quantise_shift(values: Integers, shift: int, precision: int) -> NDArray[np.int64]:
    """Return values ÷ 2^shift, rounded half to even, saturated to `precision` bits.

    Args:
        values: integers, any shape.
        shift: 0 to 62.
        precision: 2, 4 or 8 bits.

    Raises:
        InputError: a shift or a precision out of range.

    """
    low, high = limits(precision)
    shift = checked_shift(shift, "shift")
    numbers = values.astype(np.int64)
    if shift:
        whole_part = numbers >> shift
        rest, half = numbers - (whole_part << shift), 1 << (shift - 1)
        numbers = whole_part + ((rest > half) | ((rest == half) & (whole_part & 1 == 1)))
    return np.clip(numbers, low, high)


def checked_shift(shift: Any, what: str) -> int:
    """Return a whole number from 0 to 62."""
    number = whole(shift, what, 0)
    if number > MAX_SHIFT:
        raise InputError(f"{what} must be at most {MAX_SHIFT}, not {number}")
    return number


def require_ternary(projection: Integers) -> None:
    """Refuse a projection of other numbers than −1, 0 and 1."""
    if projection.size and not -1 <= projection.min() <= projection.max() <= 1:
        raise InputError(f"projection holds integers from {projection.min()} to {projection.max()}, expected −1, 0, 1")


def require_range(weight: Integers, precision: int, what: str) -> None:
    """Refuse weights that do not fit `precision` bits."""
    low, high = limits(precision)
    if not low <= weight.min() <= weight.max() <= high:
        raise InputError(
            f"{what} holds integers from {weight.min()} to {weight.max()}, "
            f"expected the range of {precision} bits, {low} … {high}"
        )


def project(tokens: Integers, projection: Integers, precision: int, shift: int) -> NDArray[np.int64]:
    """Return tokens (L, C) times the ternary projection (C, k), brought to `precision` bits: (L, k)."""
    require_ternary(projection)
    return quantise_shift(matmul(tokens, projection), shift, precision)


def estimate(projected: Integers, weight: Integers, precision: int, shift: int, what: str) -> NDArray[np.int64]:
    """Return projected tokens (L, k) times the weight (k, k) of a head, brought to `precision` bits: (L, k)."""
    require_range(weight, precision, what)
    return quantise_shift(matmul(projected, weight), shift, precision)


def detect(
    tokens: Integers,
    projection: Integers,
    detector_query: Integers,
    detector_key: Integers,
    precision: int,
    projection_shift: int = 0,
    query_shift: int | tuple[int, ...] = 0,
    key_shift: int | tuple[int, ...] = 0,
    memory: Integers | None = None,
) -> NDArray[np.int64]:
    """Return the estimated scores, exact integers without scale: (N, H, L, S).

    Args:
        tokens: (N, L, C).
        projection: (C, k), of −1, 0 and 1.
        detector_query: (H, k, k), W̃_Q in integers of `precision` bits.
        detector_key: (H, k, k), W̃_K likewise.
        precision: of the projected tokens, W̃, Q̃ and K̃: 2, 4 or 8 bits.
        projection_shift: right shift that brings X·P to `precision` bits, see `quantise_shift`.
        query_shift: the same for Q̃, one for all heads or one per head.
        key_shift: the same for K̃.
        memory: (N, S, C), what the keys are made of; None: the tokens.

    Raises:
        InputError: shapes, ranges or shifts that do not fit.

    """
    sources = tokens if memory is None else memory
    H = len(detector_query)
    k = projection.shape[-1]
    expected = {
        "tokens": (tokens, (*tokens.shape[:2], projection.shape[0])),
        "memory": (sources, (*tokens.shape[:1], *sources.shape[1:2], projection.shape[0])),
        "detector_query": (detector_query, (H, k, k)),
        "detector_key": (detector_key, (H, k, k)),
    }
    for what, (array, shape) in expected.items():
        if array.shape != shape or array.ndim != 3:
            raise InputError(f"{what} has shape {array.shape}, expected {shape}")
    shifts = per_head(query_shift, "query_shift", H, 0), per_head(key_shift, "key_shift", H, 0)
    scores = np.empty((len(tokens), H, tokens.shape[1], sources.shape[1]), np.int64)
    for n, (x, y) in enumerate(zip(tokens, sources, strict=True)):
        own = project(x, projection, precision, projection_shift)
        other = own if memory is None else project(y, projection, precision, projection_shift)
        for h in range(H):
            query = estimate(own, detector_query[h], precision, shifts[0][h], "detector_query")
            key = estimate(other, detector_key[h], precision, shifts[1][h], "detector_key")
            scores[n, h] = matmul(query, key.T)
    return scores
