"""Pareto fronts: designs that no other beats in everything; and what a front is worth."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
BLOCK = 512
"""Points compared at once with all that are left, where there are four objectives or more."""


def pareto_front(values: ArrayLike) -> Mask:
    """Tell which points are not dominated, everything being better the smaller it is.

    A point is dominated where another is no worse in all objectives and better in one; equal points stay together. A
    point with a missing objective (NaN) is on no front. n log n for up to three objectives.

    Args:
        values: objectives (points, objectives), such as ``frame[["cycles", "energy_pj"]]``.

    Returns:
        Whether each point is on the front (points,).

    Raises:
        ValueError: not two dimensions, or no objective.

    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"expected values (points, objectives), got shape {table.shape}")
    known = ~np.isnan(table).any(axis=1)
    front = np.zeros(len(table), np.bool_)
    if known.any():
        rows, back = np.unique(table[known], axis=0, return_inverse=True)
        front[known] = _of_sorted(rows)[back.ravel()]
    return front


def _of_sorted(rows: Floats) -> Mask:
    """Tell which of distinct rows in lexicographic order are not dominated: by an earlier row, or not at all."""
    objectives = rows.shape[1]
    if objectives == 1:
        return np.asarray(np.arange(len(rows)) == 0, np.bool_)
    if objectives == 2:
        least = np.minimum.accumulate(rows[:, 1])
        return np.asarray(np.append(True, rows[1:, 1] < least[:-1]), np.bool_)
    return _of_three(rows) if objectives == 3 else _of_many(rows)


def _of_three(rows: Floats) -> Mask:
    """Keep the front of the second and third objective of all earlier rows as a staircase that descends."""
    found = np.zeros(len(rows), np.bool_)
    second: list[float] = []
    third: list[float] = []  # descends as the second ascends; negated, so that it ascends too
    for place, (_, y, z) in enumerate(rows.tolist()):
        below = bisect_right(second, y)
        if below and -third[below - 1] <= z:
            continue
        found[place] = True
        begin = bisect_left(second, y)
        end = max(begin, bisect_right(third, -z))
        second[begin:end], third[begin:end] = [y], [-z]
    return found


def _of_many(rows: Floats) -> Mask:
    found = np.zeros(len(rows), np.bool_)
    left = np.arange(len(rows))
    while len(left):
        block, rest = left[:BLOCK], left[BLOCK:]
        within: Mask = np.all(rows[block][:, None] <= rows[block][None], axis=2)
        np.fill_diagonal(within, False)
        mine = block[~within.any(axis=0)]
        found[mine] = True
        beaten = np.zeros(len(rest), np.bool_)
        for row in rows[mine]:
            beaten |= (row <= rows[rest]).all(axis=1)
        left = rest[~beaten]
    return found


def hypervolume(values: ArrayLike, reference: Sequence[float] | Floats) -> float:
    """Return the volume between points and a reference that is worse: of what lies there, all that a point dominates.

    Args:
        values: objectives (points, objectives), each better the smaller it is.
        reference: the worst of each objective (objectives,); points that are not below it in all count nothing.

    """
    worst = np.asarray(reference, np.float64)
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[1:] != worst.shape:
        raise ValueError(f"expected values (points, {len(worst)}), got shape {table.shape}")
    inside = table[(table < worst).all(axis=1)]
    return _volume(inside[pareto_front(inside)], worst)


def _volume(front: Floats, worst: Floats) -> float:
    """Cut the volume into slices between one value of the last objective and the next."""
    if len(front) == 0:
        return 0.0
    if front.shape[1] == 1:
        return float(worst[0] - front[:, 0].min())
    front = front[np.argsort(front[:, -1], kind="stable")]
    heights = np.diff(np.append(front[:, -1], worst[-1]))
    volume = 0.0
    for place, height in enumerate(heights):
        if height > 0:
            below = front[: place + 1, :-1]
            volume += float(height) * _volume(below[pareto_front(below)], worst[:-1])
    return volume
