"""Graphs in three numbers: how many neighbours a node has on average, how unequal they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import model_validator

from simulator.arch.part import Part

MOST = 100.0
"""Exponents above are those of degrees that are nearly equal."""


class GraphProfile(Part):
    """What is kept of a sparse matrix."""

    per_row: float = Setting(gt=0)
    """Non-zeros of a row, on average."""
    exponent: float = Setting(ge=0)
    """Exponent of the power law that the degrees follow, above 2; 0: all equal."""

    @model_validator(mode="after")
    def _require_exponent(self) -> GraphProfile:
        if self.exponent and not 2 < self.exponent <= MOST:
            raise ValueError(f"exponent is {self.exponent:g}, expected 0 or a number above 2 and at most {MOST:g}")
        return self


def fit_graph(indptr: NDArray[np.int64]) -> GraphProfile:
    """Fit a profile to the rows of a sparse matrix, by the tail of its degrees.

    Source: A. Clauset, C. Shalizi and M. Newman, "Power-law distributions in empirical data", SIAM Review 2009, (3.7).

    """
    degrees = np.diff(indptr)
    mean = float(degrees.mean())
    least = max(2, round(1.5 * mean))
    tail = degrees[degrees >= least]
    exponent = 0.0
    if len(tail) and np.ptp(degrees):
        exponent = min(MOST, max(2.01, 1 + len(tail) / float(np.log(tail / (least - 0.5)).sum())))
    return GraphProfile(per_row=float(f"{mean:.6g}"), exponent=round(exponent, 3))
