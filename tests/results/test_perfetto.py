"""The timeline says the same as the tables."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from simulator.accelerators import load_arch
from simulator.program import STATES
from simulator.results.perfetto import write_perfetto
from simulator.results.result import Result
from simulator.simulation import simulate
from simulator.trace import load_trace

SETTINGS: tuple[dict[str, str], ...] = (
    {},
    {"dram.bandwidth": "1 GB/s"},
    {"array.blocks": "2", "array.slices_own": "rows", "tiling.rows": "1"},
)


@pytest.fixture(scope="module", params=SETTINGS, ids=["default", "slow memory", "few units"])
def result(request: pytest.FixtureRequest, small_trace: Path) -> Result:
    return simulate(load_trace(small_trace), load_arch("escalate", request.param))


@pytest.fixture(scope="module")
def tracks(result: Result, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Events by the name of their track, read back from the file."""
    path = tmp_path_factory.mktemp("timeline") / "timeline.json"
    write_perfetto(result, path)
    document = json.loads(path.read_text("utf-8"))
    assert document["otherData"]["config"] == result.digests["config"]
    names: dict[int, str] = {}
    found = defaultdict(list)
    for event in document["traceEvents"]:
        if event["ph"] == "M":
            names[event["tid"]] = event["args"]["name"]
        else:
            found[names[event["tid"]]].append(event)
    return found


def gapless(events: list[dict[str, Any]], total: int) -> bool:
    now = 0
    for event in events:
        if event["ts"] != now or event["dur"] <= 0:
            return False
        now += event["dur"]
    return now == total


def test_stages_and_the_channel_are_gapless(result: Result, tracks: dict[str, list[dict[str, Any]]]) -> None:
    stages = {stage.name for operator in result.operators for stage in operator.program.stages}
    units = {unit for operator in result.operators for stage in operator.program.stages for unit in stage.units}
    assert not stages & units
    for name in ("operator", "dram"):
        assert gapless(tracks[name], result.cycles), name
    begin = 0
    for operator in result.operators:
        for stage in operator.program.stages:
            own = [
                {**event, "ts": event["ts"] - begin}
                for event in tracks[stage.name]
                if begin <= event["ts"] < begin + operator.cycles
            ]
            assert gapless(own, operator.cycles), (operator.name, stage.name)
        begin += operator.cycles


def test_a_units_durations_are_its_unit_cycles(result: Result, tracks: dict[str, list[dict[str, Any]]]) -> None:
    columns = zip(*(result.units[name] for name in ("operator", "unit", "instances", *STATES)), strict=True)
    begins, begin = {}, 0
    for operator in result.operators:
        begins[operator.name] = (begin, begin + operator.cycles)
        begin += operator.cycles
    for operator, unit, instances, *states in columns:
        first, last = begins[operator]
        found: Counter[str] = Counter()
        for event in tracks[unit]:
            if first <= event["ts"] < last:
                found[event["args"]["state"]] += event["dur"]
        for state, expected in zip(STATES, states, strict=True):
            assert found[state] * instances == pytest.approx(expected, rel=1e-9, abs=1e-6), (operator, unit, state)


def test_the_events_of_a_unit_do_not_overlap(tracks: dict[str, list[dict[str, Any]]]) -> None:
    for name, events in tracks.items():
        slices = [event for event in events if event["ph"] == "X"]
        for before, after in itertools.pairwise(slices):
            assert after["ts"] >= before["ts"] + before["dur"] - 1e-6, name


def test_counters_stay_within_the_buffers(result: Result, tracks: dict[str, list[dict[str, Any]]]) -> None:
    depth = max(operator.program.depth for operator in result.operators)
    for name in ("tiles in input buffers", "tiles in output buffers"):
        counts = [event["args"]["tiles"] for event in tracks[name]]
        assert min(counts) == counts[-1] == 0
        assert 0 < max(counts) <= depth
        times = [event["ts"] for event in tracks[name]]
        assert times == sorted(times)
