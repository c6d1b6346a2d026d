"""The detector's arithmetic and its filter: few-bit estimates of scores, and which of them are kept.

Q̃ and K̃ are products of projected tokens and a head's weights, brought to few bits by a shift; a row of scores is
Q̃·K̃ᵀ. Comparators look at a number of scores per cycle. A threshold is compared as the scores come; a row-balanced
top-k first stores them, and then passes over them once more.

Source: Qu et al., "DOTA", ASPLOS 2022 (detector, filter with token parallelism); comparators per query are assumed.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel


class ConnectionFilter(Part):
    """Configuration of a lane's filter: one row of comparators for each query of a group."""

    comparators: Annotated[int, Field(ge=1)]
    """Scores of one query that are compared per cycle."""

    def cycles(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cycles of a pass over so many scores of each query of a group."""
        cycles: NDArray[np.int64] = -(-scores // self.comparators)
        return cycles


@kernel
def rescale(product: Any, shift: Any, low: Any, high: Any) -> Any:
    """Shift right, round half to even, saturate: what follows every product of the detector."""
    if shift > 0:
        whole = product >> shift
        rest, half = product - (whole << shift), np.int64(1) << (shift - 1)
        product = whole + (1 if rest > half or (rest == half and whole & 1 == 1) else 0)
    return min(max(product, low), high)


@kernel
def rescaled_product(left: Any, right: Any, shift: Any, low: Any, high: Any) -> Any:
    """Multiply (a, b) and (b, c) integers, rescaled to low … high: (a, c) int64."""
    result = np.zeros((left.shape[0], right.shape[1]), np.int64)
    sums = np.zeros(right.shape[1], np.int64)
    for i in range(left.shape[0]):
        sums[:] = 0
        for j in range(left.shape[1]):
            factor = np.int64(left[i, j])
            if factor != 0:
                for k in range(right.shape[1]):
                    sums[k] += factor * right[j, k]
        for k in range(right.shape[1]):
            result[i, k] = rescale(sums[k], shift, low, high)
    return result


@kernel
def _score(query: Any, keys: Any, scores: Any) -> None:
    """Scores of a query (k,) with the first keys, given as (k, S): as many as ``scores`` has room for."""
    scores[:] = 0
    for place in range(query.shape[0]):
        factor = query[place]
        if factor != 0:
            for key in range(scores.shape[0]):
                scores[key] += factor * keys[place, key]


@kernel
def _keep(word: Any, key: Any) -> None:
    word[key >> 6] |= np.uint64(1) << np.uint64(key & 63)


@kernel
def keep_above(queries: Any, keys: Any, allowed: Any, threshold: Any, kept: Any) -> None:
    """Keep the scores of at least ``threshold``, and of each row the best, of equal ones the first.

    queries (L, k) and keys (k, S) int64; allowed (L,): keys, from the first, that each query may look at; kept (L, W)
    words, zero, out.
    """
    scores = np.zeros(keys.shape[1], np.int64)
    for query in range(queries.shape[0]):
        row = scores[: allowed[query]]
        _score(queries[query], keys, row)
        best = 0
        for key in range(row.shape[0]):
            if row[key] > row[best]:
                best = key
            if row[key] >= threshold:
                _keep(kept[query], key)
        _keep(kept[query], best)


@kernel
def keep_largest(queries: Any, keys: Any, allowed: Any, counts: Any, kept: Any) -> None:
    """Keep the ``counts`` (L,) largest scores of each row, of equal ones the first; the rest as ``keep_above``."""
    scores = np.zeros(keys.shape[1], np.int64)
    for query in range(queries.shape[0]):
        row, count = scores[: allowed[query]], counts[query]
        _score(queries[query], keys, row)
        last = np.partition(row, row.shape[0] - count)[row.shape[0] - count]
        level = count  # places left for scores that equal the smallest one kept
        for key in range(row.shape[0]):
            level -= row[key] > last
        for key in range(row.shape[0]):
            if row[key] > last:
                _keep(kept[query], key)
            elif row[key] == last and level > 0:
                _keep(kept[query], key)
                level -= 1
