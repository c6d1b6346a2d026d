"""Tiles: passes over output channels × spans of rows, in one order or the other, and what each has to load.

``channels`` outside: the weights of a pass stay while all rows stream by; what a line buffer holds of the rows above
is still there, so no row is streamed twice in a pass. ``rows`` outside: the rows of a tile stay while the passes
follow each other; rows that two tiles share are streamed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.windows import Frame
from simulator.program import Counts

Order = Literal["channels", "rows"]


@dataclass(frozen=True)
class Tile:
    """One tile. Rows are indices of ``Frame.rows``."""

    of_pass: int
    plane: int
    low: int
    """First row that is streamed."""
    high: int
    """Beyond the last one."""
    first: int
    """First output row."""
    last: int
    """Beyond the last output row."""
    loads_from: int
    """First row that has to be loaded, up to ``high``: those before are on chip."""
    loads_weights: bool
    """Whether the weights of the pass have to be loaded."""
    changes_pass: bool
    """Whether the tile before belonged to another pass."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """A sequence of tiles as arrays, one entry per tile; see ``Tile`` for the fields."""

    of_pass: Counts
    plane: Counts
    low: Counts
    high: Counts
    first: Counts
    last: Counts
    loads_from: Counts
    loads_weights: NDArray[np.bool_]
    changes_pass: NDArray[np.bool_]

    @staticmethod
    def of(tiles: Iterator[Tile]) -> Tiles:
        """Collect tiles."""
        rows = [tuple(vars(tile).values()) for tile in tiles]
        return Tiles(*(np.array(column) for column in zip(*rows, strict=True)))

    def __len__(self) -> int:
        return len(self.of_pass)

    def between(self, sums: Counts) -> Counts:
        """Take the rows streamed out of running sums (passes, planes, rows + 1, …) → (tiles, …)."""
        return sums[self.of_pass, self.plane, self.high] - sums[self.of_pass, self.plane, self.low]


def heights(frame: Frame, step: int) -> list[tuple[int, int]]:
    """Return the spans of output rows of tiles of ``step`` rows."""
    outputs = frame.vertical.outputs
    return [(y, min(y + step, outputs)) for y in range(0, outputs, step)]


def enumerate_tiles(
    frame: Frame, passes: int, order: Order, step: int, inputs_stay: bool, weights_stay: bool
) -> Iterator[Tile]:
    """Yield the tiles of an operator.

    Args:
        frame: the pixels.
        passes: groups of output channels, one after the other.
        order: which loop is outside.
        step: output rows of a tile.
        inputs_stay: whether a whole plane fits its buffer, so that later passes need not load it again.
        weights_stay: whether the weights of all passes fit their buffer together.

    """
    spans = heights(frame, step)
    reach = [frame.reach(*span) for span in spans]
    above = [max((high for _, high in reach[:y]), default=0) for y in range(len(reach))]
    current, kept = -1, set()
    for plane in range(len(frame.planes)):
        if order == "channels":
            steps = [(p, y) for p in range(passes) for y in range(len(spans))]
        else:
            steps = [(p, y) for y in range(len(spans)) for p in range(passes)]
        for p, y in steps:
            low, high = reach[y][0], max(reach[y][1], above[y])
            if order == "channels":
                low = above[y]
                loads_from = high if inputs_stay and p > 0 else above[y]
            else:
                loads_from = high if p > 0 else above[y]
            fresh = p != current
            loads_weights = fresh and not (weights_stay and p in kept)
            yield Tile(p, plane, min(low, high), high, *spans[y], loads_from, loads_weights, fresh)
            kept.add(p)
            current = p
