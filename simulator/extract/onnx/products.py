"""Multiply-accumulates of ONNX graphs: convolutions, fully connected layers, products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from simulator.extract.draft import Origin, Scores
from simulator.extract.onnx.attention import attention_of_product
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.quantised import real
from simulator.extract.onnx.value import Source, Value
from simulator.extract.recorder import Recorder
from simulator.extract.store import Place

__all__ = ["HANDLERS"]


def _convolution(recorder: Recorder, node: Node) -> Origin | None:
    return _convolved(recorder, node, node.input(0), node.input(1))


def _convolved(recorder: Recorder, node: Node, input: Value, weight: Value) -> Origin | None:
    """A convolution in two dimensions, or in one as one row; three-dimensional ones are not captured."""
    dims = weight.array.ndim - 2
    if dims not in (1, 2) or input.array.ndim != weight.array.ndim:
        return None
    size = weight.array.shape[2:]
    stride = [int(each) for each in node.attributes.get("strides", [1] * dims)]
    dilation = [int(each) for each in node.attributes.get("dilations", [1] * dims)]
    begins, ends = _padding(node, input.array.shape[2:], size, stride, dilation)
    padding = [min(begin, end) for begin, end in zip(begins, ends, strict=True)]
    if begins != ends:  # zeros on one side only are part of the input
        extra = [(b - p, e - p) for b, e, p in zip(begins, ends, padding, strict=True)]
        grid = None if input.grid is None else np.broadcast_to(input.grid.reshape(-1)[:1], (1,))
        padded = np.pad(input.array, [(0, 0), (0, 0), *extra])
        input = Value(padded, Place(input.place.constant), None, input.bits)
        if grid is not None:
            input.grid = np.broadcast_to(grid, padded.shape)
    if dims == 1:
        input, weight = (value.seen(lambda a: np.expand_dims(a, 2)) for value in (input, weight))
        stride, dilation, padding = [1, *stride], [1, *dilation], [0, *padding]
    roles = {
        "input": recorder.values("its input", input),
        "weight": recorder.values("its weight", weight, per_channel=True),
    }
    attributes: dict[str, Any] = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}
    made = node.results[0].shape
    shape = (*made[:2], *([1] if dims == 1 else []), *made[2:])
    groups = int(node.attributes.get("group", 1))
    return Origin(recorder.draft("conv2d", "conv", shape, roles, **attributes, groups=groups))


def _padding(
    node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    """Return zeros before and after each axis."""
    automatic = node.attributes.get("auto_pad", "NOTSET")
    dims = len(kernel)
    if automatic == "NOTSET":
        pads = [int(each) for each in node.attributes.get("pads", [0] * (2 * dims))]
        return pads[:dims], pads[dims:]
    if automatic == "VALID":
        return [0] * dims, [0] * dims
    totals = [
        max(0, (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size)
        for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (small, large) if automatic == "SAME_UPPER" else (large, small)


def _gemm(recorder: Recorder, node: Node) -> Origin | None:
    a, b = node.input(0), node.input(1)
    a = a.seen(lambda x: x.T) if node.attributes.get("transA") else a
    b = b.seen(lambda x: x.T) if node.attributes.get("transB") else b
    return _times(recorder, a, b, float(node.attributes.get("alpha", 1.0)))


def _matmul(recorder: Recorder, node: Node) -> Origin | None:
    return _product(recorder, node.input(0), node.input(1))


def _product(recorder: Recorder, a: Value, b: Value) -> Origin | None:
    if a.array.ndim == 0 or b.array.ndim == 0:
        return None
    if b.array.ndim == 1 and a.place.constant and a.array.ndim == 2:
        a, b = b, a.seen(lambda x: x.T)
        return _fully_connected(recorder, a, b)
    if a.array.ndim == 1 and b.array.ndim == 2 and b.place.constant:
        return _fully_connected(recorder, a, b)
    a = a.seen(lambda x: x[None]) if a.array.ndim == 1 else a
    b = b.seen(lambda x: x[:, None]) if b.array.ndim == 1 else b
    return attention_of_product(recorder, a, b) or _times(recorder, a, b)


def _fully_connected(recorder: Recorder, input: Value, weight: Value) -> Origin:
    """Begin a fully connected layer; the weight is (…, F_in, F_out)."""
    size = weight.array.shape[-2:]
    turned = weight.seen(lambda a: a.reshape(size).T)
    roles = {
        "input": recorder.values("its input", input),
        "weight": recorder.values("its weight", turned, per_channel=True),
    }
    return Origin(recorder.draft("linear", "linear", (*input.array.shape[:-1], size[1]), roles))


def _times(recorder: Recorder, a: Value, b: Value, factor: float = 1.0) -> Origin:
    """A product of matrices; of an activation and a parameter it is a fully connected layer."""
    one = b.array.ndim == 2 or math.prod((*a.array.shape[:-2], *b.array.shape[:-2])) == 1
    if one and b.place.constant and not a.place.constant:
        return _fully_connected(recorder, a, b)
    a, b, factor, steps = _unscaled(recorder, a, b, factor)
    if b.array.ndim == 2 and a.array.ndim > 2:
        a = a.seen(lambda x: x.reshape(-1, x.shape[-1]))
    leading = np.broadcast_shapes(a.array.shape[:-2], b.array.shape[:-2])
    a, b = (v.seen(lambda x: np.broadcast_to(x, (*leading, *x.shape[-2:]))) for v in (a, b))
    roles = {"a": recorder.values("a factor", a), "b": recorder.values("a factor", b)}
    draft = recorder.draft("matmul", "matmul", (*leading, a.array.shape[-2], b.array.shape[-1]), roles)
    return Source(draft, scores=Scores(draft, factor, steps=steps))


def _unscaled(recorder: Recorder, a: Value, b: Value, factor: float) -> tuple[Value, Value, float, list[Any]]:
    """Take back that both factors were multiplied by one number: so PyTorch's exporter writes scaled products."""
    first, second = recorder.origin(a), recorder.origin(b)
    if not (isinstance(first, Source) and isinstance(second, Source) and first.multiple and second.multiple):
        return a, b, factor, []
    (plain_a, of_a), (plain_b, of_b) = first.multiple, second.multiple
    same = plain_a.array.shape == a.array.shape and plain_b.array.shape == b.array.shape
    if of_a != of_b or not 0 < of_a < math.inf or not same:
        return a, b, factor, []
    return plain_a, plain_b, factor * of_a * of_b, [*first.steps, *second.steps]


