"""The channel in a run: a detailed memory against all its requests at once; the cycles that are the memory's alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import MemoryStall, Timeline, footprint, memory_stalls, play
from simulator.hardware.dram import Memory, SimpleChannel
from simulator.hardware.dram_requests import simulate_requests
from simulator.hardware.dram_timing import Dram, read_memory
from simulator.program import STATES, Macs, Program, Stage, Stream, Unit
from tests.engine.programs import channel, program, programs
from tests.hardware.drams import drams
from tests.reference.stalls import stalls

clocks = st.sampled_from((10**8, 8 * 10**8, 10**9, 3 * 10**9))


def at_once(work: Program, timeline: Timeline, memory: Dram, clock: int) -> np.ndarray:
    """Give all requests at once, each when it was asked for; return when each transfer is taken in and done."""
    bases, end = {}, 0
    for stream in (*work.reads, *work.writes):
        bases[stream.name] = (end, stream)
        end += -(-int((stream.offset + stream.size).max()) // memory.burst) * memory.burst
    period = clock * memory.timing.tCK
    arrival, lines, writes, ends = [], [], [], []
    for transfer in timeline.transfers:
        base, stream = bases[transfer.stream]
        first = (base + int(stream.offset[transfer.tile])) // memory.burst
        for line in range(first, first + -(-transfer.size // memory.burst)):
            arrival.append(-(-transfer.start * 10**12 // period))
            lines.append(line * memory.burst)
            writes.append(transfer.write)
        ends.append(len(lines))
    times = simulate_requests(arrival, lines, writes, memory, requests=len(lines)).times
    core = -(-times * period // 10**12)
    parts = np.split(core, ends[:-1])
    done = np.maximum.accumulate([part[:, 1].max() for part in parts])  # in order, as a DMA engine reports
    return np.stack([[part[-1, 0] for part in parts], done], axis=1)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), memory=drams(), clock=clocks)
def test_a_run_equals_all_its_requests_at_once(data: st.DataObject, memory: Dram, clock: int) -> None:
    """What the run foresaw step by step is what happens when all is known beforehand, and every stage heeds it."""
    work = data.draw(programs(largest=200))
    if footprint(work, memory.burst) > memory.capacity:
        return
    timeline = play(work, memory, clock)
    transfers = timeline.transfers
    assert [t.size for t in transfers if not t.write] == [
        int(s.size[tile]) for tile in range(work.tiles) for s in work.reads if s.size[tile]
    ]
    if transfers:
        found = np.array([(transfer.free, transfer.done) for transfer in transfers])
        np.testing.assert_array_equal(found, at_once(work, timeline, memory, clock))
    arrived = [
        max((t.done for t in transfers if t.tile == tile and not t.write), default=0) for tile in range(work.tiles)
    ]
    begun = {i.tile: i.start for i in timeline.intervals if i.track == "stage 0" and i.state == "busy"}
    assert all(begin >= arrived[tile] for tile, begin in begun.items())
    assert timeline.cycles >= max((t.done for t in transfers), default=0)
    memory_stalls(work, timeline, memory, clock)  # asserts that no cycle is left unexplained


def waits_stepped(work: Program, timeline: Timeline) -> dict[tuple[str, bool], int]:
    """In each cycle in which no stage works, blame the oldest transfer that is not done; after all, the last write."""
    busy = [i for i in timeline.intervals if i.state == "busy" and i.track != "dram"]
    writes = [t for t in timeline.transfers if t.write]
    blamed: dict[tuple[str, bool], int] = {}
    for cycle in range(timeline.cycles):
        if any(interval.start <= cycle < interval.end for interval in busy):
            continue
        waiting = [t for t in timeline.transfers if t.start <= cycle < t.done]
        transfer = waiting[0] if waiting else writes[-1]
        key = (transfer.stream, transfer.write)
        blamed[key] = blamed.get(key, 0) + 1
    return blamed


@settings(deadline=None, max_examples=300)
@given(data=st.data(), dram=drams(), clock=clocks, plain=st.booleans(), delay=st.integers(0, 20))
def test_stalls_equal_those_counted_cycle_by_cycle(
    data: st.DataObject, dram: Dram, clock: int, plain: bool, delay: int
) -> None:
    work = data.draw(programs(largest=200))
    memory: Memory = channel(delay) if plain else dram
    if footprint(work, memory.burst) > dram.capacity:
        return
    timeline = play(work, memory, clock)
    found: dict[tuple[str, bool], int] = {}
    for stall in memory_stalls(work, timeline, memory, clock):
        key = (stall.stream, stall.write)
        found[key] = found.get(key, 0) + stall.cycles
        assert not (plain and stall.cause == "conflicts")
    assert found == waits_stepped(work, timeline)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), dram=drams(), clock=st.sampled_from((10**9, 10**11)), rate=st.sampled_from((0, 1, 7, 10**9)))
def test_causes_equal_the_twin(data: st.DataObject, dram: Dram, clock: int, rate: int) -> None:
    """On plain channels so slow, too, that products of cycles have more than 64 bits."""
    memory: Memory = dram
    if rate:
        memory = SimpleChannel(bandwidth=rate, latency=data.draw(st.integers(0, 10**9)), burst=1, energy_pj_per_bit=0)
    work = data.draw(programs(largest=200))
    if footprint(work, memory.burst) > dram.capacity or (memory is dram and clock > 10**9):
        return
    timeline = play(work, memory, clock)
    found = [(s.stream, s.write, s.cause, s.cycles) for s in memory_stalls(work, timeline, memory, clock)]
    assert found == stalls(work, timeline, memory, clock)


def test_stalls_of_one_tile_by_hand() -> None:
    # load 5, latency 3, work 7, store 2, at a byte a cycle
    work = program([5], [[7]], [2], 2)
    memory = channel(3)
    assert memory_stalls(work, play(work, memory, 10**9), memory, 10**9) == (
        MemoryStall("input", False, "bandwidth", 5),
        MemoryStall("input", False, "latency", 3),
        MemoryStall("output", True, "bandwidth", 2),
    )


def test_a_lone_write_waits_for_no_conflict() -> None:
    memory = read_memory("ddr4_3200").chip
    work = program([0], [[5]], [64], 1)
    found = {s.cause: s.cycles for s in memory_stalls(work, play(work, memory, 10**9), memory, 10**9)}
    assert found["latency"] == pytest.approx(memory.latency_cycles(10**9, write=True), abs=1)
    assert found.get("conflicts", 0) <= 1  # the way back of the posted write, rounded


def test_small_transfers_need_no_more_bandwidth_than_all_their_bytes() -> None:
    memory = read_memory("hbm2_8ch_il64").chip
    work = program([64] * 200, [[0] * 200], [0] * 200, 200)
    found = {s.cause: s.cycles for s in memory_stalls(work, play(work, memory, 10**9), memory, 10**9)}
    assert found["bandwidth"] <= memory.at_least(200 * 64, 10**9)


def test_standby_and_refresh_go_on_while_the_chip_computes() -> None:
    memory = read_memory("ddr4_3200").chip
    for stored in (0, 64):
        timeline = play(program([64], [[10**7]], [stored], 2), memory, 10**9)
        assert timeline.memory is not None
        counts = timeline.memory.counts
        assert counts.active_cycles + counts.idle_cycles == memory.organisation.ranks * counts.cycles
        assert counts.cycles == pytest.approx(timeline.cycles * 1000 / memory.timing.tCK, abs=2)
        assert counts.refreshes == pytest.approx(2 * counts.cycles / memory.timing.tREFI, rel=0.01)


def test_conflicts_are_what_neither_bandwidth_nor_latency_explains() -> None:
    """Lines of one bank, each in another row: every one waits for the row before to be closed."""
    memory = read_memory("ddr4_2400").chip
    row = memory.organisation.line * memory.organisation.lines_per_row  # then bank groups, banks and ranks change
    next_row = row * memory.organisation.bank_groups * memory.organisation.banks_per_group * memory.organisation.ranks
    tiles = 4
    cycles = np.ones(tiles, np.int64)
    states = np.zeros((tiles, len(STATES)), np.int64)
    states[:, 0] = 1

    def work(stride: int) -> Program:
        stream = Stream("input", cycles * 64, np.arange(tiles) * stride, 0)
        stage = Stage("stage", cycles, {"unit": Unit(1, states)})
        return Program("operator", "mapping", (stage,), (stream,), (), tiles, (), Macs(0, 0, 0), 1, {})

    def conflicts(stride: int) -> int:
        timeline = play(work(stride), memory, 10**9)
        assert timeline.memory is not None
        assert timeline.memory.counts.activates == (tiles if stride == next_row else 1)
        return sum(s.cycles for s in memory_stalls(work(stride), timeline, memory, 10**9) if s.cause == "conflicts")

    # at least the time from row to row, tRAS + tRP = 56 periods of 0.83 ns, for each but the first
    assert conflicts(next_row) >= (tiles - 1) * (56 * 0.83 - 16)
    assert conflicts(64) < 20


def test_a_memory_twice_as_fast_as_asked_is_no_slower() -> None:
    """A detailed memory is as fast as its clock, whatever the core's: twice the core's clock, twice the cycles."""
    memory = read_memory("hbm2_8ch").chip
    work = program([64 * 40] * 3, [[1] * 3], [64] * 3, 2)
    assert play(work, memory, 2 * 10**9).cycles == pytest.approx(2 * play(work, memory, 10**9).cycles, abs=8)


def test_channels_tell_what_they_did() -> None:
    plain = SimpleChannel(bandwidth=10**9, latency=0, burst=1, energy_pj_per_bit=0)
    work = program([64], [[1]], [64], 1)
    assert play(work, plain, 10**9).memory is None
    activity = play(work, read_memory("ddr4_2400").chip, 10**9).memory
    assert activity is not None
    assert (activity.counts.reads, activity.counts.writes) == (1, 1)
