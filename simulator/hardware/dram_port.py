"""A detailed DRAM beside a core: transfers are asked for, and the controllers go on as far as time is known."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.dram_controller import advance
from simulator.hardware.dram_requests import Counts, check_addresses, count_run
from simulator.hardware.dram_state import (
    DRAINED,
    FAR,
    MORE_REQUESTS,
    MORE_WAITERS,
    PAUSED,
    SERVED,
    TAKEN,
    TIME,
    Ints,
    more_waiters,
    new_state,
)

if TYPE_CHECKING:
    from simulator.hardware.dram_timing import Dram

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Step:
    """What happened next, to one of the transfers under way."""

    done: bool
    """Whether all data of the oldest have arrived, or are safe in the write buffer; else all lines of the next that
    was not yet taken in have been."""
    cycle: int
    """Core cycle, rounded up. Data arrive at a cycle that may lie ahead of what was asked for."""


@dataclass(frozen=True, eq=False)
class Activity:
    """What a detailed DRAM did in a run."""

    counts: Counts
    """Up to the end of the run."""
    moved: NDArray[np.int64]
    """(bins, 2): bytes read and written by the time of their commands."""
    bin_cycles: int
    """Memory cycles of a bin."""


@dataclass
class _Transfer:
    """Lines asked for and not all done."""

    lines: Ints
    arrival: Ints
    write: NDArray[np.bool_]
    first: int
    """Index of its first request."""
    taken: int = 0

    @property
    def end(self) -> int:
        return self.first + len(self.lines)


class DetailedPort:
    """Channels in use: each transfer is cut into lines, which are taken in in order, as far as the queues allow.

    Transfers overlap: the next may begin once the last line of the one before is taken in. They are done in order.
    """

    def __init__(self, memory: Dram, clock: int) -> None:
        self._memory, self._rules, self._clock = memory, memory.rules, clock
        self._state = new_state(self._rules)
        self._under_way: deque[_Transfer] = deque()
        self._end: int | None = None

    def begin(self, now: int, address: int, size: int, write: bool) -> None:
        """Ask for ``size`` bytes (above 0) from or to ``address`` at core cycle ``now``, behind those before.

        The first line is that which holds ``address``; as many follow as ``size`` takes.

        Raises:
            InputError: an address outside the memory.

        """
        line = self._memory.burst
        count = -(-size // line)
        start = address // line * line
        check_addresses(start, start + count * line - 1, self._memory.capacity)
        first = self._under_way[-1].end if self._under_way else int(self._state.total["next_index"][0])
        self._under_way.append(
            _Transfer(
                lines=np.arange(start, start + count * line, line),
                arrival=np.full(count, self._memory_cycles(now)),
                write=np.full(count, write),
                first=first,
            )
        )
        self._keep_times()

    def proceed(self, until: float) -> Step | None:
        """Go on until a transfer is taken in or done, but not into core cycle ``until``; None if neither happens.

        Of what happens in the same cycle, steps come one at a time.
        """
        limit = FAR if math.isinf(until) else self._memory_cycles(int(until)) - 1
        while True:
            feeding = next((t for t in self._under_way if t.taken < len(t.lines)), None)
            if feeding is None:
                taken, why = self._wait(SERVED, limit)
            else:
                rest = slice(feeding.taken, None)
                taken, why = self._advance(
                    feeding.arrival[rest], feeding.lines[rest], feeding.write[rest], TAKEN, limit
                )
                feeding.taken += taken
            if why == MORE_WAITERS:
                self._state = more_waiters(self._state)
            elif why == PAUSED:
                return None
            elif why == MORE_REQUESTS:
                return Step(done=False, cycle=self._core_cycles(int(self._state.total["now"][0])))
            else:
                served = self._under_way.popleft()
                times = self._state.served[: len(served.lines), 1]
                self._keep_times()
                return Step(done=True, cycle=self._core_cycles(int(times.max())))

    @property
    def under_way(self) -> bool:
        """Whether a transfer is not done."""
        return bool(self._under_way)

    def finish(self, now: int) -> int:
        """Let the writes that still wait cross the bus; return the core cycle in which a run ends that is over ``now``.

        DRAMsim3's controllers would keep a few for ever; here no run ends before its bytes have been moved. Refreshes
        and standby go on up to the end of the run.
        """
        self._rules = self._rules._replace(write_low=0)
        channel, total = self._state.channel, self._state.total
        total["watched"] = 0
        waits = channel["writes"] > 0
        channel["wake"][waits] = np.minimum(channel["wake"][waits], total["now"][0] + 1)
        self._wait(DRAINED, FAR)
        timing, burst = self._memory.timing, self._memory.organisation.burst_cycles
        written = int(total["last_write"][0]) + timing.AL + timing.CWL + burst if total["writes"][0] else 0
        moved = max(int(total["last_done"][0]), written)
        end = max(now, self._core_cycles(moved))
        self._end = max(moved, end * 10**12 // (self._clock * timing.tCK))
        self._wait(TIME, self._end - 1)
        return end

    def activity(self) -> Activity:
        """Return what was done, after ``finish``."""
        assert self._end is not None
        counts = count_run(self._state, self._end)
        return Activity(counts, self._state.moved * self._memory.burst, 1 << int(self._state.total["bin_bits"][0]))

    def _wait(self, goal: int, until: int) -> tuple[int, int]:
        """Go on without new requests."""
        return self._advance(NOTHING, NOTHING, np.zeros(0, np.bool_), goal, until)

    def _advance(
        self, arrival: Ints, address: Ints, write: NDArray[np.bool_], goal: int, until: int
    ) -> tuple[int, int]:
        return advance(self._rules, self._state, arrival, address, write, goal, until)

    def _keep_times(self) -> None:
        """Keep the times of all requests under way, and watch the transfer that began first."""
        total = self._state.total
        if not self._under_way:
            total["watched"] = 0
            return
        oldest, newest = self._under_way[0], self._under_way[-1]
        served = np.full((newest.end - oldest.first, 2), -1)
        known = self._state.served[oldest.first - int(total["first_index"][0]) :]
        served[: len(known)] = known[: len(served)]
        self._state = self._state._replace(served=served)
        total["first_index"] = oldest.first
        total["watched"] = oldest.end
        total["remaining"] = int((served[: len(oldest.lines), 1] < 0).sum())

    def _memory_cycles(self, cycle: int) -> int:
        """Return the first memory cycle not before a core cycle."""
        return -(-cycle * 10**12 // (self._clock * self._memory.timing.tCK))

    def _core_cycles(self, cycle: int) -> int:
        """Return the first core cycle not before a memory cycle."""
        return -(-cycle * self._memory.timing.tCK * self._clock // 10**12)
