"""SparTen's cluster, cycle by cycle, from the description of the hardware alone: slow and obvious."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Unit:
    """A compute unit: the filters that take turns for each chunk, and the chunks that it has heard and not finished."""

    turns: list[list[int]]
    """Filters of each chunk, in turn."""
    heard: deque[tuple[int, int]] = field(default_factory=deque)
    """(chunk, filter) still to be joined, in order."""
    picks: list[int] | None = None
    """Places left of the join under way."""
    busy: int = 0
    starved: int = 0

    def holds(self) -> int:
        """Count the chunks that it keeps."""
        return len({chunk for chunk, _ in self.heard})


def run_pixel(
    inputs: list[list[int]],
    weights: dict[tuple[int, int], list[int]],
    turns: list[list[list[int]]],
    kept: int,
    beats: list[int],
) -> tuple[int, int, int, int, dict[int, int]]:
    """Compute one output pixel.

    Args:
        inputs: the values of each input chunk, zeros included, in the order in which they are sent.
        weights: those of each (chunk, filter).
        turns: for each unit and chunk its filters.
        kept: chunks that a unit keeps.
        beats: cycles for which each chunk keeps the bus.

    Returns:
        Cycles, busy and starved unit-cycles, pairs, and the sum of each filter.

    """
    units = [Unit(each) for each in turns]
    sums: dict[int, int] = {}
    pairs, cycle, sent, bus_free = 0, 0, 0, 0
    while sent < len(inputs) or any(unit.heard for unit in units) or cycle < bus_free:
        room = all(unit.holds() < kept for unit in units)
        if sent < len(inputs) and room and cycle >= bus_free:
            for unit in units:
                unit.heard.extend((sent, filter) for filter in unit.turns[sent])
            bus_free = cycle + beats[sent]
            sent += 1
        elif room if sent < len(inputs) else not any(unit.heard for unit in units):
            for unit in units:  # the bus alone keeps the next chunk, or the end, from coming
                unit.starved += bool(unit.turns[0]) and not unit.heard
        for unit in units:
            if not unit.heard:
                continue
            chunk, filter = unit.heard[0]
            if unit.picks is None:
                both = zip(inputs[chunk], weights[chunk, filter], strict=True)
                unit.picks = [place for place, (a, w) in enumerate(both) if a != 0 and w != 0]
            if unit.picks:
                place = unit.picks.pop(0)
                sums[filter] = sums.get(filter, 0) + inputs[chunk][place] * weights[chunk, filter][place]
                pairs += 1
            unit.busy += 1
            if not unit.picks:
                unit.picks = None
                unit.heard.popleft()
        cycle += 1
    return cycle, sum(unit.busy for unit in units), sum(unit.starved for unit in units), pairs, sums


def pair_filters(ones: list[int], slots: int) -> list[list[int]]:
    """Pair filters by their number of ones, the densest with the sparsest; where there are too few, with empty ones."""
    ranked: list[int | None] = [*sorted(range(len(ones)), key=lambda f: (-ones[f], f))]
    ranked += [None] * (2 * slots - len(ranked))
    pairs = []
    while ranked:
        densest, sparsest = ranked.pop(0), ranked.pop()
        pairs.append([f for f in (densest, sparsest) if f is not None])
    return pairs
