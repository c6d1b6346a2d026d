"""Which cycles are the memory's alone, for which tensor, and why.

A cycle belongs to the memory if no stage works in it: then nothing but a transfer can end the wait. It is put down to
the oldest transfer that is not done, and to a cause:

* ``bandwidth``: the time that its bytes, and those of writes still in the buffers, take at the peak of all channels;
* ``latency``: that of a lone read, where it is not hidden behind the transfer before, or of the last write;
* ``conflicts``: all beyond: rows to close and open, turns of the bus, bank groups, refresh; never a plain channel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.timeline import BUSY, Rows, Timeline
from simulator.errors import LawViolation
from simulator.hardware.dram import Memory
from simulator.hardware.jit import inlined_kernel, kernel
from simulator.program import Counts, Program

CAUSES = ("bandwidth", "latency", "conflicts")
Spans = NDArray[np.int64]
"""(n, 2): from when to when, in order, apart from each other."""


@dataclass(frozen=True)
class MemoryStall:
    """Cycles in which the chip waited for a tensor to be read, or written, and nothing else."""

    stream: str
    write: bool
    cause: str
    """One of CAUSES."""
    cycles: int


def memory_stalls(program: Program, timeline: Timeline, memory: Memory, clock: int) -> tuple[MemoryStall, ...]:
    """Return what the chip waited for while no stage worked; ``memory`` is what it played against, ``clock`` in Hz.

    Raises:
        LawViolation: a cycle in which neither a stage worked nor anything was moved.

    """
    spans, cycles = timeline.spans, timeline.cycles
    waits = _between(spans[(spans["state"] == BUSY) & (spans["track"] < len(program.stages))], cycles)
    read, write = (memory.latency_cycles(clock, way) for way in (False, True))
    streams = [(s.name, False) for s in program.reads] + [(s.name, True) for s in program.writes]
    shares = np.zeros((len(streams), len(CAUSES)), np.int64)
    first = np.full(len(streams), len(timeline.moves) + 1)
    _share(waits, timeline.moves, len(program.reads), cycles, read, write, shares, first)
    if (missing := int((waits[:, 1] - waits[:, 0]).sum() - shares.sum())) != 0:
        raise LawViolation(f"{program.operator}: in {missing} cycles no stage works and nothing is moved")
    found: list[MemoryStall] = []
    for number in np.argsort(first, kind="stable").tolist():
        (stream, written), by_cause = streams[number], zip(CAUSES, shares[number].tolist(), strict=True)
        found += [MemoryStall(stream, written, cause, share) for cause, share in by_cause if share]
    return tuple(found)


def _between(working: Rows, cycles: int) -> Spans:
    """Return the spans of 0 … cycles that none of those given covers."""
    order = np.argsort(working["start"], kind="stable")
    covered = np.maximum.accumulate(np.append(0, working["end"][order]))
    begins = np.append(working["start"][order], cycles)
    free = begins > covered
    return np.stack([covered[free], begins[free]], axis=1)


@kernel
def _share(
    waits: Spans, moves: Rows, reads: int, cycles: int, read: int, write: int, shares: Counts, first: Counts
) -> None:
    """Put the waits down to streams and causes, (streams, causes), each stream at first in the turn ``first``.

    The turn of a transfer is the time in which it is the oldest that is not done; after all is that of the writes left
    in the memory's buffers, as the last one's. Writes are done before they have crossed the bus; the time that they
    still need at the peak is owed, and found again in the turns that follow.
    """
    now = owed = near = 0
    last = -1
    for turn in range(len(moves) + 1):
        if turn < len(moves):
            move = moves[turn]
            stream, begin = move.stream, max(move.start, now)
            owed = max(0, owed - (begin - now)) + move.takes
            end = max(now, move.done)
            alone = 0
            if stream < reads:
                alone = max(0, read - (begin - move.start))
            else:
                last = stream
        elif last >= 0:
            stream, begin, end, alone = last, now, cycles, write
        else:
            break
        while near < len(waits) and waits[near, 1] <= begin:
            near += 1
        stalled = 0
        for wait in range(near, len(waits)):
            if waits[wait, 0] >= end:
                break
            stalled += min(waits[wait, 1], end) - max(waits[wait, 0], begin)
        if stalled:
            first[stream] = min(first[stream], turn)
            bandwidth = min(end - begin, owed)
            latency = min(end - begin - bandwidth, alone)
            _divide(stalled, bandwidth, latency, end - begin - bandwidth - latency, shares[stream])
        owed = max(0, owed - (end - begin))
        now = end


@inlined_kernel
def _divide(total: int, bandwidth: int, latency: int, conflicts: int, shares: Counts) -> None:
    """Add ``apportion`` of a part of a turn by its causes."""
    whole = bandwidth + latency + conflicts
    first, first_rest = _scaled(total, bandwidth, whole)
    second, second_rest = _scaled(total, latency, whole)
    third, third_rest = _scaled(total, conflicts, whole)
    rests = (first_rest, second_rest, third_rest)
    left = total - first - second - third
    for cause in range(3):
        ahead = 0
        for other in range(3):
            if rests[other] > rests[cause] or (rests[other] == rests[cause] and other < cause):
                ahead += 1
        shares[cause] += (first, second, third)[cause] + (1 if ahead < left else 0)


@kernel
def _scaled(total: int, weight: int, whole: int) -> tuple[int, int]:
    """Return total × weight ÷ whole and the remainder, where the product may have 128 bits; weight ≤ whole < 2**62."""
    if total < 2**31 and weight < 2**31:
        return total * weight // whole, total * weight % whole
    quotient = rest = 0
    for bit in range(61, -1, -1):
        quotient, rest = 2 * quotient, 2 * rest
        if rest >= whole:
            quotient, rest = quotient + 1, rest - whole
        if total >> bit & 1:
            rest += weight
            if rest >= whole:
                quotient, rest = quotient + 1, rest - whole
    return quotient, rest


def apportion(total: int, weights: Sequence[int] | Counts) -> list[int]:
    """Divide a whole number in proportion to weights into whole numbers (largest remainders); of weights 0, nothing."""
    products = [total * int(weight) for weight in weights]
    whole = sum(map(int, weights)) or 1
    shares = [product // whole for product in products]
    order = sorted(range(len(weights)), key=lambda i: -(products[i] % whole))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares
