"""Low-rank detectors of strong connections: made, calibrated and judged.

The detection itself, `detect` and `select`, belongs to the trace, which tells with it what attention keeps; here they
are at hand beside what makes their operands. `simulator.compress.detector_torch` trains them.

Source: DOTA (ASPLOS 2022) and DSA (arXiv 2110.11299): S̃ = Q̃·K̃ᵀ, Q̃ = X·P·W̃_Q, K̃ = X·P·W̃_K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace import ValueTensor
from simulator.trace.checks import whole
from simulator.trace.connections import allowed_keys, largest, select
from simulator.trace.detection import detect, limits, quantise_shift
from simulator.trace.reference import Integers, matmul

__all__ = [
    "WEIGHT_STEP",
    "Detector",
    "calibrate",
    "detect",
    "detector_weights",
    "quantise_shift",
    "recall",
    "select",
    "sparse_projection",
]

WEIGHT_STEP: Final = {2: 1.2240, 4: 0.3534, 8: 0.0309}
"""Step, in standard deviations, with which 3, 15 and 255 even levels lose least of a normal variable."""


@dataclass(frozen=True, eq=False)
class Detector:
    """What an attention operator needs to detect, its tokens apart; see `simulator.trace.Attention`.

    Args:
        projection: (C, k), ternary, of scale √(3/k).
        detector_query: (H, k, k), W̃_Q, one scale per head.
        detector_key: (H, k, k), W̃_K, likewise.
        precision: 2, 4 or 8 bits.
        projection_shift: right shift after X·P.
        query_shift: right shift after ·W̃_Q, per head.
        key_shift: right shift after ·W̃_K, per head.

    """

    projection: ValueTensor
    detector_query: ValueTensor
    detector_key: ValueTensor
    precision: int
    projection_shift: int
    query_shift: tuple[int, ...]
    key_shift: tuple[int, ...]

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields by name, as `Attention` takes them."""
        return dict(vars(self))

    def scores(self, tokens: Integers, memory: Integers | None = None) -> NDArray[np.int64]:
        """Return the estimated scores (N, H, L, S) of tokens (N, L, C), see `detect`."""
        given = self.arguments
        for role in ("projection", "detector_query", "detector_key"):
            given[role] = given[role].values()
        return detect(tokens, memory=memory, **given)


def sparse_projection(features: int, rank: int, seed: int = 0) -> ValueTensor:
    """Draw P ∈ √(3/k) · {−1, 0, 1} with probabilities 1/6, 2/3, 1/6: always the same of a seed.

    Args:
        features: C, of a token.
        rank: k, 1 to C.
        seed: of the 32-bit draws of PCG64.

    Returns:
        (C, k) of 2 bits, the factor √(3/k) is its scale.

    Raises:
        InputError: a number out of range.

    Source: Achlioptas, Database-friendly random projections, JCSS 2003, Theorem 1.1.

    """
    C, k = whole(features, "features", 1), whole(rank, "rank", 1)
    if k > C:
        raise InputError(f"rank must be at most the {C} features, not {k}")
    draws = np.random.PCG64(whole(seed, "seed", 0)).random_raw(C * k) >> np.uint64(32)
    sixth = round(2**32 / 6)
    codes = (draws >= 2**32 - sixth).astype(np.int8) - (draws < sixth).astype(np.int8)
    return ValueTensor(codes.reshape(C, k), math.sqrt(3 / k), bits=2)


