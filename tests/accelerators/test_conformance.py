"""The laws that every accelerator keeps. One that is registered later passes through this suite by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from simulator import simulate
from simulator.accelerators import accelerator, is_analytical, list_accelerators, parts_of, resized
from simulator.arch import Arch, Config, list_configs, read_config, validate
from simulator.errors import InputError
from simulator.memory import DETAILED, SIMPLE
from simulator.plans import PlanCache, encode
from simulator.program import STATES
from simulator.results.result import Result
from simulator.trace import Conv2d, DensityTensor, Linear, Operator, Trace, list_traces, load_trace
from simulator.trace.selection import without
from tests.operators import masked, operators, trace_of

CHIPS = [name for name in list_configs() if read_config(name).accelerator in list_accelerators()]
chips = pytest.mark.parametrize("chip", CHIPS)
ONE_EACH = [
    next(c for c in sorted(CHIPS, key=len) if read_config(c).accelerator == model) for model in list_accelerators()
]
"""A configuration of each accelerator: what random operators are drawn for; shipped traces run on all of them."""
one_each = pytest.mark.parametrize("chip", ONE_EACH)
COMPUTING = [chip for chip in ONE_EACH if not is_analytical(accelerator(read_config(chip).accelerator))]
memories = pytest.mark.parametrize("memory", [SIMPLE, DETAILED])


def laws(examples: int) -> settings:
    return settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=examples)


@cache
def config(chip: str) -> Config:
    return read_config(chip)


def arch(chip: str, parameters: Mapping[str, str] = {}) -> Arch[Any]:
    written = config(chip)
    return validate(written.overridden(parameters), accelerator(written.accelerator).Chip)


def run(
    operator: Operator,
    machine: Arch[Any],
    check: bool = False,
    cache: PlanCache | None = None,
    memory: str = SIMPLE,
) -> Result:
    """Simulate one operator; a chip that does not run it, or not with so little room, says so in a sentence."""
    try:
        return simulate(trace_of(operator), machine, check, cache=cache, memory=memory)
    except InputError as refusal:
        named = operator.name in str(refusal)
    assert named, "a refusal names the operator"
    return reject()


def integers(written: Config) -> list[str]:
    """Keys of parameters that are plain whole numbers."""

    def at(key: str) -> Any:
        value: Any = written.values
        for part in key.split("."):
            value = value[part]
        return value

    return [key for key in written.provenance if type(at(key)) is int]


@st.composite
def machines(draw: st.DrawFn, chip: str) -> dict[str, str]:
    """Draw a configuration: whole numbers around the written ones, and another bandwidth, latency and clock."""
    written = config(chip)
    changed = draw(st.lists(st.sampled_from(integers(written)), max_size=5, unique=True))
    parameters = {key: str(draw(st.integers(1, 12))) for key in changed}
    parameters["dram.bandwidth"] = f"{draw(st.sampled_from((1, 3, 8, 25, 100, 900)))} GB/s"
    parameters["dram.latency"] = f"{draw(st.sampled_from((0, 7, 100, 2000)))} ns"
    parameters["clock"] = f"{draw(st.sampled_from((200, 800, 1333)))} MHz"
    try:
        arch(chip, parameters)
    except InputError:
        assume(False)
    return parameters


def test_every_accelerator_has_a_configuration() -> None:
    assert {config(chip).accelerator for chip in CHIPS} == set(list_accelerators())


@one_each
@memories
@laws(15)
@given(operator=operators(), data=st.data())
def test_one_loop_for_numbers_and_cycles(chip: str, memory: str, operator: Operator, data: st.DataObject) -> None:
    """Law 1: the loops that count cycles give the plain NumPy result, and count the same without values."""
    machine = arch(chip, data.draw(machines(chip)))
    checked = run(operator, machine, check=True, memory=memory)
    computes = operator.macs and not is_analytical(accelerator(machine.config.accelerator))
    assert checked.verified is (True if computes else None)  # without MACs no operands are paired
    decides = getattr(accelerator(machine.config.accelerator), "DECIDES", ())
    plain = run(masked(operator, decides), machine, memory=memory)
    assert plain.verified is None
    ours, theirs = plain.summary, checked.summary
    assert {k: v for k, v in ours.items() if k not in ("digests", "verified")} == {
        k: v for k, v in theirs.items() if k not in ("digests", "verified")
    }


@one_each
@memories
@laws(15)
@given(operator=operators(), data=st.data())
def test_conservation(chip: str, memory: str, operator: Operator, data: st.DataObject) -> None:
    """Law 2: unit-cycles, bytes, energy and effectual MACs are conserved, with either memory the same bytes."""
    parameters = data.draw(machines(chip))
    kept = PlanCache()
    result = run(operator, arch(chip, parameters), cache=kept, memory=memory)
    assert result.streams == run(operator, arch(chip, parameters), cache=kept).streams
    for instances, states in result.operators[0].timeline.units.values():
        assert states.sum() == instances * result.cycles
        assert states.min() >= 0
    summary = result.summary
    assert sum(summary["stalls"].values()) == summary["cycles"]
    streams = result.streams
    assert all(moved >= least for moved, least in zip(streams["bytes"], streams["compulsory_bytes"], strict=True))
    moved = summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"]
    assert moved == sum(streams["bytes"])
    crossed = sum(result.traffic["read_bytes"]) + sum(result.traffic["write_bytes"])
    assert crossed == moved - lines_saved(result) == summary["dram"]["bus_bytes"]
    assert summary["dram"]["bandwidth_gb_s"] <= summary["dram"]["peak_gb_s"]
    stalls = summary["dram"]["stall_cycles_by_cause"]
    assert sum(stalls.values()) == sum(summary["dram"]["stall_cycles_by_stream"].values()) <= summary["cycles"]
    assert summary["energy_pj"] == pytest.approx(sum(result.energies))
    assert summary["energy_pj"] == pytest.approx(sum(summary["energy_by_component_pj"].values()))
    written = run(operator, arch(chip))
    assert summary["macs"]["dense"] == operator.macs
    assert summary["macs"]["effectual"] == written.summary["macs"]["effectual"]
    assert summary["macs"]["effectual"] <= summary["macs"]["performed"]


def lines_saved(result: Result) -> int:
    """Bytes of requests that needed no burst of their own: merged with another, or served by the write buffer."""
    dram, memory = result.summary["dram"], result.memory.model
    return (dram.get("merged_requests", 0) + dram.get("forwarded_reads", 0)) * memory.burst


@one_each
@memories
@laws(15)
@given(operator=operators(), data=st.data())
def test_bounds(chip: str, memory: str, operator: Operator, data: st.DataObject) -> None:
    """Law 3: no run beats work over peak, nor bytes over bandwidth."""
    machine = arch(chip, data.draw(machines(chip)))
    result = run(operator, machine, memory=memory)
    summary = result.summary
    assert summary["cycles"] >= summary["bound"]["cycles"]
    program = result.operators[0].program
    assert summary["cycles"] * program.peak >= summary["macs"]["performed"]
    moved = summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"]
    assert summary["cycles"] >= result.memory.model.at_least(moved - lines_saved(result), machine.chip.clock)
    assert 0 <= summary["utilization"] <= 1


@chips
def test_resized_to_its_own_multipliers(chip: str) -> None:
    """A chip asked for as many multipliers as it has stays as it is, and twice as many are about twice as many."""
    machine = arch(chip)
    model = accelerator(config(chip).accelerator)
    own = model.multipliers(machine.chip)
    for wanted in (own, 2 * own):
        settings = dict(resized(model, machine.chip, wanted))
        assert model.multipliers(arch(chip, settings).chip) == pytest.approx(wanted, rel=0.01), settings


@chips
@pytest.mark.parametrize("wanted", [1, 17 * 61, 2**17])
def test_resized_to_any_number_of_multipliers(chip: str, wanted: int) -> None:
    """Asked for fewer multipliers than it may have, a prime number of units, or very many, it is a chip still."""
    machine = arch(chip)
    model = accelerator(config(chip).accelerator)
    assert model.multipliers(arch(chip, dict(resized(model, machine.chip, wanted))).chip) >= 1


@one_each
@laws(30)
@given(operator=operators(), data=st.data())
def test_monotony(chip: str, operator: Operator, data: st.DataObject) -> None:
    """Law 4: more bandwidth, less latency and deeper queues never make a run slower."""
    parameters = data.draw(machines(chip))
    kept = PlanCache()
    machine = arch(chip, parameters)
    before = run(operator, machine, cache=kept).cycles
    for key in accelerator(config(chip).accelerator).DEEPER:
        value: Any = machine.chip
        for part in key.split("."):
            value = getattr(value, part)
        deeper = arch(chip, parameters | {key: str(value + data.draw(st.integers(1, 3)))})
        assert run(operator, deeper, cache=kept).cycles <= before, key
    times = data.draw(st.sampled_from((1.01, 1.5, 2, 7)))
    faster = arch(chip, parameters | {"dram.bandwidth": f"{int(machine.chip.dram.bandwidth * times)} B/s"})
    assert run(operator, faster, cache=kept).cycles <= before
    sooner = arch(chip, parameters | {"dram.latency": f"{machine.chip.dram.latency // 2} ps"})
    assert run(operator, sooner, cache=kept).cycles <= before


def divisible(lanes: int, seed: int) -> list[Operator]:
    """Make work of several kinds that lanes, or twice as many, share evenly."""
    return [
        Conv2d(
            "conv",
            DensityTensor((1, 32, 6, 6), 0.4, seed),
            basis=DensityTensor((6, 3, 3), 1.0, seed + 1),
            coefficients=DensityTensor((24 * lanes, 32, 6), 0.1, seed + 2, bits=1),
            padding=1,
        ),
        Linear(
            "linear", DensityTensor((24 * lanes, 100), 0.4, seed), weight=DensityTensor((24 * lanes, 100), 0.1, seed)
        ),
    ]


def runs(operator: Operator, machine: Arch[Any]) -> bool:
    """Tell whether a chip has a way to run an operator."""
    try:
        accelerator(machine.config.accelerator).geometry(operator, machine.chip)
    except InputError:
        return False
    return True


@one_each
@laws(15)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_more_lanes_of_divisible_work(chip: str, data: st.DataObject, seed: int) -> None:
    """Law 4: twice the lanes never make work that divides evenly among them slower."""
    parameters = data.draw(machines(chip))
    model = accelerator(config(chip).accelerator)
    for key in model.WIDER:
        fewer = data.draw(st.integers(1, 4))
        few, many = (arch(chip, parameters | {key: str(n)}) for n in (fewer, 2 * fewer))
        works = [work for work in divisible(fewer, seed) if runs(work, few) and runs(work, many)]
        assert works, "no work that divides evenly runs on this chip"
        for operator in works:
            assert run(operator, many).cycles <= run(operator, few).cycles


def shipped(trace: str, machine: Arch[Any]) -> Trace:
    """Return a shipped trace without the types of operators that a chip has no way to run."""
    whole = load_trace(trace)
    refused = {operator.type for operator in whole.operators if not runs(operator, machine)}
    return without(whole, refused)[0]


def on_shipped(chip: str, memory: str = SIMPLE, check: bool = False) -> dict[str, Result]:
    """Run every shipped trace, as far as the chip runs it; some of it is, of one at least."""
    found = {}
    for trace in list_traces():
        try:
            found[trace] = simulate(shipped(trace, arch(chip)), arch(chip), check=check, memory=memory)
        except InputError:
            continue
    assert found, "no shipped trace runs on this chip"
    return found


def _summaries(chip: str) -> list[dict[str, Any]]:
    return [result.summary for memory in (SIMPLE, DETAILED) for result in on_shipped(chip, memory).values()]


@pytest.fixture(scope="module")
def another_process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@one_each
def test_determinism(chip: str, another_process: ProcessPoolExecutor) -> None:
    """Law 5: the same inputs give the same bits, in this process, again, and in another one."""
    elsewhere = another_process.submit(_summaries, chip)
    assert _summaries(chip) == _summaries(chip) == elsewhere.result()


@chips
def test_shipped_traces(chip: str) -> None:
    """On every shipped trace: values equal NumPy, units are accounted for, no part overdoes, memories move the same."""
    checked, detailed = on_shipped(chip, check=True), on_shipped(chip, DETAILED)
    computes = not is_analytical(accelerator(config(chip).accelerator))
    assert all(result.verified is (True if computes else None) for result in checked.values())
    for result in checked.values():
        every_unit_is_accounted_for_in_every_tile(result)
    no_part_acts_more_often_than_it_can(arch(chip), list(checked.values()))
    for trace, result in detailed.items():
        memories_move_the_same_bytes(checked[trace], result)


def every_unit_is_accounted_for_in_every_tile(result: Result) -> None:
    """Inside each tile the states of a unit sum to its instances times the stage's cycles."""
    for operator in result.operators:
        for stage in operator.program.stages:
            for unit in stage.units.values():
                assert unit.states.shape == (operator.program.tiles, len(STATES))
                np.testing.assert_array_equal(unit.states.sum(axis=1), unit.instances * stage.cycles)


