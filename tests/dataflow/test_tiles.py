"""Tiles: every output once, every row streamed, nothing loaded twice that is still on chip."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.dataflow.tiles import ORDERS, Tile, Tiles, enumerate_tiles, spans_of
from simulator.dataflow.windows import Axis, Frame

Case = tuple[Frame, list[range], str, bool, bool, list[Tile]]


@st.composite
def tilings(draw: st.DrawFn) -> Case:
    vertical, horizontal = (
        Axis(*(draw(st.integers(*span)) for span in ((1, 14), (1, 4), (1, 3), (0, 3), (1, 2)))) for _ in range(2)
    )
    assume(min(vertical.outputs, horizontal.outputs) >= 1)
    frame = Frame(draw(st.integers(1, 2)), vertical, horizontal, draw(st.integers(1, 20)))
    inputs = [range(8)] * draw(st.integers(1, 4)) + [range(8, 16)] * draw(st.integers(0, 2))
    step = draw(st.integers(1, 6))
    order = draw(st.sampled_from(ORDERS))
    inputs_stay, weights_stay = draw(st.booleans()), draw(st.booleans())
    tiles = list(enumerate_tiles(spans_of(frame, step), len(frame.planes), inputs, order, inputs_stay, weights_stay))
    return frame, inputs, order, inputs_stay, weights_stay, tiles


@given(tilings())
def test_every_output_row_of_every_pass_and_plane_once(case: Case) -> None:
    frame, inputs, _, _, _, tiles = case
    covered = [(t.of_pass, t.plane, y) for t in tiles for y in range(t.first, t.last)]
    outputs = range(frame.vertical.outputs)
    assert sorted(covered) == sorted(product(range(len(inputs)), range(len(frame.planes)), outputs))


@given(tilings())
def test_what_is_streamed(case: Case) -> None:
    """Passes outside: each row once a pass. Rows outside: all the rows that a tile's outputs need."""
    frame, inputs, order, _, _, tiles = case
    for p, plane in product(range(len(inputs)), range(len(frame.planes))):
        mine = [t for t in tiles if (t.of_pass, t.plane) == (p, plane)]
        streamed = [row for t in mine for row in range(t.low, t.high)]
        if order != "rows":
            assert streamed == list(range(len(frame.rows)))
        else:
            assert set(streamed) == set(range(len(frame.rows)))
            for t in mine:
                low, high = frame.reach(t.first, t.last)
                assert set(range(low, high)) <= set(range(t.low, t.high))


@given(tilings())
def test_what_is_loaded(case: Case) -> None:
    """Rows once, or once a pass where they cannot stay; weights once, or whenever the pass changes."""
    frame, inputs, order, inputs_stay, weights_stay, tiles = case
    several = len(set(inputs)) > 1
    for p, plane in product(range(len(inputs)), range(len(frame.planes))):
        mine = [t for t in tiles if (t.of_pass, t.plane) == (p, plane)]
        loaded = [row for t in mine for row in range(t.loads_from, t.high)]
        new = p == 0 or inputs[p] != inputs[p - 1]
        if not new and (order == "rows" or inputs_stay):
            assert loaded == []
        elif order == "rows" and several:
            assert loaded == [row for t in mine for row in range(t.low, t.high)]
        else:
            assert sorted(loaded) == list(range(len(frame.rows)))
    for p in range(len(inputs)):
        loads = sum(t.loads_weights for t in tiles if t.of_pass == p)
        changes = sum(t.changes_pass for t in tiles if t.of_pass == p)
        assert loads == (1 if weights_stay else changes)
    assert tiles[0].changes_pass


def test_as_arrays() -> None:
    frame = Frame(1, Axis(4, 3, 1, 1, 1), Axis(4, 3, 1, 1, 1), 4)
    tiles = Tiles.of(enumerate_tiles(spans_of(frame, 2), 1, [range(8)], "channels", True, True))
    assert len(tiles) == 2
    assert (tiles.low.tolist(), tiles.high.tolist()) == ([0, 3], [3, 4])  # the window of row 1 reaches row 2
    sums = np.array([[[0, 1, 3, 6, 10]]])  # one pass, one plane, four rows of 1, 2, 3, 4
    assert tiles.between(sums).tolist() == [6, 4]


def test_a_tile_in_the_padding_alone_streams_nothing() -> None:
    frame = Frame(1, Axis(4, 1, 1, 3, 1), Axis(4, 1, 1, 0, 1), 4)
    for order in ORDERS:
        tiles = list(enumerate_tiles(spans_of(frame, 2), 1, [range(8)], order, True, True))
        assert [t.high - t.low for t in tiles] == [0, 1, 2, 1, 0]
        assert [t.high - t.loads_from for t in tiles] == [0, 1, 2, 1, 0]


def test_weights_outside_load_each_pass_once_for_all_images() -> None:
    frame = Frame(4, Axis(4, 3, 1, 1, 1), Axis(4, 3, 1, 1, 1), 4)
    loads = {
        order: sum(t.loads_weights for t in enumerate_tiles(spans_of(frame, 4), 4, [range(8)] * 3, order, True, False))
        for order in ORDERS
    }
    assert loads == {"channels": 12, "weights": 3, "rows": 12}
