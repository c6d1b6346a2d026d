"""Simulate a trace on a chip: plan, cache and play meet here, and the laws are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator import __version__
from simulator.accelerators import accelerator, is_analytical, is_outside, parts_of, source_digest
from simulator.arch import Arch, Technology, load_technology
from simulator.engine import DRAM, Timeline, footprint, memory_stalls, play
from simulator.errors import InputError, LawViolation
from simulator.memory import SIMPLE, RunMemory, choose_memory
from simulator.plans import PlanCache, program_key
from simulator.program import Instances, Program
from simulator.results.parts import leakage
from simulator.results.result import OperatorResult, Result
from simulator.trace import Operator, Trace


def simulate(
    trace: Trace,
    arch: Arch[Any],
    check: bool = False,
    progress: Callable[[Operator], None] = lambda operator: None,
    cache: PlanCache | None = None,
    memory: str | Path | Arch[Any] = SIMPLE,
) -> Result:
    """Run every operator of ``trace`` on ``arch``, one after the other.

    Args:
        trace: the work.
        arch: the chip.
        check: accumulate real values in the loops that count cycles and compare with plain NumPy.
        progress: called with each operator before it is run.
        cache: plans of earlier runs to use again, and those of this one for later runs; without it none is kept.
        memory: ``simple``, the chip's channel of bandwidth and latency; ``detailed``, the DRAM that the chip names,
            command by command; or a DRAM by name, file or as read.

    Raises:
        InputError: there is no such memory, the chip cannot run an operator of the trace, or its technology lacks the
            energy of an action or part.
        LawViolation: a result breaks a law; a defect of the simulator.

    """
    name = arch.config.accelerator
    model = accelerator(name)
    chosen = choose_memory(memory, arch.chip, arch.config.origin)
    technology = load_technology(arch.chip.technology)
    parts = parts_of(model, arch.chip)
    for part in parts:
        technology.energy(part.kind, part.size, part.width)
        technology.area(part.kind, part.size)
    for operator in trace.operators:
        model.geometry(operator, arch.chip)  # what the chip has no way to run is refused before anything is matched
    results = []
    for operator in trace.operators:
        progress(operator)
        results.append(_run(operator, name, arch.chip, chosen, technology, check, cache))
        _require_countable_leakage(results[-1], parts, arch.chip.clock)
    return Result(
        arch=arch.name,
        trace=trace.name,
        config=arch.config,
        clock=arch.chip.clock,
        technology=technology,
        digests=run_digests(trace, arch, chosen),
        operators=tuple(results),
        parts=parts,
        memory=chosen,
    )


def run_digests(trace: Trace, arch: Arch[Any], memory: RunMemory) -> dict[str, str]:
    """Return what a run's results depend on: digests of trace, configuration, memory and module, and the version."""
    digests = {"trace": trace.digest, "config": arch.digest, "version": __version__}
    if is_outside(arch.config.accelerator):
        digests["accelerator"] = source_digest(arch.config.accelerator)
    if memory.detailed is not None:
        digests["memory"] = memory.detailed.digest
    return digests


def _run(
    operator: Operator,
    name: str,
    chip: Any,
    memory: RunMemory,
    technology: Technology,
    check: bool,
    cache: PlanCache | None,
) -> OperatorResult:
    model = accelerator(name)
    geometry = model.geometry(operator, chip)
    with_values = check and operator.has_reference

    def matched() -> Any:
        return model.match(operator, geometry, with_values)

    def planned() -> tuple[Any, Program]:
        key = (chip.__class__, operator.digest, geometry, with_values)
        match = matched() if cache is None else cache.get(key, matched)
        return match, model.tile(operator, match, chip)

    match: Any = None
    if cache is None or with_values or is_analytical(model) or is_outside(name):  # whose code may change
        match, program = planned()
    else:
        program = cache.program(program_key(operator, name, chip), lambda: planned()[1])
    for action in program.actions:
        if action.own_pj is None:
            technology.energy(action.kind, action.size, action.width)  # what has no price is refused early
    _require_room(program, memory)
    _require_countable(program, memory, chip.clock)
    timeline = play(program, memory.model, chip.clock)
    bound = _bound(program, memory, chip.clock)
    _keep_laws(program, memory, timeline, bound)
    computed = with_values and match is not None and match.output is not None
    verified = match.operator.agrees(match.output) if computed else None
    actions = (*program.actions, *memory.actions(program, timeline.memory))
    stalls = memory_stalls(program, timeline, memory.model, chip.clock)
    return OperatorResult(operator.type, program, timeline, verified, bound, actions, stalls)


