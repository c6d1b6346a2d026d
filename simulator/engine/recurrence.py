"""Play a Program on a plain channel: each time is the later of two before it, plus what the step takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.engine.timeline import BLOCKED, BUSY, FILL_DRAIN, MOVE, SPAN, STARVED, Rows, Timeline
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.jit import inlined_kernel, kernel
from simulator.program import Counts, Program, Stream


def recur(program: Program, channel: SimpleChannel, clock: int) -> Timeline:
    """Return how ``program`` plays on ``channel`` beside a core at ``clock`` Hz."""
    tiles, depth, stages = program.tiles, program.depth, len(program.stages)
    cycles = np.array([stage.cycles for stage in program.stages], np.int64)
    reads, writes = (_by_tile(streams, tiles) for streams in (program.reads, program.writes))
    held, drained = np.empty((tiles, 2), np.int64), np.empty((tiles, 2), np.int64)
    moves = np.empty(np.count_nonzero(reads) + np.count_nonzero(writes), MOVE)
    ready, begun = np.empty((stages, tiles), np.int64), np.empty((stages, tiles), np.int64)
    read_takes, write_takes = channel.takes(reads, clock), channel.takes(writes, clock)
    latency = channel.latency_cycles(clock, write=False)
    total = _times(
        reads, writes, read_takes, write_takes, cycles, latency, depth, held, drained, moves, ready, begun
    )  # fmt: skip
    spans = np.empty(3 * tiles * stages + stages + len(moves) + 2 * tiles + 1, SPAN)
    spans = spans[: _spans(held, moves, ready, begun, cycles, len(reads), depth, total, spans)]
    return Timeline(program, total, spans, moves, held, drained)


def _by_tile(streams: tuple[Stream, ...], tiles: int) -> Counts:
    """Return the bytes of each stream and tile."""
    return np.array([stream.size for stream in streams], np.int64).reshape(len(streams), tiles)


@kernel
def _times(
    reads: Counts,
    writes: Counts,
    read_takes: Counts,
    write_takes: Counts,
    cycles: Counts,
    latency: int,
    depth: int,
    held: Counts,
    drained: Counts,
    moves: Rows,
    ready: Counts,
    begun: Counts,
) -> int:
    """Fill in when what is moved, and when each stage has each tile before it and begins with it; return the end.

    reads, writes, and how long they take: (streams, tiles); cycles, ready, begun: (stages, tiles). All that a step
    waits for comes earlier in the DMA engine's order: the tile ``depth`` before this one has left the last stage before
    this one is loaded, and is stored before this one enters the last stage.
    """
    stages, tiles = cycles.shape
    last = stages - 1
    idle = np.zeros(stages, np.int64)
    now = moved = 0
    for tile in range(tiles + depth):
        before = tile - depth
        arrived = 0
        if tile < tiles:
            if before >= 0:
                now = max(now, held[before, 1])
            held[tile, 0] = arrived = now
            for stream in range(len(reads)):
                if reads[stream, tile]:
                    start, now = now, now + read_takes[stream, tile]
                    arrived = now + latency
                    _move(moves[moved], stream, tile, reads[stream, tile], start, now, arrived)
                    moved += 1
        if before >= 0 and before < tiles:
            now = max(now, held[before, 1])
            for stream in range(len(writes)):
                if writes[stream, before]:
                    start, now = now, now + write_takes[stream, before]
                    _move(moves[moved], len(reads) + stream, before, writes[stream, before], start, now, now)
                    moved += 1
            drained[before, 1] = now
        if tile < tiles:
            for stage in range(stages):
                ready[stage, tile] = begun[stage, tile] = max(idle[stage], arrived)
                if stage == last:
                    if before >= 0:
                        begun[stage, tile] = max(begun[stage, tile], drained[before, 1])
                    drained[tile, 0] = begun[stage, tile]
                arrived = idle[stage] = begun[stage, tile] + cycles[stage, tile]
            held[tile, 1] = arrived
    return max(now, int(idle.max()))


@inlined_kernel
def _move(move: Any, stream: int, tile: int, size: int, start: int, free: int, done: int) -> None:
    move.stream, move.tile, move.size = stream, tile, size
    move.start, move.takes, move.free, move.done = start, free - start, free, done


@kernel
def _spans(
    held: Counts,
    moves: Rows,
    ready: Counts,
    begun: Counts,
    cycles: Counts,
    reads: int,
    depth: int,
    total: int,
    spans: Rows,
) -> int:
    """Account for the time of each stage, then of the channel: fill in ``spans``, and return how many there are."""
    stages, tiles = cycles.shape
    count = 0
    for stage in range(stages):
        now = 0
        for tile in range(tiles):
            waits, begin = STARVED if tile else FILL_DRAIN, begun[stage, tile]
            count, now = _spend(spans, count, stage, waits, now, ready[stage, tile], tile, -1)
            count, now = _spend(spans, count, stage, BLOCKED, now, begin, tile, -1)
            count, now = _spend(spans, count, stage, BUSY, now, begin + cycles[stage, tile], tile, -1)
        count, now = _spend(spans, count, stage, FILL_DRAIN, now, total, tiles - 1, -1)
    now = moved = 0
    for tile in range(tiles + depth):
        if tile < tiles:
            count, now = _spend(spans, count, stages, BLOCKED, now, held[tile, 0], tile, -1)
            while moved < len(moves) and moves[moved].stream < reads and moves[moved].tile == tile:
                count, now = _spend(spans, count, stages, BUSY, now, moves[moved].free, tile, moves[moved].stream)
                moved += 1
        before = tile - depth
        if before >= 0 and before < tiles:
            count, now = _spend(spans, count, stages, STARVED, now, held[before, 1], before, -1)
            while moved < len(moves) and moves[moved].stream >= reads and moves[moved].tile == before:
                count, now = _spend(spans, count, stages, BUSY, now, moves[moved].free, before, moves[moved].stream)
                moved += 1
    return _spend(spans, count, stages, FILL_DRAIN, now, total, tiles - 1, -1)[0]


@inlined_kernel
def _spend(
    spans: Rows, count: int, track: int, state: int, now: int, until: int, tile: int, stream: int
) -> tuple[int, int]:
    """Add a span from ``now`` on, if any: return how many there are, and its end."""
    if until <= now:
        return count, now
    span = spans[count]
    span.track, span.state, span.start = track, state, now
    span.end, span.tile, span.stream = until, tile, stream
    return count + 1, until
