"""The detector, number by number: Q̃ = X·P·W̃_Q, K̃ = Y·P·W̃_K, scores Q̃·K̃ᵀ, and which of them are kept.

All are Python's integers; what a shift makes of a number is a fraction, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from operator import mul

Matrix = Sequence[Sequence[int]]


def rescale(number: int, shift: int, precision: int) -> int:
    """Divide by 2^shift, round half to even, saturate to two's complement of ``precision`` bits."""
    rounded = round(Fraction(number, 2**shift))
    return max(-(2 ** (precision - 1)), min(2 ** (precision - 1) - 1, rounded))


def product(left: Matrix, right: Matrix) -> list[list[int]]:
    columns = list(zip(*right, strict=True))
    return [[sum(map(mul, row, column)) for column in columns] for row in left]


def rescaled_product(left: Matrix, right: Matrix, shift: int, precision: int) -> list[list[int]]:
    return [[rescale(number, shift, precision) for number in row] for row in product(left, right)]


def scores(queries: Matrix, keys: Matrix) -> list[list[int]]:
    return product(queries, list(zip(*keys, strict=True)))


def allowed(queries: int, keys: int, causal: bool) -> list[int]:
    """How many keys, from the first, each query may look at: the queries of a causal map are the last tokens."""
    return [keys - queries + query + 1 if causal else keys for query in range(queries)]


def how_many(allowed: Sequence[int], retention: float) -> list[int]:
    return [max(1, math.floor(retention * keys + 0.5)) for keys in allowed]


def top_k(scores: Matrix, allowed: Sequence[int], counts: Sequence[int]) -> list[set[int]]:
    """Keep the largest of each row, of equal ones the first."""
    kept = []
    for row, keys, count in zip(scores, allowed, counts, strict=True):
        ranking = sorted(range(keys), key=lambda key: (-row[key], key))
        kept.append(set(ranking[:count]))
    return kept


def threshold(scores: Matrix, allowed: Sequence[int], level: int) -> list[set[int]]:
    """Keep what reaches the level, and the best of each row, of equal ones the first."""
    best = top_k(scores, allowed, [1] * len(scores))
    return [
        {key for key in range(keys) if row[key] >= level} | first
        for row, keys, first in zip(scores, allowed, best, strict=True)
    ]
