"""The DRAM controller against DRAMsim3's results on real request traces, and against a stepped twin on random ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from simulator.arch import list_memories
from simulator.arch.config import parse_config, validate
from simulator.errors import InputError
from simulator.hardware.dram_requests import Served, Stream, simulate_requests
from simulator.hardware.dram_state import BUCKET_CYCLES, COMMANDS
from simulator.hardware.dram_timing import Dram, read_memory
from tests.hardware.drams import drams
from tests.real import DATA, needs_data
from tests.reference.dram_controller import Line, Replayed, replay

MEMORIES = ("ddr4_2400", "ddr4_3200", "hbm2_8ch", "hbm2_8ch_il64", "lpddr4_2400_x32")
LOGGED = ("ddr4_2400", "hbm2_8ch_il64", "lpddr4_2400_x32")
TRACES = ("mix4_asap", "mix4_paced", "rand_read", "rw21_4k", "seq_read")
FIRST = 600
"""Requests whose commands are on file."""


@cache
def dram(name: str) -> Dram:
    return read_memory(name).chip


@cache
def trace(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrival, address and write of each request."""
    rows = [line.split() for line in (DATA / "dram" / "traces" / f"{name}.trc").read_text().splitlines()]
    address, write, arrival = ([row[i] for row in rows] for i in range(3))
    return np.array(arrival, np.int64), np.array([int(a, 16) for a in address]), np.array(write) == "WRITE"


@cache
def expected() -> dict[str, dict[str, Any]]:
    return json.loads((DATA / "dram" / "dramsim3_results.json").read_text())


@cache
def served(name: str, memory: str) -> Served:
    return simulate_requests(*trace(name), dram(memory))


def lines(result: Served) -> list[Line]:
    """Commands as the twin logs them, sorted by channel and time; a refresh is of a whole rank."""
    found = [(int(row[0]), COMMANDS[row[1]], *map(int, row[2:])) for row in result.commands]
    return sorted(found, key=lambda line: line[2])  # type: ignore[return-value]


# DRAMsim3


@needs_data
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", TRACES)
def test_totals_are_those_of_dramsim3(name: str, memory: str) -> None:
    counts, theirs = served(name, memory).counts, expected()[f"{name}|{memory}"]
    found = {
        "cycles": counts.cycles,
        "num_act_cmds": counts.activates,
        "num_read_cmds": counts.reads,
        "num_write_cmds": counts.writes,
        "num_pre_cmds": counts.precharges,
        "num_ondemand_pres": counts.conflicts,
        "num_ref_cmds": counts.refreshes,
        "num_read_row_hits": counts.read_row_hits,
        "num_write_row_hits": counts.write_row_hits,
        "hbm_dual_cmds": counts.dual_issues,
        "rank_active_cycles": counts.active_cycles,
        "all_bank_idle_cycles": counts.idle_cycles,
        "avg_read_latency_cyc": round(counts.read_latency / theirs["num_reads_done"], 4),
    }
    assert found == {key: theirs[key] for key in found}


@needs_data
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", TRACES)
def test_energy_is_that_of_dramsim3_in_true_picojoules(name: str, memory: str) -> None:
    energy, theirs = dram(memory).energy(served(name, memory).counts), expected()[f"{name}|{memory}"]
    parts = ("act_energy", "read_energy", "write_energy", "ref_energy", "act_stb_energy", "pre_stb_energy")
    assert list(energy) == pytest.approx([theirs["energy_pJ"][part] for part in parts], rel=1e-6, abs=0.1)
    assert energy.total == pytest.approx(theirs["total_energy_pJ"], rel=1e-6)


def first_difference(ours: list[Line], theirs: list[Line]) -> str:
    """Say where two lists of commands part, for a person."""
    for i, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            return f"command {i}: {our} here, {their} expected; before: {theirs[max(0, i - 3) : i]}"
    return f"{len(ours)} commands here, {len(theirs)} expected" if len(ours) != len(theirs) else "none"


@needs_data
@pytest.mark.parametrize("memory", LOGGED)
@pytest.mark.parametrize("name", TRACES)
def test_every_command_goes_in_dramsim3s_cycle(name: str, memory: str) -> None:
    """What it writes as the channel of a refresh's commands, −1, is ours; row and column then are −1."""
    theirs: list[Line] = []
    for row in (DATA / "dram" / "commands" / f"{name}.{memory}.cmd.txt").read_text().splitlines():
        channel, cycle, command, _, rank, group, bank, *at = row.split()
        place = (int(channel[2:]), int(rank), int(group), int(bank), *(int(number, 16) for number in at))
        theirs.append((int(cycle), command, *place))  # type: ignore[arg-type]
    times = np.loadtxt(DATA / "dram" / "commands" / f"{name}.{memory}.done.txt", np.int64)
    requests = [each[:FIRST] for each in trace(name)]
    result = simulate_requests(*requests, dram(memory), commands=10**4, requests=FIRST)
    assert first_difference(lines(result), theirs) == "none"
    np.testing.assert_array_equal(result.times, times[:, 1:])


