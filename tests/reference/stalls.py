"""Waits for the memory, put down to tensors and causes turn by turn: the slow twin of the engine's kernel."""

from __future__ import annotations

from simulator.engine import Timeline, apportion
from simulator.hardware.dram import Memory
from simulator.program import Program


def stalls(program: Program, timeline: Timeline, memory: Memory, clock: int) -> list[tuple[str, bool, str, int]]:
    """Return stream, whether it is written, cause and cycles, by the first turn in which it was waited for."""
    stages = {stage.name for stage in program.stages}
    working = [(i.start, i.end) for i in timeline.intervals if i.state == "busy" and i.track in stages]
    waits, covered = [], 0
    for begin, end in [*sorted(working), (timeline.cycles, timeline.cycles)]:
        if begin > covered:
            waits.append((covered, begin))
        covered = max(covered, end)
    read, write = (memory.latency_cycles(clock, way) for way in (False, True))
    turns = []
    now = owed = 0
    for transfer in timeline.transfers:
        begin = max(transfer.start, now)
        owed = max(0, owed - (begin - now)) + transfer.takes
        now = max(now, transfer.done)
        turns.append((transfer, begin, now, owed, 0 if transfer.write else max(0, read - (begin - transfer.start))))
        owed = max(0, owed - (now - begin))
    if written := [transfer for transfer in timeline.transfers if transfer.write]:
        turns.append((written[-1], now, timeline.cycles, owed, write))
    found: dict[tuple[str, bool, str], int] = {}
    for transfer, begin, end, bandwidth, latency in turns:
        bandwidth = min(end - begin, bandwidth)
        latency = min(end - begin - bandwidth, latency)
        weights = {"bandwidth": bandwidth, "latency": latency, "conflicts": end - begin - bandwidth - latency}
        if stalled := sum(max(0, min(to, end) - max(since, begin)) for since, to in waits):
            for cause, cycles in zip(weights, apportion(stalled, list(weights.values())), strict=True):
                key = (transfer.stream, transfer.write, cause)
                found[key] = found.get(key, 0) + cycles
    return [(*key, cycles) for key, cycles in found.items() if cycles]
