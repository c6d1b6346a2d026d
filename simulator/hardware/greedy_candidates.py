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

from simulator.hardware.jit import inlined_kernel, kernel


@inlined_kernel
def _advance(place: Any, step: Any, order: Any, column: Any, allowed: Any, query: Any) -> Any:
    """Return the next place of a column whose key may be looked at, or one beyond its ends."""
    while 0 <= place < order.shape[1] and not allowed[query, order[column, place]]:
        place += step
    return place


@inlined_kernel
def _product(factor: Any, entries: Any, column: Any, place: Any, worst: Any) -> Any:
    """Return the product of a query's number with a column's entry, or the worst beyond its ends."""
    return factor * entries[column, place] if 0 <= place < entries.shape[1] else worst


@kernel
def _play(tree: Any, values: Any, place: Any) -> None:
    """Let the larger of two children win a place of a tournament, of equal ones the first."""
    left, right = tree[2 * place], tree[2 * place + 1]
    tree[place] = right if values[right] > values[left] else left


@kernel
def _play_all(tree: Any, values: Any) -> None:
    """Play a tournament of all values (half,): tree (2 · half,), its root at 1."""
    half = values.shape[0]
    for leaf in range(half):
        tree[half + leaf] = leaf
    for place in range(half - 1, 0, -1):
        _play(tree, values, place)


@kernel
def _play_again(tree: Any, values: Any, leaf: Any) -> None:
    """Play the matches of a value that has changed."""
    place = (values.shape[0] + leaf) >> 1
    while place > 0:
        _play(tree, values, place)
        place >>= 1


@kernel
def search(queries: Any, keys: Any, order: Any, allowed: Any, iterations: Any, candidates: Any) -> None:
    """Search candidates for every query.

    queries (L, D) and keys (S, D) real; order (D, S): keys by ascending entry in each column; allowed (L, S) booleans;
    iterations (L,); candidates (L, S) booleans out.
    """
    columns, nothing, half = keys.shape[1], -np.inf, 1
    while half < columns:
        half *= 2
    highs, lows = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    steps = np.zeros(columns, np.int64)
    largest, smallest = np.full(half, nothing), np.full(half, nothing)  # the smallest with the other sign
    top_tree, low_tree = np.zeros(2 * half, np.int64), np.zeros(2 * half, np.int64)
    greedy = np.zeros(keys.shape[0])
    entries = np.zeros(order.shape)
    for column in range(columns):
        for place in range(order.shape[1]):
            entries[column, place] = keys[order[column, place], column]
    for query in range(queries.shape[0]):
        greedy[:] = 0
        for column in range(columns):
            steps[column] = -1 if queries[query, column] >= 0 else 1
            top, bottom = keys.shape[0] - 1, 0
            first, last = (top, bottom) if steps[column] < 0 else (bottom, top)
            highs[column] = _advance(first, steps[column], order, column, allowed, query)
            lows[column] = _advance(last, -steps[column], order, column, allowed, query)
            largest[column] = _product(queries[query, column], entries, column, highs[column], nothing)
            smallest[column] = -_product(queries[query, column], entries, column, lows[column], -nothing)
        _play_all(top_tree, largest)
        _play_all(low_tree, smallest)
        added = 0.0
        for _ in range(iterations[query]):
            at = top_tree[1]
            if largest[at] > 0:
                greedy[order[at, highs[at]]] += largest[at]
                added += largest[at]
            if largest[at] > nothing:
                highs[at] = _advance(highs[at] + steps[at], steps[at], order, at, allowed, query)
                largest[at] = _product(queries[query, at], entries, at, highs[at], nothing)
                _play_again(top_tree, largest, at)
            if added < 0:
                continue
            at = low_tree[1]
            if smallest[at] > 0:
                greedy[order[at, lows[at]]] -= smallest[at]
                added -= smallest[at]
            if smallest[at] > nothing:
                lows[at] = _advance(lows[at] - steps[at], -steps[at], order, at, allowed, query)
                smallest[at] = -_product(queries[query, at], entries, at, lows[at], -nothing)
                _play_again(low_tree, smallest, at)
        best, found = -1, False
        for key in range(keys.shape[0]):
            if allowed[query, key]:
                candidates[query, key] = greedy[key] > 0
                found |= greedy[key] > 0
                if best < 0 or greedy[key] > greedy[best]:
                    best = key
        if not found:
            candidates[query, best] = True
