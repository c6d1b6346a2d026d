"""DRAM: the interface that the engine plays against, and the plain bandwidth–latency channel behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, BytesPerSecond, Picoseconds


class Transfer(NamedTuple):
    """When a transfer ends, in core cycles."""

    free: int
    """When the channel can take the next one."""
    done: int
    """When what was read can be used, or what was written is safe."""


class Port(Protocol):
    """A channel as one run uses it: it may remember what it did (open rows, refreshes)."""

    def transfer(self, now: int, address: int, size: int, write: bool) -> Transfer:
        """Move ``size`` bytes from or to ``address``, beginning at core cycle ``now``; calls come in time order."""


class Memory(Protocol):
    """The configuration of a memory channel."""

    @property
    def burst(self) -> int:
        """Bytes of the smallest access."""

    def open(self, clock: int) -> Port:
        """Return a fresh channel beside a core at ``clock`` Hz."""

    def at_least(self, size: int, clock: int) -> int:
        """Return the core cycles that no order of accesses can beat for ``size`` bytes: bytes ÷ bandwidth."""


class SimpleChannel(Part):
    """Bandwidth and latency: transfers follow each other at full bandwidth, reads arrive a latency later."""

    bandwidth: BytesPerSecond
    """Peak of the channel, reads and writes together."""
    latency: Picoseconds
    """From request to data, beyond the transfer itself."""
    burst: Bytes
    """Every transfer is a whole number of bursts."""
    energy_pj_per_bit: Annotated[float, Field(ge=0)]
    """Energy per bit that crosses the channel; no technology table of the chip holds it."""

    def at_least(self, size: int, clock: int) -> int:
        """See ``Memory``: rounded up to whole cycles."""
        return -(-size * clock // self.bandwidth)

    def open(self, clock: int) -> SimplePort:
        """See ``Memory``."""
        return SimplePort(self, clock, -(-self.latency * clock // 10**12))


@dataclass(frozen=True)
class SimplePort:
    """A simple channel in use; it remembers nothing."""

    channel: SimpleChannel
    clock: int
    latency: int
    """Core cycles, rounded up."""

    def transfer(self, now: int, address: int, size: int, write: bool) -> Transfer:
        """See ``Port``: the address does not matter, and writes are posted."""
        free = now + self.channel.at_least(size, self.clock)
        return Transfer(free, free if write else free + self.latency)


def whole_bursts(size: NDArray[np.int64], burst: int) -> NDArray[np.int64]:
    """Round sizes in bytes up to whole bursts."""
    return -(-size // burst) * burst
