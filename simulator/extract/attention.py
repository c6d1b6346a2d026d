"""Attention in PyTorch: its own in its spellings, and a softmax between two products of matrices."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.extract.call import Call
from simulator.extract.draft import Origin
from simulator.extract.recorder import Recorder
from simulator.extract.scores import MASKED, Seen, biases, context, draft, four_sizes, mask_of, repeats_of, weights

torch: Any = import_module("torch")

__all__ = ["ATTENTIONS", "attend", "attention_of_product", "softmax"]

ATTENTIONS: Final = tuple(
    f"{name}attention{kind}"
    for name, kind in (
        ("scaled_dot_product_", ""),
        ("_scaled_dot_product_", "_math"),
        ("_scaled_dot_product_", "_math_for_mps"),
        ("_scaled_dot_product_flash_", ""),
        ("_scaled_dot_product_flash_", "_for_cpu"),
        ("_scaled_dot_product_efficient_", ""),
        ("_scaled_dot_product_cudnn_", ""),
        ("_scaled_dot_product_fused_", "_overrideable"),
    )
)
"""Its spellings as one operator."""


def attend(recorder: Recorder, call: Call) -> Origin | None:
    """Begin the attention operator of a scaled dot product."""
    query, key, value = (_four(call[role]) for role in ("query", "key", "value"))
    images = query.shape[0]
    if key.shape[0] != images:
        key, value = (t.expand(images, *t.shape[1:]) for t in (key, value))
    repeats = repeats_of(key, value)
    if repeats > 1:
        key, value = key[:, ::repeats], value[:, ::repeats]
    N, H, L, _ = query.shape
    S = key.shape[2]
    given = call.get("attn_mask", "attn_bias")
    allowed = None if given is None else _allowed(given, call["query"], S)
    if call["is_causal"] and (L, S) != (1, 1):
        past = np.tri(L, S, dtype=bool)  # the first query sees the first key
        allowed = past if allowed is None else allowed & past
    mask, causal = mask_of(recorder, allowed, (N, H, L, S))
    if given is not None and given.dtype != torch.bool and biases(given):
        recorder.leave("aten::add", "elements", N * H * L * S, N * H * L * S * given.element_size())
    scale = call.get("scale")
    given_roles = {"query": query, "key": key, "value": value}
    roles = {role: recorder.values(f"its {role}", tensor) for role, tensor in given_roles.items()}
    return Origin(draft(recorder, roles, mask, causal, query.shape[-1] ** -0.5 if scale is None else float(scale)))


def softmax(recorder: Recorder, call: Call) -> Origin | None:
    """Begin a softmax; of scores it may become a part of attention."""
    input, axis = call["self"], int(call["dim"])
    seen = _seen(input)
    rows = seen if axis in (-1, input.dim() - 1) else _seen(input.movedim(axis, -1))
    return weights(recorder, seen, rows, lambda: _numpy(input > MASKED))


def attention_of_product(recorder: Recorder, a: Any, b: Any) -> Origin | None:
    """Begin the attention operator whose second product this is, if it is one."""
    return context(recorder, _seen(a), _seen(b))


def _seen(tensor: Any) -> Seen:
    return Seen(tensor, tuple(tensor.shape), bool(tensor.is_contiguous()))


def _numpy(allowed: Any) -> NDArray[np.bool_]:
    array: NDArray[np.bool_] = allowed.cpu().numpy()
    return array


def _allowed(given: Any, query: Any, keys: int) -> NDArray[np.bool_]:
    """Return where a mask allows to look, of no more than four axes."""
    allowed = given if given.dtype == torch.bool else given > MASKED
    if query.dim() == 3 and allowed.dim() == 3:
        allowed = allowed[:, None]
    return _numpy(allowed if query.dim() <= 4 else _four(allowed.expand(*query.shape[:-1], keys)))


def _four(tensor: Any) -> Any:
    """Return a tensor as (N, H, rows, columns)."""
    if tensor.dim() <= 4:
        return tensor.reshape(four_sizes(tuple(tensor.shape)))
    return tensor.reshape(-1, *tensor.shape[-3:])
