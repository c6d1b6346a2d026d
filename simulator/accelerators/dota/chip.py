"""The configuration of a DOTA system, and what all its tiles share: operands, SRAM accesses, streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import numpy as np
from pydantic import BeforeValidator

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.dataflow.token_parallel import OPERAND_BITS, AttentionGeometry, DenseGeometry, Retention
from simulator.dataflow.windows import cumulative
from simulator.hardware.accumulator import Accumulator
from simulator.hardware.buffer import Buffer, accesses
from simulator.hardware.connection_filter import ConnectionFilter
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.lanes import Chips, Lanes, Link
from simulator.hardware.mfu import MultiFunctionUnit
from simulator.hardware.rmmu import RMMU
from simulator.hardware.token_scheduler import TokenScheduler
from simulator.program import Action, Counts, Stream

OPERAND: Final = OPERAND_BITS // 8
"""Bytes of an operand, in DRAM and on chip."""


def _retention(value: object) -> object:
    """Read what part of the connections is kept."""
    if value in ("trace", "full"):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"expected 'trace', 'full' or a number above 0 up to 1, not '{value}'")
    return float(value)


class Omission(Part):
    """Which connections are omitted."""

    retention: Annotated[Retention, BeforeValidator(_retention)]
    """What the trace says, all (without detection), or this part of each row's keys."""


class Chip(Part):
    """The configuration of a DOTA system."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    chips: Chips
    lanes: Lanes
    link: Link
    rmmu: RMMU
    filter: ConnectionFilter
    scheduler: TokenScheduler
    mfu: MultiFunctionUnit
    accumulator: Accumulator
    sram: Buffer
    """Of each lane."""
    dram: SimpleChannel
    attention: Omission

    @property
    def pe_rows(self) -> int:
        """PE rows of all chips."""
        return self.all_lanes * self.rmmu.rows

    @property
    def all_lanes(self) -> int:
        """Lanes of all chips."""
        return self.chips.count * self.lanes.count

    @property
    def attention_geometry(self) -> AttentionGeometry:
        """What matching attention depends on."""
        return AttentionGeometry(self.lanes, self.scheduler, self.attention.retention)

    @property
    def dense_geometry(self) -> DenseGeometry:
        """What matching all else depends on."""
        return DenseGeometry(self.chips, self.lanes, self.rmmu)


def sram_actions(written: Counts, read: Counts, chip: Chip) -> Iterator[Action]:
    """Count accesses for so many bytes of each tile."""
    yield from accesses("sram", chip.sram, 8 * written, 8 * read)


def stream(name: str, size: Counts, compulsory: int, chip: Chip) -> Stream:
    """Return bytes that cross the channel tile after tile, in the order in which they are stored."""
    size = size.astype(np.int64)
    return Stream(name, whole_bursts(size, chip.dram.burst), cumulative(size)[:-1] % max(1, compulsory), compulsory)
