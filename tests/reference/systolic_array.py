"""A systolic array, every register every cycle: operands enter at two edges, one step later in each row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Matrix = Sequence[Sequence[int]]
NOTHING = None


@dataclass
class Grid:
    """R × C processing elements. Each hands what came from the left to the right, and from above to below."""

    rows: int
    columns: int
    cycles: int = 0
    pairs: int = 0
    effectual: int = 0
    across: list[list[tuple[int, int] | None]] = field(default_factory=list)
    """(step, operand) that came from the left."""
    down: list[list[tuple[int, int] | None]] = field(default_factory=list)
    """(step, operand or sum) that came from above."""

    def clear(self) -> None:
        self.across = [[NOTHING] * self.columns for _ in range(self.rows)]
        self.down = [[NOTHING] * self.columns for _ in range(self.rows)]

    def shift(self, left: list[tuple[int, int] | None], above: list[tuple[int, int] | None]) -> None:
        self.across = [[enters, *row[:-1]] for enters, row in zip(left, self.across, strict=True)]
        self.down = [above, *self.down[:-1]]
        self.cycles += 1

    def meet(self, a: int, b: int) -> int:
        self.pairs += 1
        self.effectual += a != 0 and b != 0
        return a * b


def skewed(operands: list[list[int]], length: int, width: int, cycle: int) -> list[tuple[int, int] | None]:
    """Return what enters an edge in a cycle: lane i gives its step ``cycle - i``; a lane without operands, nothing."""
    entering: list[tuple[int, int] | None] = []
    for lane in range(width):
        step = cycle - lane
        there = lane < len(operands) and 0 <= step < length
        entering.append((step, operands[lane][step]) if there else NOTHING)
    return entering


def output_stationary(grid: Grid, inputs: list[list[int]], weights: list[list[int]]) -> list[list[int]]:
    """A fold: inputs (rows, T) enter at the left, weights (columns, T) above, sums (rows, columns) stay.

    It is over when the last PE has had the chance of the last step, whether or not rows and columns are in use.
    """
    length = len(inputs[0])
    sums = [[0] * len(weights) for _ in inputs]
    grid.clear()
    cycle = 0
    while cycle - (grid.rows - 1) - (grid.columns - 1) < length:
        grid.shift(skewed(inputs, length, grid.rows, cycle), skewed(weights, length, grid.columns, cycle))
        for r in range(len(inputs)):
            for c in range(len(weights)):
                a, b = grid.across[r][c], grid.down[r][c]
                if a is not None and b is not None:
                    assert a[0] == b[0], "operands of the same step meet"
                    sums[r][c] += grid.meet(a[1], b[1])
        cycle += 1
    return sums


def operand_stationary(grid: Grid, stationary: list[list[int]], passing: list[list[int]]) -> list[list[int]]:
    """A fold: stationary (rows, columns) is loaded, passing (rows, T) enters at the left, sums (T, columns) go down."""
    length, columns = len(passing[0]), len(stationary[0])
    held = [[0] * grid.columns for _ in range(grid.rows)]
    padded = [[*row, *[0] * (grid.columns - columns)] for row in stationary]
    padded += [[0] * grid.columns for _ in range(grid.rows - len(stationary))]
    for row in reversed(padded):  # the lowest row first, from above
        held = [row, *held[:-1]]
        grid.cycles += 1
    assert held == padded
    sums = [[0] * columns for _ in range(length)]
    grid.clear()
    cycle = 0
    while cycle - (grid.rows - 1) - (grid.columns - 1) < length:
        left = skewed(passing, length, grid.rows, cycle)
        above = skewed([[0] * length for _ in range(columns)], length, grid.columns, cycle)
        grid.shift(left, above)
        for r in range(len(stationary)):
            for c in range(columns):
                a, partial = grid.across[r][c], grid.down[r][c]
                if a is not None and partial is not None:
                    assert a[0] == partial[0], "an operand meets the sum of its own step"
                    grid.down[r][c] = (partial[0], partial[1] + grid.meet(a[1], stationary[r][c]))
        for c in range(columns):
            leaving = grid.down[grid.rows - 1][c]
            if leaving is not None:
                sums[leaving[0]][c] = leaving[1]
        cycle += 1
    return sums


def multiply(grid: Grid, dataflow: str, inputs: Matrix, weights: Matrix) -> list[list[int]]:
    """Multiply inputs (M, K) with weights (N, K), fold by fold."""
    M, K, N = len(inputs), len(inputs[0]), len(weights)
    sums = [[0] * N for _ in range(M)]

    def spans(extent: int, size: int) -> list[range]:
        return [range(first, min(first + size, extent)) for first in range(0, extent, size)]

    def take(matrix: Matrix, rows: range, columns: range) -> list[list[int]]:
        return [[matrix[r][c] for c in columns] for r in rows]

    def turned(matrix: Matrix) -> list[list[int]]:
        return [list(column) for column in zip(*matrix, strict=True)]

    if dataflow == "output":
        for ns in spans(N, grid.columns):
            for ms in spans(M, grid.rows):
                fold = output_stationary(grid, take(inputs, ms, range(K)), take(weights, ns, range(K)))
                for m, row in zip(ms, fold, strict=True):
                    sums[m][ns.start : ns.stop] = row
        return sums
    staying, moving = (weights, inputs) if dataflow == "weight" else (inputs, weights)
    for columns in spans(len(staying), grid.columns):
        for ks in spans(K, grid.rows):
            stationary, passing = turned(take(staying, columns, ks)), turned(take(moving, range(len(moving)), ks))
            fold = operand_stationary(grid, stationary, passing)
            for step, row in enumerate(fold):
                for column, value in zip(columns, row, strict=True):
                    m, n = (step, column) if dataflow == "weight" else (column, step)
                    sums[m][n] += value
    return sums
