"""What happens between the products of an ONNX graph: norms, activation functions, residuals, factors, masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from simulator.extract.draft import Draft, Left, Moment, Origin, Scores
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.quantised import real
from simulator.extract.onnx.value import Source, Value
from simulator.extract.recorder import Recorder
from simulator.extract.scores import MASKED, biases
from simulator.trace import ValueTensor

__all__ = ["HANDLERS", "activation"]


def _batch_norm(recorder: Recorder, node: Node) -> Origin | None:
    """Fold a batch norm into the convolution or fully connected layer before it: its scales, signs and zeros."""
    input = node.input(0)
    before = recorder.origin(input)
    if before is None or before.draft is None or node.attributes.get("training_mode"):
        return None
    gain, _, _, variance = (node.input(place) for place in range(1, 5))
    draft = before.draft
    if not all(value.place.constant for value in node.given[1:]) or draft.type not in ("conv2d", "linear"):
        return None
    if before.activated or before.folded or "output" in draft.roles:
        return None
    if input.array.size != math.prod(draft.output_shape) or (draft.type == "linear" and input.array.ndim != 2):
        return None
    spread = variance.array.astype(np.float64) + float(node.attributes.get("epsilon", 1e-5))
    factor = gain.array.astype(np.float64) / np.sqrt(spread)
    if not np.isfinite(factor).all() or factor.shape != draft.roles["weight"].tensor.shape[:1]:
        return None
    draft.roles["weight"] = recorder.tensors.scaled(draft.roles["weight"], factor)
    input.place.origin = None
    return Origin(draft, folded=True)


def _relu(recorder: Recorder, node: Node) -> Origin | None:
    """Apply a ReLU: what the operator before it stores, or an operator of its own."""
    input = node.input(0)
    before = recorder.origin(input)
    draft = None if before is None else before.draft
    if before is not None and draft is not None and not before.activated and "output" not in draft.roles:
        whole = input.array.size == math.prod(draft.output_shape)
        if whole and draft.type in ("conv2d", "linear", "matmul", "spmm"):
            input.place.origin = None
            return Origin(draft, activated=True, folded=before.folded)
    return activation(recorder, "relu", input)


def _clip(recorder: Recorder, node: Node) -> Origin | None:
    """Apply a ReLU with a ceiling (ReLU6): as a ReLU."""
    low, high = (None if value is None else _number(value) for value in (node.get(1), node.get(2)))
    real = node.input(0).array.dtype.kind == "f"
    return (
        _relu(recorder, node)
        if real and low == 0 and (node.get(2) is None or (high is not None and high > 0))
        else None
    )


def activation(recorder: Recorder, kind: str, input: Value) -> Origin:
    """Begin the operator of an activation function."""
    return recorder.rowwise(kind, tuple(input.array.shape), {"input": recorder.mask("its input", input)})


def _of_kind(kind: str) -> Callable[[Recorder, Node], Origin | None]:
    return lambda recorder, node: activation(recorder, kind, node.input(0))


def _norm_of_axes(kind: str) -> Callable[[Recorder, Node], Origin | None]:
    """Begin a norm over the axes from one on; they are one row."""

    def handler(recorder: Recorder, node: Node) -> Origin | None:
        shape = node.input(0).array.shape
        axis = int(node.attributes.get("axis", -1)) % len(shape)
        return _norm(recorder, kind, node.input(0), math.prod(shape[axis:]))

    return handler


def _group_norm(recorder: Recorder, node: Node) -> Origin | None:
    """Begin a group or instance norm: a layer norm whose rows are the groups; gain and bias may follow as nodes."""
    input = node.input(0)
    groups = int(node.attributes.get("num_groups", input.array.shape[1]))
    row = input.array.size // (input.array.shape[0] * groups)
    rows = input.seen(lambda a: a.reshape(-1, row))
    origin = recorder.rowwise("layer_norm", tuple(rows.array.shape), {"input": recorder.mask("its input", rows)})
    return Source(origin.draft, affine=node.op == "InstanceNormalization")


def _norm(recorder: Recorder, kind: str, input: Value, row: int) -> Origin:
    rows = input if input.array.shape[-1] == row else input.seen(lambda a: a.reshape(-1, row))
    return recorder.rowwise(kind, tuple(rows.array.shape), {"input": recorder.mask("its input", rows)})


def _power(recorder: Recorder, node: Node) -> Origin | None:
    return _square(recorder, node) if _number(node.input(1)) == 2 else None


def _square(recorder: Recorder, node: Node) -> Origin | None:
    """Square a tensor: perhaps the beginning of a root-mean-square norm."""
    input = node.input(0)
    return Origin(None, moment=Moment(recorder.tensors.identity(input), "squares", [_left(recorder, node)]))


def _mean(recorder: Recorder, node: Node) -> Origin | None:
    """Take the mean of rows of squares."""
    input, axes = node.input(0), node.get(1)
    listed = node.attributes.get("axes") if axes is None else axes.array.reshape(-1)
    if listed is None or not node.attributes.get("keepdims", 1):
        return None
    last = input.array.ndim - 1
    return _next(recorder, node, "squares", "mean") if [int(a) % (last + 1) for a in listed] == [last] else None


def _root(recorder: Recorder, node: Node) -> Origin | None:
    """Take the root of the mean of squares."""
    return _next(recorder, node, "mean", "mean")


def _reciprocal(recorder: Recorder, node: Node) -> Origin | None:
    return _next(recorder, node, "mean", "reciprocal root")


def _next(recorder: Recorder, node: Node, stage: str, following: str, place: int = 0) -> Origin | None:
    before = recorder.origin(node.input(place))
    if before is None or before.moment is None or before.moment.stage != stage:
        return None
    steps = [*before.moment.steps, _left(recorder, node)]
    return Origin(None, moment=Moment(before.moment.source, following, steps))  # type: ignore[arg-type]


def _normalised(recorder: Recorder, a: Value, b: Value, stage: str = "reciprocal root") -> Origin | None:
    """Multiply a tensor by the 1/√ of the mean of its squares, or what came of that by a gain."""
    before, other = recorder.origin(a), recorder.origin(b)
    moment = None if other is None else other.moment
    if moment is not None and moment.stage == stage and moment.source == recorder.tensors.identity(a):
        for step in moment.steps:
            step.absorbed = True
        return _norm(recorder, "rms_norm", a, a.array.shape[-1])
    if before is not None and before.draft is not None and before.draft.attributes.get("kind") == "rms_norm":
        gain = b.place.constant and b.array.size == a.array.shape[-1]
        if gain and not before.folded and "output" not in before.draft.roles:
            a.place.origin = None
            return Origin(before.draft, folded=True)
    return None


def _add(recorder: Recorder, node: Node) -> Origin | None:
    """Add two activations (a residual), a mask to scores, or a bias."""
    return _of_two(recorder, node, "add")


def _multiply(recorder: Recorder, node: Node) -> Origin | None:
    """Multiply two activations (a gate), or a tensor by a number."""
    return _of_two(recorder, node, "multiply")


def _of_two(recorder: Recorder, node: Node, kind: str) -> Origin | None:
    a, b = node.input(0), node.input(1)
    if kind == "multiply" and (found := _scales_of_integers(recorder, a, b)) is not None:
        return found
    number = _number(b)
    if number is None and (swapped := _number(a)) is not None:
        a, b, number = b, a, swapped
    if number is not None:
        if kind == "multiply":
            return _scaled(recorder, node, a, number)
        return _next(recorder, node, "mean", "mean", place=int(a is node.inputs[1]))
    shape = np.broadcast_shapes(a.array.shape, b.array.shape)
    if a.array.shape != shape or (a.place.constant and not b.place.constant and b.array.shape == shape):
        a, b = b, a
    if not (a.array.dtype.kind == b.array.dtype.kind == "f") or a.array.shape != shape or not shape:
        return None
    if kind == "multiply" and (normalised := _normalised(recorder, a, b)) is not None:
        return normalised
    if kind == "multiply" and recorder.tensors.identity(a) == recorder.tensors.identity(b):
        return _square(recorder, node)
    before = recorder.origin(a)
    if kind == "add" and before is not None and before.scores is not None:
        return _masked(recorder, node, before.scores, bool((b.array <= MASKED).any()), biases(b.array))
    if (followed := _gained(recorder, a, b, kind)) is not None:
        return followed
    if kind == "add" and (biased := _biased(recorder, a, b)) is not None:
        return biased
    if b.array.size * max(1, shape[0]) < a.array.size:
        return None  # a bias, a scale: of the size of a channel, not of an activation
    other = b.seen(lambda array: np.broadcast_to(array, shape))
    roles = {
        "input": recorder.mask("its first operand", a),
        "other": recorder.mask("its second operand", other),
    }
    return recorder.rowwise(kind, tuple(shape), roles)


def _gained(recorder: Recorder, a: Value, b: Value, kind: str) -> Origin | None:
    """Apply the gain, then the bias of a norm, written as nodes of their own."""
    before = recorder.origin(a)
    if not isinstance(before, Source) or not before.affine or not b.place.constant or b.array.size == a.array.size:
        return None
    assert before.draft is not None
    if "output" in before.draft.roles:
        return None
    a.place.origin = None
    return Source(before.draft, affine=kind == "multiply")


def _biased(recorder: Recorder, a: Value, b: Value) -> Origin | None:
    """Add the bias of a product with weights, written as a node of its own: it is no part of a trace."""
    before = recorder.origin(a)
    draft = None if before is None else before.draft
    if before is None or draft is None or before.activated or "output" in draft.roles or not b.place.constant:
        return None
    if draft.type not in ("linear", "conv2d") or a.array.size != math.prod(draft.output_shape):
        return None
    axis = a.array.ndim - 1 if draft.type == "linear" else 1
    sizes = (1,) * (a.array.ndim - b.array.ndim) + b.array.shape
    if [at for at, size in enumerate(sizes) if size > 1] not in ([axis], []) or a.array.ndim < 2:
        return None
    a.place.origin = None
    return Origin(draft, folded=before.folded)


def _scales_of_integers(recorder: Recorder, a: Value, b: Value) -> Origin | None:
    """Multiply a product of integers by the scales of its factors: what is not the input's is the weight's."""
    for product, scales in ((a, b), (b, a)):
        origin = recorder.origin(product)
        if not isinstance(origin, Source) or not origin.integer or origin.draft is None:
            continue
        draft = origin.draft
        axis = product.array.ndim - 1 if draft.type == "linear" else 1
        channels = draft.output_shape[1 if draft.type == "conv2d" else -1]
        sizes = (1,) * (product.array.ndim - scales.array.ndim) + scales.array.shape
        along = [at for at, size in enumerate(sizes) if size > 1]
        if draft.type not in ("conv2d", "linear") or along not in ([axis], []) or "output" in draft.roles:
            continue
        of_input = draft.roles["input"].tensor
        assert isinstance(of_input, ValueTensor)
        assert not isinstance(of_input.scale, tuple)
        factor = np.broadcast_to(scales.array.reshape(-1).astype(np.float64) / of_input.scale, (channels,))
        draft.roles["weight"] = recorder.tensors.scaled(draft.roles["weight"], factor)
        product.place.origin = None
        return Origin(draft)
    return None


def _added_integers(recorder: Recorder, node: Node) -> Origin | None:
    """Add or multiply two tensors of integers, each with its scale and zero point."""
    kind = "add" if node.op.endswith("Add") else "multiply"
    a, b = (real(node.input(at), node.input(at + 1), node.get(at + 2)) for at in (0, 3))
    shape = node.results[0].shape
    if a.array.shape != shape:
        a, b = b, a
    if a.array.shape != shape or b.array.size * max(1, shape[0]) < a.array.size:
        return None
    other = b.seen(lambda array: np.broadcast_to(array, shape))
    roles = {"input": recorder.mask("its first operand", a), "other": recorder.mask("its second operand", other)}
    return recorder.rowwise(kind, tuple(shape), roles)


def _divide(recorder: Recorder, node: Node) -> Origin | None:
    """Divide by a number, 1 by a root, or a tensor by the root of the mean of its squares."""
    if _number(node.input(0)) == 1:
        return _next(recorder, node, "mean", "reciprocal root", place=1)
    if (found := _normalised(recorder, node.input(0), node.input(1), "mean")) is not None:
        return found
    number = _number(node.input(1))
    return _scaled(recorder, node, node.input(0), 1 / number) if number else None


def _where(recorder: Recorder, node: Node) -> Origin | None:
    """Choose scores or a mask's value."""
    for scores, other in ((1, 2), (2, 1)):
        tensor, value = node.input(scores), _number(node.input(other))
        before = recorder.origin(tensor)
        if value is None or value > MASKED or before is None or before.scores is None:
            continue
        if node.input(0).array.ndim <= tensor.array.ndim and tensor.array.shape == node.results[0].shape:
            return _masked(recorder, node, before.scores, True, False)
    return None


