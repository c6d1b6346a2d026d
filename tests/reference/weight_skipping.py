"""A tile that skips zero weights, cycle by cycle, from the description of the hardware alone."""

from __future__ import annotations

from collections.abc import Sequence


def run_tile(
    filters: list[list[int]],
    lanes: int,
    look_ahead: int,
    offsets: Sequence[tuple[int, int]],
    activations: list[int],
) -> tuple[int, int, list[int]]:
    """Compute one output pixel of a tile's filters.

    Args:
        filters: of each its weights in rows of lanes, one after the other, zeros included.
        lanes: weights of a filter multiplied per cycle.
        look_ahead: rows beyond the current one that are in sight.
        offsets: (rows ahead, lanes aside) from which an empty lane takes a weight, in order of preference.
        activations: one for each place of a filter.

    Returns:
        Cycles, products, and the sum of each filter.

    """
    waiting = [[list(row[at : at + lanes]) for at in range(0, len(row), lanes)] for row in filters]
    rows = len(waiting[0])
    sums, cycles, products = [0] * len(filters), 0, 0
    row = 0
    while row < rows:
        for filter, held in enumerate(waiting):
            in_use = [False] * lanes
            for ahead, aside in [(0, 0), *offsets]:
                if row + ahead >= rows:
                    continue
                for lane in range(lanes):
                    source = (lane + aside) % lanes
                    weight = held[row + ahead][source]
                    if weight and not in_use[lane]:
                        sums[filter] += weight * activations[(row + ahead) * lanes + source]
                        held[row + ahead][source] = 0
                        in_use[lane] = True
                        products += 1
        cycles += 1
        row += 1
        for _ in range(look_ahead):
            if row < rows and not any(any(held[row]) for held in waiting):
                row += 1
            else:
                break
    return cycles, products, sums
