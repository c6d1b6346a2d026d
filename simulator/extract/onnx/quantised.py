"""Integers of quantised models as the real numbers they stand for, on the grid of the model's own steps."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.value import Quantised, Value
from simulator.extract.store import Place

__all__ = ["after_quantising", "dequantised", "real"]


def real(value: Value, scale: Value | None, zero: Value | None, axis: int | None = None) -> Value:
    """Return integers as real numbers: (integer − zero) × scale, so that a real zero is 0 whatever the zero point.

    Args:
        value: integers.
        scale: one, or one for each index of an axis; None: what they were quantised with, else 1.
        zero: the same of zero points; None: 0.
        axis: of several scales or zero points.

    """
    known = value.quantised
    if scale is None and known is not None:
        steps, zeros, bits = known.scale, known.zero, known.bits
    else:
        step = np.asarray(1.0, np.float32) if scale is None else scale.array
        steps = _along(step, value.array, axis)
        zeros = _along(np.asarray(0) if zero is None else zero.array, value.array, axis)
        bits = _bits(value.array)
    wide = value.array.astype(np.int64) - zeros.astype(np.int64)
    grid = np.broadcast_to(steps, value.array.shape)
    return Value((wide * grid).astype(grid.dtype), _place(value), grid, bits)


def dequantised(node: Node) -> list[Value] | None:
    """Return what `DequantizeLinear` makes, with the step of each element."""
    value, scale, zero = node.input(0), node.input(1), node.get(2)
    block = int(node.attributes.get("block_size", 0))
    if value.array.dtype.name.startswith("float"):
        return None  # eight-bit floating point is no grid
    axis = int(node.attributes.get("axis", 1))
    if block:

        def spread(array: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(array, block, axis)[tuple(slice(size) for size in value.array.shape)]

        steps = spread(scale.array)
        zeros = 0 if zero is None else spread(zero.array.astype(np.int64))
        real_numbers = ((value.array.astype(np.int64) - zeros) * steps).astype(steps.dtype)
        return [Value(real_numbers, _place(value), steps, _bits(value.array))]
    return [real(value, scale, zero, axis)]


_SCALE_OF_RESULT: Final = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"), 6),
    "com.microsoft::QGemm": 7,
    **dict.fromkeys(("com.microsoft::QLinearGlobalAveragePool", "com.microsoft::QLinearAveragePool"), 3),
}
"""Which input is the scale of the result; the next is its zero point."""


def after_quantising(node: Node) -> list[Value] | None:
    """Return the results of a node that quantises, with what they stand for; None for any other node."""
    op = node.op
    if op == "QuantizeLinear":
        scale, zero, axis = node.input(1), node.get(2), int(node.attributes.get("axis", 1))
        if node.attributes.get("block_size"):
            return None
        first = _made(node, node.input(0))
        zeros = np.asarray(0) if zero is None else zero.array
        _note(first, scale.array, zeros, axis)
        return [first]
    if op == "DynamicQuantizeLinear":
        first = _made(node, node.input(0))
        _note(first, node.results[1], node.results[2], None)
        return [first, *(Value(array, Place(False)) for array in node.results[1:])]
    if op in _SCALE_OF_RESULT:
        first, place = Value(node.results[0], Place(False)), _SCALE_OF_RESULT[op]
        given, zero = node.get(place), node.get(place + 1)
        zeros = np.asarray(0) if zero is None else zero.array
        if given is not None:
            _note(first, given.array, zeros, -2 if op == "QLinearMatMul" else None)
        return [first]
    return None


def _made(node: Node, input: Value) -> Value:
    """Return what is the same tensor in integers: computed by whatever computed the input."""
    return Value(node.results[0], Place(input.place.constant, input.place.origin))


def _note(value: Value, scale: NDArray[Any], zero: NDArray[Any], axis: int | None) -> None:
    steps, zeros = (_along(each, value.array, axis) for each in (scale, zero))
    value.quantised = Quantised(steps, zeros, _bits(value.array))


def _place(value: Value) -> Place:
    return Place(value.place.constant, value.place.origin)


def _along(numbers: NDArray[Any], array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return numbers so that they broadcast along an axis."""
    numbers = np.asarray(numbers)
    if numbers.size == 1 or array.ndim == 0:
        return numbers.reshape(())
    if numbers.ndim > 1:
        return numbers
    place = (0 if axis is None else axis) % array.ndim
    if numbers.size != array.shape[place]:
        raise InputError(f"{numbers.size} scales or zero points for an axis of {array.shape[place]}")
    return numbers.reshape([-1 if each == place else 1 for each in range(array.ndim)])


def _bits(array: NDArray[Any]) -> int:
    name = array.dtype.name
    return {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}.get(name, 8 * array.dtype.itemsize)
