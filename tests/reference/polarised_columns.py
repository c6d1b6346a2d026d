"""ViTCoD's engines in plain Python, every cycle: lines take the pairs of a mask that is parted by columns."""

from __future__ import annotations

from collections.abc import Sequence

Mask = Sequence[Sequence[bool]]


def part(mask: Mask, share: float) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the dense columns, and the pairs (query, key) of the others, column by column."""
    dense, sparse = [], []
    for key in range(len(mask[0])):
        queries = [query for query, row in enumerate(mask) if row[key]]
        if len(queries) > share * len(mask):
            dense.append(key)
        else:
            sparse += [(query, key) for query in queries]
    return dense, sparse


def lines_of(count: int, dense: int, sparse: int) -> tuple[int, int]:
    """Share the lines out by pairs."""
    if dense and sparse:
        denser = min(max(count * dense // (dense + sparse), 1), count - 1)
        return denser, count - denser
    return (count, 0) if dense else (0, count)


def play(mask: Mask, share: float, count: int, width: int, features: int) -> int:
    """Multiply all pairs: a line is busy with one for as many cycles as its features take; engines side by side."""
    dense, sparse = part(mask, share)
    denser, sparser = lines_of(count, len(dense) * len(mask), len(sparse))
    each = -(-features // width)
    ends = [0]
    now = 0
    for _ in dense:  # a column after the other, its queries in as many turns as the lines need
        waiting = len(mask)
        while waiting > 0:
            waiting -= denser
            now += each
    ends.append(now)
    now, waiting = 0, len(sparse)
    while waiting > 0:
        waiting -= sparser
        now += each
    ends.append(now)
    return max(ends)
