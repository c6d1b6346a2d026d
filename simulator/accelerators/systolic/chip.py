"""The configuration of a systolic array and its buffers."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.hardware.buffer import Buffer
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.mfu import MultiFunctionUnit
from simulator.hardware.systolic_array import SystolicArray

PARTIAL: Final = 4
"""Bytes of a sum, as long as it is not complete."""
BUFFERS: Final = ("input_buffer", "weight_buffer", "output_buffer")


class Processing(Part):
    """What the PEs do."""

    operand_bits: Literal[8, 16]
    """Of inputs, weights and outputs, on chip and in DRAM; sums have 32."""
    zero_gating: bool
    """Whether a PE that meets a zero leaves multiplier and adder alone: less energy, the same cycles."""


class Tiling(Part):
    """How folds are gathered into tiles."""

    folds: Annotated[int, Field(ge=1)]
    """Folds of a tile at most; fewer where the buffers are too small."""


class Chip(Part):
    """The configuration of a systolic array and its buffers."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    array: SystolicArray
    pe: Processing
    vector: MultiFunctionUnit
    """Beside the array: softmax, and what else happens between products."""
    input_buffer: Buffer
    weight_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    tiling: Tiling

    @property
    def pes(self) -> int:
        """Number of PEs."""
        return self.array.rows * self.array.columns

    @property
    def operand(self) -> int:
        """Bytes of an operand."""
        return self.pe.operand_bits // 8

    @property
    def halves(self) -> tuple[int, int, int]:
        """Bytes that a tile may fill of each buffer."""
        return self.input_buffer.half, self.weight_buffer.half, self.output_buffer.half

    def asked(self, rows: int, columns: int) -> tuple[int, int, int]:
        """Return the bytes per cycle that an array of so many rows and columns asks of each buffer at most."""
        sums = 2 * PARTIAL * columns  # read, added to, written
        inputs, weights, outputs = {
            "output": (rows, columns, columns * self.operand),
            "weight": (rows, columns, sums),
            "input": (columns, rows, sums),
        }[self.array.dataflow]
        return inputs * self.operand, weights * self.operand, outputs
