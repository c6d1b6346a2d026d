"""Play a Program: a discrete-event simulation of what happens between tiles.

Tiles are loaded through the DRAM channel, pass the stages, and are stored, with finite room everywhere. The DMA
engine serves its descriptors in a fixed order (load of tile i, then store of tile i - depth), so every wait is of
the form "the later of two events" and no run gets slower when a part gets faster.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import simpy

from simulator.engine.channel import Transfer, open_channel
from simulator.errors import LawViolation
from simulator.hardware.dram import Memory
from simulator.program import STATES, Counts, Program, Stream

if TYPE_CHECKING:
    from simulator.hardware.dram_port import Activity

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
    transfers: tuple[Transfer, ...]
    """What crossed the DRAM channel, in order."""
    memory: Activity | None
    """What a detailed memory did."""


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
    """Simulate ``program`` on ``memory`` at ``clock`` Hz, and account for every cycle of every unit.

    Raises:
        InputError: the tensors do not fit the memory (see ``footprint``).

    """
    env = simpy.Environment()
    channel, bases = open_channel(memory, env, clock), _layout(program, memory.burst)[0]
    tiles, depth, last = program.tiles, program.depth, len(program.stages) - 1
    room_in, room_out = simpy.Container(env, depth, depth), simpy.Container(env, depth, depth)
    arrived = [env.event() for _ in range(tiles)]
    passed = [[env.event() for _ in range(tiles)] for _ in program.stages]
    tracks = [_Track(stage.name) for stage in program.stages]
    bus = _Track(DRAM)
    held, drained = np.zeros((tiles, 2), np.int64), np.zeros((tiles, 2), np.int64)

    def move(streams: tuple[Stream, ...], tile: int, write: bool) -> Generator[simpy.Event, object, simpy.Event]:
        done: simpy.Event = env.timeout(0)
        for stream in streams:
            if size := int(stream.size[tile]):
                transfer = Transfer(stream.name, tile, size, write, start=int(env.now))
                done = yield from channel.move(transfer, bases[stream.name] + int(stream.offset[tile]))
                bus.spend("busy", env.now, tile, stream.name)
        return done

    def wait(state: str, tile: int) -> None:
        """Account for the channel's time up to now: what is under way, then waiting."""
        if channel.transfers:
            latest = channel.transfers[-1]
            bus.spend("busy", channel.busy_until(int(env.now)), latest.tile, latest.stream)
        bus.spend(state, env.now, tile)

    def arrive(tile: int, done: simpy.Event) -> Process:
        yield done
        arrived[tile].succeed()

    def load(tile: int) -> Process:
        yield room_in.get(1)
        held[tile, 0] = env.now
        wait("blocked", tile)
        done = yield from move(program.reads, tile, write=False)
        env.process(arrive(tile, done))

    def store(tile: int) -> Process:
        yield passed[last][tile]
        wait("starved", tile)
        yield from move(program.writes, tile, write=True)
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
    wait("fill_drain", tiles - 1)
    total = channel.finish(int(env.now))
    if channel.transfers:
        bus.spend("busy", total, channel.transfers[-1].tile, channel.transfers[-1].stream)
    for track in (*tracks, bus):
        track.spend("fill_drain", total, tiles - 1)
    intervals = tuple(interval for track in (*tracks, bus) for interval in track.intervals)
    units = _account(program, tracks, bus, total)
    return Timeline(total, intervals, units, held, drained, tuple(channel.transfers), channel.activity())


def _layout(program: Program, burst: int) -> tuple[dict[str, int], int]:
    """Lay the tensors out in memory, one after the other, each from a burst's beginning: their addresses, and the end.

    The lines of a piece begin with that which holds its first byte.
    """
    bases, end = {}, 0
    for stream in (*program.reads, *program.writes):
        bases[stream.name] = end
        end += -(-max(stream.compulsory, int((stream.offset + stream.size).max())) // burst) * burst
    return bases, end


def footprint(program: Program, burst: int) -> int:
    """Return the bytes that a Program's tensors take in memory."""
    return _layout(program, burst)[1]


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
