"""The multi-function unit: exponentials, divisions and additions between the products.

Scores of 16-bit operands are exact integers; the unit brings them to FP32, subtracts the row's maximum, takes the
exponential, adds up in a tree, divides, and rounds the weights to FX16 of `FRACTION` fractional bits for A·V.

Source: Qu et al., "DOTA", ASPLOS 2022 (16 exp, 16 div, 16 × 16 adder tree, quantise and dequantise; FP32 softmax).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel

FRACTION: Final = 15
"""Fractional bits of an attention weight, 0 to 1."""


class MultiFunctionUnit(Part):
    """Configuration of a lane's multi-function unit."""

    exponentials: Annotated[int, Field(ge=1)]
    """Exponentials per cycle."""
    dividers: Annotated[int, Field(ge=1)]
    """Divisions per cycle; square roots take one of them, too."""
    adders: Annotated[int, Field(ge=1)]
    """Additions, multiplications or comparisons per cycle, of each."""

    def softmax_cycles(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cycles for so many connections: all exponentials, then all divisions; sums in their shadow."""
        cycles: NDArray[np.int64] = -(-kept // self.exponentials) + -(-kept // self.dividers)
        return cycles

    def cycles(self, operations: Mapping[str, int]) -> int:
        """Return the cycles for elementary operations that stream through the units side by side."""
        per_cycle = {"exp": self.exponentials, "divide": self.dividers, "sqrt": self.dividers}
        return max(-(-count // per_cycle.get(name, self.adders)) for name, count in operations.items())


@kernel
def attend(issues: Any, queries: Any, keys: Any, values: Any, step: Any, output: Any) -> None:
    """Attend along the issues of a scheduler: scores, softmax and weighted sum, number by number as the chip has them.

    issues (pairs, 3): round, query, key; queries (L, D), keys (S, D), values (S, E) integers; step: float32, the value
    of one unit of a score, the scale of attention included; output (L, E) int64 out, in units of
    2^-FRACTION of a value's.
    """
    weights = np.zeros(issues.shape[0], np.float32)
    highest = np.full(queries.shape[0], -np.inf, np.float32)
    totals = np.zeros(queries.shape[0], np.float32)
    one = np.float32(1 << FRACTION)
    for i in range(issues.shape[0]):
        query, key, score = issues[i, 1], issues[i, 2], np.int64(0)
        for place in range(queries.shape[1]):
            score += np.int64(queries[query, place]) * np.int64(keys[key, place])
        weights[i] = np.float32(score) * step
        highest[query] = max(highest[query], weights[i])
    for i in range(issues.shape[0]):
        query = issues[i, 1]
        weights[i] = np.exp(weights[i] - highest[query])
        totals[query] += weights[i]
    for i in range(issues.shape[0]):
        query, key = issues[i, 1], issues[i, 2]
        weight = np.int64(np.rint(weights[i] / totals[query] * one))
        for place in range(values.shape[1]):
            output[query, place] += weight * np.int64(values[key, place])


def tolerance(kept: NDArray[np.int64], highest_score: NDArray[np.float64], largest_value: float) -> NDArray[np.float64]:
    """Return by how much an output may differ from that of real numbers: (L,).

    Each weight is rounded to half a unit of 2^-FRACTION; and FP32 has a relative error of 2^-24 in each score (thrice:
    conversion, scale, subtraction), in exp (a few units), in each of the row's additions, and in the division.

    Args:
        kept: (L,) connections of each row.
        highest_score: (L,) largest magnitude of a score of the row, scale included.
        largest_value: largest magnitude of a value.

    """
    rounding = 2.0 ** -(FRACTION + 1) * kept
    single = 2.0**-24 * (8 * highest_score + kept + 16)
    bound: NDArray[np.float64] = (rounding + 2 * single) * largest_value
    return bound
