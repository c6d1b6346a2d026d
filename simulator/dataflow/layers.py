"""Layers: every operator that multiplies seen as one grouped convolution, its weight whole and its operands as masks.

Accelerators that know nothing of basis kernels run a decomposed convolution as the one that its kernels stand for. A
linear layer is a 1×1 convolution over a row of pixels, one for each row of its input; a stack of matrix products is
one of as many groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.windows import Axis, axes_of
from simulator.trace import Conv2d, Linear, MatMul, Operator, not_run
from simulator.trace.reference import recompose

Mask = NDArray[np.bool_]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution of N images, its groups G apart: C input channels and K filters in each.

    The axes of the arrays that the methods return are: inputs (N, G, C, H, W), weights (G, K, C, R, S), outputs
    (N, G, K, P, Q).
    """

    operator: Operator
    images: int
    groups: int
    channels: int
    """C of a group."""
    filters: int
    """K of a group."""
    vertical: Axis
    horizontal: Axis

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.operator.name

    @property
    def pixels(self) -> int:
        """P · Q: output pixels of an image."""
        return self.vertical.outputs * self.horizontal.outputs

    @property
    def taps(self) -> int:
        """R · S."""
        return self.vertical.kernel * self.horizontal.kernel

    @property
    def reduction(self) -> int:
        """C · R · S: products of an output."""
        return self.channels * self.taps

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer, those with the padding included."""
        return self.images * self.groups * self.filters * self.pixels * self.reduction

    @property
    def input_shape(self) -> tuple[int, int, int, int, int]:
        """(N, G, C, H, W)."""
        return self.images, self.groups, self.channels, self.vertical.size, self.horizontal.size

    @property
    def weight_shape(self) -> tuple[int, int, int, int, int]:
        """(G, K, C, R, S)."""
        return self.groups, self.filters, self.channels, self.vertical.kernel, self.horizontal.kernel

    @property
    def output_shape(self) -> tuple[int, int, int, int, int]:
        """(N, G, K, P, Q)."""
        return self.images, self.groups, self.filters, self.vertical.outputs, self.horizontal.outputs

    def input_mask(self) -> Mask:
        """Return the non-zero inputs (N, G, C, H, W)."""
        return self._inputs(_input(self.operator).mask())

    def weight_mask(self) -> Mask:
        """Return the non-zero weights (G, K, C, R, S); of a decomposed one those that no zero operand rules out."""
        operator = self.operator
        if isinstance(operator, Conv2d) and operator.basis is not None and operator.coefficients is not None:
            basis, coefficients = operator.basis.mask().astype(np.int64), operator.coefficients.mask().astype(np.int64)
            return self._weights(recompose(basis, coefficients) != 0)
        return self._weights(_weight(operator).mask())

    def input_values(self) -> Integers | None:
        """Return the inputs (N, G, C, H, W) where their values are known."""
        values = _input(self.operator).values()
        return None if values is None else self._inputs(values)

    def weight_values(self) -> Integers | None:
        """Return the weights (G, K, C, R, S) where their values are known."""
        operator = self.operator
        if isinstance(operator, Conv2d) and operator.basis is not None and operator.coefficients is not None:
            basis, coefficients = operator.basis.values(), operator.coefficients.values()
            return None if basis is None or coefficients is None else self._weights(recompose(basis, coefficients))
        values = _weight(operator).values()
        return None if values is None else self._weights(values)

    def output_mask(self) -> Mask | None:
        """Return the outputs stored as non-zero (N, G, K, P, Q); None where the trace does not tell: all of them."""
        output = self.operator.tensors.get("output")
        if output is None:
            return None
        if isinstance(self.operator, Conv2d):
            return output.mask().reshape(self.output_shape)
        if isinstance(self.operator, MatMul):
            stacked = output.mask().reshape(self.groups, self.pixels, self.filters)
            return stacked.transpose(0, 2, 1)[None, :, :, None, :]
        return output.mask().reshape(self.pixels, self.filters).T[None, None, :, None, :]

    def as_output(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what was computed (N, G, K, P, Q) in the shape of the operator's output."""
        if isinstance(self.operator, Conv2d):
            return values.reshape(self.operator.output_shape)
        if isinstance(self.operator, MatMul):
            return values[0, :, :, 0].transpose(0, 2, 1).reshape(self.operator.output_shape)
        return values[0, 0, :, 0].T.reshape(self.operator.output_shape)

    def _inputs(self, array: NDArray[Any]) -> NDArray[Any]:
        if isinstance(self.operator, Conv2d):
            return array.reshape(self.input_shape)
        stacked = array.reshape(self.groups, self.pixels, self.channels)
        return stacked.transpose(0, 2, 1)[None, :, :, None, :]

    def _weights(self, array: NDArray[Any]) -> NDArray[Any]:
        if isinstance(self.operator, MatMul):
            array = array.reshape(self.groups, self.channels, self.filters).transpose(0, 2, 1)
        return array.reshape(self.weight_shape)


def layer_of(operator: Operator) -> Layer:
    """See an operator as a convolution.

    Raises:
        InputError: it is neither a convolution, nor a linear layer, nor a product of matrices.

    """
    point = Axis(1, 1, 1, 0, 1)
    if isinstance(operator, Conv2d):
        (N, C), G = operator.input.shape[:2], operator.groups
        return Layer(operator, N, G, C // G, operator.out_channels // G, *axes_of(operator))
    if isinstance(operator, Linear):
        K, C = operator.weight.shape
        rows = operator.input.size // C
        return Layer(operator, 1, 1, C, K, point, Axis(rows, 1, 1, 0, 1))
    if isinstance(operator, MatMul):
        *stack, m, k = operator.a.shape
        return Layer(operator, 1, math.prod(stack), k, operator.b.shape[-1], point, Axis(m, 1, 1, 0, 1))
    raise not_run(operator, "this accelerator", ("conv2d", "linear", "matmul"))


def _input(operator: Operator) -> Any:
    return operator.tensors["a" if isinstance(operator, MatMul) else "input"]


def _weight(operator: Operator) -> Any:
    return operator.tensors["b" if isinstance(operator, MatMul) else "weight"]
