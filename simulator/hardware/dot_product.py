"""Dense processing elements: each takes a dot product of two vectors per cycle, zeros included.

What the inner loop of SCNN's dense baseline, PT-IS-DP-dense, computes. Source: Parashar et al., ISCA 2017; how wide the
dot product is, and over what, is not published.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.grid import MOST_ROWS
from simulator.hardware.jit import kernel


class DensePEs(Part):
    """Configuration of a grid of dense PEs."""

    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    """PEs one above the other; the plane's rows are shared out among them."""
    columns: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    """PEs side by side; the plane's columns are shared out among them."""
    multipliers: Annotated[int, Field(ge=1)]
    """Of a PE: pairs of a dot product, taken along taps and input channels as one."""

    @property
    def count(self) -> int:
        """Number of PEs."""
        return self.rows * self.columns


@kernel
def dot_products(
    inputs: Any, weights: Any, first: int, last: int, stride: Any, padding: Any, dilation: Any, width: int, output: Any
) -> int:
    """Compute output rows first … last - 1 vector by vector; return the vectors multiplied.

    inputs (C, H, W), weights (K, C, R, S), output (K, P, Q); stride, padding, dilation (2,).
    """
    C, H, W = inputs.shape
    K, _, R, S = weights.shape
    vectors = 0
    for k in range(K):
        for y in range(first, last):
            for x in range(output.shape[2]):
                for start in range(0, C * R * S, width):
                    total = 0
                    for pair in range(start, min(start + width, C * R * S)):
                        c, tap = pair // (R * S), pair % (R * S)
                        row = y * stride[0] - padding[0] + tap // S * dilation[0]
                        column = x * stride[1] - padding[1] + tap % S * dilation[1]
                        if 0 <= row < H and 0 <= column < W:
                            total += inputs[c, row, column] * weights[k, c, tap // S, tap % S]
                    output[k, y, x] += total
                    vectors += 1
    return vectors
