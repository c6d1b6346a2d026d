"""Sparse matrices with the degrees of real graphs, drawn from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace.checks import real, whole

Counts = NDArray[np.int64]

LARGEST = 2**31
"""Rows, columns and non-zeros of a matrix stay below this: indices are 32-bit."""


def draw_matrix(rows: int, columns: int, nonzeros: int, exponent: float, seed: int) -> tuple[Counts, NDArray[np.int32]]:
    """Draw a sparse matrix whose degrees follow a power law, in rows and in columns: always the same one.

    Row and column weights are those of Chung and Lu's model: the vertex of rank i weighs (i + 1)^(−1/(γ−1)), ranks
    being shuffled; a row or column has then k non-zeros with a probability near k^(−γ). Each row's share of the
    non-zeros is rounded, its columns are drawn without repetition.

    Args:
        rows: M.
        columns: K. A square matrix has the same hubs in rows and in columns, as a graph has.
        nonzeros: how many, 1 to M·K.
        exponent: γ, above 2 (real graphs: 2 to 3); 0: every row equally many, columns uniform.
        seed: a whole number of at least 0.

    Returns:
        indptr (M + 1,) and indices (nonzeros,), which rise in each row.

    Raises:
        InputError: a number out of these ranges, or sizes of 2^31 and more.

    Source: F. Chung and L. Lu, "The average distances in random graphs with given expected degrees", PNAS 2002.

    """
    checked_matrix(rows, columns, nonzeros, exponent)
    generator = np.random.PCG64(whole(seed, "a seed", 0))
    row_weights = _weights(rows, exponent, generator)
    column_weights = row_weights if rows == columns else _weights(columns, exponent, generator)
    counts = _shares(row_weights, nonzeros, columns)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    return indptr, _columns(counts, column_weights, generator)


def checked_matrix(rows: int, columns: int, nonzeros: int, exponent: float) -> float:
    """Return the exponent, refuse what `draw_matrix` cannot draw."""
    for what, number in (("rows", rows), ("columns", columns), ("nonzeros", nonzeros)):
        if whole(number, what, 1) >= LARGEST:
            raise InputError(f"{what} must be below 2^31, not {number}")
    if nonzeros > rows * columns:
        raise InputError(f"nonzeros must be at most {rows} × {columns} = {rows * columns}, not {nonzeros}")
    gamma = real(exponent, "exponent")
    if gamma != 0 and not 2 < gamma <= 100:
        raise InputError(f"exponent must be above 2 and at most 100, or 0 for equal degrees, not {exponent!r}")
    return gamma


def _uniform(generator: np.random.PCG64, count: int) -> NDArray[np.float64]:
    """Return numbers from 0 to below 1, of 53 bits, from a stream that NumPy promises to keep."""
    numbers: NDArray[np.float64] = (generator.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def _weights(size: int, exponent: float, generator: np.random.PCG64) -> NDArray[np.float64]:
    if exponent == 0:
        return np.ones(size, np.float64)
    ranks = np.argsort(generator.random_raw(size), kind="stable")
    weights: NDArray[np.float64] = np.empty(size, np.float64)
    weights[ranks] = np.power(np.arange(1, size + 1), -1 / (exponent - 1))
    return weights


def _shares(weights: NDArray[np.float64], total: int, most: int) -> Counts:
    """Part a total in proportion to weights, in whole numbers of at most `most`."""
    counts = np.zeros(len(weights), np.int64)
    left = total
    while left:
        room = counts < most
        wanted = np.where(room, weights, 0.0)
        exact = np.cumsum(wanted) * (left / wanted.sum())
        exact[-1] = left
        steps = np.diff(np.floor(np.minimum(exact, left)), prepend=0.0).astype(np.int64)
        steps = np.minimum(steps, most - counts)
        if not steps.any():
            open_rows = np.flatnonzero(room)[:left]
            steps[open_rows] = 1
        counts += steps
        left = total - int(counts.sum())
    return counts


def _columns(counts: Counts, weights: NDArray[np.float64], generator: np.random.PCG64) -> NDArray[np.int32]:
    """Draw the columns of each row by weight, without repetition."""
    columns, cumulated = len(weights), np.cumsum(weights)
    codes = np.empty(0, np.int64)  # row × columns + column, rising
    missing = counts.copy()
    for _ in range(8):
        drawn = _uniform(generator, int(missing.sum())) * cumulated[-1]
        drawn_columns = np.minimum(np.searchsorted(cumulated, drawn, side="right"), columns - 1)
        fresh = np.sort(np.repeat(np.arange(len(counts)), missing) * columns + drawn_columns)
        codes = np.sort(np.concatenate((codes, fresh)), kind="stable")  # two runs that rise: merged in one pass
        codes = codes[np.diff(codes, prepend=-1) > 0]
        missing = counts - np.bincount(codes // columns, minlength=len(counts))
        if not missing.any():
            return (codes % columns).astype(np.int32)
    starts = np.searchsorted(codes, np.arange(len(counts) + 1) * columns)
    fills = [codes]
    for row in np.flatnonzero(missing):  # rows that hold most of the weight already: a race among the columns left
        times = -np.log1p(-_uniform(generator, columns)) / weights
        times[codes[starts[row] : starts[row + 1]] % columns] = np.inf
        fills.append(row * columns + np.argpartition(times, missing[row] - 1)[: missing[row]])
    return (np.sort(np.concatenate(fills)) % columns).astype(np.int32)
