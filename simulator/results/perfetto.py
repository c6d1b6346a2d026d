"""A run as a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing read.

One track per stage, per unit inside a stage, and for the DRAM channel; counters for the tiles that hold buffer room
and for the bandwidth that is used.
One cycle is shown as one microsecond. Stages and channel show what happened when; a unit inside a stage shows, within
each of its tiles, how its average instance spent the tile's cycles. On every track the durations by state, times the
unit's instances, are the unit-cycles that the result reports.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.program import STATES
from simulator.results.memory import WAYS, traffic
from simulator.results.result import OperatorResult, Result

BANDWIDTH = "DRAM GB/s"
Event = dict[str, Any]


def write_perfetto(result: Result, path: Path) -> None:
    """Write the timeline as Chrome trace events (JSON)."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ms","otherData":')
        json.dump({"arch": result.arch, "trace": result.trace, "unit": "1 us = 1 cycle", **result.digests}, file)
        file.write(',"traceEvents":[\n')
        for i, event in enumerate(events(result)):
            file.write(("" if i == 0 else ",\n") + json.dumps(event, separators=(",", ":")))
        file.write("\n]}\n")


def events(result: Result) -> Iterator[Event]:
    """Yield the events of a run, operators one after the other."""
    tracks: dict[str, int] = {}
    begin = 0
    for operator in result.operators:
        for name, event in _operator_events(operator, result):
            if name not in tracks:
                tracks[name] = len(tracks)
                yield {"ph": "M", "pid": 0, "tid": tracks[name], "name": "thread_name", "args": {"name": name}}
            yield {"pid": 0, "tid": tracks[name], **event, "ts": event["ts"] + begin}
        begin += operator.cycles


def _operator_events(operator: OperatorResult, result: Result) -> Iterator[tuple[str, Event]]:
    yield "operator", _slice(operator.name, 0, operator.cycles, cycles=operator.cycles)
    stages = {stage.name: stage for stage in operator.program.stages}
    for interval in operator.timeline.intervals:
        stage = stages.get(interval.track)
        label = interval.stream or interval.state
        detail = {"state": interval.state, "tile": interval.tile}
        yield interval.track, _slice(label, interval.start, interval.end - interval.start, **detail)
        if stage is None:
            continue
        for name, unit in stage.units.items():
            states = unit.states[interval.tile] if interval.state == "busy" else None
            if not unit.states[:, : STATES.index("idle")].any():
                yield name, _slice("idle", interval.start, interval.end - interval.start, state="idle")
            elif states is None:
                yield name, _slice(interval.state, interval.start, interval.end - interval.start, **detail)
            else:
                at = float(interval.start)
                for state, cycles in zip(STATES, states, strict=True):
                    if cycles:
                        duration = int(cycles) / unit.instances
                        spent = {"state": state, "tile": interval.tile, "unit_cycles": int(cycles)}
                        yield name, _slice(state, at, duration, **spent)
                        at += duration
    counters = {"tiles in input buffers": operator.timeline.held, "tiles in output buffers": operator.timeline.drained}
    for name, spans in counters.items():
        changes: dict[int, int] = defaultdict(int)  # one event per time: leaving and entering at once is no peak
        for taken, given_back in spans.tolist():
            changes[taken] += 1
            changes[given_back] -= 1
        held = 0
        for time in sorted(changes):
            held += changes[time]
            yield name, {"ph": "C", "name": name, "ts": time, "args": {"tiles": held}}
    edges, moved = traffic(operator.timeline, result.memory, result.clock)
    for start, end, bytes_moved in zip(edges[:-1].tolist(), edges[1:].tolist(), moved.tolist(), strict=True):
        rates = {way: size * result.clock / (end - start) / 1e9 for way, size in zip(WAYS, bytes_moved, strict=True)}
        yield BANDWIDTH, {"ph": "C", "name": BANDWIDTH, "ts": start, "args": rates}
    yield BANDWIDTH, {"ph": "C", "name": BANDWIDTH, "ts": operator.cycles, "args": dict.fromkeys(WAYS, 0.0)}


def _slice(name: str, start: float, duration: float, **detail: Any) -> Event:
    return {"ph": "X", "name": name, "ts": start, "dur": duration, "args": detail}