def _einsum(recorder: Recorder, node: Node) -> Origin | None:
    """A sum of products of two factors that is a product of matrices."""
    equation = str(node.attributes["equation"]).replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != 2 or any(len(set(t)) != len(t) for t in (*terms, out)):
        return None
    x, y = terms
    if any(letter not in out for letter in set(x) ^ set(y)):
        return None  # sums over one factor alone
    shared = [c for c in out if c in x and c in y]
    rows, columns = [c for c in out if c not in y], [c for c in out if c not in x]
    inner = [c for c in x if c in y and c not in out]
    if not inner:
        return None

    def ordered(value: Value, term: str, *groups: list[str]) -> Value:
        order = [term.index(c) for group in groups for c in group]
        sizes = dict(zip(term, value.array.shape, strict=True))
        shape = [math.prod(sizes[c] for c in group) for group in groups]
        return value.seen(lambda a: a.transpose(order).reshape(shape))

    a, b = ordered(node.input(0), x, shared, rows, inner), ordered(node.input(1), y, shared, inner, columns)
    if a.place.constant and not b.place.constant:
        a, b = (v.seen(lambda z: z.swapaxes(-1, -2)) for v in (b, a))
    origin = attention_of_product(recorder, a, b) or _times(recorder, a, b)
    in_order = list(out) == [*shared, *rows, *columns]
    return origin if in_order or origin.draft is None else Origin(None)


def _quantised_convolution(recorder: Recorder, node: Node) -> Origin | None:
    """`QLinearConv`: x, its scale and zero point, w and its own."""
    x, w = node.input(0), node.input(3)
    input = real(x, node.input(1), node.get(2))
    return _convolved(recorder, node, input, real(w, node.input(4), node.get(5), 0))


def _integer_convolution(recorder: Recorder, node: Node) -> Origin | None:
    """`ConvInteger`: scales are applied afterwards, those of the input are known where it was quantised before."""
    weight = real(node.input(1), None, node.get(3), 0)
    return _unscaled_yet(_convolved(recorder, node, real(node.input(0), None, node.get(2)), weight))


def _quantised_product(recorder: Recorder, node: Node) -> Origin | None:
    a = real(node.input(0), node.input(1), node.get(2), -2)
    return _product(recorder, a, real(node.input(3), node.input(4), node.get(5), -1))


def _integer_product(recorder: Recorder, node: Node) -> Origin | None:
    a = real(node.input(0), None, node.get(2), -2)
    return _unscaled_yet(_product(recorder, a, real(node.input(1), None, node.get(3), -1)))


def _unscaled_yet(origin: Origin | None) -> Origin | None:
    return None if origin is None else Source(origin.draft, scores=origin.scores, integer=True)


def _quantised_gemm(recorder: Recorder, node: Node) -> Origin | None:
    """`QGemm` of onnxruntime's quantiser; its scales and zero points are where those of `QLinearMatMul` are."""
    a = real(node.input(0), node.input(1), node.get(2))
    b = real(node.input(3), node.input(4), node.get(5), 0 if node.attributes.get("transB") else 1)
    a = a.seen(lambda x: x.T) if node.attributes.get("transA") else a
    b = b.seen(lambda x: x.T) if node.attributes.get("transB") else b
    return _times(recorder, a, b)


HANDLERS: Final[dict[str, Callable[[Recorder, Node], Origin | None]]] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "QLinearConv": _quantised_convolution,
    "com.microsoft::QGemm": _quantised_gemm,
    "ConvInteger": _integer_convolution,
    "QLinearMatMul": _quantised_product,
    "MatMulInteger": _integer_product,
}
