"""Attention: ONNX's own, and a softmax between two products of matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.draft import Draft, Handle, Origin, Scores, Weights
from simulator.extract.masking import MASKED
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.value import Value
from simulator.extract.recorder import Recorder
from simulator.extract.store import Place
from simulator.trace import Tensor, ValueTensor

__all__ = ["attend", "attention_of_product", "biases", "softmax"]


def attend(recorder: Recorder, node: Node) -> Origin | None:
    """Begin the attention operator of ONNX's `Attention`; one that caps its scores is not captured."""
    if node.attributes.get("softcap") or (len(node.results) > 3 and node.results[3] is not None):
        return None
    query, key, value = node.input(0), node.input(1), node.input(2)
    if query.array.ndim == 3:
        heads, groups = int(node.attributes["q_num_heads"]), int(node.attributes["kv_num_heads"])
        query = _by_head(query, heads)
        key, value = _by_head(key, groups), _by_head(value, groups)
    if len(node.results) > 2 and node.results[1] is not None and node.results[2] is not None:
        key, value = (Value(node.results[place], Place(False)) for place in (1, 2))  # with those of before
    if node.get(6) is not None:
        return None  # lengths of what is not padding
    N, H, L, D = query.array.shape
    S, past = key.array.shape[2], key.array.shape[2] - node.input(1).array.shape[-2]
    allowed, given = None, node.get(3)
    if given is not None:
        allowed = given.array if given.array.dtype == bool else given.array > MASKED
        if allowed.shape[-1] < S:
            allowed = np.pad(allowed, [(0, 0)] * (allowed.ndim - 1) + [(0, S - allowed.shape[-1])])
    if node.attributes.get("is_causal"):
        before = np.tri(L, S, past, dtype=bool)
        allowed = before if allowed is None else allowed & before
    mask, causal = _mask(recorder, allowed, (N, H, L, S))
    if given is not None and given.array.dtype != bool and biases(given.array):
        recorder.leave("Add", "elements", N * H * L * S, N * H * L * S * given.array.itemsize)
    roles = {
        role: recorder.values(f"its {role}", each) for role, each in (("query", query), ("key", key), ("value", value))
    }
    repeats = _repeats(key.array, value.array)
    if repeats > 1:
        roles |= {
            role: recorder.tensors.derived(roles[role], lambda array: array[:, ::repeats]) for role in ("key", "value")
        }
    scale = node.attributes.get("scale")
    return Origin(_draft(recorder, roles, mask, causal, float(scale) if scale else D**-0.5))


