"""Layers that make no operator: pooling, other views, parameters that are looked up."""

from __future__ import annotations

import math

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, pair, part, whole
from simulator.library.maker import Flow, Maker
from simulator.trace.checks import Shape


def pool(_maker: Maker, layer: schema.Pool, flow: Flow, _name: str, names: Names) -> Flow:
    """Return what a pooling of (N, C, H, W) gives."""
    if len(flow.shape) != 4:
        raise InputError(f"its input has shape {flow.shape}, expected (N, C, H, W)")
    density = flow.density if layer.density is None else part(layer.density, names, "density")
    if layer.kernel is None:
        return Flow((*flow.shape[:2], 1, 1), density)
    kernel = pair(layer.kernel, names, "kernel")
    stride = kernel if layer.stride is None else pair(layer.stride, names, "stride")
    padding = pair(layer.padding, names, "padding", least=0)
    if any(2 * margin > size for margin, size in zip(padding, kernel, strict=True)):
        raise InputError(f"padding is {padding}, expected at most half the window {kernel}")
    sizes = []
    for axis in range(2):
        reach = flow.shape[2 + axis] + 2 * padding[axis] - kernel[axis]
        steps = -(-reach // stride[axis]) if layer.ceil else reach // stride[axis]
        if layer.ceil and steps * stride[axis] >= flow.shape[2 + axis] + padding[axis]:
            steps -= 1  # a window must begin inside
        if reach < 0:
            raise InputError(f"its input has shape {flow.shape}, expected at least the window {kernel}")
        sizes.append(steps + 1)
    return Flow((*flow.shape[:2], *sizes), density)


def reshape(_maker: Maker, layer: schema.Reshape, flow: Flow, _name: str, names: Names) -> Flow:
    """Return another view of what flows."""
    return Flow(_seen_as(layer, flow.shape, names), flow.density)


def _seen_as(layer: schema.Reshape, shape: Shape, names: Names) -> Shape:
    if layer.to != "tokens" and "extra" in layer.model_fields_set:
        raise InputError(f"extra goes before tokens, not before '{layer.to}'")
    if (layer.to == "shape") != ("shape" in layer.model_fields_set):
        raise InputError("key 'shape' belongs to 'to: shape', expected both or neither")
    if layer.to == "shape":
        return _of_as_many(tuple(whole(size, names, "shape") for size in layer.shape), shape)
    if layer.to == "flat":
        return shape[0], math.prod(shape[1:])
    if layer.to == "tokens":
        if len(shape) not in (3, 4):
            raise InputError(f"its input has shape {shape}, expected (N, C, H, W) or (N, L, C)")
        count, features = (shape[2] * shape[3], shape[1]) if len(shape) == 4 else shape[1:]
        return shape[0], count + whole(layer.extra, names, "extra", least=0), features
    if layer.to == "pairs":
        if len(shape) != 2 or shape[0] % 2:
            raise InputError(f"its input has shape {shape}, expected (2N, F)")
        return shape[0] // 2, 2 * shape[1]
    if len(shape) != 3:
        raise InputError(f"its input has shape {shape}, expected (N, L, C)")
    return shape[0], shape[2]


def _of_as_many(asked: Shape, shape: Shape) -> Shape:
    if math.prod(asked) != math.prod(shape):
        raise InputError(f"shape is {asked}, expected as many elements as its input {shape} has")
    return asked


def parameters(maker: Maker, layer: schema.Parameters, flow: Flow, name: str, names: Names) -> Flow:
    """Count parameters that no operator holds."""
    maker.count(name, whole(layer.count, names, "count", least=0))
    return flow
