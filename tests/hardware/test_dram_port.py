"""A detailed DRAM beside a core: steps against all requests at once, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.hardware.dram_port import DetailedPort, Step
from simulator.hardware.dram_requests import simulate_requests
from simulator.hardware.dram_timing import Dram, read_memory
from tests.hardware.drams import drams


def ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), memory=drams(), clock=st.sampled_from((10**8, 8 * 10**8, 10**9, 3 * 10**9)))
def test_steps_equal_all_requests_at_once(data: st.DataObject, memory: Dram, clock: int) -> None:
    """However a run is cut into steps, each transfer is taken in and done when its requests, given at once, are."""
    port, now = memory.open(clock), 0
    begun: list[tuple[int, np.ndarray, bool]] = []
    steps: list[Step] = []
    for _ in range(data.draw(st.integers(1, 8))):
        size = data.draw(st.integers(1, min(12 * memory.burst, memory.capacity)))
        address = data.draw(st.integers(0, (memory.capacity - size) // memory.burst * memory.burst))
        count, first = ceil(size, memory.burst), address // memory.burst
        write = data.draw(st.booleans())
        port.begin(now, address, size, write)
        begun.append((now, np.arange(first, first + count) * memory.burst, write))
        while not (steps and steps[-1] == Step(done=False, cycle=steps[-1].cycle)):  # until it is taken in
            known = max(now, *(s.cycle for s in steps), 0)  # no step may end before the one before
            until = known + data.draw(st.sampled_from((1, 3, 50))) if data.draw(st.booleans()) else math.inf
            step = port.proceed(until)
            if step is not None:
                steps.append(step)
                assert step.done or step.cycle <= until
            else:
                now = int(until)
        now = max(now, steps[-1].cycle) + data.draw(st.sampled_from((0, 0, 5, 300)))
        steps.append(Step(done=True, cycle=-1))  # so that the next transfer waits for a step of its own
    while port.under_way:
        step = port.proceed(math.inf)
        assert step is not None
        steps.append(step)
    steps = [step for step in steps if step.cycle >= 0]

    period = clock * memory.timing.tCK
    arrival = np.concatenate([np.full(len(lines), ceil(at * 10**12, period)) for at, lines, _ in begun])
    lines = np.concatenate([lines for _, lines, _ in begun])
    writes = np.concatenate([np.full(len(lines), write) for _, lines, write in begun])
    times = simulate_requests(arrival, lines, writes, memory, requests=len(lines)).times
    ends = np.cumsum([len(lines) for _, lines, _ in begun])
    whole = [times[end - len(lines) : end] for end, (_, lines, _) in zip(ends, begun, strict=True)]
    assert [s.cycle for s in steps if not s.done] == [ceil(int(t[-1, 0]) * period, 10**12) for t in whole]
    assert [s.cycle for s in steps if s.done] == [ceil(int(t[:, 1].max()) * period, 10**12) for t in whole]

    over = now + data.draw(st.sampled_from((0, 7, 2000)))
    end = port.finish(over)
    activity = port.activity()
    counts = activity.counts
    assert end >= over
    ranks = memory.organisation.channels * memory.organisation.ranks
    assert counts.active_cycles + counts.idle_cycles == ranks * counts.cycles
    assert end * 10**12 // period <= counts.cycles <= ceil(end * 10**12, period)
    if memory.controller.refresh == "rank":  # each falls due on time, and is done soon after
        due = memory.organisation.channels * (counts.cycles // (memory.timing.tREFI // memory.organisation.ranks))
        assert due - ranks - memory.organisation.channels <= counts.refreshes <= due
    assert counts.requests == len(lines)
    assert counts.writes + counts.merged_writes == writes.sum()  # none is left in a buffer
    assert counts.reads + counts.merged_reads + counts.forwarded == (~writes).sum()
    assert activity.moved.sum(axis=0).tolist() == [counts.reads * memory.burst, counts.writes * memory.burst]
    assert end >= memory.at_least((counts.reads + counts.writes) * memory.burst, clock)


def test_a_port_times_transfers_in_core_cycles() -> None:
    chip = read_memory("hbm2_8ch").chip
    lines = 100
    alone = simulate_requests([0] * lines, np.arange(lines) * chip.burst, [False] * lines, chip)

    def read_all(port: DetailedPort) -> list[Step | None]:
        port.begin(0, 0, lines * chip.burst, write=False)
        return [port.proceed(math.inf), port.proceed(math.inf)]

    taken, done = read_all(chip.open(10**9))
    assert taken == Step(done=False, cycle=12)  # 8 a cycle
    assert done == Step(done=True, cycle=alone.counts.cycles - 1)
    assert read_all(chip.open(2 * 10**9))[1] == Step(done=True, cycle=2 * (alone.counts.cycles - 1))


@pytest.mark.parametrize("name", ["ddr4_2400", "hbm2_8ch", "lpddr5_6400"])
@pytest.mark.parametrize("clock", [10**8, 10**9, 3 * 10**9])
def test_a_lone_access_takes_its_latency_and_its_transfer(name: str, clock: int) -> None:
    chip = read_memory(name).chip
    port = chip.open(clock)
    port.begin(0, 0, 1, write=False)
    steps = [port.proceed(math.inf), port.proceed(math.inf)]
    assert steps[1] is not None
    burst = ceil(chip.organisation.burst_cycles * chip.timing.tCK * clock, 10**12)
    assert steps[1].cycle == pytest.approx(chip.latency_cycles(clock, write=False) + burst, abs=1)
    writes = chip.open(clock)
    writes.begin(0, 0, 1, write=True)
    while writes.under_way:
        writes.proceed(math.inf)
    assert writes.finish(0) == pytest.approx(chip.latency_cycles(clock, write=True) + burst, abs=2)


def test_nothing_happens_before_what_was_asked_for() -> None:
    port = read_memory("ddr4_2400").chip.open(10**9)
    port.begin(100, 0, 64, write=False)
    assert port.proceed(100) is None
    assert port.proceed(101) == Step(done=False, cycle=101)  # 100 ns is 120.5 periods: the 121st begins at 100.43 ns
    assert port.proceed(102) is None


def test_addresses_outside_the_memory_are_refused() -> None:
    chip = read_memory("ddr4_2400").chip
    with pytest.raises(InputError, match="outside the memory"):
        chip.open(10**9).begin(0, chip.capacity - 64, 65, write=True)