def _scaled(recorder: Recorder, node: Node, tensor: Value, number: float) -> Origin | None:
    before = recorder.origin(tensor)
    left = _left(recorder, node)
    if before is None or before.scores is None or before.scores.masked:
        return Source(None, multiple=(tensor, number), steps=[left])
    scores = before.scores
    return Origin(None, scores=Scores(scores.product, scores.factor * number, False, [*scores.steps, left]))


def _masked(recorder: Recorder, node: Node, scores: Scores, masks: bool, biased: bool) -> Origin:
    left = _left(recorder, node)
    steps: list[Draft | Left] = list(scores.steps) if biased else [*scores.steps, left]
    return Origin(None, scores=Scores(scores.product, scores.factor, scores.masked or masks, steps))


def _left(recorder: Recorder, node: Node) -> Left:
    return recorder.leave(node.op, "elements", node.results[0].size, node.results[0].nbytes)


def _number(value: Value) -> float | None:
    """Return the number of a tensor of one that is no activation."""
    plain = value.place.constant and isinstance(value.array, np.ndarray) and value.array.size == 1
    return float(value.array.reshape(())) if plain and value.array.dtype.kind in "fiu" else None


HANDLERS: Final[dict[str, Callable[[Recorder, Node], Origin | None]]] = {
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Clip": _clip,
    **dict.fromkeys(("Gelu", "com.microsoft::Gelu", "com.microsoft::FastGelu"), _of_kind("gelu")),
    **dict.fromkeys(("com.microsoft::QuickGelu",), _of_kind("gelu")),
    "LayerNormalization": _norm_of_axes("layer_norm"),
    "RMSNormalization": _norm_of_axes("rms_norm"),
    "SimplifiedLayerNormalization": _norm_of_axes("rms_norm"),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization"), _group_norm),
    "Pow": _power,
    "ReduceMean": _mean,
    "Sqrt": _root,
    "Reciprocal": _reciprocal,
    "Add": _add,
    "Mul": _multiply,
    "Div": _divide,
    **dict.fromkeys(("com.microsoft::QLinearAdd", "com.microsoft::QLinearMul"), _added_integers),
    "Where": _where,
}
