"""Schedules of weight skipping, and what is multiplied by them, against the slow model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simulator.hardware.weight_skipping import WeightSkipping, lay_out, multiply_scheduled, schedule
from tests.reference.weight_skipping import run_tile

SEVEN = ((1, 0), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (1, 3))


@settings(deadline=None, max_examples=200)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_tile_equals_the_slow_one(data: st.DataObject, seed: int) -> None:
    """Cycles, weights issued once each, no lane twice in a cycle, and sums."""
    rng = np.random.default_rng(seed)
    F, taps, C = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 70))
    lanes, look_ahead = data.draw(st.integers(1, 32)), data.draw(st.integers(0, 4))
    aside = st.integers(-5, 5)
    any_offset = st.tuples(st.integers(1, max(1, look_ahead)), aside)
    offsets = tuple(data.draw(st.lists(any_offset, max_size=7))) if look_ahead else ()
    part = WeightSkipping(tiles=1, filters=F, lanes=lanes, look_ahead=look_ahead, offsets=offsets)
    weights = rng.integers(-9, 10, (F, taps, C)) * (rng.random((F, taps, C)) < rng.random() ** 2)
    inputs = rng.integers(-9, 10, (1, taps, C))
    rows = lay_out(weights != 0, part)
    room = np.concatenate((rows, np.zeros((look_ahead + 1, F), rows.dtype)))
    window, free = part.window(), np.zeros(F, rows.dtype)
    order, step = np.zeros((np.count_nonzero(weights), 2), np.int64), np.zeros(np.count_nonzero(weights), np.int64)
    arguments = (len(rows), lanes, look_ahead, window.ahead, window.aside, free)
    cycles, count = schedule(room.copy(), *arguments, order, step)
    assert (cycles, count) == schedule(room.copy(), *arguments, None, None)
    assert len({tuple(place) for place in order}) == count == np.count_nonzero(weights)
    assert max(np.bincount(step * F + order[:, 0]), default=0) <= lanes
    padded = -(-C // lanes) * lanes
    output = np.zeros((1, 1, F), np.int64)
    multiply_scheduled(inputs, weights, (1, taps, 1, 1, 0, 0, 1, 1), padded, 0, order, count, output)
    spread = np.pad(weights, ((0, 0), (0, 0), (0, padded - C))).reshape(F, -1)
    heard = np.pad(inputs[0], ((0, 0), (0, padded - C))).ravel()
    expected = run_tile([list(row) for row in spread], lanes, look_ahead, offsets, list(heard))
    assert (cycles, count, output[0, 0].tolist()) == expected


def test_offsets_lie_within_sight() -> None:
    with pytest.raises(ValidationError, match="beyond look_ahead = 1"):
        WeightSkipping(tiles=1, filters=1, lanes=16, look_ahead=1, offsets=SEVEN)
    part = WeightSkipping(tiles=4, filters=16, lanes=16, look_ahead=2, offsets=SEVEN)
    assert (part.multipliers, part.choices, part.weight_bits, part.fill) == (1024, 8, 11, 6)
