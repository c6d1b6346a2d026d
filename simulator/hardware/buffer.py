"""On-chip buffers: banks of SRAM, double-buffered between what is being loaded and what is being used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from simulator.arch.part import Part
from simulator.arch.units import Bytes
from simulator.program import Action, Counts, Instances, memory


class Buffer(Part):
    """Configuration of a buffer. Successive words lie in successive banks, so a stream meets no bank conflict."""

    size: Bytes
    """Both halves together."""
    ports: Annotated[int, Field(ge=1)]
    """Reads per bank and cycle."""
    width_bits: Annotated[int, Field(ge=8, multiple_of=8)]
    """Bits per bank and access."""
    banks: Annotated[int, Field(ge=1)]
    """Banks that are read at the same time."""

    @field_validator("banks")
    @classmethod
    def _hold_a_word_each(cls, banks: int, info: ValidationInfo) -> int:
        size, width = info.data.get("size"), info.data.get("width_bits")
        if size is not None and width is not None and (bank := _bank(size, banks)) * 8 < width:
            raise ValueError(
                f"{size} bytes in {banks} banks are {bank} in each; expected at least the {width} bits of an access"
            )
        return banks

    @property
    def bank(self) -> int:
        """Bytes of a bank: its share of all, rounded up."""
        return _bank(self.size, self.banks)

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


def _bank(size: int, banks: int) -> int:
    return -(-size // banks)


def banks_of(component: str, buffer: Buffer, times: int = 1) -> Iterator[Instances]:
    """Yield the banks of ``times`` such buffers as parts of a chip."""
    yield from memory(component, times * buffer.banks, buffer.bank, buffer.width_bits, buffer.ports, buffer.suffix)


def accesses(component: str, buffer: Buffer, written: Counts, read: Counts) -> Iterator[Action]:
    """Count the accesses of so many bits written and read by each tile, (tiles,) each."""
    bank = {"size": buffer.bank, "width": buffer.width_bits}
    yield Action(component, "write", f"sram_write{buffer.suffix}", -(-written // buffer.width_bits), **bank)
    yield Action(component, "read", f"sram_read{buffer.suffix}", -(-read // buffer.width_bits), **bank)
