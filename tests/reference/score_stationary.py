"""A score-stationary array, every cycle: features of a tile's keys move down the rows, PEs keep the scores.

A row has one query and a PE for each connection of its sub-row. A register between rows holds the features of all keys
of the tile for a cycle; a PE multiplies what its register holds of its key with that feature of the row's query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Matrix = Sequence[Sequence[float]]


@dataclass(frozen=True)
class SubRow:
    query: int
    keys: tuple[int, ...]


def split(mask: Sequence[Sequence[bool]], keys: int, pes: int) -> list[list[SubRow]]:
    """Split the rows of a mask: for each tile of keys, its sub-rows from the first query on."""
    tiles = []
    for first in range(0, len(mask[0]), keys):
        subrows = []
        for query, row in enumerate(mask):
            wanted = [key for key in range(first, min(first + keys, len(row))) if row[key]]
            while wanted:
                subrows.append(SubRow(query, tuple(wanted[:pes])))
                wanted = wanted[pes:]
        tiles.append(subrows)
    return tiles


def pack(subrows: list[SubRow], rows: int) -> list[list[SubRow]]:
    """Pack the sub-rows of a tile into passes."""
    return [subrows[first : first + rows] for first in range(0, len(subrows), rows)]


def products(subrows: list[SubRow], queries: Matrix, keys: Matrix, rows: int) -> tuple[list[list[float]], int]:
    """Let the keys pass: the scores of each row, and the cycles until the last row has seen the last feature."""
    features = len(queries[0])
    registers: list[int | None] = [None] * rows  # which feature of all keys a row holds
    scores = [[0.0] * len(subrow.keys) for subrow in subrows]
    cycle, last = 0, None
    while last != features - 1:
        cycle += 1
        for row, feature in enumerate(registers):  # what came in the cycle before is multiplied
            if feature is not None and row < len(subrows):
                for place, key in enumerate(subrows[row].keys):
                    scores[row][place] += queries[subrows[row].query][feature] * keys[key][feature]
        last = registers[-1]
        registers = [cycle - 1 if cycle <= features else None, *registers[:-1]]
    return scores, cycle
