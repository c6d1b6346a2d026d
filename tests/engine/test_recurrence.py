"""All times of the recurrence against the simulation event by event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, load_trace, simulate
from simulator.arch import list_configs
from simulator.engine import Timeline, play
from simulator.engine.events import simulate_events
from simulator.errors import InputError
from simulator.hardware.dram import SimpleChannel
from simulator.program import Program
from simulator.trace import list_traces
from tests.engine.programs import programs


def require_equal(program: Program, channel: SimpleChannel, clock: int) -> None:
    """Require that both ways of playing agree in every time, state, tile and stream."""
    fast, slow = play(program, channel, clock), simulate_events(program, channel, clock)
    assert fast.cycles == slow.cycles
    for table in ("spans", "moves", "held", "drained"):
        np.testing.assert_array_equal(getattr(fast, table), getattr(slow, table), table)
    require_whole(fast)


def require_whole(timeline: Timeline) -> None:
    """Require that every track is accounted for without a gap."""
    for track in {interval.track for interval in timeline.intervals}:
        spans = [(i.start, i.end) for i in timeline.intervals if i.track == track]
        assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), timeline.cycles]


@settings(deadline=None, max_examples=1000)
@given(
    program=programs(largest=200, tiles=12),
    rate=st.sampled_from((1, 3, 700, 10**6, 10**9, 2**48)),
    latency=st.integers(0, 10**9),
    clock=st.sampled_from((1, 10**8, 999_999_937, 10**11)),
)
def test_random_programs(program: Program, rate: int, latency: int, clock: int) -> None:
    require_equal(program, SimpleChannel(bandwidth=rate, latency=latency, burst=1, energy_pj_per_bit=0), clock)


@pytest.mark.parametrize("name", list_configs())
def test_programs_of_shipped_traces(name: str) -> None:
    """On the chip as shipped, and with so slow a channel that nothing else counts."""
    arch, played = load_arch(name), 0
    for trace in map(load_trace, list_traces()):
        for operator in trace.operators:
            try:
                result = simulate(type(trace)(trace.name, (operator,)), arch)
            except InputError:
                continue  # no work for this chip
            played += 1
            for rate in (arch.chip.dram.bandwidth, 10**8 + 7):
                require_equal(
                    result.operators[0].program,
                    arch.chip.dram.model_copy(update={"bandwidth": rate}),
                    arch.chip.clock,
                )
    assert played


def test_sizes_times_clocks_beyond_64_bits() -> None:
    channel = SimpleChannel(bandwidth=2**48, latency=0, burst=1, energy_pj_per_bit=0)
    sizes = np.array([[1, 2**40], [2**40 - 1, 0]])
    np.testing.assert_array_equal(
        channel.takes(sizes, 10**11), [[channel.at_least(int(size), 10**11) for size in row] for row in sizes]
    )
