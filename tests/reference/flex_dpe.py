"""SIGMA's engines, multiplier by multiplier and cycle by cycle, from the description of the hardware alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FoldResult:
    """What a fold did for one streamed vector."""

    cycles: int
    pairs: int
    elements: int
    sums: dict[int, int]


def load_folds(weights: list[list[int]], multipliers: int) -> list[list[tuple[int, int]]]:
    """Fill multipliers with the (filter, place) of non-zero weights, filter by filter, until none is left."""
    folds: list[list[tuple[int, int]]] = [[]]
    for k, row in enumerate(weights):
        for place, weight in enumerate(row):
            if weight:
                if len(folds[-1]) == multipliers:
                    folds.append([])
                folds[-1].append((k, place))
    return folds


def stream(fold: list[tuple[int, int]], weights: list[list[int]], vector: list[int], read: int) -> FoldResult:
    """Bring one vector to a fold: elements are read, then all multipliers work, then neighbours are added up."""
    waiting = sorted({place for _, place in fold if vector[place]})
    elements, cycles = len(waiting), 0
    while True:
        cycles += 1
        waiting = waiting[read:]
        if not waiting:
            break
    products = [(k, weights[k][place] * vector[place]) for k, place in fold if vector[place]]
    sums = products
    while len(sums) > len({k for k, _ in sums}):  # a level of the adder network: neighbours of one filter pair up
        added, at = [], 0
        while at < len(sums):
            k, value = sums[at]
            paired = at + 1 < len(sums) and sums[at + 1][0] == k
            added.append((k, value + sums[at + 1][1]) if paired else (k, value))
            at += 2 if paired else 1
        sums = added
    return FoldResult(cycles, len(products), elements, dict(sums))
