"""The MAC row's arithmetic against the definition of a convolution."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware.mac_row import MacRow, multiply_accumulate

Pair = tuple[int, int]


def convolved(
    planes: np.ndarray, basis: np.ndarray, stride: Pair, padding: Pair, dilation: Pair, outputs: Pair
) -> np.ndarray:
    """Output by output and tap by tap: planes (K, M, H, W), basis (K or 1, M, R, S) → (K, *outputs)."""
    size = planes.shape[2:]
    result = np.zeros((len(planes), *outputs), np.int64)
    for k, m, p, q in product(*map(range, (*planes.shape[:2], *outputs))):
        for r, s in product(*map(range, basis.shape[2:])):
            y = p * stride[0] - padding[0] + r * dilation[0]
            x = q * stride[1] - padding[1] + s * dilation[1]
            if 0 <= y < size[0] and 0 <= x < size[1]:
                result[k, p, q] += basis[k if len(basis) > 1 else 0, m, r, s] * planes[k, m, y, x]
    return result


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=400, deadline=None)
@given(
    vectors=pairs(1, 3), size=pairs(1, 6), kernel=pairs(1, 4), stride=pairs(1, 3), padding=pairs(0, 3),
    dilation=pairs(1, 3), shared=st.booleans(), share=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_partial_sums_are_those_of_a_convolution(
    vectors: Pair, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
    shared: bool, share: float, seed: int,
) -> None:  # fmt: skip
    """Whatever pixels are given, in whatever order, add their part to what the outputs hold already."""
    rng = np.random.default_rng(seed)
    outputs = tuple(
        max(1, (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1) for i in (0, 1)
    )
    basis = rng.integers(-128, 128, (1 if shared else vectors[0], vectors[1], *kernel))
    planes = rng.integers(-1000, 1000, (*vectors, *size)) * (rng.random(size) < share)
    rows, columns = rng.permutation(np.argwhere(planes.any(axis=(0, 1)))).reshape(-1, 2).T
    held = rng.integers(-1000, 1000, (vectors[0], *outputs))
    found = held.copy()
    sums = np.ascontiguousarray(planes[:, :, rows, columns])
    multiply_accumulate(sums, rows, columns, basis, stride, padding, dilation, found)
    np.testing.assert_array_equal(found, held + convolved(planes, basis, stride, padding, dilation, outputs))


@pytest.mark.parametrize(("multipliers", "cycles"), [(1, 9), (4, 3), (8, 2), (9, 1), (16, 1)])
def test_a_result_keeps_the_row_busy_until_all_taps_are_multiplied(multipliers: int, cycles: int) -> None:
    assert MacRow(multipliers=multipliers, line_buffer=4096, line_banks=4, partial_sum_bits=32).cycles((3, 3)) == cycles


@pytest.mark.parametrize(
    ("kernel", "banks", "cycles"), [((3, 3), 4, 1), ((3, 3), 3, 2), ((3, 3), 1, 4), ((9, 1), 4, 3)]
)
def test_a_t_takes_as_long_as_its_columns_are_read(kernel: tuple[int, int], banks: int, cycles: int) -> None:
    """A column of each open row, and one that is complete, a bank each per cycle."""
    row = MacRow(multipliers=9, line_buffer=4096, line_banks=banks, partial_sum_bits=32)
    assert row.cycles(kernel) == cycles


def test_the_line_buffer_holds_a_partial_sum_per_kernel_row_and_column() -> None:
    row = MacRow(multipliers=9, line_buffer=4096, line_banks=4, partial_sum_bits=32)
    assert row.columns(3) == 341
    assert row.columns(1) == 1024
