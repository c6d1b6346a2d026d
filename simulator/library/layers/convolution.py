"""Convolutions."""

from __future__ import annotations

import math
from typing import Any

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, flag, pair, whole
from simulator.library.layers.dense import weighted
from simulator.library.maker import Flow, Maker
from simulator.trace import Conv2d

LEAST_CHANNELS = 8
"""Channels below which a kernel is not decomposed, as in `simulator.compress.hybrid_quantise`."""


def conv(maker: Maker, layer: schema.Conv, flow: Flow, name: str, names: Names) -> Flow:
    """Make a convolution of (N, C, H, W)."""
    if len(flow.shape) != 4:
        raise InputError(f"its input has shape {flow.shape}, expected (N, C, H, W)")
    C, K = flow.shape[1], whole(layer.out, names, "out")
    names = {**names, "out": K}
    kernel = pair(layer.kernel, names, "kernel")
    how = _geometry(layer, kernel, names)
    groups = how["groups"]
    if C % groups or K % groups:
        raise InputError(f"groups is {groups}, expected a divisor of both C = {C} and K = {K}")
    flow, density, stored = weighted(maker, layer, flow, name, names, (*kernel, C // groups, K))
    data = maker.taken(flow, name)
    shape = (K, C // groups, *kernel)
    kept = maker.weights(name, shape, density, groups == 1 and math.prod(kernel) > 1 and C >= LEAST_CHANNELS)
    bias, norm = flag(layer.bias, names, "bias"), flag(layer.norm, names, "norm")
    maker.count(name, math.prod(shape) + K * bias + 2 * K * norm)
    operator = Conv2d(name, data, **kept, **how)
    output = maker.stored(name, operator.output_shape, stored)
    return maker.add(Conv2d(name, data, **kept, **how, output=output), output)


def _geometry(layer: schema.Conv, kernel: tuple[int, int], names: Names) -> dict[str, Any]:
    """Return stride, padding, dilation and groups."""
    dilation = pair(layer.dilation, names, "dilation")
    padding = (
        pair(layer.padding, names, "padding", least=0)
        if layer.padding is not None
        else ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2)
    )
    return {
        "stride": pair(layer.stride, names, "stride"),
        "padding": padding,
        "dilation": dilation,
        "groups": whole(layer.groups, names, "groups"),
    }
