"""Greedy search for the keys that a query's products favour, over columns of keys that are sorted beforehand.

A key's numbers are its entries in the columns of the key matrix; each column is sorted. One queue has of each column
the entry whose product with the query is largest among those not yet taken, another one the smallest. In each iteration
the largest product is taken and, if positive, added to its key's greedy score; then the smallest likewise, if negative,
unless all that was added so far sums to less than zero. Keys with a positive greedy score are candidates.

Source: Ham et al., "A3", HPCA 2020. Entries of keys that a query may not look at are passed over; that a query without
a candidate takes its best greedy score is Skipper's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.hardware.jit import kernel


@kernel
def _advance(place: Any, step: Any, order: Any, allowed: Any) -> Any:
    """Return the next place of a column whose key may be looked at, or one beyond its ends."""
    while 0 <= place < order.shape[0] and not allowed[order[place]]:
        place += step
    return place


@kernel
def _product(query: Any, keys: Any, order: Any, column: Any, place: Any, worst: Any) -> Any:
    if 0 <= place < keys.shape[0]:
        return query[column] * keys[order[column, place], column]
    return worst


@kernel
def search(queries: Any, keys: Any, order: Any, allowed: Any, iterations: Any, candidates: Any) -> None:
    """Search candidates for every query.

    queries (L, D) and keys (S, D) real; order (D, S): keys by ascending entry in each column; allowed (L, S) booleans;
    iterations (L,); candidates (L, S) booleans out.
    """
    columns, never = keys.shape[1], np.inf
    highs, lows = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    steps = np.zeros(columns, np.int64)
    largest, smallest = np.zeros(columns), np.zeros(columns)
    greedy = np.zeros(keys.shape[0])
    for query in range(queries.shape[0]):
        greedy[:] = 0
        for column in range(columns):
            steps[column] = -1 if queries[query, column] >= 0 else 1
            top, bottom = keys.shape[0] - 1, 0
            first, last = (top, bottom) if steps[column] < 0 else (bottom, top)
            highs[column] = _advance(first, steps[column], order[column], allowed[query])
            lows[column] = _advance(last, -steps[column], order[column], allowed[query])
            largest[column] = _product(queries[query], keys, order, column, highs[column], -never)
            smallest[column] = _product(queries[query], keys, order, column, lows[column], never)
        added = 0.0
        for _ in range(iterations[query]):
            at = largest.argmax()
            if largest[at] > 0:
                greedy[order[at, highs[at]]] += largest[at]
                added += largest[at]
            if largest[at] > -never:
                highs[at] = _advance(highs[at] + steps[at], steps[at], order[at], allowed[query])
                largest[at] = _product(queries[query], keys, order, at, highs[at], -never)
            if added < 0:
                continue
            at = smallest.argmin()
            if smallest[at] < 0:
                greedy[order[at, lows[at]]] += smallest[at]
                added += smallest[at]
            if smallest[at] < never:
                lows[at] = _advance(lows[at] - steps[at], -steps[at], order[at], allowed[query])
                smallest[at] = _product(queries[query], keys, order, at, lows[at], never)
        best, found = -1, False
        for key in range(keys.shape[0]):
            if allowed[query, key]:
                candidates[query, key] = greedy[key] > 0
                found |= greedy[key] > 0
                if best < 0 or greedy[key] > greedy[best]:
                    best = key
        if not found:
            candidates[query, best] = True
