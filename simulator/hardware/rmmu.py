"""The reconfigurable matrix multiplication unit: rows of PEs, each a dot product wide, of several precisions.

A PE row multiplies as many pairs as it has PEs and adds the products up, one partial dot product per cycle. An FX16 PE
is a 4 × 4 grid of 4-bit multipliers, (a + b)(c + d) = ab + ad + bc + bd, so that a row gives more products of
fewer bits. Which rows detect weak connections and which attend is said row by row.

Dense layers: a lane holds tokens, and computes a block of outputs at a time, one per PE row, over the reduction in
steps of a row's width: weights of a step stay in the rows while the lane's tokens pass, one per cycle, and the sums of
a step are added to those before by the accumulator. The adder trees fill once per block.

Source: Qu et al., "DOTA", ASPLOS 2022 (32 × 16 FX16 PEs per lane, precision per PE row; 1 : 4 : 16 : 64 is recalled
with medium confidence, and follows from the 4-bit multipliers down to INT4); the loop order is assumed.
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.arch.part import Part
from simulator.hardware.jit import kernel

Counts = NDArray[np.int64]

PRODUCTS: Final = MappingProxyType({16: 1, 8: 4, 4: 16, 2: 64})
"""Products of a PE in a cycle, by the bits of its operands."""


class RMMU(Part):
    """Configuration of one lane's matrix multiplication unit."""

    rows: Annotated[int, Field(ge=1)]
    """PE rows."""
    width: Annotated[int, Field(ge=1)]
    """PEs in a row: pairs multiplied and added per cycle at full precision."""
    detection_rows: Annotated[int, Field(ge=0)]
    """Rows that detect while the others attend; 0: all rows detect first and attend then."""

    @model_validator(mode="after")
    def _leaves_rows(self) -> RMMU:
        if self.detection_rows >= self.rows:
            raise ValueError(f"detection_rows is {self.detection_rows}, expected fewer than the {self.rows} rows")
        return self

    @property
    def fill(self) -> int:
        """Cycles to fill or drain a row: log2(width), rounded up, for its adder tree, and 1 for the multipliers."""
        return (self.width - 1).bit_length() + 1

    def cycles(self, products: Counts, rows: int, bits: int = 16) -> Counts:
        """Return the cycles that ``products`` multiplications of ``bits`` take on so many rows."""
        cycles: Counts = -(-products // (rows * self.width * PRODUCTS[bits]))
        return cycles


def precision_of(bits: int) -> int:
    """Return the narrowest precision of a PE that operands of ``bits`` fit (1 to 16)."""
    return min(precision for precision in PRODUCTS if precision >= bits)


@kernel
def multiply_block(tokens: Any, weights: Any, width: Any, sums: Any) -> Any:
    """Let the tokens of a lane pass the weights of a block of outputs; returns the cycles of the rows, without fill.

    tokens (t, C) and weights (rows in use, C) integers, sums (t, rows in use) int64 out; or weights and sums None, to
    count only.
    """
    cycles = 0
    for first in range(0, tokens.shape[1], width):
        last = min(first + width, tokens.shape[1])
        for token in range(tokens.shape[0]):
            cycles += 1
            if sums is not None:
                for row in range(weights.shape[0]):
                    total = np.int64(0)
                    for place in range(first, last):
                        total += np.int64(tokens[token, place]) * np.int64(weights[row, place])
                    sums[token, row] += total
    return cycles


def multiply_dense(
    tokens: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], bounds: list[int], unit: RMMU
) -> tuple[NDArray[np.int64], Counts]:
    """Multiply (T, C) tokens, dealt out to lanes at ``bounds`` (lanes + 1,), with (K, C) weights.

    Returns (T, K) sums, and the cycles that the rows of each lane work in each block of outputs (lanes, blocks).
    """
    blocks = range(0, len(weights), unit.rows)
    sums = np.zeros((len(tokens), len(weights)), np.int64)
    cycles = np.zeros((len(bounds) - 1, len(blocks)), np.int64)
    for block, output in enumerate(blocks):
        own = weights[output : output + unit.rows]
        for lane, (first, last) in enumerate(pairwise(bounds)):
            part = np.zeros((last - first, len(own)), np.int64)
            cycles[lane, block] = multiply_block(tokens[first:last], own, unit.width, part)
            sums[first:last, output : output + len(own)] = part
    return sums, cycles
