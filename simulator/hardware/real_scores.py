"""Scores of a head in real numbers, and their softmax, a block of queries at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.jit import kernel

Floats = NDArray[np.float64]


@kernel
def _score(queries: Any, columns: Any, scale: Any, scores: Any) -> None:
    for query in range(queries.shape[0]):
        row = scores[query]
        for place in range(queries.shape[1]):
            factor = queries[query, place] * scale
            for key in range(columns.shape[1]):
                row[key] += factor * columns[place, key]


class Scores:
    """Queries (L, D) and keys (S, D) of a head."""

    def __init__(self, queries: Floats, keys: Floats, scale: float):
        self.queries = np.ascontiguousarray(queries)
        self.columns = np.ascontiguousarray(keys.T)
        self.scale = scale

    def rows(self, rows: slice, allowed: NDArray[np.bool_]) -> Floats:
        """Return the scores of some queries, (rows, S), −∞ where they are not allowed."""
        queries = self.queries[rows]
        scores = np.zeros((len(queries), self.columns.shape[1]))
        _score(queries, self.columns, self.scale, scores)
        scores[~allowed] = -np.inf
        return scores

    def softmax(self, rows: slice, allowed: NDArray[np.bool_]) -> Floats:
        """Return their softmax, likewise; each is allowed a key or more."""
        scores = self.rows(rows, allowed)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        softmax: Floats = weights / weights.sum(axis=1, keepdims=True)
        return softmax
