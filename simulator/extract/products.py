"""Multiply-accumulates: convolutions, fully connected layers, products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from simulator.extract.attention import attention_of_product
from simulator.extract.call import Call
from simulator.extract.draft import Origin, Scores
from simulator.extract.recorder import Recorder
from simulator.extract.scores import biases

torch: Any = import_module("torch")

__all__ = ["HANDLERS"]


def _convolution(recorder: Recorder, call: Call) -> Origin | None:
    """A convolution in two dimensions, or in one as one row; transposed and three-dimensional ones are not captured."""
    input, weight = call["input"], call["weight"]
    sizes = {key: list(call[key]) for key in ("stride", "padding", "dilation")}
    dims = weight.dim() - 2
    if call["transposed"] or dims not in (1, 2) or input.dim() != weight.dim():
        return None
    sizes = {key: size * dims if len(size) == 1 else size for key, size in sizes.items()}
    if dims == 1:
        input, weight = input.unsqueeze(2), weight.unsqueeze(2)
        sizes = {key: [{"padding": 0}.get(key, 1), *size] for key, size in sizes.items()}
    attributes = {key: tuple(int(each) for each in size) for key, size in sizes.items()}
    P, Q = (
        (input.shape[2 + i] + 2 * attributes["padding"][i] - attributes["dilation"][i] * (weight.shape[2 + i] - 1) - 1)
        // attributes["stride"][i] + 1
        for i in range(2)
    )  # fmt: skip
    roles = {
        "input": recorder.values("its input", input),
        "weight": recorder.values("its weight", weight, per_channel=True),
    }
    shape = (input.shape[0], weight.shape[0], P, Q)
    return Origin(recorder.draft("conv2d", "conv", shape, roles, **attributes, groups=int(call["groups"])))


def _linear(recorder: Recorder, call: Call) -> Origin | None:
    return _fully_connected(recorder, call["input"], call["weight"])


def _fully_connected(recorder: Recorder, input: Any, weight: Any) -> Origin | None:
    if weight.dim() != 2:
        return None
    roles = {
        "input": recorder.values("its input", input),
        "weight": recorder.values("its weight", weight, per_channel=True),
    }
    return Origin(recorder.draft("linear", "linear", (*input.shape[:-1], weight.shape[0]), roles))


def _product(recorder: Recorder, call: Call) -> Origin | None:
    a, b = call.get("mat1", "batch1", "self"), call.get("mat2", "batch2", "other")
    if a.dim() < 2 or b.dim() < 2:
        return None  # PyTorch says itself how vectors are handled
    if attention := attention_of_product(recorder, a, b):
        return attention
    factor = call.get("alpha")
    return _times(recorder, a, b, 1.0 if factor is None else float(factor), call)


def _times(recorder: Recorder, a: Any, b: Any, factor: float = 1.0, call: Call | None = None) -> Origin | None:
    """A product of matrices; of an activation and a parameter it is a fully connected layer."""
    one = b.dim() == 2 or math.prod((*a.shape[:-2], *b.shape[:-2])) == 1
    if one and recorder.tensors.place(b).constant and not recorder.tensors.place(a).constant:
        return _fully_connected(recorder, a, b.reshape(b.shape[-2:]).t())
    if b.dim() == 2 and a.dim() > 2:
        a = a.reshape(-1, a.shape[-1])
    leading = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = a.expand(*leading, *a.shape[-2:]), b.expand(*leading, *b.shape[-2:])
    roles = {"a": recorder.values("a factor", a), "b": recorder.values("a factor", b)}
    draft = recorder.draft("matmul", "matmul", (*leading, a.shape[-2], b.shape[-1]), roles)
    scores = Scores(draft, factor)
    if call is not None and call.op == "baddbmm" and float(call["beta"]) != 0:
        _add_to(recorder, scores, call["self"])
    return Origin(draft, scores=scores)


def _add_to(recorder: Recorder, scores: Scores, added: Any) -> None:
    """`baddbmm` adds what masks or biases the scores."""
    scores.masked = True
    size = math.prod(scores.product.output_shape)
    left = recorder.leave("aten::add", "elements", size, size * added.element_size())
    if not biases(added):
        scores.steps.append(left)


def _vector(recorder: Recorder, call: Call) -> Origin | None:
    """A matrix times a vector, or two vectors."""
    if call.op == "dot":
        return _times(recorder, call["self"][None], call["tensor"][:, None])
    matrix, vector = (call["self"], call["vec"]) if call.op == "mv" else (call["mat"], call["vec"])
    if recorder.tensors.place(matrix).constant:
        return _fully_connected(recorder, vector, matrix)
    return _times(recorder, matrix, vector[:, None])


def _grouped(recorder: Recorder, call: Call) -> Origin | None:
    """Rows in groups, each with a matrix of its own (experts): a fully connected layer for each group that has rows."""
    rows, matrices, ends = call["self"], call["mat2"], call["offs"]
    if rows.dim() != 2 or matrices.dim() != 3 or ends is None:
        return None
    begin = 0
    for matrix, end in zip(matrices, ends.tolist(), strict=True):
        if end > begin:
            _fully_connected(recorder, rows[begin:end], matrix.t())
        begin = end
    return Origin(None)


HANDLERS: Final[dict[str, Callable[[Recorder, Call], Origin | None]]] = {
    **dict.fromkeys(("convolution", "convolution_overrideable"), _convolution),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm", "baddbmm", "_int_mm"), _product),
    **dict.fromkeys(("mv", "addmv", "dot"), _vector),
    "_grouped_mm": _grouped,
}
