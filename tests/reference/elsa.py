"""ELSA in plain Python: a hash by the whole Kronecker product, similarity by counting, keys dealt out to banks."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]
Matrix = Sequence[Vector]


def kronecker(one: Matrix, other: Matrix) -> list[list[float]]:
    return [[a * b for a in row for b in own] for row in one for own in other]


def signs(vector: Vector, factors: Sequence[Matrix]) -> list[bool]:
    whole: Matrix = [[1.0]]
    for factor in factors:
        whole = kronecker(whole, factor)
    padded = [*vector, *[0.0] * (len(whole) - len(vector))]
    return [sum(a * b for a, b in zip(row, padded, strict=True)) >= 0 for row in whole]


def similarity(query: list[bool], key: list[bool], length: float, bias: float) -> float:
    differing = sum(a != b for a, b in zip(query, key, strict=True))
    return math.cos(max(0.0, math.pi / len(query) * differing - bias)) * length


def query_cycles(kept: Sequence[int], keys: int, banks: int, selectors: int, hashing: int, dividing: int) -> int:
    """Play a query: every selector looks at its keys, every module attends what its bank keeps, one per cycle."""
    scanned = [[0] * selectors for _ in range(banks)]
    for key in range(keys):
        bank, place = key % banks, key // banks
        scanned[bank][place % selectors] += 1
    attended = [0] * banks
    for key in kept:
        attended[key % banks] += 1
    return max(hashing, max(max(own) for own in scanned), max(attended), dividing)
