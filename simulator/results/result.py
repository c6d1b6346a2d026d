"""What a run found: per operator and in total, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simulator.arch import Config, Technology
from simulator.engine import MemoryStall, Timeline, apportion
from simulator.memory import RunMemory
from simulator.program import STATES, Action, Instances, Program
from simulator.results.memory import detailed_summary, memory_summary, stall_rows, traffic_rows
from simulator.results.parts import area_by_component, leakage, total_area
from simulator.trace import LeftOut

SCHEMA_VERSION = 1
STALLS = STATES[:-1]
"""The states of a unit that is used."""
ROWS_AND_QUEUES = ("row_hit_rate", "read_latency_ns", "queueing_ns")


@dataclass(frozen=True, eq=False)
class OperatorResult:
    """One operator, planned and played."""

    type: str
    program: Program
    timeline: Timeline
    verified: bool | None
    """Whether the chip's own loops gave the plain NumPy result; None where not asked for, or without values."""
    bound: tuple[int, str]
    """Cycles that no schedule can beat, and what imposes them."""
    actions: tuple[Action, ...]
    """Of the chip and of its memory."""
    memory_stalls: tuple[MemoryStall, ...]
    """Cycles in which no stage worked, by what was waited for."""

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.program.operator

    @property
    def cycles(self) -> int:
        """Core cycles from the first request to the last byte stored."""
        return self.timeline.cycles

    @cached_property
    def read_bytes(self) -> int:
        """Bytes read from DRAM."""
        return sum(stream.total for stream in self.program.reads)

    @cached_property
    def write_bytes(self) -> int:
        """Bytes written to DRAM."""
        return sum(stream.total for stream in self.program.writes)

    @cached_property
    def bus_bytes(self) -> int:
        """Bytes that crossed the DRAM's bus: requests of one line that met in a detailed memory cross it once."""
        memory = self.timeline.memory
        return self.read_bytes + self.write_bytes if memory is None else int(memory.moved.sum())

    @property
    def utilization(self) -> float:
        """MACs performed over those that the units in use could have performed."""
        return self.program.macs.performed / (self.program.peak * self.cycles)

    @cached_property
    def phases(self) -> dict[str, float]:
        """For which part of the operator's time each phase goes on, where its chip tells."""
        phases = self.program.phases.items()
        return {name: int(phase.cycles.sum()) / (phase.instances * self.cycles) for name, phase in phases}

    @cached_property
    def critical(self) -> str:
        """The unit that is busy for the largest share of its time."""
        busy = {name: states[0] / n for name, (n, states) in self.timeline.units.items()}
        return max(busy, key=lambda name: busy[name])

    @cached_property
    def stalls(self) -> dict[str, int]:
        """What an average instance of the critical unit does, of those used, in whole cycles that sum to ``cycles``."""
        _, states = self.timeline.units[self.critical]
        used = states[:-1]
        return dict(zip(STALLS, apportion(self.cycles if used.any() else 0, used), strict=True))


