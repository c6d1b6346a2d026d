"""Play a Program event by event: a discrete-event simulation of what happens between tiles."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from simulator.engine.channel import open_channel
from simulator.engine.layout import layout
from simulator.engine.timeline import BLOCKED, BUSY, FILL_DRAIN, MOVE, SPAN, STARVED, Timeline, Transfer
from simulator.hardware.dram import Memory
from simulator.program import Program, Stream

Process = Generator[simpy.Event, object, None]


class _Track:
    """What one stage or channel does, as it happens."""

    def __init__(self, number: int) -> None:
        self.spans: list[tuple[int, ...]] = []
        self._number, self._now = number, 0

    def spend(self, state: int, until: float, tile: int, stream: int = -1) -> None:
        end = int(until)
        if end > self._now:
            self.spans.append((self._number, state, self._now, end, tile, stream))
            self._now = end


def simulate_events(program: Program, memory: Memory, clock: int) -> Timeline:
    """Return how ``program`` plays on ``memory``, of either kind, beside a core at ``clock`` Hz.

    Raises:
        InputError: the tensors do not fit the memory (see ``footprint``).

    """
    env = simpy.Environment()
    channel, bases = open_channel(memory, env, clock), layout(program, memory.burst)[0]
    tiles, depth, last = program.tiles, program.depth, len(program.stages) - 1
    room_in, room_out = simpy.Container(env, depth, depth), simpy.Container(env, depth, depth)
    arrived = [env.event() for _ in range(tiles)]
    passed = [[env.event() for _ in range(tiles)] for _ in program.stages]
    tracks = [_Track(number) for number in range(len(program.stages))]
    bus = _Track(len(program.stages))
    keys = [(stream.name, write) for write, way in enumerate((program.reads, program.writes)) for stream in way]
    numbers = {key: number for number, key in enumerate(keys)}
    held, drained = np.zeros((tiles, 2), np.int64), np.zeros((tiles, 2), np.int64)

    def move(streams: tuple[Stream, ...], tile: int, write: bool) -> Generator[simpy.Event, object, simpy.Event]:
        done: simpy.Event = env.timeout(0)
        for stream in streams:
            if size := int(stream.size[tile]):
                transfer = Transfer(stream.name, tile, size, write, start=int(env.now))
                done = yield from channel.move(transfer, bases[stream.name] + int(stream.offset[tile]))
                bus.spend(BUSY, env.now, tile, numbers[stream.name, write])
        return done

    def wait(state: int, tile: int) -> None:
        """Account for the channel's time up to now: what is under way, then waiting."""
        if channel.transfers:
            latest = channel.transfers[-1]
            bus.spend(BUSY, channel.busy_until(int(env.now)), latest.tile, numbers[latest.stream, latest.write])
        bus.spend(state, env.now, tile)

    def arrive(tile: int, done: simpy.Event) -> Process:
        yield done
        arrived[tile].succeed()

    def load(tile: int) -> Process:
        yield room_in.get(1)
        held[tile, 0] = env.now
        wait(BLOCKED, tile)
        done = yield from move(program.reads, tile, write=False)
        env.process(arrive(tile, done))

    def store(tile: int) -> Process:
        yield passed[last][tile]
        wait(STARVED, tile)
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
            track.spend(STARVED if tile else FILL_DRAIN, env.now, tile)
            if stage == last:
                yield room_out.get(1)
                drained[tile, 0] = env.now
                track.spend(BLOCKED, env.now, tile)
            yield env.timeout(int(cycles[tile]))
            track.spend(BUSY, env.now, tile)
            passed[stage][tile].succeed()
            if stage == last:
                held[tile, 1] = env.now
                yield room_in.put(1)

    env.process(dma())
    for stage in range(len(program.stages)):
        env.process(work(stage))
    env.run()
    wait(FILL_DRAIN, tiles - 1)
    total = channel.finish(int(env.now))
    if channel.transfers:
        latest = channel.transfers[-1]
        bus.spend(BUSY, total, latest.tile, numbers[latest.stream, latest.write])
    for track in (*tracks, bus):
        track.spend(FILL_DRAIN, total, tiles - 1)
    spans = np.array([span for track in (*tracks, bus) for span in track.spans], SPAN)
    moves = np.array(
        [(numbers[t.stream, t.write], t.tile, t.size, t.start, t.takes, t.free, t.done) for t in channel.transfers],
        MOVE,
    )
    return Timeline(program, total, spans, moves, held, drained, channel.activity())
