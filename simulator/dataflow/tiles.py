"""Tiles: passes over output channels × planes × spans of rows, in one order or another, and what each has to load.

``channels``: plane by plane, all its passes, and in each the rows: what a line buffer holds of the rows above is still
there, so no row is streamed twice in a pass. ``weights``: the same with the passes outside the planes: the weights of a
pass stay for all images. ``rows``: plane by plane, the rows of a tile stay while the passes follow each other; rows
that two tiles share are streamed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.windows import Frame
from simulator.program import Counts

Order = Literal["channels", "weights", "rows"]
ORDERS: tuple[Order, ...] = ("channels", "weights", "rows")


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


@dataclass(frozen=True)
class Span:
    """Output rows first … last - 1, and the rows of pixels low … high - 1 that they need."""

    first: int
    last: int
    low: int
    high: int


def spans_of(frame: Frame, step: int) -> list[Span]:
    """Return the spans of output rows of tiles of ``step`` rows."""
    outputs = frame.vertical.outputs
    pairs = [(y, min(y + step, outputs)) for y in range(0, outputs, step)]
    return [Span(*pair, *frame.reach(*pair)) for pair in pairs]


def enumerate_tiles(
    spans: Sequence[Span], planes: int, inputs: Sequence[range], order: Order, inputs_stay: bool, weights_stay: bool
) -> Iterator[Tile]:
    """Yield the tiles of an operator.

    Args:
        spans: the output rows of each tile of a plane, top to bottom.
        planes: number of planes.
        inputs: the input channels of each pass; passes over the same ones follow each other.
        order: which loop is outside.
        inputs_stay: whether what a pass streams of a plane (with ``weights`` outside: of all planes) fits its buffer,
            so that the next pass over the same channels need not load it again.
        weights_stay: whether the weights of all passes fit their buffer together.

    """
    above = [max((span.high for span in spans[:y]), default=0) for y in range(len(spans))]
    several = len(set(inputs)) > 1
    current, kept = -1, set()
    for p, plane, y in _steps(order, len(inputs), planes, len(spans)):
        new_inputs = p == 0 or inputs[p] != inputs[p - 1]
        span = spans[y]
        high = max(span.high, above[y])
        low = above[y]
        if order == "rows":
            low = min(span.low, above[y]) if span.high else high
            # Rows shared with the tile above are still there, unless other channels have taken their place.
            loads_from = high if not new_inputs else low if several else above[y]
        else:
            loads_from = high if inputs_stay and not new_inputs else above[y]
        fresh = p != current
        loads_weights = fresh and not (weights_stay and p in kept)
        yield Tile(p, plane, low, high, span.first, span.last, loads_from, loads_weights, fresh)
        kept.add(p)
        current = p


def _steps(order: Order, passes: int, planes: int, spans: int) -> Iterator[tuple[int, int, int]]:
    """Yield (pass, plane, span of rows) in the order of the loops."""
    if order == "weights":
        yield from product(range(passes), range(planes), range(spans))
    elif order == "channels":
        yield from ((p, plane, y) for plane, p, y in product(range(planes), range(passes), range(spans)))
    else:
        yield from ((p, plane, y) for plane, y, p in product(range(planes), range(spans), range(passes)))
