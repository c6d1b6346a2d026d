"""The DRAM channel in a run: how the DMA engine's transfers spend the run's time.

A plain channel says at once when a transfer will end. A detailed one cannot: transfers that follow take part in it. It
goes on until something happens or until the run's next event, whichever is first, so neither runs ahead of the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol, cast

import simpy

from simulator.engine.timeline import Transfer
from simulator.hardware.dram import Memory, SimpleChannel

if TYPE_CHECKING:
    from simulator.hardware.dram_port import Activity
    from simulator.hardware.dram_timing import Dram


class Channel(Protocol):
    """What the DMA engine asks of either kind of channel."""

    transfers: list[Transfer]
    """All so far, in the order in which they were asked for."""

    def move(self, transfer: Transfer, address: int) -> Generator[simpy.Event, object, simpy.Event]:
        """Wait until the next transfer can be asked for; return the event at which this one is done."""

    def busy_until(self, now: int) -> int:
        """Return until when, up to ``now``, a transfer was under way: not done, or on a plain channel not over."""

    def finish(self, now: int) -> int:
        """Return when, from ``now`` on, the last byte has been moved."""

    def activity(self) -> Activity | None:
        """Return what a detailed memory did, after ``finish``."""


def open_channel(memory: Memory, env: simpy.Environment, clock: int) -> Channel:
    """Return a fresh channel beside a core at ``clock`` Hz."""
    if isinstance(memory, SimpleChannel):
        return _Plain(memory, env, clock)
    return _Detailed(cast("Dram", memory), env, clock)


class _Plain:
    """Transfers follow each other at full bandwidth; writes are posted; addresses do not matter."""

    def __init__(self, memory: SimpleChannel, env: simpy.Environment, clock: int) -> None:
        self.transfers: list[Transfer] = []
        self._memory, self._env, self._clock = memory, env, clock
        self._latency = memory.latency_cycles(clock, write=False)
        self._free = 0

    def move(self, transfer: Transfer, address: int) -> Generator[simpy.Event, object, simpy.Event]:
        transfer.takes = self._memory.at_least(transfer.size, self._clock)
        self._free = transfer.free = transfer.start + transfer.takes
        transfer.done = transfer.free if transfer.write else transfer.free + self._latency
        self.transfers.append(transfer)
        yield self._env.timeout(transfer.takes)
        return self._env.timeout(transfer.done - transfer.free)

    def busy_until(self, now: int) -> int:
        return min(self._free, now)

    def finish(self, now: int) -> int:
        return now

    def activity(self) -> Activity | None:
        return None


class _Detailed:
    """The controllers' own time is kept level with the run's."""

    def __init__(self, memory: Dram, env: simpy.Environment, clock: int) -> None:
        self.transfers: list[Transfer] = []
        self._memory, self._env, self._clock = memory, env, clock
        self._port = memory.open(clock)
        self._entering: deque[tuple[Transfer, simpy.Event]] = deque()
        self._leaving: deque[tuple[Transfer, simpy.Event]] = deque()
        self._asked = env.event()
        self._done = self._bytes = self._needed = 0
        env.process(self._run())

    def move(self, transfer: Transfer, address: int) -> Generator[simpy.Event, object, simpy.Event]:
        taken, done = self._env.event(), self._env.event()
        self._bytes += transfer.size
        transfer.takes = self._memory.at_least(self._bytes, self._clock) - self._needed
        self._needed += transfer.takes
        self._port.begin(transfer.start, address, transfer.size, transfer.write)
        self.transfers.append(transfer)
        self._entering.append((transfer, taken))
        self._leaving.append((transfer, done))
        if not self._asked.triggered:
            self._asked.succeed()
        yield taken
        return done

    def busy_until(self, now: int) -> int:
        return now if self._leaving else min(self._done, now)

    def finish(self, now: int) -> int:
        return self._port.finish(now)

    def activity(self) -> Activity | None:
        return self._port.activity()

    def _run(self) -> Generator[simpy.Event, object, None]:
        while True:
            if not self._port.under_way:
                self._asked = self._env.event()
                yield self._asked
            horizon = self._env.peek()
            step = self._port.proceed(horizon)
            if step is None:
                yield self._env.timeout(horizon - self._env.now)
                continue
            if step.done:
                transfer, event = self._leaving.popleft()
                at = transfer.done = self._done = max(step.cycle, self._done)
            else:
                transfer, event = self._entering.popleft()
                at = transfer.free = step.cycle
            _succeed_at(self._env, event, at)


def _succeed_at(env: simpy.Environment, event: simpy.Event, at: int) -> None:
    def succeed(_: simpy.Event) -> None:
        event.succeed()

    env.timeout(at - env.now).callbacks.append(succeed)