@dataclass(frozen=True, eq=False)
class Result:
    """A run: operators one after the other, each beginning when the one before is stored."""

    arch: str
    trace: str
    config: Config
    clock: int
    technology: Technology
    digests: Mapping[str, str]
    """SHA-256 of trace, configuration and detailed memory, and the version of the simulator."""
    operators: tuple[OperatorResult, ...]
    memory: RunMemory
    parts: tuple[Instances, ...] = ()
    """The chip's, where its module defines them."""
    left_out: LeftOut | None = None
    """What of the trace was not run, where that was asked for."""

    @property
    def cycles(self) -> int:
        """Core cycles."""
        return sum(operator.cycles for operator in self.operators)

    @property
    def seconds(self) -> float:
        """Simulated time."""
        return self.cycles / self.clock

    @property
    def verified(self) -> bool | None:
        """False if any operator failed its check, None if one with MACs was not checked or none was, else True."""
        verdicts = ((o.verified, o.program.macs.dense > 0) for o in self.operators)
        checks = [verdict for verdict, has_macs in verdicts if has_macs or verdict is not None] or [None]
        return False if False in checks else None if None in checks else True

    @cached_property
    def phases(self) -> dict[str, float]:
        """For which part of the time of the operators that know it each phase goes on."""
        spent: dict[str, float] = {}
        whole: dict[str, int] = {}
        for operator in self.operators:
            for phase, share in operator.phases.items():
                spent[phase] = spent.get(phase, 0.0) + share * operator.cycles
                whole[phase] = whole.get(phase, 0) + operator.cycles
        return {phase: spent[phase] / whole[phase] for phase in spent}

    @cached_property
    def actions(self) -> dict[str, list[Any]]:
        """Action counts as a table (columns by name): all that is needed to price the run again."""
        rows: list[tuple[Any, ...]] = []
        for operator in self.operators:
            rows += [
                (operator.name, a.component, a.name, a.kind, a.size, a.width, a.own_pj, a.total)
                for a in operator.actions
            ]
            rows += [
                (operator.name, part.component, "leak", part.kind, part.size, part.width, None, count)
                for part, count in leakage(self.parts, operator.cycles, self.clock)
            ]
        names = ("operator", "component", "action", "kind", "size_bytes", "width_bits", "own_pj", "count")
        return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}

    @cached_property
    def energies(self) -> list[float]:
        """Picojoules of each row of ``actions``."""
        return price(self.actions, self.technology)

    @cached_property
    def units(self) -> dict[str, list[Any]]:
        """Unit-cycles by state as a table: one row per operator and unit."""
        rows = [
            (operator.name, unit, instances, *map(int, states))
            for operator in self.operators
            for unit, (instances, states) in operator.timeline.units.items()
        ]
        return {
            name: list(column)
            for name, column in zip(("operator", "unit", "instances", *STATES), zip(*rows, strict=True), strict=True)
        }

    @cached_property
    def streams(self) -> dict[str, list[Any]]:
        """Bytes that crossed the DRAM channel as a table: one row per operator and tensor."""
        rows = [
            (operator.name, stream.name, direction, stream.total, stream.compulsory)
            for operator in self.operators
            for direction, streams in (("read", operator.program.reads), ("write", operator.program.writes))
            for stream in streams
        ]
        names = ("operator", "stream", "direction", "bytes", "compulsory_bytes")
        return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}

    @cached_property
    def stalls_on_memory(self) -> dict[str, list[Any]]:
        """See ``stall_rows``: what ``memory_stalls.parquet`` holds."""
        return stall_rows(self.operators)

    @cached_property
    def traffic(self) -> dict[str, list[Any]]:
        """See ``traffic_rows``: what ``traffic.parquet`` holds."""
        return traffic_rows(self.operators, self.memory, self.clock)

    @cached_property
    def table(self) -> dict[str, list[Any]]:
        """One row per operator (columns by name): what ``operators.parquet`` holds."""
        energy = energy_by(self.actions, self.energies, "operator")
        rows = [
            {
                "operator": o.name,
                "type": o.type,
                "mapping": o.program.mapping,
                "cycles": o.cycles,
                "seconds": o.cycles / self.clock,
                "energy_pj": energy[o.name],
                "macs_dense": o.program.macs.dense,
                "macs_effectual": o.program.macs.effectual,
                "macs_performed": o.program.macs.performed,
                "dram_read_bytes": o.read_bytes,
                "dram_write_bytes": o.write_bytes,
                "bandwidth_gb_s": o.bus_bytes * self.clock / o.cycles / 1e9,
                "utilization": o.utilization,
                "bound_cycles": o.bound[0],
                "bound_by": o.bound[1],
                "critical_unit": o.critical,
                **o.stalls,
                "memory_stall_cycles": sum(stall.cycles for stall in o.memory_stalls),
                **self._of_memory(o),
                **{f"phase_{phase}": o.phases.get(phase) for phase in self.phases},
                "tiles": o.program.tiles,
                "verified": o.verified,
            }
            for o in self.operators
        ]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _of_memory(self, operator: OperatorResult) -> dict[str, Any]:
        """Return what a detailed memory did for an operator."""
        if operator.timeline.memory is None or self.memory.detailed is None:
            return {}
        found = detailed_summary([operator.timeline.memory], self.memory.detailed.chip)
        columns = {"refreshes": found["commands"]["refreshes"], **{k: found[k] for k in ROWS_AND_QUEUES}}
        return {f"dram_{name}": value for name, value in columns.items()}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run in one document: what ``summary.json`` holds."""
        by_cause: dict[str, int] = {}
        for operator in self.operators:
            by_cause[operator.bound[1]] = by_cause.get(operator.bound[1], 0) + operator.bound[0]
        read, written = (sum(getattr(o, f"{way}_bytes") for o in self.operators) for way in ("read", "write"))
        by_component = energy_by(self.actions, self.energies, "component")
        area = area_by_component(self.parts, self.technology)
        possible = sum(o.program.peak * o.cycles for o in self.operators)
        return {
            "schema_version": SCHEMA_VERSION,
            "arch": self.arch,
            "trace": self.trace,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "technology": self.technology.name,
            "energy_pj": sum(by_component.values()),
            "energy_by_component_pj": by_component,
            "area_mm2": total_area(area),
            "area_by_component_mm2": area,
            "macs": {
                kind: sum(getattr(o.program.macs, kind) for o in self.operators)
                for kind in ("dense", "effectual", "performed")
            },
            "dram": {
                "read_bytes": read,
                "write_bytes": written,
                "bandwidth_gb_s": sum(o.bus_bytes for o in self.operators) / self.seconds / 1e9,
                **memory_summary(self.operators, self.memory),
            },
            "utilization": sum(o.program.macs.performed for o in self.operators) / possible,
            "bound": {"cycles": sum(by_cause.values()), "by": max(by_cause, key=lambda cause: by_cause[cause])},
            "stalls": {state: sum(o.stalls[state] for o in self.operators) for state in STALLS},
            "phases": self.phases,
            "verified": self.verified,
            **({} if self.left_out is None else {"left_out": self.left_out.summary}),
            "digests": dict(self.digests),
        }


def price(actions: Mapping[str, list[Any]], technology: Technology) -> list[float]:
    """Return the picojoules of each row of a table of action counts.

    Raises:
        InputError: the technology table lacks a kind of action.

    """
    columns = (actions[name] for name in ("kind", "size_bytes", "width_bits", "own_pj", "count"))
    return [
        count * (technology.energy(kind, size, width) if own is None else own)
        for kind, size, width, own, count in zip(*columns, strict=True)
    ]


def energy_by(actions: Mapping[str, list[Any]], energies: list[float], column: str) -> dict[str, float]:
    """Add energies up by a column of the table of action counts, in order of first appearance."""
    totals: dict[str, float] = {}
    for key, energy in zip(actions[column], energies, strict=True):
        totals[key] = totals.get(key, 0.0) + energy
    return totals
