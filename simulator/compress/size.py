"""How many bits an operator's weight takes before and after compression."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from simulator.compress.coding import CODINGS
from simulator.trace import Conv2d, Linear, Tensor

__all__ = ["weight_bits"]


def weight_bits(operator: Conv2d | Linear) -> dict[str, int]:
    """Return the bits of a weight in fp32 (all of it, also where it is decomposed) and under each coding.

    Rows run along the input channels: one per output channel and kernel element, or one per output channel
    and basis kernel. Where a coding takes more than plain two's complement (a ternary code: 2 bits) the
    weight is stored plain. Basis kernels are plain. Scales, biases and batch norm, the same before and after,
    are left out.

    Args:
        operator: a convolution or a fully connected layer; its tensors may be values, masks or densities.

    Returns:
        Bits by ``"fp32"`` and the names of :data:`simulator.compress.CODINGS`.

    """
    if isinstance(operator, Conv2d) and operator.basis is not None and operator.coefficients is not None:
        elements = math.prod(operator.coefficients.shape[:2]) * math.prod(operator.kernel_size)
        plain, coded = operator.basis.size * operator.basis.bits, operator.coefficients
    else:
        assert operator.weight is not None
        elements, plain, coded = operator.weight.size, 0, operator.weight
    return {"fp32": 32 * elements} | {name: plain + size for name, size in _coded_bits(coded).items()}


def _coded_bits(weight: Tensor) -> dict[str, int]:
    rows: NDArray[np.bool_] = np.moveaxis(weight.mask(), 1, -1)
    uncoded = max(weight.bits, 2) * weight.size
    return {name: min(uncoded, int(bits(rows, weight.bits).sum())) for name, bits in CODINGS.items()}
