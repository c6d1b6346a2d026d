"""A systolic array: R × C PEs, each handing its operands to its neighbours, one multiply-accumulate each per cycle.

A product of matrices, M × K by K × N, is cut into folds that fill the array:

==========  ===========  ==============  ===========  =====================================================
dataflow    rows hold    columns hold    steps (T)    what stays in the PEs of a fold
==========  ===========  ==============  ===========  =====================================================
output      M            N               K            sums; both operands pass
weight      K            N               M            weights, loaded row by row; inputs pass, sums flow down
input       K            M               N            inputs, loaded row by row; weights pass, sums flow down
==========  ===========  ==============  ===========  =====================================================

A fold takes T cycles, R more to load operands that stay, and R + C − 2 of skew: until the last PE has met the first
operands and the last results have left. Folds do not overlap. A fold that fills only a part of the array takes as long.

Source: SCALE-Sim (Samajdar et al., ISPASS 2020, section III; the rules are those of release 3.0.0). It numbers cycles
from 0 and reports the number of the last one, one less than there are. That cycle, in which the last result leaves,
is counted here with what stores it, not with the array, so that both say the same; see ``SystolicArray.last``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel

Counts = NDArray[np.int64]
Dataflow = Literal["output", "weight", "input"]

AXES: Final = MappingProxyType({"output": (0, 2, 1), "weight": (1, 2, 0), "input": (1, 0, 2)})
"""Which of the axes (M, K, N) lies along rows, columns and steps."""


class SystolicArray(Part):
    """Configuration of the array."""

    rows: Annotated[int, Field(ge=1)]
    """R."""
    columns: Annotated[int, Field(ge=1)]
    """C."""
    dataflow: Dataflow
    """What stays in the PEs during a fold."""

    @property
    def preload(self) -> int:
        """Cycles in which what stays is loaded, before the first step of a fold."""
        return 0 if self.dataflow == "output" else self.rows

    @property
    def skew(self) -> int:
        """Cycles of a fold in which the operands of some PEs have not arrived, or results are still leaving."""
        return self.rows + self.columns - 2

    @property
    def last(self) -> int:
        """Cycles of the last fold that belong to what stores its results; a single PE has none to spare."""
        return min(1, self.skew)


@kernel
def count_non_zeros(mask: Any, pixels: Any, taps: Any, block: Any, counts: Any) -> None:
    """Count the non-zero inputs of each reduction index in blocks of rows of the product.

    mask (G, addresses), pixels (M,) and taps (K,): addresses whose sums are those of the operands; counts
    (G, ⌈M ÷ block⌉, K) int64 out.
    """
    for g in range(mask.shape[0]):
        for m in range(len(pixels)):
            first, own = pixels[m], counts[g, m // block]
            for k in range(len(taps)):
                own[k] += mask[g, first + taps[k]]


@kernel
def run_folds(extents: Any, axes: Any, rows: Any, columns: Any, preload: Any, inputs: Any, weights: Any) -> Any:
    """Walk the folds of a product by the counts of its non-zeros; returns (cycles, pairs, effectual pairs).

    extents (M, K, N); axes see ``AXES``; inputs (blocks of M that a fold takes, K) and weights (blocks of N, K) int64.
    """
    cycles = pairs = effectual = np.int64(0)
    for column in range(0, extents[axes[1]], columns):
        for row in range(0, extents[axes[0]], rows):
            (m, _), (first, last), (n, _) = _place(extents, axes, rows, columns, row, column)
            used = (min(row + rows, extents[axes[0]]) - row) * (min(column + columns, extents[axes[1]]) - column)
            cycles += preload + extents[axes[2]] + rows + columns - 2
            pairs += used * extents[axes[2]]
            a = inputs[_block(m, axes, rows, columns, 0)]
            b = weights[_block(n, axes, rows, columns, 2)]
            for k in range(first, last):
                effectual += a[k] * b[k]
    return cycles, pairs, effectual


@kernel
def multiply_folds(
    extents: Any,
    axes: Any,
    rows: Any,
    columns: Any,
    preload: Any,
    inputs: Any,
    pixels: Any,
    taps: Any,
    weights: Any,
    non_zero: Any,
    sums: Any,
) -> Any:
    """Walk the same folds by their operands, and add their products up; returns what ``run_folds`` does.

    inputs (addresses,), pixels (M,) and taps (K,) as in ``count_non_zeros``; weights (N, K) and which
    of them count as non-zero (of a decomposed one, those that are made of non-zeros); sums (M, N) int64 in, out.
    """
    cycles = pairs = effectual = np.int64(0)
    for column in range(0, extents[axes[1]], columns):
        for row in range(0, extents[axes[0]], rows):
            (m0, m1), (k0, k1), (n0, n1) = _place(extents, axes, rows, columns, row, column)
            cycles += preload + extents[axes[2]] + rows + columns - 2
            for m in range(m0, m1):
                for n in range(n0, n1):
                    total = np.int64(0)
                    for k in range(k0, k1):
                        x, w = np.int64(inputs[pixels[m] + taps[k]]), np.int64(weights[n, k])
                        total += x * w
                        pairs += 1
                        effectual += (x != 0) & non_zero[n, k]
                    sums[m, n] += total
    return cycles, pairs, effectual


@kernel
def _place(extents: Any, axes: Any, rows: Any, columns: Any, row: Any, column: Any) -> Any:
    """Return from where to where a fold goes along M, K and N."""
    m, k, n = (0, extents[0]), (0, extents[1]), (0, extents[2])
    along_rows, along_columns = (
        (row, min(row + rows, extents[axes[0]])),
        (column, min(column + columns, extents[axes[1]])),
    )
    if axes[0] == 0:
        m = along_rows
    else:
        k = along_rows
    if axes[1] == 2:
        n = along_columns
    else:
        m = along_columns
    return m, k, n


@kernel
def _block(start: Any, axes: Any, rows: Any, columns: Any, axis: Any) -> Any:
    """Return the number of the block of M (axis 0) or N (2) that begins at ``start``: 0 where a fold takes it whole."""
    if axes[0] == axis:
        return start // rows
    return start // columns if axes[1] == axis else 0
