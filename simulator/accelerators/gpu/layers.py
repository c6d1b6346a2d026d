"""Convolutions, linear layers and products on a GPU: matrix products, of convolutions implicit ones."""

from __future__ import annotations

from simulator.accelerators.gpu.chip import Chip
from simulator.accelerators.gpu.kernels import Kernel, Pass, Product, over, product
from simulator.dataflow.layers import Layer
from simulator.trace import Conv2d, MaskTensor, MatMul
from simulator.trace.effectual import effectual_macs

DIRECT = 3
"""Instructions of a multiply-accumulate on the CUDA cores: two loads, one multiplication. Assumed."""


def layer_kernel(layer: Layer, chip: Chip) -> Kernel:
    """Return the kernel of a layer: an implicit matrix product, or of narrow groups a direct one on the CUDA cores."""
    width = chip.width
    images = layer.images * layer.groups * layer.channels * layer.vertical.size * layer.horizontal.size
    inputs = images * width
    weights = layer.groups * layer.filters * layer.reduction * width
    outputs = layer.images * layer.groups * layer.filters * layer.pixels
    work = Product(
        layer.groups, layer.images * layer.pixels, layer.filters, layer.reduction, inputs, weights, outputs * width
    )
    implicit = product("gemm", work, chip)
    if layer.groups == 1 or isinstance(layer.operator, MatMul):
        return implicit
    direct = over(
        "direct",
        Pass(
            elements=outputs,
            rows=outputs,
            instructions=DIRECT * layer.reduction + 1,
            call="library",
            reads={"input": inputs, "weight": weights},
            writes={"output": outputs * width},
            performed=layer.macs,
        ),
        chip,
    )
    return min(implicit, direct, key=lambda kernel: kernel.cycles)


def effectual_of(layer: Layer) -> int:
    """Count the effectual multiply-accumulates of a decomposed convolution, as every chip does: by its masks."""
    operator = layer.operator
    assert isinstance(operator, Conv2d)
    G, K, *kernel = layer.weight_shape
    whole = Conv2d(
        operator.name,
        operator.input,
        weight=MaskTensor.of(layer.weight_mask().reshape(G * K, *kernel)),
        stride=operator.stride,
        padding=operator.padding,
        dilation=operator.dilation,
        groups=operator.groups,
    )
    counted = effectual_macs(whole)
    assert counted is not None
    return counted