def detector_weights(weight: NDArray[np.floating[Any]], precision: int = 4) -> ValueTensor:
    """Quantise real W̃ (H, k, k) to `precision` bits, symmetric, one scale per head: see `WEIGHT_STEP`.

    Raises:
        InputError: another shape, numbers that are not finite, a precision other than 2, 4 and 8.

    """
    top = limits(precision)[1]
    if weight.ndim != 3 or weight.shape[1] != weight.shape[2] or not weight.size or not np.isfinite(weight).all():
        raise InputError(f"weights of a detector must be finite, of shape (H, k, k), not {weight.shape}")
    spread = np.sqrt(np.mean(np.square(weight, dtype=np.float64), axis=(1, 2)))
    step = np.where(spread > 0, WEIGHT_STEP[precision] * spread, 1.0)
    codes = np.clip(np.rint(weight / step[:, None, None]), -top, top).astype(np.int8)
    return ValueTensor(codes, tuple(step.tolist()), bits=precision)


def calibrate(
    tokens: Integers,
    projection: ValueTensor,
    detector_query: ValueTensor,
    detector_key: ValueTensor,
    precision: int = 4,
    memory: Integers | None = None,
) -> Detector:
    """Choose the shifts of a detector: of each the one that loses least, in squares, on these tokens.

    Args:
        tokens: (N, L, C) integers, typical ones.
        projection: (C, k), of −1, 0 and 1.
        detector_query: (H, k, k), integers of `precision` bits.
        detector_key: (H, k, k), likewise.
        precision: 2, 4 or 8 bits.
        memory: (N, S, C), what the keys are made of; None: the tokens.

    Raises:
        InputError: as `detect`.

    """
    heads, shape = len(detector_query.values()), projection.shape
    shifts: dict[str, Any] = {"projection_shift": 0, "query_shift": (0,) * heads, "key_shift": (0,) * heads}
    detector = Detector(projection, detector_query, detector_key, precision, **shifts)
    few = None if memory is None else memory[:, :1]
    detector.scores(tokens[:, :1], few)  # refuses what does not fit
    own = tokens.reshape(-1, shape[0])
    other = own if memory is None else memory.reshape(-1, shape[0])
    products = [matmul(x, projection.values()) for x in ((own,) if memory is None else (own, other))]
    shift = _best_shift(np.concatenate(products), precision)
    queries, keys = (quantise_shift(product, shift, precision) for product in (products[0], products[-1]))
    return Detector(
        projection,
        detector_query,
        detector_key,
        precision,
        shift,
        tuple(_best_shift(matmul(queries, weight), precision) for weight in detector_query.values()),
        tuple(_best_shift(matmul(keys, weight), precision) for weight in detector_key.values()),
    )


def _best_shift(values: NDArray[np.int64], precision: int) -> int:
    """Return the shift of least squared error, the smallest of equal ones."""
    largest = int(np.abs(values).max()).bit_length()

    def error(shift: int) -> float:
        lost = values - (quantise_shift(values, shift, precision) << shift)
        return float(np.square(lost, dtype=np.float64).sum())

    return min(range(largest + 1), key=error)


def recall(kept: NDArray[np.bool_], scores: NDArray[Any], causal: bool = False) -> float:
    """Return which part of the truly strongest connections is kept, 0 to 1.

    Args:
        kept: (…, L, S), the detector's choice.
        scores: (…, L, S), the true scores. Of each row as many of the strongest count as the row keeps.
        causal: query i looks only at the keys 0 … i + S − L.

    Raises:
        InputError: shapes that differ, a row without a kept key.

    """
    if kept.shape != scores.shape or kept.ndim < 2:
        raise InputError(f"kept has shape {kept.shape}, expected that of the scores, {scores.shape}")
    L, S = kept.shape[-2:]
    allowed: NDArray[np.bool_] = np.arange(S) < allowed_keys(L, S, causal)[:, None]
    common = 0
    for chosen, true in zip(kept.reshape(-1, L, S), scores.reshape(-1, L, S), strict=True):
        counts = np.count_nonzero(chosen, axis=1)
        if not counts.all() or (chosen & ~allowed).any():
            raise InputError("every row must keep one key or more, and none that it may not look at")
        common += int(np.count_nonzero(chosen & largest(true, allowed, counts)))
    return float(common / np.count_nonzero(kept))
