"""Tiles: every output once, every row streamed, nothing loaded twice that is still on chip."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.dataflow.tiles import Tile, Tiles, enumerate_tiles
from simulator.dataflow.windows import Axis, Frame


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Frame, int, str, bool, bool, list[Tile]]:
    vertical, horizontal = (
        Axis(*(draw(st.integers(*span)) for span in ((1, 14), (1, 4), (1, 3), (0, 3), (1, 2)))) for _ in range(2)
    )
    assume(min(vertical.outputs, horizontal.outputs) >= 1)
    frame = Frame(draw(st.integers(1, 2)), vertical, horizontal, draw(st.integers(1, 20)))
    passes, step = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    order, inputs_stay, weights_stay = (
        draw(st.sampled_from(("channels", "rows"))),
        draw(st.booleans()),
        draw(st.booleans()),
    )
    tiles = list(enumerate_tiles(frame, passes, order, step, inputs_stay, weights_stay))
    return frame, passes, order, inputs_stay, weights_stay, tiles


@given(tilings())
def test_every_output_row_of_every_pass_and_plane_once(case: tuple[Frame, int, str, bool, bool, list[Tile]]) -> None:
    frame, passes, _, _, _, tiles = case
    covered = [(t.of_pass, t.plane, y) for t in tiles for y in range(t.first, t.last)]
    outputs = range(frame.vertical.outputs)
    assert sorted(covered) == sorted(product(range(passes), range(len(frame.planes)), outputs))


@given(tilings())
def test_what_is_streamed(case: tuple[Frame, int, str, bool, bool, list[Tile]]) -> None:
    """Passes outside: each row once a pass. Rows outside: all the rows that a tile's outputs need."""
    frame, passes, order, _, _, tiles = case
    for p, plane in product(range(passes), range(len(frame.planes))):
        mine = [t for t in tiles if (t.of_pass, t.plane) == (p, plane)]
        streamed = [row for t in mine for row in range(t.low, t.high)]
        if order == "channels":
            assert streamed == list(range(len(frame.rows)))
        else:
            assert set(streamed) == set(range(len(frame.rows)))
            for t in mine:
                low, high = frame.reach(t.first, t.last)
                assert set(range(low, high)) <= set(range(t.low, t.high))


@given(tilings())
def test_what_is_loaded(case: tuple[Frame, int, str, bool, bool, list[Tile]]) -> None:
    """Rows once a plane, or once a pass where they cannot stay; weights once, or whenever the pass changes."""
    frame, passes, order, inputs_stay, weights_stay, tiles = case
    for plane in range(len(frame.planes)):
        loaded = [row for t in tiles if t.plane == plane for row in range(t.loads_from, t.high)]
        again = 1 if order == "rows" or inputs_stay else passes
        assert sorted(loaded) == sorted(list(range(len(frame.rows))) * again)
    for p in range(passes):
        loads = sum(t.loads_weights for t in tiles if t.of_pass == p)
        changes = sum(t.changes_pass for t in tiles if t.of_pass == p)
        assert loads == (1 if weights_stay else changes)
    assert tiles[0].changes_pass


def test_as_arrays() -> None:
    frame = Frame(1, Axis(4, 3, 1, 1, 1), Axis(4, 3, 1, 1, 1), 4)
    tiles = Tiles.of(enumerate_tiles(frame, 1, "channels", 2, True, True))
    assert len(tiles) == 2
    assert (tiles.low.tolist(), tiles.high.tolist()) == ([0, 3], [3, 4])  # the window of row 1 reaches row 2
    sums = np.array([[[0, 1, 3, 6, 10]]])  # one pass, one plane, four rows of 1, 2, 3, 4
    assert tiles.between(sums).tolist() == [6, 4]
