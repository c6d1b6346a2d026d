"""On-chip buffers: banks of SRAM, double-buffered between what is being loaded and what is being used."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes


class Buffer(Part):
    """Configuration of a buffer. Successive words lie in successive banks, so a stream meets no bank conflict."""

    size: Bytes
    """Both halves together."""
    banks: Annotated[int, Field(ge=1)]
    """Banks that are read at the same time."""
    ports: Annotated[int, Field(ge=1)]
    """Reads per bank and cycle."""
    width_bits: Annotated[int, Field(ge=8, multiple_of=8)]
    """Bits per bank and access."""

    @property
    def half(self) -> int:
        """Bytes that one tile may fill while the next is loaded into the other half."""
        return self.size // 2

    @property
    def bytes_per_cycle(self) -> int:
        """Bytes that a stream reads per cycle."""
        return self.banks * self.ports * self.width_bits // 8

    @property
    def suffix(self) -> str:
        """What the kinds of such banks end in, in a technology table; more ports than four count as four."""
        return {1: "", 2: "_2rw"}.get(self.ports, "_4rw")
