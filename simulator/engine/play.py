"""Play a Program: a discrete-event simulation of what happens between tiles.

Tiles are loaded through the DRAM channel, pass the stages, and are stored, with finite room everywhere. The DMA
engine serves its descriptors in a fixed order (load of tile i, then store of tile i - depth), so every wait is of
the form "the later of two events" and no run gets slower when a part gets faster.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import numpy as np
import simpy

from simulator.errors import LawViolation
from simulator.hardware.dram import Memory
from simulator.program import STATES, Counts, Program, Stream

Process = Generator[simpy.Event, object, None]
DRAM = "dram"


@dataclass(frozen=True)
class Interval:
    """What a track did from ``start`` to ``end`` (cycles)."""

    track: str
    """The stage, or ``dram``."""
    state: str
    """One of STATES."""
    start: int
    end: int
    tile: int
    """The tile worked on or waited for."""
    stream: str = ""
    """For a transfer, what is moved."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """How a Program played."""

    cycles: int
    intervals: tuple[Interval, ...]
    """For each stage and the channel: gapless, from 0 to ``cycles``."""
    units: Mapping[str, tuple[int, Counts]]
    """Per unit: instances, and unit-cycles in each of STATES; they sum to instances × cycles."""
    held: Counts
    """Shape (tiles, 2): from when to when each tile holds room in the input buffers."""
    drained: Counts
    """Shape (tiles, 2): from when to when each tile holds room in the output buffers."""


@dataclass
class _Track:
    """Intervals of one stage or channel, as they happen."""

    name: str
    intervals: list[Interval] = field(default_factory=list)
    now: int = 0

    def spend(self, state: str, until: float, tile: int, stream: str = "") -> None:
        end = int(until)
        if end > self.now:
            self.intervals.append(Interval(self.name, state, self.now, end, tile, stream))
            self.now = end

    def totals(self) -> Counts:
        totals = np.zeros(len(STATES), np.int64)
        for interval in self.intervals:
            totals[STATES.index(interval.state)] += interval.end - interval.start
        return totals


def play(program: Program, memory: Memory, clock: int) -> Timeline:
    """Simulate ``program`` on one channel of ``memory`` at ``clock`` Hz, and account for every cycle of every unit."""
    env = simpy.Environment()
    port, bases = memory.open(clock), _layout(program, memory.burst)
    tiles, depth, last = program.tiles, program.depth, len(program.stages) - 1
    room_in, room_out = simpy.Container(env, depth, depth), simpy.Container(env, depth, depth)
    arrived = [env.event() for _ in range(tiles)]
    passed = [[env.event() for _ in range(tiles)] for _ in program.stages]
    tracks = [_Track(stage.name) for stage in program.stages]
    bus = _Track(DRAM)
    held, drained = np.zeros((tiles, 2), np.int64), np.zeros((tiles, 2), np.int64)

    def transfer(streams: tuple[Stream, ...], tile: int, write: bool) -> Generator[simpy.Event, object, int]:
        done = int(env.now)
        for stream in streams:
            if stream.size[tile]:
                address = bases[stream.name] + int(stream.offset[tile])
                free, done = port.transfer(int(env.now), address, int(stream.size[tile]), write)
                yield env.timeout(free - env.now)
                bus.spend("busy", env.now, tile, stream.name)
        return done

    def arrive(tile: int, at: int) -> Process:
        yield env.timeout(at - env.now)
        arrived[tile].succeed()

    def load(tile: int) -> Process:
        yield room_in.get(1)
        held[tile, 0] = env.now
        bus.spend("blocked", env.now, tile)
        done = yield from transfer(program.reads, tile, write=False)
        env.process(arrive(tile, done))

    def store(tile: int) -> Process:
        yield passed[last][tile]
        bus.spend("starved", env.now, tile)
        yield from transfer(program.writes, tile, write=True)
        drained[tile, 1] = env.now
        yield room_out.put(1)

    def dma() -> Process:
        for tile in range(tiles + depth):
            if tile < tiles:
                yield from load(tile)
            if tile >= depth:
                yield from store(tile - depth)

    def work(stage: int) -> Process:
        track, cycles = tracks[stage], program.stages[stage].cycles
        for tile in range(tiles):
            yield arrived[tile] if stage == 0 else passed[stage - 1][tile]
            track.spend("starved" if tile else "fill_drain", env.now, tile)
            if stage == last:
                yield room_out.get(1)
                drained[tile, 0] = env.now
                track.spend("blocked", env.now, tile)
            yield env.timeout(int(cycles[tile]))
            track.spend("busy", env.now, tile)
            passed[stage][tile].succeed()
            if stage == last:
                held[tile, 1] = env.now
                yield room_in.put(1)

    env.process(dma())
    for stage in range(len(program.stages)):
        env.process(work(stage))
    env.run()
    total = int(env.now)
    for track in (*tracks, bus):
        track.spend("fill_drain", total, tiles - 1)
    intervals = tuple(interval for track in (*tracks, bus) for interval in track.intervals)
    return Timeline(total, intervals, _account(program, tracks, bus, total), held, drained)


def _layout(program: Program, burst: int) -> dict[str, int]:
    """Lay the tensors out in memory, one after the other, each from a burst's beginning; return their addresses."""
    bases, end = {}, 0
    for stream in (*program.reads, *program.writes):
        bases[stream.name] = end
        end += -(-max(stream.compulsory, int((stream.offset + stream.size).max())) // burst) * burst
    return bases


def _account(program: Program, tracks: list[_Track], bus: _Track, total: int) -> dict[str, tuple[int, Counts]]:
    """Add what units do inside tiles to what their stage does between tiles."""
    units: dict[str, tuple[int, Counts]] = {}
    for stage, track in zip(program.stages, tracks, strict=True):
        between = track.totals()
        between[STATES.index("busy")] = 0
        for name, unit in stage.units.items():
            inside, outside = unit.states.sum(axis=0), unit.instances * between
            if not inside[: STATES.index("idle")].any():  # not used by the operator: idle between tiles, too
                outside = np.where(np.array(STATES) == "idle", outside.sum(), 0)
            units[name] = (unit.instances, inside + outside)
    units[DRAM] = (1, bus.totals())
    for name, (instances, states) in units.items():
        if states.sum() != instances * total:
            raise LawViolation(
                f"{program.operator}: {name} accounts for {states.sum()} of {instances * total} unit-cycles"
            )
    return units
