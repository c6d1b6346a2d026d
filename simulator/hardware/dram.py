"""A DRAM channel: the interface that the engine plays against, and the plain bandwidth–latency model."""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, BytesPerSecond, Picoseconds


class Channel(Protocol):
    """What the engine asks of a memory channel. Times are core cycles."""

    @property
    def burst(self) -> int:
        """Bytes of the smallest access."""

    def occupancy(self, size: int, clock: int) -> int:
        """Cycles for which a transfer of ``size`` bytes holds the channel at ``clock`` Hz."""

    def delay(self, clock: int) -> int:
        """Cycles from the end of a read's occupancy until its data can be used."""


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

    def occupancy(self, size: int, clock: int) -> int:
        """See ``Channel``: rounded up to whole cycles."""
        return -(-size * clock // self.bandwidth)

    def delay(self, clock: int) -> int:
        """See ``Channel``: rounded up to whole cycles."""
        return -(-self.latency * clock // 10**12)


def whole_bursts(size: NDArray[np.int64], burst: int) -> NDArray[np.int64]:
    """Round sizes in bytes up to whole bursts."""
    return -(-size // burst) * burst
