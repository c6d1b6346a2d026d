"""The MAC row of a PE slice: each T is multiplied with the R·S values of one basis kernel, into partial sums.

A line buffer keeps the partial sums of the output rows that the kernel's window touches. The stride applies
here: T is made for every input pixel that some output window covers.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes
from simulator.hardware.jit import kernel


class MacRow(Part):
    """Configuration of one MAC row."""

    multipliers: Annotated[int, Field(ge=1)]
    """8-bit multipliers, w."""
    line_buffer: Bytes
    """Room for the partial sums of the output rows that are open while one row of pixels streams by."""
    line_banks: Annotated[int, Field(ge=1)]
    """Banks of the line buffer, each with a port to read and one to write a partial sum per cycle."""
    partial_sum_bits: Annotated[int, Field(ge=8, multiple_of=8)]
    """Width of a partial sum."""

    @property
    def line_bank(self) -> int:
        """Bytes of one bank of the line buffer."""
        return -(-self.line_buffer // self.line_banks)

    def cycles(self, kernel_size: tuple[int, int]) -> int:
        """Cycles that one T keeps the row busy: ⌈R·S ÷ w⌉, and no less than the line buffer needs.

        That reads a column of each of R open rows, and one that is complete.
        """
        rows, columns = kernel_size
        return max(-(-rows * columns // self.multipliers), -(-(rows + 1) // self.line_banks))

    def columns(self, open_rows: int) -> int:
        """Output columns of ``open_rows`` rows whose partial sums fit the line buffer."""
        return self.line_buffer * 8 // (open_rows * self.partial_sum_bits)


@kernel
def multiply_accumulate(
    sums: Any, rows: Any, columns: Any, basis: Any, stride: Any, padding: Any, dilation: Any, output: Any
) -> None:
    """Add every T times its basis kernel into the outputs whose window covers its pixel.

    sums (K, M, P), pixel p at (rows[p], columns[p]); basis (K or 1, M, R, S), 1 where all k share it;
    output (K, P', Q) is added to.
    """
    height, width = output.shape[1:]
    for k in range(sums.shape[0]):
        for m in range(sums.shape[1]):
            weights = basis[min(k, basis.shape[0] - 1), m]
            for p in range(sums.shape[2]):
                for r in range(weights.shape[0]):
                    y = rows[p] + padding[0] - r * dilation[0]
                    if y < 0 or y % stride[0] or y // stride[0] >= height:
                        continue
                    for s in range(weights.shape[1]):
                        x = columns[p] + padding[1] - s * dilation[1]
                        if x < 0 or x % stride[1] or x // stride[1] >= width:
                            continue
                        output[k, y // stride[0], x // stride[1]] += weights[r, s] * sums[k, m, p]
