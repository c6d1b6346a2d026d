"""DRAM: what the engine asks of any memory, and the plain bandwidth–latency channel."""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, BytesPerSecond, Picoseconds


class Memory(Protocol):
    """The configuration of a memory."""

    @property
    def burst(self) -> int:
        """Bytes of the smallest access."""

    @property
    def bandwidth(self) -> float:
        """Peak of all channels in bytes per second, reads and writes together."""

    def at_least(self, size: int, clock: int) -> int:
        """Return the core cycles that no order of accesses can beat for ``size`` bytes: bytes ÷ bandwidth."""

    def latency_cycles(self, clock: int, write: bool) -> int:
        """Return the core cycles that a lone read or write takes beyond its transfer, where it must be waited for."""


class SimpleChannel(Part):
    """Bandwidth and latency: transfers follow each other at full bandwidth, reads arrive a latency later."""

    bandwidth: BytesPerSecond
    """Peak of the channel, reads and writes together."""
    latency: Picoseconds
    """From request to data, beyond the transfer itself."""
    burst: Bytes
    """Every transfer is a whole number of bursts."""
    detailed: str | None = None
    """The memory that takes this channel's place where it is simulated command by command (``--memory detailed``)."""
    energy_pj_per_bit: Annotated[float, Field(ge=0)]
    """Energy per bit that crosses the channel; no technology table of the chip holds it."""

    def at_least(self, size: int, clock: int) -> int:
        """See ``Memory``: rounded up to whole cycles."""
        return -(-size * clock // self.bandwidth)

    def takes(self, sizes: NDArray[np.int64], clock: int) -> NDArray[np.int64]:
        """Return ``at_least`` of each size."""
        if int(sizes.max(initial=0)) * clock < 2**63:
            return -(-sizes * clock // self.bandwidth)
        each = [self.at_least(size, clock) for size in sizes.ravel().tolist()]
        return np.array(each, np.int64).reshape(sizes.shape)

    def latency_cycles(self, clock: int, write: bool) -> int:
        """See ``Memory``: rounded up to whole cycles; writes are posted."""
        return 0 if write else -(-self.latency * clock // 10**12)


def whole_bursts(size: NDArray[np.int64], burst: int) -> NDArray[np.int64]:
    """Round sizes in bytes up to whole bursts."""
    return -(-size // burst) * burst
