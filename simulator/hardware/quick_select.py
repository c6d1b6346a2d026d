"""A top-k engine by quick-select: a pivot parts what is left, until the k-th largest number is the pivot.

In each pass comparators look at some numbers per cycle and zero eliminators write those above and those below the pivot
to two FIFOs; one of them is what is left. A pass takes a few cycles more, until the last numbers have come through.

Source: Wang, Zhang, Han, "SpAtten", HPCA 2021, and its public RTL and models (mit-han-lab/spatten: TopKLatencyModel,
bert.cpp). The pivot is random there, and the middle one of what is left here, so that runs repeat.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel


class TopK(Part):
    """Configuration of a top-k engine."""

    comparators: Annotated[int, Field(ge=1)]
    """Numbers that are compared with the pivot per cycle."""
    latency: Annotated[int, Field(ge=0)]
    """Cycles of a pass beyond those of its numbers: comparator, zero eliminator and FIFO."""


@kernel
def select_largest(numbers: Any, k: Any, comparators: Any, latency: Any, left: Any) -> Any:
    """Find the k-th largest of numbers (n,); returns it, the cycles taken, and how many numbers were compared.

    left: (n,) of the same type, for what is left.
    """
    count, cycles, compared = numbers.shape[0], 0, 0
    left[:count] = numbers
    pivot = left[0]
    while count > 0:
        pivot = left[count // 2]
        above = equal = 0
        for place in range(count):
            above += left[place] > pivot
            equal += left[place] == pivot
        cycles += -(-count // comparators) + latency
        compared += count
        if above < k <= above + equal:
            break
        upper, end = above >= k, 0
        for place in range(count):
            if (left[place] > pivot) if upper else (left[place] < pivot):
                left[end] = left[place]
                end += 1
        if not upper:
            k -= above + equal
        count = end
    return pivot, cycles, compared


@kernel
def select_rows(
    scores: Any, candidates: Any, counts: Any, comparators: Any, latency: Any, records: Any, kept: Any
) -> None:
    """Let rows pass the engine, one after the other; one that keeps all its candidates passes it by.

    scores (L, S); candidates (L, S) booleans; counts (L,): how many of them each row keeps; records (L, 2) int64 out:
    cycles, and numbers compared; kept (L, S) booleans, False, out: the largest of each row, of equal ones the first.
    """
    row, left = np.zeros(scores.shape[1], scores.dtype), np.zeros(scores.shape[1], scores.dtype)
    for query in range(scores.shape[0]):
        found = 0
        for key in range(scores.shape[1]):
            if candidates[query, key]:
                row[found] = scores[query, key]
                found += 1
        pivot = -np.inf
        if counts[query] < found:
            pivot, cycles, compared = select_largest(row[:found], counts[query], comparators, latency, left)
            records[query, 0], records[query, 1] = cycles, compared
        equal = counts[query]  # places left for those that equal the pivot
        for place in range(found):
            equal -= row[place] > pivot
        for key in range(scores.shape[1]):
            if candidates[query, key] and scores[query, key] > pivot:
                kept[query, key] = True
            elif candidates[query, key] and scores[query, key] == pivot and equal > 0:
                kept[query, key] = True
                equal -= 1


@kernel
def list_kept(kept: Any, issues: Any) -> None:
    """List the connections of (L, W) words query by query.

    issues (pairs, 3) int32 out, or (0, 3): query, query and key.
    """
    if issues.shape[0] == 0:
        return
    issued = 0
    for query in range(kept.shape[0]):
        for key in range(64 * kept.shape[1]):
            if kept[query, key >> 6] >> (key & 63) & 1:
                issues[issued, 0], issues[issued, 1], issues[issued, 2] = query, query, key
                issued += 1