# The twin


Requests = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_requests(memory: Dram, count: int, lines: int, pace: int, writes: float, seed: int) -> Requests:
    """Requests of few lines, so that they meet in banks, rows and lines; bursts of arrivals and pauses."""
    rng = np.random.default_rng(seed)
    used = rng.integers(0, memory.capacity // memory.burst, lines)
    arrival = np.cumsum(rng.integers(0, pace + 1, count) * (rng.random(count) < 0.5))
    return arrival, rng.choice(used, count) * memory.burst, rng.random(count) < writes


def agree(found: Served, twin: Replayed) -> None:
    counts = found.counts
    ours = sorted((int(r[0]), COMMANDS[r[1]], *map(int, r[2:])) for r in found.commands)
    assert first_difference(ours, sorted(twin.commands)) == "none"  # type: ignore[arg-type]
    assert [tuple(row) for row in found.times.tolist()] == twin.times
    assert (counts.cycles, counts.row_hits) == (twin.cycles, twin.row_hits)
    assert (counts.active_cycles, counts.idle_cycles) == (twin.active, twin.idle)
    tally = [sum(line[1] == command for line in twin.commands) for command in COMMANDS]
    assert [counts.activates, counts.reads, counts.writes, counts.precharges, counts.refreshes] == tally


@settings(max_examples=400, deadline=None)
@given(
    memory=drams(), count=st.integers(0, 120), lines=st.integers(1, 200), pace=st.sampled_from([0, 0, 1, 9, 80]),
    writes=st.sampled_from([0.0, 0.2, 0.5, 1.0]), seed=st.integers(0, 2**32 - 1), pieces=st.integers(1, 5),
)  # fmt: skip
def test_random_requests_are_served_as_the_twin_serves_them(
    memory: Dram, count: int, lines: int, pace: int, writes: float, seed: int, pieces: int
) -> None:
    arrival, address, write = random_requests(memory, count, lines, pace, writes, seed)
    found = simulate_requests(arrival, address, write, memory, commands=10**4, requests=count)
    agree(found, replay(arrival.tolist(), address.tolist(), write.tolist(), memory))
    stream = Stream(memory.rules)
    for part in np.array_split(np.arange(count), pieces):
        stream.feed(arrival[part], address[part], write[part])
    assert stream.finish() == found.counts


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("local", [False, True])
def test_shipped_memories_serve_as_the_twin_serves(memory: str, local: bool) -> None:
    """Near addresses hit rows, and lines that are under way; far ones conflict."""
    rng = np.random.default_rng(7)
    count, line = 400, dram(memory).burst
    address = rng.integers(0, 64 if local else dram(memory).capacity // line, count) * line
    arrival, write = np.zeros(count, np.int64), rng.random(count) < 0.4
    found = simulate_requests(arrival, address, write, dram(memory), commands=10**4, requests=count)
    agree(found, replay(arrival.tolist(), address.tolist(), write.tolist(), dram(memory)))


# By hand


def test_one_read_takes_what_the_data_sheet_says() -> None:
    """Taken in at cycle 0, moved at 1, its row opened at 2: then tRCD, CL and half a burst."""
    found = simulate_requests([0], [0], [False], dram("ddr4_2400"), commands=9, requests=1)
    assert found.commands[:, :2].tolist() == [[2, 0], [2 + 17, 1]]
    assert found.times.tolist() == [[0, 2 + 17 + 17 + 4]]
    assert found.counts.cycles == 41
    assert found.counts.read_latency == 39
    assert found.counts.latencies[39 // BUCKET_CYCLES] == 1
    assert found.counts.latency_at(0.5) == 40


def test_many_reads_of_one_line_are_one_command() -> None:
    """More are merged than there was room for at first; none is lost."""
    count = 500
    found = simulate_requests([0] * count, [64] * count, [False] * count, dram("hbm2_8ch"), requests=count)
    assert found.counts.merged_reads + found.counts.reads == count
    assert sum(found.counts.latencies) == count
    assert (found.times[:, 1] > found.times[:, 0]).all()


def test_what_is_kept_does_not_grow_with_the_requests() -> None:
    stream = Stream(dram("ddr4_2400").rules)
    size = sum(array.nbytes for array in stream.state)
    rng = np.random.default_rng(0)
    for _ in range(5):
        stream.feed(np.zeros(4000, np.int64), rng.integers(0, 2**24, 4000) * 64, rng.random(4000) < 0.3)
        assert sum(array.nbytes for array in stream.state) == size
    assert stream.finish().requests == 20000


@pytest.mark.parametrize("memory", MEMORIES)
def test_no_run_beats_the_data_bus(memory: str) -> None:
    """In sequence, with the channels busy, a run comes near to the peak that ``at_least`` tells."""
    count, chip = 20000, dram(memory)
    zeros = np.zeros(count, np.int64)
    cycles = simulate_requests(zeros, np.arange(count) * chip.burst, zeros > 0, chip).counts.cycles
    least = chip.at_least(count * chip.burst, 10**12 // chip.timing.tCK)
    assert cycles >= least


# Bad input


def shipped(name: str) -> Any:
    path = Path(__file__).parents[2] / "arch_configs" / "memory" / f"{name}.yaml"
    return YAML(typ="safe", pure=True).load(path.read_text())


def refuse(change: Callable[[Any], None]) -> str:
    """Change a shipped memory, and return the sentence with which it is refused."""
    document, text = shipped("ddr4_2400"), io.StringIO()
    change(document)
    YAML().dump(document, text)
    with pytest.raises(InputError) as caught:
        validate(parse_config(text.getvalue(), "mine", "mine.yaml", kind="memory"), Dram)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith("mine.yaml")
    return sentence


@pytest.mark.parametrize(
    ("key", "value", "expectation"),
    [
        ("controller.mapping", "rochrababgcx", "'cx' is no part of an address"),
        ("controller.mapping", "rochrababgro", "expected 'ro' once"),
        ("controller.mapping", "rochrabaco", "expected 'bg' once"),
        ("controller.write_low", 32, "less than write_buffer"),
        ("controller.scheduler", "best", "'fr_fcfs_cap', 'fr_fcfs' or 'fcfs'"),
        ("controller.row_hit_cap", 0, "greater than or equal to 1"),
        ("organisation.channels", 0, "greater than or equal to 1"),
        ("organisation.rows", 1000, "power of two, not 1000"),
        ("organisation.columns", 4, "at most the 4 columns"),
        ("organisation.bus_width", 4, "at least a device's 8 bits"),
        ("organisation.data_rate", 16, "at most the 8 transfers"),
        ("timing.tRAS", 16, "at least tRCDRD, which is 17, not 16"),
        ("timing.tREFI", 100, "at least tRFC"),
        ("timing.tREFI", 500, "a tREFI of at least"),
        ("timing.tRRD_L", 3, "at least tRRD_S"),
        ("timing.tCCD_L_WR", 3, "at least tCCD_S"),
        ("timing.tFAW", 3, "at least tRRD_S"),
        ("timing.tCK", "0.83", "no unit"),
        ("timing.CL", 1.5, "valid integer"),
        ("currents.VDD", -1.2, "greater than 0"),
        ("currents.IDD4R", 1, "at least IDD3N"),
        ("currents.IDD0", 1, "an IDD0 of at least"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(key: str, value: object, expectation: str) -> None:
    section, name = key.split(".")

    def change(document: Any) -> None:
        document[section][name]["value"] = value

    sentence = refuse(change)
    assert section in sentence
    assert expectation in sentence


def test_a_memory_too_large_is_refused() -> None:
    def change(document: Any) -> None:
        document["organisation"]["channels"]["value"] = 2**14

    assert "banks in all channels" in refuse(change)


def test_refreshes_leave_time_for_accesses() -> None:
    """Every rank has a turn in each tREFI; a memory that would do nothing else is refused."""

    def change(document: Any) -> None:
        document["organisation"]["ranks"]["value"] = 64

    assert "the next of 64 ranks falls due, not 9360" in refuse(change)


def test_more_lines_under_way_than_fit_a_machine_are_refused() -> None:
    def change(document: Any) -> None:
        document["timing"]["CL"]["value"] = 2**20

    assert "lines under way in all queues and on all buses" in refuse(change)


def test_unknown_keys_and_memories_are_refused() -> None:
    def change(document: Any) -> None:
        document["timing"]["tRCDX"] = document["timing"].pop("tRCDRD")

    assert "timing.tRCD" in refuse(change)
    with pytest.raises(InputError, match=r"'ddr4_2401' is no memory \(did you mean 'ddr4_2400'\?\)"):
        read_memory("ddr4_2401")


@pytest.mark.parametrize(
    ("arrival", "address", "message"),
    [
        ([0], [2**34], "address 0x400000000 is outside the memory"),
        ([0], [-64], "outside"),
        ([-1], [0], "arrives at cycle -1"),
        ([0, 0], [0], "one length"),
    ],
)
def test_bad_requests_are_refused(arrival: list[int], address: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_requests(arrival, address, [False], dram("ddr4_2400"))


@pytest.mark.parametrize("name", list_memories())
def test_every_shipped_memory_serves(name: str) -> None:
    """Its peak is its bus's, and a random stream is served."""
    chip, rng = read_memory(name).chip, np.random.default_rng(0)
    count = 2000
    address = rng.integers(0, chip.capacity // chip.burst, count) * chip.burst
    counts = simulate_requests(np.zeros(count), address, rng.random(count) < 0.3, chip).counts
    assert counts.requests == count
    assert counts.reads + counts.forwarded + counts.merged_reads <= count
    if chip.currents:
        assert chip.energy(counts).total > 0
    else:
        with pytest.raises(InputError, match="no section 'currents'"):
            chip.energy(counts)
