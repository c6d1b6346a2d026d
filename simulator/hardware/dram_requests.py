"""Running requests through a DRAM controller, all at once or piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.hardware.dram_controller import advance
from simulator.hardware.dram_state import (
    BUCKET_CYCLES,
    FAR,
    MORE_WAITERS,
    SERVED,
    TAKEN,
    Ints,
    Rules,
    State,
    more_waiters,
    new_state,
)

if TYPE_CHECKING:
    from simulator.hardware.dram_timing import Dram


@dataclass(frozen=True)
class Counts:
    """What a run of a controller did. Times are in memory cycles, counts are over all channels."""

    cycles: int
    """Until the last request had called back: a read with its data, a write (posted) once it was taken in."""
    requests: int
    activates: int
    reads: int
    """Read commands: reads that were merged or forwarded need none."""
    writes: int
    """Write commands; writes may be left in the buffer at the end."""
    precharges: int
    """Precharge commands, refreshes' included; what closes with a read or write is not counted."""
    refreshes: int
    read_row_hits: int
    """Reads that were not the first access to their row since it was opened."""
    write_row_hits: int
    conflicts: int
    """Precharges chosen because the oldest entry of a bank's queue needs another row than the open one."""
    dual_issues: int
    """Cycles with two commands."""
    forwarded: int
    """Reads served by the write buffer."""
    merged_reads: int
    merged_writes: int
    active_cycles: int
    """Cycles with a bank open, summed over ranks."""
    idle_cycles: int
    """Cycles with all banks closed, summed over ranks."""
    read_latency: int
    """From the cycle after a read is taken in to the end of its data, summed over all reads."""
    latencies: tuple[int, ...]
    """Reads by latency, in steps of ``BUCKET_CYCLES``; the last one is open-ended."""

    @property
    def row_hits(self) -> int:
        """Reads and writes to a row that an earlier one had used since it was opened."""
        return self.read_row_hits + self.write_row_hits

    def latency_at(self, share: float) -> int:
        """Return the memory cycles within which that share of the reads was served, to whole buckets."""
        below = np.cumsum(self.latencies)
        return int(np.searchsorted(below, share * below[-1]) + 1) * BUCKET_CYCLES


@dataclass(frozen=True)
class Served:
    """What came of a list of requests."""

    counts: Counts
    commands: Ints
    """(n, 8): the first commands in order of their issue: cycle, command (number in ``COMMANDS``), channel, rank,
    bank group, bank, row, column; −1 where a command has none."""
    times: Ints
    """(m, 2): of the first requests, the cycle in which each was taken in, and in which it called back."""


class Stream:
    """A controller that is given its requests piece by piece; what it keeps does not grow with them."""

    def __init__(self, rules: Rules, commands: int = 0, requests: int = 0) -> None:
        self.rules = rules
        self.state = new_state(rules, commands, requests)

    def feed(self, arrival: Ints, address: Ints, write: NDArray[np.bool_]) -> None:
        """Take requests in, in order, and serve as much as that takes; see ``simulate_requests``."""
        self._advance(arrival, address, write, TAKEN)

    def finish(self) -> Counts:
        """Serve what is left, and count."""
        nothing = np.zeros(0, np.int64)
        self._advance(nothing, nothing, np.zeros(0, np.bool_), SERVED)
        total = self.state.total[0]
        return count_run(self.state, int(total["last_done"]) + 1 if total["next_index"] else 0)

    def _advance(self, arrival: Ints, address: Ints, write: NDArray[np.bool_], goal: int) -> None:
        """See ``advance``; room for merged reads is made when it runs out."""
        while True:
            taken, why = advance(self.rules, self.state, arrival, address, write, goal, FAR)
            if why != MORE_WAITERS:
                return
            self.state = more_waiters(self.state)
            arrival, address, write = arrival[taken:], address[taken:], write[taken:]


def simulate_requests(
    arrival: ArrayLike, address: ArrayLike, write: ArrayLike, memory: Dram, commands: int = 0, requests: int = 0
) -> Served:
    """Serve a list of requests, each of one line, taken in in order.

    Args:
        arrival: (N,): memory cycle from which each waits to be taken in; 0: as fast as the queues accept.
        address: (N,): bytes; any byte of the line.
        write: (N,): a write, or else a read.
        memory: the configuration.
        commands: how many commands to keep.
        requests: of how many requests to keep the times.

    Raises:
        InputError: arrays of different lengths, an address outside the memory, or a negative cycle.

    """
    cycles, addresses = np.asarray(arrival, np.int64), np.asarray(address, np.int64)
    writes = np.asarray(write, np.bool_)
    if not cycles.ndim == addresses.ndim == writes.ndim == 1 or not len(cycles) == len(addresses) == len(writes):
        shapes = f"{cycles.shape}, {addresses.shape} and {writes.shape}"
        raise InputError(f"requests: arrival, address and write should be lists of one length, not {shapes}")
    if len(cycles):
        check_addresses(int(addresses.min()), int(addresses.max()), memory.capacity)
        if cycles.min() < 0:
            raise InputError(f"requests: a request arrives at cycle {cycles.min()}; expected 0 or later")
    stream = Stream(memory.rules, commands, min(requests, len(cycles)))
    stream.feed(cycles, addresses, writes)
    counts = stream.finish()
    kept = int(stream.state.total["logged"][0])
    return Served(counts, stream.state.log[:kept], stream.state.served)


def check_addresses(low: int, high: int, capacity: int) -> None:
    """Refuse addresses that the memory does not have.

    Raises:
        InputError: one below 0, or at or beyond ``capacity``.

    """
    if low < 0 or high >= capacity:
        wrong = low if low < 0 else high
        raise InputError(f"requests: address {wrong:#x} is outside the memory; expected 0 to {capacity - 1:#x}")


def count_run(state: State, cycles: int) -> Counts:
    """Count what happened in the first ``cycles`` memory cycles of a run."""
    total, rank = state.total[0], state.rank
    active = int(rank["active"].sum() + np.where(rank["open_banks"] > 0, cycles - rank["opened"], 0).sum())
    return Counts(
        cycles=cycles,
        requests=int(total["next_index"]),
        activates=int(total["activates"]),
        reads=int(total["reads"]),
        writes=int(total["writes"]),
        precharges=int(total["precharges"]),
        refreshes=int(total["refreshes"]),
        read_row_hits=int(total["read_hits"]),
        write_row_hits=int(total["write_hits"]),
        conflicts=int(total["conflicts"]),
        dual_issues=int(total["dual"]),
        forwarded=int(total["forwarded"]),
        merged_reads=int(total["merged_reads"]),
        merged_writes=int(total["merged_writes"]),
        active_cycles=active,
        idle_cycles=cycles * rank.size - active,
        read_latency=int(total["latency"]),
        latencies=tuple(state.histogram.tolist()),
    )
