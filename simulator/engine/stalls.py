"""Which cycles are the memory's alone, for which tensor, and why.

A cycle belongs to the memory if no stage works in it: then nothing but a transfer can end the wait. It is put down to the
transfer that the DMA engine waits for, the oldest that is not done, and to a cause:

* ``bandwidth``: the time that its bytes take at the peak of all channels;
* ``latency``: that of a lone read, where it is not hidden behind the transfer before;
* ``conflicts``: all beyond: rows to close and open, turns of the bus, bank groups, refresh (never with a plain channel).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.engine.channel import Transfer
from simulator.engine.play import Timeline
from simulator.errors import LawViolation
from simulator.hardware.dram import Memory
from simulator.program import Program

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
    for begin, end, transfer in _turns(transfers, cycles):
        if stalled := _within(waits, begin, end):
            causes = _causes(begin, end, transfer, memory, clock)
            for cause, share in zip(CAUSES, _divide(stalled, causes), strict=True):
                key = (transfer.stream, transfer.write, cause)
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


def _turns(transfers: Sequence[Transfer], cycles: int) -> Iterator[tuple[int, int, Transfer]]:
    """Yield from when to when each transfer was the oldest that was not done; the last one lasts to the end."""
    now = 0
    for i, transfer in enumerate(transfers):
        begin = max(transfer.start, now)
        now = max(now, transfer.done if i + 1 < len(transfers) else cycles)
        yield begin, now, transfer


def _within(spans: Spans, begin: int, end: int) -> int:
    """Return how much of begin … end the spans cover."""
    near = spans[np.searchsorted(spans[:, 1], begin, "right") : np.searchsorted(spans[:, 0], end)]
    return int((np.minimum(near[:, 1], end) - np.maximum(near[:, 0], begin)).sum())


def _causes(begin: int, end: int, transfer: Transfer, memory: Memory, clock: int) -> tuple[int, int, int]:
    """Divide a transfer's turn by cause."""
    bandwidth = min(end - begin, memory.at_least(transfer.size, clock))
    alone = 0 if transfer.write else max(0, memory.latency_cycles(clock) - (begin - transfer.start))
    latency = min(end - begin - bandwidth, alone)
    return bandwidth, latency, end - begin - bandwidth - latency


def _divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights (largest remainders)."""
    products = [total * weight for weight in weights]
    shares = [product // sum(weights) for product in products]
    order = sorted(range(len(weights)), key=lambda i: -(products[i] % sum(weights)))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares
