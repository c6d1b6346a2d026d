"""The engine against its slow twin, and by hand."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import play
from simulator.hardware.dram import SimpleChannel
from simulator.program import STATES
from tests.engine.programs import channel, program
from tests.reference.pipeline import pipeline

cycles = st.integers(0, 9)


@settings(deadline=None, max_examples=1000)
@given(data=st.data(), tiles=st.integers(1, 8), depth=st.integers(1, 3), delay=st.integers(0, 6))
def test_equal_to_the_twin(data: st.DataObject, tiles: int, depth: int, delay: int) -> None:
    several = st.lists(cycles, min_size=tiles, max_size=tiles)
    loads, stores = data.draw(several), data.draw(several)
    stages = data.draw(st.lists(several, min_size=1, max_size=3))
    timeline = play(program(loads, stages, stores, depth), channel(delay), 10**9)
    total, actors, bus = pipeline(loads, delay, stages, stores, depth)
    assert timeline.cycles == total
    spent = {track: Counter() for track in (*(f"stage {s}" for s in range(len(stages))), "dram")}
    for interval in timeline.intervals:
        spent[interval.track][interval.state] += interval.end - interval.start
    for number, expected in enumerate(actors):
        assert {k: v for k, v in expected.items() if v} == dict(spent[f"stage {number}"])
    assert {k: v for k, v in bus.items() if v} == dict(spent["dram"])


def test_one_tile_by_hand() -> None:
    # load 5 + latency 3 + work 7 + store 2 = 17
    assert play(program([5], [[7]], [2], 2), channel(3), 10**9).cycles == 17


def test_bandwidth_bound_by_hand() -> None:
    # load 0 (0-10), load 1 (10-20); work 0 (10-11): load 2 waits for its end and the channel (20-30), store 0 (30-34),
    # load 3 would be next but there are three tiles: store 1 (34-38), work 2 (30-31), store 2 (38-42)
    assert play(program([10, 10, 10], [[1, 1, 1]], [4, 4, 4], 2), channel(0), 10**9).cycles == 42


def test_compute_bound_by_hand() -> None:
    # load 0 (0-2), then work back to back: 2 + 3 × 20, then store 2 (62-64)
    timeline = play(program([2, 2, 2], [[20, 20, 20]], [2, 2, 2], 2), channel(0), 10**9)
    assert timeline.cycles == 64
    states = dict(zip(STATES, timeline.units["unit 0"][1], strict=True))
    assert states == {"busy": 60, "starved": 0, "blocked": 0, "imbalance": 0, "fill_drain": 4, "idle": 0}


def test_nothing_to_move_waits_for_nothing() -> None:
    # latency is that of data that moves; a tile whose operands are on chip starts at once
    assert play(program([0, 0], [[5, 5]], [0, 0], 2), channel(100), 10**9).cycles == 10


def test_cycles_of_another_clock_round_up() -> None:
    fast = SimpleChannel(bandwidth=25_600_000_000, latency=100_000, burst=64, energy_pj_per_bit=8)
    assert fast.at_least(64, 800_000_000) == 2
    assert fast.at_least(65, 800_000_000) == 3
    assert fast.latency_cycles(800_000_000, write=False) == 80
    assert fast.latency_cycles(801_000_000, write=False) == 81
    assert fast.latency_cycles(801_000_000, write=True) == 0
