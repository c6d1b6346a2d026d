"""A block of outputs of a dense layer on a lane's PE rows, every cycle: weights stay while the lane's tokens pass.

A row multiplies as many pairs as it is wide in one cycle, its tree adds neighbours in one cycle for each level, and the
accumulator adds what comes out to what was there in one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Matrix = Sequence[Sequence[int]]


@dataclass(frozen=True)
class BlockResult:
    sums: list[list[int]]
    """Of each token, the outputs of the block."""
    working: int
    """Cycles in which the rows multiply."""
    total: int
    """Cycles until the last sum is there."""


@dataclass
class Passing:
    """What a token left in a row: products, then sums of ever more of them."""

    token: int
    row: int
    numbers: list[int]


def levels(width: int) -> int:
    """Levels of a tree that adds neighbours, an odd one passing."""
    count = 0
    while width > 1:
        width = (width + 1) // 2
        count += 1
    return count


def block(tokens: Matrix, weights: Matrix, width: int) -> BlockResult:
    """Multiply tokens (t, C) with the weights (rows, C) of a block."""
    sums = [[0] * len(weights) for _ in tokens]
    reduction = len(weights[0])
    feed = [(first, token) for first in range(0, reduction, width) for token in range(len(tokens))]
    stages: list[list[Passing]] = [[] for _ in range(1 + levels(width))]  # after multipliers, after each level
    working = now = 0
    while feed or any(stages):
        for passing in stages[-1]:
            (number,) = passing.numbers
            sums[passing.token][passing.row] += number
        for level in range(len(stages) - 1, 0, -1):
            stages[level] = stages[level - 1]
            for passing in stages[level]:
                passing.numbers = [sum(passing.numbers[i : i + 2]) for i in range(0, len(passing.numbers), 2)]
        stages[0] = []
        if feed:
            first, token = feed.pop(0)
            for row, own in enumerate(weights):
                places = range(first, first + width)
                products = [tokens[token][p] * own[p] if p < reduction else 0 for p in places]
                stages[0].append(Passing(token, row, products))
            working += 1
        now += 1
    return BlockResult(sums, working, now)


def dense(
    tokens: Matrix, weights: Matrix, bounds: Sequence[int], rows: int, width: int
) -> tuple[list[list[int]], list[list[BlockResult]]]:
    """Multiply tokens, those of a lane from one of ``bounds`` to the next, in blocks of as many outputs as rows.

    Returns the sums (tokens, outputs), and of each lane what each block took.
    """
    sums: list[list[int]] = [[] for _ in tokens]
    taken: list[list[BlockResult]] = [[] for _ in bounds[1:]]
    for output in range(0, len(weights), rows):
        for lane in range(len(bounds) - 1):
            own = range(bounds[lane], bounds[lane + 1])
            made = block([tokens[token] for token in own], weights[output : output + rows], width)
            for token, part in zip(own, made.sums, strict=True):
                sums[token] += part
            taken[lane].append(made)
    return sums, taken
