"""Prediction of strong connections by low-bit products: a softmax of 4-bit scores, and a threshold on it.

Queries and keys of an image are brought to few bits by one symmetric scale each; a connection is kept where the softmax
of their product is above the threshold, and of each query the best.

Source: Lu et al., "Sanger", MICRO 2021, and its public code (hatsu3/Sanger: quant_utils.py, modeling_sanger_spattn.py);
that a query keeps its best is Skipper's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.real_scores import Scores
from simulator.trace.connections import row_blocks

Floats = NDArray[np.float64]


def few_bits(values: NDArray[np.integer[Any]] | Floats, bits: int) -> tuple[Floats, float]:
    """Return values brought to −(2^(bits−1) − 1) … 2^(bits−1) − 1, rounded half to even, and the size of a step."""
    top, largest = 2 ** (bits - 1) - 1, float(np.abs(values.astype(np.float64)).max())
    if largest == 0:
        return np.zeros(values.shape), 1.0
    step = largest / top
    return np.clip(np.rint(values * (top / largest)), -top, top), step


def keep_probable(
    queries: Floats, keys: Floats, allowed: NDArray[np.bool_], step: float, threshold: float
) -> NDArray[np.bool_]:
    """Return which connections (L, S) of those allowed have a softmax above the threshold, and the best of each row.

    queries (L, D) and keys (S, D) are whole numbers; step is the score that one unit of a product stands for.
    """
    kept = np.zeros(allowed.shape, np.bool_)
    products = Scores(queries, keys, 1.0)
    for rows in row_blocks(len(queries)):
        scores = products.rows(rows, allowed[rows])
        weights = np.exp((scores - scores.max(axis=1, keepdims=True)) * step)
        kept[rows] = weights > threshold * weights.sum(axis=1, keepdims=True)
        kept[rows][np.arange(len(scores)), scores.argmax(axis=1)] = True
    return kept
