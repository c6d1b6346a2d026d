"""Which pieces share a tile, and what each has to load: the buffers hold what two tiles in a row need, no more.

Pieces are taken into a tile as long as half of every buffer holds what they need together. What the tile before has
loaded is still there; where half of a buffer holds all that a group has, everything stays once it has been loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.dataflow.folds import Pieces, Product
from simulator.hardware.jit import kernel
from simulator.program import Counts

NEVER = -2


@dataclass(frozen=True, eq=False)
class Cells:
    """The inputs of a group as cells, spans of channels of a pixel: what a piece needs is a number of whole cells."""

    sizes: Counts
    """(spans,): channels of each."""
    begins: Counts
    """(spans,): the first channel of each."""
    tap: Counts
    """(cells of a window,): of which tap; those of a tap follow each other."""
    span: Counts
    """(cells of a window,): which span."""
    first: Counts
    """(pieces,): the first cell of a window that each piece needs, along the reduction."""
    last: Counts
    """(pieces,): beyond the last."""

    @classmethod
    def of(cls, product: Product, pieces: Pieces) -> Cells:
        """Cut the channels wherever a piece begins or ends in the reduction."""
        C, taps = product.layer.channels, product.layer.taps
        first, last = pieces.span(1)
        begins = np.unique(np.concatenate(([0], first % C, last % C)))
        starts = (np.arange(taps)[:, None] * C + begins).ravel()
        return cls(
            np.diff(begins, append=C),
            begins,
            np.repeat(np.arange(taps), len(begins)),
            np.tile(np.arange(len(begins)), taps),
            np.searchsorted(starts, first),
            np.searchsorted(starts, last),
        )


@dataclass(frozen=True, eq=False)
class Need:
    """What the pieces need of one buffer beside the inputs: regions, the same or different ones."""

    region: Counts
    """(pieces,): which, from 0."""
    size: Counts
    """(pieces,): its bytes."""


@dataclass(frozen=True, eq=False)
class Filled:
    """The tiles of a group."""

    tile: Counts
    """(pieces,): of which tile, ascending from 0."""
    inputs: Counts
    """(pieces,): bytes of inputs that must be loaded."""
    inputs_at: Counts
    """(pieces,): where the first of them lie in the group's inputs, channels last; -1 where none is loaded."""
    weights: Counts
    """(pieces,): bytes of weights that must be loaded."""
    largest: int
    """Bytes of inputs of the piece that needs most."""
    touched: int
    """Bytes of all inputs that some piece needs."""


def fill(
    product: Product, pieces: Pieces, weights: Need, outputs: Need, halves: tuple[int, int, int], bits: int, most: int
) -> Filled:
    """Gather pieces into tiles.

    Args:
        product: the layer.
        pieces: those of a group, in order.
        weights: what they need of the weights' buffer.
        outputs: what they need of the outputs' buffer.
        halves: bytes of half of the buffers of inputs, weights and outputs.
        bits: of an operand.
        most: folds that may end in a tile.

    """
    layer, operand = product.layer, bits // 8
    cells = Cells.of(product, pieces)
    size = (layer.vertical.size, layer.horizontal.size)
    pixels = layer.images * size[0] * size[1]
    taps = tuple(along[cells.tap] for along in product.taps)
    spans = (cells.span, cells.sizes * operand, cells.begins * operand)
    own = np.zeros(int(weights.region.max()) + 1, np.int64)
    own[weights.region] = weights.size
    stays = (pixels * layer.channels * operand <= halves[0], int(own.sum()) <= halves[1])
    tile, loaded, loaded_at, weights_loaded = (np.zeros(len(pieces.row), np.int64) for _ in range(4))
    largest, touched = _fill(
        product.windows,
        pieces.span(0),
        taps,
        (cells.first, cells.last),
        spans,
        (*size, layer.channels * operand),
        np.full((pixels, len(cells.sizes)), NEVER),
        np.zeros((pixels, len(cells.sizes)), np.int64),
        (weights.region, weights.size),
        np.full(len(own), NEVER),
        (outputs.region, outputs.size),
        halves,
        stays,
        pieces.last,
        most,
        (tile, loaded, loaded_at, weights_loaded),
    )
    return Filled(tile, loaded, loaded_at, weights_loaded, int(largest), int(touched))


@kernel
def _fill(
    windows: Any,
    rows: Any,
    taps: Any,
    needed: Any,
    spans: Any,
    shape: Any,
    places: Any,
    seen: Any,
    weights: Any,
    regions: Any,
    outputs: Any,
    halves: Any,
    stays: Any,
    ends: Any,
    most: Any,
    taken: Any,
) -> Any:
    """Do what ``fill`` says; returns the bytes of the piece that needs most inputs, and of all inputs needed.

    places and seen (pixels, spans): the last tile that needed a cell, and the last time that it was looked at; regions:
    the last tile that needed each region of weights.
    """
    image, y, x = windows
    r, s = taps
    span, sizes, begins = spans
    height, width, pixel_bytes = shape
    of_tile, loaded, loaded_at, weights_loaded = taken
    tile = folds = look = largest = touched = 0
    held = (0, 0, 0)
    empty = True
    for piece in range(len(of_tile)):
        while True:
            look += 1
            fresh = load = 0
            first = -1
            for m in range(rows[0][piece], rows[1][piece]):
                for cell in range(needed[0][piece], needed[1][piece]):
                    row, column = y[m] + r[cell], x[m] + s[cell]
                    if row < 0 or row >= height or column < 0 or column >= width:
                        continue
                    pixel = (image[m] * height + row) * width + column
                    own = span[cell]
                    if seen[pixel, own] == look:
                        continue
                    seen[pixel, own] = look
                    since = places[pixel, own]
                    if since == tile:
                        continue
                    fresh += sizes[own]
                    if since < tile - 1 and (since == NEVER or not stays[0]):
                        load += sizes[own]
                        address = pixel * pixel_bytes + begins[own]
                        if first < 0 or address < first:
                            first = address
            largest = max(largest, fresh)
            since = regions[weights[0][piece]]
            weight = 0 if since == tile else weights[1][piece]
            same = not empty and outputs[0][piece] == outputs[0][piece - 1]
            output = 0 if same else outputs[1][piece]
            needs = (held[0] + fresh, held[1] + weight, held[2] + output)
            fits = needs[0] <= halves[0] and needs[1] <= halves[1] and needs[2] <= halves[2] and folds < most
            if empty or fits:
                break
            tile += 1
            folds = 0
            held = (0, 0, 0)
            empty = True
        held = needs
        empty = False
        folds += ends[piece]
        of_tile[piece], loaded[piece], loaded_at[piece] = tile, load, first
        if since < tile - 1 and (since == NEVER or not stays[1]):
            weights_loaded[piece] = weight
        regions[weights[0][piece]] = tile
        for m in range(rows[0][piece], rows[1][piece]):
            for cell in range(needed[0][piece], needed[1][piece]):
                row, column = y[m] + r[cell], x[m] + s[cell]
                if row < 0 or row >= height or column < 0 or column >= width:
                    continue
                pixel, own = (image[m] * height + row) * width + column, span[cell]
                if places[pixel, own] == NEVER:
                    touched += sizes[own]
                places[pixel, own] = tile
    return largest, touched
