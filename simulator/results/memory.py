"""What the memory did in a run: who waited for it and why, bytes over time, rows, refreshes and queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.engine import Timeline
from simulator.hardware.dram_state import BINS
from simulator.memory import SIMPLE, RunMemory

if TYPE_CHECKING:
    from simulator.hardware.dram_port import Activity
    from simulator.hardware.dram_timing import Dram
    from simulator.program import Counts
    from simulator.results.result import OperatorResult

WAYS = ("read", "write")


def stall_rows(operators: Iterable[OperatorResult]) -> dict[str, list[Any]]:
    """Return the cycles in which an operator waited for its memory alone as a table: by tensor, way and cause."""
    rows = [
        (operator.name, stall.stream, WAYS[stall.write], stall.cause, stall.cycles)
        for operator in operators
        for stall in operator.memory_stalls
    ]
    return _table(("operator", "stream", "direction", "cause", "cycles"), rows)


def traffic_rows(operators: Iterable[OperatorResult], memory: RunMemory, clock: int) -> dict[str, list[Any]]:
    """Return bytes over time as a table: from when to when (core cycles of the run), read, written, and GB/s."""
    rows: list[tuple[Any, ...]] = []
    begin = 0
    for operator in operators:
        edges, moved = traffic(operator.timeline, memory, clock)
        for start, end, (read, written) in zip(edges[:-1], edges[1:], moved.tolist(), strict=True):
            rate = (read + written) * clock / (end - start) / 1e9
            rows.append((operator.name, begin + float(start), begin + float(end), read, written, float(rate)))
        begin += operator.cycles
    return _table(("operator", "start_cycle", "end_cycle", "read_bytes", "write_bytes", "gb_s"), rows)


def traffic(timeline: Timeline, memory: RunMemory, clock: int) -> tuple[Any, Counts]:
    """Return the edges of bins of time, (bins + 1,) core cycles, and the bytes read and written in each, (bins, 2).

    A detailed memory moves a line when its command is issued, a plain channel a transfer evenly over its time.
    """
    cycles = timeline.cycles
    if timeline.memory is not None and memory.detailed is not None:
        moved, width = timeline.memory.moved, timeline.memory.bin_cycles * memory.detailed.chip.timing.tCK * clock
        while BINS * width < cycles * 10**12:  # nothing was moved for long at the end
            moved, width = np.pad(moved.reshape(-1, 2, 2).sum(axis=1), ((0, BINS // 2), (0, 0))), 2 * width
        starts = np.arange(BINS) * width / 10**12
        bins = max(1, int((starts < cycles).sum()))
        kept = moved[:bins].copy()
        kept[-1] += moved[bins:].sum(axis=0)
        return np.append(starts[:bins], cycles), kept
    step = 1 << max(0, (cycles - 1).bit_length() - BINS.bit_length() + 1)
    edges = np.minimum(np.arange(-(-cycles // step) + 1) * step, cycles)
    moved = np.zeros((len(edges) - 1, 2), np.int64)
    for way in (False, True):
        mine = timeline.moves[(timeline.moves["stream"] >= len(timeline.program.reads)) == way]
        if len(mine):
            times = np.stack([mine["start"], mine["free"]], axis=1).ravel()
            total = np.cumsum(mine["size"])
            crossed = np.stack([total - mine["size"], total], axis=1).ravel()
            moved[:, int(way)] = np.diff(np.rint(np.interp(edges, times, crossed)).astype(np.int64))
    return edges, moved


def memory_summary(operators: Iterable[OperatorResult], memory: RunMemory) -> dict[str, Any]:
    """Return what a run's summary says of its memory, beyond bytes; all but stalls and peak for a detailed one only."""
    chosen = list(operators)
    by_stream: dict[str, int] = {}
    by_cause: dict[str, int] = {}
    for stall in (stall for operator in chosen for stall in operator.memory_stalls):
        by_stream[stall.stream] = by_stream.get(stall.stream, 0) + stall.cycles
        by_cause[stall.cause] = by_cause.get(stall.cause, 0) + stall.cycles
    found: dict[str, Any] = {
        "bus_bytes": sum(operator.bus_bytes for operator in chosen),
        "memory": SIMPLE if memory.detailed is None else memory.detailed.name,
        "peak_gb_s": memory.model.bandwidth / 1e9,
        "stall_cycles": sum(by_cause.values()),
        "stall_cycles_by_stream": by_stream,
        "stall_cycles_by_cause": by_cause,
    }
    activities = [o.timeline.memory for o in chosen if o.timeline.memory is not None]
    return found | detailed_summary(activities, memory.detailed.chip) if memory.detailed is not None else found


def detailed_summary(activities: Iterable[Activity], dram: Dram) -> dict[str, Any]:
    """Return commands, rows and queues of detailed runs: counts, and times in nanoseconds."""
    counts = [activity.counts for activity in activities]

    def total(name: str) -> int:
        return sum(int(getattr(c, name)) for c in counts)

    accesses, forwarded = total("reads") + total("writes"), total("forwarded")
    reads = sum(sum(c.latencies) for c in counts)
    nanoseconds = dram.timing.tCK / 1000
    issued = reads - forwarded  # a forwarded read is served in the cycle after it was taken in
    waited = total("read_latency") - forwarded - issued * dram.rules.read_delay
    return {
        "priced_by": "bit" if dram.currents is None else "command",
        "commands": {name: total(name) for name in ("activates", "reads", "writes", "precharges", "refreshes")},
        "row_hit_rate": total("row_hits") / accesses if accesses else None,
        "read_latency_ns": total("read_latency") * nanoseconds / reads if reads else None,
        "queueing_ns": waited * nanoseconds / issued if issued else None,
        "forwarded_reads": forwarded,
        "merged_requests": total("merged_reads") + total("merged_writes"),
    }


def _table(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}
