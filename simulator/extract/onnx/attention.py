"""Attention in ONNX: its own, and a softmax between two products of matrices."""

from __future__ import annotations

import numpy as np

from simulator.extract.draft import Origin
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.value import Value
from simulator.extract.recorder import Recorder
from simulator.extract.scores import MASKED, Seen, biases, context, draft, mask_of, repeats_of, weights
from simulator.extract.store import Place

__all__ = ["attend", "attention_of_product", "softmax"]


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
    mask, causal = mask_of(recorder, allowed, (N, H, L, S))
    if given is not None and given.array.dtype != bool and biases(given.array):
        recorder.leave("Add", "elements", N * H * L * S, N * H * L * S * given.array.itemsize)
    roles = {
        role: recorder.values(f"its {role}", each) for role, each in (("query", query), ("key", key), ("value", value))
    }
    repeats = repeats_of(key.array, value.array)
    if repeats > 1:
        roles |= {
            role: recorder.tensors.derived(roles[role], lambda array: array[:, ::repeats]) for role in ("key", "value")
        }
    scale = node.attributes.get("scale")
    return Origin(draft(recorder, roles, mask, causal, float(scale) if scale else D**-0.5))


def _by_head(value: Value, heads: int) -> Value:
    images, length, size = value.array.shape
    return value.seen(lambda a: a.reshape(images, length, heads, size // heads).swapaxes(1, 2))


def softmax(recorder: Recorder, node: Node) -> Origin | None:
    """Begin a softmax; of scores it may become a part of attention."""
    input, axis = node.input(0), int(node.attributes.get("axis", -1))
    seen = _seen(input)
    rows = seen if axis in (-1, input.array.ndim - 1) else _seen(input.seen(lambda a: np.moveaxis(a, axis, -1)))
    return weights(recorder, seen, rows, lambda: input.array > MASKED)


def attention_of_product(recorder: Recorder, a: Value, b: Value) -> Origin | None:
    """Begin the attention operator whose second product this is, if it is one; exporters join equal first ones."""
    return context(recorder, _seen(a), _seen(b), joined=True)


def _seen(value: Value) -> Seen:
    return Seen(value, value.array.shape, value.array.flags.c_contiguous)
