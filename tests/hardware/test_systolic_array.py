"""Folds against the twin that shifts every register every cycle."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware.systolic_array import AXES, SystolicArray, count_non_zeros, multiply_folds, run_folds
from tests.reference import systolic_array as twin

sizes = st.integers(1, 9)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(AXES)), st.tuples(sizes, sizes, sizes), st.integers(1, 5), st.integers(1, 5), st.integers(0)
)
def test_folds_equal_the_stepped_twin(
    dataflow: str, extents: tuple[int, int, int], rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    M, K, N = extents
    inputs, weights = (rng.integers(-3, 4, shape) * (rng.random(shape) < 0.6) for shape in ((M, K), (N, K)))
    grid = twin.Grid(rows, columns)
    expected = twin.multiply(grid, dataflow, inputs.tolist(), weights.tolist())
    array = SystolicArray(rows=rows, columns=columns, dataflow=dataflow)
    axes = AXES[dataflow]
    shape = (extents, axes, rows, columns, array.preload)

    sums = np.zeros((M, N), np.int64)
    addresses = np.arange(M) * K, np.arange(K)
    assert multiply_folds(*shape, inputs.ravel(), *addresses, weights, weights != 0, sums) == (
        grid.cycles,
        grid.pairs,
        grid.effectual,
    )
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(sums, inputs @ weights.T)

    block, step = {0: rows, 1: columns}.get(axes.index(0), M), columns if axes[1] == 2 else N
    counts = np.zeros((1, -(-M // block), K), np.int64)
    count_non_zeros((inputs != 0).reshape(1, -1), *addresses, block, counts)
    by_filters = np.add.reduceat(weights != 0, np.arange(0, N, step), axis=0, dtype=np.int64)
    assert run_folds(*shape, counts[0], by_filters) == (grid.cycles, grid.pairs, grid.effectual)