def no_part_acts_more_often_than_it_can(machine: Arch[Any], results: list[Result]) -> None:
    """Actions of a kind of part: at most one per instance and cycle."""
    able: dict[tuple[str, str], int] = {}
    for part in parts_of(accelerator(machine.config.accelerator), machine.chip):
        if not part.static:
            able[part.component, part.kind] = able.get((part.component, part.kind), 0) + part.count
    found = set()
    for operator in (operator for result in results for operator in result.operators):
        done: dict[tuple[str, str], int] = {}
        for action in operator.program.actions:
            key = (action.component, action.kind)
            done[key] = done.get(key, 0) + int(action.count.sum())
        found |= {key for key in done if key in able}
        assert {k: n for k, n in done.items() if n > able.get(k, n) * operator.cycles} == {}, operator.name
    assert found or not able


def memories_move_the_same_bytes(plain: Result, detailed: Result) -> None:
    """Every tensor moves the same bytes with either memory, all asked of the DRAM line by line."""
    assert plain.streams == detailed.streams
    for operator in detailed.operators:
        activity = operator.timeline.memory
        assert activity is not None
        assert activity.counts.requests * detailed.memory.model.burst == operator.read_bytes + operator.write_bytes
        assert operator.cycles >= operator.bound[0]


@one_each
@laws(10)
@given(operator=operators(), data=st.data())
def test_a_kept_match_changes_nothing(chip: str, operator: Operator, data: st.DataObject) -> None:
    """Matching depends on trace and geometry alone: with a cache full of others' matches, results are the same."""
    kept = PlanCache()
    for _ in range(3):
        machine = arch(chip, data.draw(machines(chip)))
        assert run(operator, machine, cache=kept).summary == run(operator, machine).summary


@pytest.mark.parametrize("chip", COMPUTING)
@laws(10)
@given(operator=operators(), data=st.data())
def test_a_program_depends_on_no_rate(chip: str, operator: Operator, data: st.DataObject) -> None:
    """What is planned is the same for every memory channel: programs are kept without it."""
    parameters = data.draw(machines(chip))
    rates = {"dram.bandwidth": "2 GB/s", "dram.latency": "900 ns", "dram.energy_pj_per_bit": "77"}
    written = [run(operator, arch(chip, parameters | more)).operators[0].program for more in ({}, rates)]
    assert encode(written[0]) == encode(written[1])
