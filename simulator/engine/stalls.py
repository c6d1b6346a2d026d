"""Which cycles are the memory's alone, for which tensor, and why.

A cycle belongs to the memory if no stage works in it: then nothing but a transfer can end the wait. It is put down to
the oldest transfer that is not done, and to a cause:

* ``bandwidth``: the time that its bytes, and those of writes still in the buffers, take at the peak of all channels;
* ``latency``: that of a lone read, where it is not hidden behind the transfer before, or of the last write;
* ``conflicts``: all beyond: rows to close and open, turns of the bus, bank groups, refresh; never a plain channel's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.timeline import Timeline, Transfer
from simulator.errors import LawViolation
from simulator.hardware.dram import Memory
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
    stages = {stage.name for stage in program.stages}
    working = [(i.start, i.end) for i in timeline.intervals if i.state == "busy" and i.track in stages]
    transfers, cycles = timeline.transfers, timeline.cycles
    waits = _between(working, cycles)
    shares: dict[tuple[str, bool, str], int] = {}
    for turn in _turns(transfers, cycles, memory, clock):
        if stalled := _within(waits, turn.begin, turn.end):
            for cause, share in zip(CAUSES, apportion(stalled, turn.causes), strict=True):
                key = (turn.transfer.stream, turn.transfer.write, cause)
                shares[key] = shares.get(key, 0) + share
    if (missing := int((waits[:, 1] - waits[:, 0]).sum()) - sum(shares.values())) != 0:
        raise LawViolation(f"{program.operator}: in {missing} cycles no stage works and nothing is moved")
    return tuple(MemoryStall(*key, share) for key, share in shares.items() if share)


def _between(working: Sequence[tuple[int, int]], cycles: int) -> Spans:
    """Return the spans of 0 … cycles that none of those given covers."""
    free, now = [], 0
    for begin, end in sorted(working):
        if begin > now:
            free.append((now, begin))
        now = max(now, end)
    if now < cycles:
        free.append((now, cycles))
    return np.array(free, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class _Turn:
    """From when to when a transfer is the oldest that is not done, and for how many cycles of that for each cause."""

    transfer: Transfer
    begin: int
    end: int
    causes: tuple[int, int, int]


def _turns(transfers: Sequence[Transfer], cycles: int, memory: Memory, clock: int) -> Iterator[_Turn]:
    """Yield the turn of each transfer, then that of the writes left in the memory's buffers, as the last one's.

    Writes are done before they have crossed the bus; the time that they still need at the peak is owed, and found again
    in the turns that follow.
    """
    read, write = (memory.latency_cycles(clock, way) for way in (False, True))
    now = owed = 0
    for transfer in transfers:
        begin = max(transfer.start, now)
        owed = max(0, owed - (begin - now)) + transfer.takes
        now = max(now, transfer.done)
        alone = 0 if transfer.write else max(0, read - (begin - transfer.start))
        yield _Turn(transfer, begin, now, _causes(now - begin, owed, alone))
        owed = max(0, owed - (now - begin))
    last = next((transfer for transfer in reversed(transfers) if transfer.write), None)
    if last is not None:
        yield _Turn(last, now, cycles, _causes(cycles - now, owed, write))


def _causes(length: int, bandwidth: int, latency: int) -> tuple[int, int, int]:
    """Divide a turn by cause; bandwidth and latency are what they would take at most."""
    bandwidth = min(length, bandwidth)
    latency = min(length - bandwidth, latency)
    return bandwidth, latency, length - bandwidth - latency


def _within(spans: Spans, begin: int, end: int) -> int:
    """Return how much of begin … end the spans cover."""
    near = spans[np.searchsorted(spans[:, 1], begin, "right") : np.searchsorted(spans[:, 0], end)]
    return int((np.minimum(near[:, 1], end) - np.maximum(near[:, 0], begin)).sum())


def apportion(total: int, weights: Sequence[int] | Counts) -> list[int]:
    """Divide a whole number in proportion to weights into whole numbers (largest remainders); of weights 0, nothing."""
    products = [total * int(weight) for weight in weights]
    whole = sum(map(int, weights)) or 1
    shares = [product // whole for product in products]
    order = sorted(range(len(weights)), key=lambda i: -(products[i] % whole))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares
