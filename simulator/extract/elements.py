"""What happens between the products: normalisation, activation functions, residual additions, factors and masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.extract.call import Call
from simulator.extract.draft import Draft, Left, Moment, Origin, Scores
from simulator.extract.recorder import Recorder
from simulator.extract.scores import MASKED, biases

torch: Any = import_module("torch")

__all__ = ["HANDLERS"]


def _batch_norm(recorder: Recorder, call: Call) -> Origin | None:
    """Fold a batch norm into the convolution or fully connected layer before it: its scales, signs and zeros."""
    input = call.get("input", "self")
    before = recorder.origin(input)
    mean, variance = call["running_mean"], call["running_var"]
    known = [t for t in (call["weight"], call["bias"], mean, variance) if t is not None]
    training = call.arguments.get("training", False)
    if before is None or before.draft is None or training or mean is None:
        return None
    if any(not recorder.tensors.place(t).constant for t in known):
        return None
    draft = before.draft
    if draft.type not in ("conv2d", "linear") or before.activated or before.folded or "output" in draft.roles:
        return None
    if input.numel() != math.prod(draft.output_shape) or (draft.type == "linear" and input.dim() != 2):
        return None
    factor = _numbers(variance) + float(call["eps"])
    factor = (1 if call["weight"] is None else _numbers(call["weight"])) / np.sqrt(factor)
    if not np.isfinite(factor).all() or factor.shape != draft.roles["weight"].tensor.shape[:1]:
        return None
    draft.roles["weight"] = recorder.tensors.scaled(draft.roles["weight"], factor)
    recorder.tensors.place(input).origin = None
    return Origin(draft, folded=True)


def _relu(recorder: Recorder, call: Call) -> Origin | None:
    """Apply a ReLU: what the operator before it stores, or an operator of its own."""
    input = call["self"]
    before = recorder.origin(input)
    draft = None if before is None else before.draft
    open_end = before is not None and draft is not None and not before.activated and "output" not in draft.roles
    if before is not None and draft is not None and open_end:
        whole = input.numel() == math.prod(draft.output_shape)
        if whole and draft.type in ("conv2d", "linear", "matmul", "spmm"):
            recorder.tensors.place(input).origin = None
            return Origin(draft, activated=True, folded=before.folded)
    return recorder.rowwise("relu", tuple(input.shape), {"input": recorder.mask("its input", input)})


def _clamp(recorder: Recorder, call: Call) -> Origin | None:
    """Apply a ReLU with a ceiling (ReLU6): as a ReLU."""
    low, high = call.get("min_val", "min"), call.get("max_val", "max")
    numbers = not any(isinstance(end, torch.Tensor) for end in (low, high)) and call["self"].is_floating_point()
    return _relu(recorder, call) if numbers and low == 0 and (high is None or high > 0) else None


def _activation(kind: str) -> Callable[[Recorder, Call], Origin | None]:
    def handler(recorder: Recorder, call: Call) -> Origin | None:
        input = call["self"]
        return recorder.rowwise(kind, tuple(input.shape), {"input": recorder.mask("its input", input)})

    return handler


def _layer_norm(recorder: Recorder, call: Call) -> Origin | None:
    """Begin a layer norm; the axes it joins are one row."""
    return _norm(recorder, "layer_norm", call["input"], math.prod(call["normalized_shape"]))


def _group_norm(recorder: Recorder, call: Call) -> Origin | None:
    """Begin a group norm: a layer norm whose rows are the groups."""
    input, groups = call["input"], int(call.get("num_groups", "group"))
    return _norm(recorder, "layer_norm", input, input.numel() // (input.shape[0] * groups))


def _rms_norm(recorder: Recorder, call: Call) -> Origin | None:
    """Begin a root-mean-square norm."""
    return _norm(recorder, "rms_norm", call["input"], math.prod(call["normalized_shape"]))


def _norm(recorder: Recorder, kind: str, input: Any, row: int) -> Origin:
    rows = input if input.shape[-1] == row else input.reshape(-1, row)
    origin = recorder.rowwise(kind, tuple(rows.shape), {"input": recorder.mask("its input", rows)})
    return origin


def _square(recorder: Recorder, call: Call) -> Origin | None:
    """Square a tensor: perhaps the beginning of a root-mean-square norm."""
    input = call["self"]
    if (call.op == "pow" and call.get("exponent") != 2) or not isinstance(input, torch.Tensor):
        return None
    steps: list[Draft | Left] = [_left(recorder, call, input)]
    return Origin(None, moment=Moment(recorder.tensors.identity(input), "squares", steps))


def _mean(recorder: Recorder, call: Call) -> Origin | None:
    """Take the mean of rows of squares."""
    input, axes = call["self"], call.get("dim")
    before = recorder.origin(input)
    if before is None or before.moment is None or before.moment.stage != "squares" or not call.get("keepdim"):
        return None
    if axes is None or [int(axis) % input.dim() for axis in axes] != [input.dim() - 1]:
        return None
    steps = [*before.moment.steps, _left(recorder, call, input[..., :1])]
    return Origin(None, moment=Moment(before.moment.source, "mean", steps))


def _reciprocal_root(recorder: Recorder, call: Call) -> Origin | None:
    """Take 1/√ of the mean of squares."""
    before = recorder.origin(call["self"])
    if before is None or before.moment is None or before.moment.stage != "mean":
        return None
    steps = [*before.moment.steps, _left(recorder, call, call["self"])]
    return Origin(None, moment=Moment(before.moment.source, "reciprocal root", steps))


def _add_to_mean(recorder: Recorder, call: Call, tensor: Any) -> Origin | None:
    before = recorder.origin(tensor)
    if before is None or before.moment is None or before.moment.stage != "mean":
        return None
    steps = [*before.moment.steps, _left(recorder, call, tensor)]
    return Origin(None, moment=Moment(before.moment.source, "mean", steps))


def _normalised(recorder: Recorder, a: Any, b: Any) -> Origin | None:
    """Multiply a tensor by the 1/√ of the mean of its squares, or what came of that by a gain."""
    before, other = recorder.origin(a), recorder.origin(b)
    moment = None if other is None else other.moment
    if moment is not None and moment.stage == "reciprocal root" and moment.source == recorder.tensors.identity(a):
        for step in moment.steps:
            step.absorbed = True
        return _norm(recorder, "rms_norm", a, a.shape[-1])
    if before is not None and before.draft is not None and before.draft.attributes.get("kind") == "rms_norm":
        gain = recorder.tensors.place(b).constant and b.numel() == a.shape[-1]
        if gain and not before.folded and "output" not in before.draft.roles:
            recorder.tensors.place(a).origin = None
            return Origin(before.draft, folded=True)
    return None


def _add(recorder: Recorder, call: Call) -> Origin | None:
    """Add two activations (a residual), or a mask to scores."""
    return _of_two(recorder, call, "add")


def _multiply(recorder: Recorder, call: Call) -> Origin | None:
    """Multiply two activations (a gate), or scores by a number."""
    return _of_two(recorder, call, "multiply")


def _of_two(recorder: Recorder, call: Call, kind: str) -> Origin | None:
    a, b = call["self"], call["other"]
    number = _number(recorder, b)
    if number is None and isinstance(a, torch.Tensor) and (swapped := _number(recorder, a)) is not None:
        a, b, number = b, a, swapped
    if number is not None or not isinstance(b, torch.Tensor):
        if kind == "multiply" and number is not None and isinstance(a, torch.Tensor):
            return _scaled(recorder, call, a, number)
        return _add_to_mean(recorder, call, a) if kind == "add" and isinstance(a, torch.Tensor) else None
    shape = torch.broadcast_shapes(a.shape, b.shape)
    if a.shape != shape:
        a, b = b, a
    if not (a.is_floating_point() and b.is_floating_point()) or a.shape != shape or not shape:
        return None
    if kind == "multiply" and (normalised := _normalised(recorder, a, b)) is not None:
        return normalised
    if kind == "multiply" and recorder.tensors.identity(a) == recorder.tensors.identity(b):
        return _square(recorder, call)
    before = recorder.origin(a)
    if kind == "add" and before is not None and before.scores is not None and before.scores.product is not None:
        return _masked(recorder, call, a, before.scores, bool((b <= MASKED).any()), biases(b))
    if b.numel() * max(1, shape[0]) < a.numel():
        return None  # a bias, a scale: of the size of a channel, not of an activation
    given = (("input", "its first operand", a), ("other", "its second operand", b.expand(shape)))
    roles = {role: recorder.mask(what, t) for role, what, t in given}
    return recorder.rowwise(kind, tuple(shape), roles)


def _divide(recorder: Recorder, call: Call) -> Origin | None:
    """Divide scores by a number."""
    number = _number(recorder, call["other"])
    if not number or call.arguments.get("rounding_mode") is not None:
        return None
    return _scaled(recorder, call, call["self"], 1 / number)


def _masked_fill(recorder: Recorder, call: Call) -> Origin | None:
    """Mask scores."""
    before, value = recorder.origin(call["self"]), _number(recorder, call["value"])
    if before is None or before.scores is None or value is None or value > MASKED:
        return None
    return _masked(recorder, call, call["self"], before.scores, True, False)


def _where(recorder: Recorder, call: Call) -> Origin | None:
    """Choose scores or a mask's value."""
    for scores, other in (("self", "other"), ("other", "self")):
        tensor, value = call.arguments.get(scores), _number(recorder, call.arguments.get(other))
        if value is None or value > MASKED or not isinstance(tensor, torch.Tensor):
            continue
        before = recorder.origin(tensor)
        if before is not None and before.scores is not None and call["condition"].dim() <= tensor.dim():
            return _masked(recorder, call, tensor, before.scores, True, False)
    return None


def _scaled(recorder: Recorder, call: Call, tensor: Any, number: float) -> Origin | None:
    before = recorder.origin(tensor)
    if before is None or before.scores is None or before.scores.masked:
        return None
    scores = before.scores
    return Origin(
        None,
        scores=Scores(scores.product, scores.factor * number, False, [*scores.steps, _left(recorder, call, tensor)]),
    )


def _masked(recorder: Recorder, call: Call, tensor: Any, scores: Scores, masks: bool, biased: bool) -> Origin:
    left = _left(recorder, call, tensor)
    steps: list[Draft | Left] = list(scores.steps) if biased else [*scores.steps, left]
    return Origin(None, scores=Scores(scores.product, scores.factor, scores.masked or masks, steps))


def _left(recorder: Recorder, call: Call, tensor: Any) -> Left:
    return recorder.leave(call.name, "elements", tensor.numel(), tensor.numel() * tensor.element_size())


def _number(recorder: Recorder, value: Any) -> float | None:
    """Return a number given as such or as a tensor of one that is no activation."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value) if recorder.tensors.place(value).constant else None
    return None


def _numbers(tensor: Any) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return numbers


HANDLERS: Final[dict[str, Callable[[Recorder, Call], Origin | None]]] = {
    **dict.fromkeys(
        ("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _batch_norm
    ),
    "relu": _relu,
    **dict.fromkeys(("hardtanh", "clamp", "relu6", "clamp_min"), _clamp),
    "gelu": _activation("gelu"),
    "silu": _activation("silu"),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    **dict.fromkeys(("group_norm", "native_group_norm"), _group_norm),
    **dict.fromkeys(("rms_norm", "_fused_rms_norm"), _rms_norm),
    **dict.fromkeys(("pow", "square"), _square),
    "mean": _mean,
    "rsqrt": _reciprocal_root,
    "add": _add,
    "mul": _multiply,
    "div": _divide,
    "masked_fill": _masked_fill,
    "where": _where,
}