def _require_room(program: Program, memory: RunMemory) -> None:
    """Refuse tensors that the memory does not hold."""
    if memory.capacity is not None and (needed := footprint(program, memory.model.burst)) > memory.capacity:
        raise InputError(
            f"operator '{program.operator}': its tensors take {needed} bytes, but the memory holds {memory.capacity}"
        )


def _require_countable(program: Program, memory: RunMemory, clock: int) -> None:
    """Refuse a channel so slow beside the core that unit-cycles would not fit the 64 bits they are counted in."""
    moved = sum(stream.total for stream in (*program.reads, *program.writes))
    instances = max(unit.instances for stage in program.stages for unit in stage.units.values())
    if (cycles := memory.model.at_least(moved, clock)) * instances >= 2**62:
        raise InputError(
            f"operator '{program.operator}': {moved} bytes take {cycles} cycles to cross the DRAM channel, "
            "more than can be counted; expected a faster channel, smaller bursts or a slower clock"
        )


def _require_countable_leakage(result: OperatorResult, parts: tuple[Instances, ...], clock: int) -> None:
    """Refuse a clock so slow that what leaks in a nanosecond would not fit the 64 bits it is counted in."""
    for part, count in leakage(parts, result.cycles, clock):
        if count >= 2**63:
            raise InputError(
                f"operator '{result.name}': {part.count} × '{part.kind}' leak for {result.cycles} cycles "
                f"at {clock} Hz, more nanoseconds than can be counted; expected a faster clock or channel"
            )


def _bound(program: Program, memory: RunMemory, clock: int) -> tuple[int, str]:
    """Return the cycles that no schedule can beat, work over peak and bytes over bandwidth, and what imposes them."""
    moved = sum(stream.compulsory for stream in (*program.reads, *program.writes))
    floors = {**program.floors, DRAM: memory.model.at_least(moved, clock)}
    by = max(floors, key=lambda cause: floors[cause])
    return floors[by], by


def _keep_laws(program: Program, memory: RunMemory, timeline: Timeline, bound: tuple[int, str]) -> None:
    """Assert the laws of conservation and of bounds (that of unit-cycles is asserted where they are accounted for)."""
    if timeline.memory is not None:
        asked = sum(stream.total for stream in (*program.reads, *program.writes))
        counts, burst = timeline.memory.counts, memory.model.burst
        bursts = counts.reads + counts.writes
        served = bursts + counts.forwarded + counts.merged_reads + counts.merged_writes
        if served * burst != asked or timeline.memory.moved.sum() != bursts * burst:
            raise LawViolation(f"{program.operator}: {served * burst} of {asked} bytes asked of the DRAM were served")
    for stream in (*program.reads, *program.writes):
        if stream.total < stream.compulsory:
            raise LawViolation(
                f"{program.operator}: {stream.total} bytes of {stream.name} cross the DRAM channel, "
                f"less than the {stream.compulsory} that the tensor takes"
            )
    if program.macs.performed < program.macs.effectual:
        raise LawViolation(
            f"{program.operator}: {program.macs.performed} MACs performed, {program.macs.effectual} effectual"
        )
    if timeline.cycles < bound[0]:
        raise LawViolation(f"{program.operator}: {timeline.cycles} cycles beat the bound {bound[0]} of {bound[1]}")