def _by_head(value: Value, heads: int) -> Value:
    images, length, size = value.array.shape
    return value.seen(lambda a: a.reshape(images, length, heads, size // heads).swapaxes(1, 2))


def softmax(recorder: Recorder, node: Node) -> Origin | None:
    """Begin a softmax; of scores it may become a part of attention."""
    input = node.input(0)
    if input.array.ndim == 0:
        return None
    axis = int(node.attributes.get("axis", -1))
    last = axis in (-1, input.array.ndim - 1)
    rows = input if last else input.seen(lambda a: np.moveaxis(a, axis, -1))
    before = recorder.origin(input)
    origin = recorder.rowwise("softmax", tuple(rows.array.shape), {"input": recorder.mask("its input", rows)})
    assert origin.draft is not None
    scores = before.scores if before is not None else None
    if scores is None or not last or not _holds(input.array, scores.product.output_shape):
        return origin
    N, H, L, S = _four_sizes(input.array.shape)
    allowed = input.array.reshape(N, H, L, S) > MASKED if scores.masked else None
    mask, causal = _mask(recorder, allowed, (N, H, L, S))
    product = Scores(scores.product, scores.factor, scores.masked, [*scores.steps, origin.draft])
    origin.weights = Weights(product, tuple(input.array.shape), mask, causal)
    return origin


def attention_of_product(recorder: Recorder, a: Value, b: Value) -> Origin | None:
    """Begin the attention operator whose second product this is, if it is one: its first and its softmax go with it.

    It is one where the first factor is a softmax, over all of the last axis, of the product of two activations, with
    nothing between but factors above 0 and masks.
    """
    origin = recorder.origin(a)
    weights = None if origin is None else origin.weights
    if weights is None or not 0 < weights.scores.factor < math.inf:
        return None
    if weights.scores.steps[-1].absorbed:
        return None  # this softmax is another's; scores alone may be of several, where the exporter joined them
    product = weights.scores.product
    N, H, _, S = _four_sizes(weights.shape)
    shape = b.array.shape
    if not _holds(a.array, weights.shape) or b.array.ndim < 2 or shape[-2] != S or a.array.ndim != b.array.ndim:
        return None
    if shape[:-2] != a.array.shape[:-2]:
        return None
    tensors = recorder.tensors

    def whole(handle: Handle, turned: bool = False) -> Handle:
        def change(array: NDArray[Any]) -> NDArray[Any]:
            array = array.swapaxes(-1, -2) if turned else array
            return array.reshape(N, H, *array.shape[-2:])

        return tensors.derived(handle, change)

    query, key = whole(product.roles["a"]), whole(product.roles["b"], turned=True)
    value = recorder.values("its value", b)
    value = value if len(value.tensor.shape) == 4 else whole(value)
    repeats = _repeats(_integers(key), _integers(value))
    if repeats > 1:
        key, value = (tensors.derived(handle, lambda array: array[:, ::repeats]) for handle in (key, value))
    for step in (product, *weights.scores.steps):
        step.absorbed = True
    roles = {"query": query, "key": key, "value": value}
    usual = query.tensor.shape[-1] ** -0.5
    factor = weights.scores.factor
    scale = usual if abs(factor - usual) < 1e-6 * usual else factor  # the file holds √ of it in single precision
    return Origin(_draft(recorder, roles, weights.mask, weights.causal, scale))


def _draft(recorder: Recorder, roles: dict[str, Handle], mask: Tensor | None, causal: bool, scale: float) -> Draft:
    if mask is not None:
        roles = {**roles, "mask": Handle(mask)}
    if not 0 < scale < math.inf:
        raise InputError(f"{recorder.where}: attention with the scale {scale}, expected one above 0")
    shape = (*roles["query"].tensor.shape[:3], roles["value"].tensor.shape[-1])
    return recorder.draft("attention", "attention", shape, roles, scale=scale, causal=causal)


def biases(added: NDArray[Any]) -> bool:
    """Tell whether what is added to scores is more than a mask."""
    return bool(((added != 0) & (added > MASKED)).any())


def _mask(recorder: Recorder, allowed: Any, shape: tuple[int, ...]) -> tuple[Tensor | None, bool]:
    """Return the mask (N, H, L, S) and whether the map is causal; a row that may look nowhere keeps its first key."""
    if allowed is None or bool(allowed.all()):
        return None, False
    N, H, L, S = shape
    if L <= S and bool((allowed == np.tri(L, S, S - L, dtype=bool)).all()):
        return None, True
    rows = np.broadcast_to(allowed, shape)

    def parts() -> Iterator[NDArray[np.uint8]]:
        for begin in range(0, N * H, 8):  # eight maps fill whole octets
            heads = range(begin, min(begin + 8, N * H))
            block = np.stack([rows[head // H, head % H] for head in heads])
            block[..., 0] |= ~block.any(-1)
            yield np.packbits(block, bitorder="little")

    return recorder.tensors.packed(parts(), shape), False


def _four_sizes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    *leading, rows, columns = shape
    images, heads = (math.prod(leading[:-1]), leading[-1]) if len(leading) > 1 else (leading[0] if leading else 1, 1)
    return images, heads, rows, columns


def _holds(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Tell whether an array is that of this shape, if with its leading axes joined or split."""
    same = array.ndim >= 2 and math.prod(shape) == array.size and array.shape[-2:] == tuple(shape[-2:])
    return same and array.flags.c_contiguous


def _repeats(key: NDArray[Any], value: NDArray[Any]) -> int:
    """Return how many heads in a row hold the same keys and values: those of grouped queries, repeated."""
    heads = key.shape[1]
    same = [each[:, 1:] == each[:, :-1] for each in (key, value)] if heads > 1 else []
    if not same or not all(bool(each[:, 0].all()) for each in same):
        return 1
    equal = [all(bool(each[:, head].all()) for each in same) for head in range(heads - 1)]
    for repeats in range(heads, 1, -1):
        if heads % repeats == 0 and all(equal[head] for head in range(heads - 1) if (head + 1) % repeats):
            return repeats
    return 1


def _integers(handle: Handle) -> NDArray[Any]:
    assert isinstance(handle.tensor, ValueTensor)
    return handle.tensor.values()
