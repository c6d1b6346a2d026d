"""Attention: PyTorch's own in its spellings, and a softmax between two products of matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.call import Call
from simulator.extract.draft import Draft, Handle, Origin, Scores, Weights
from simulator.extract.masking import MASKED
from simulator.extract.recorder import Recorder
from simulator.trace import Tensor, ValueTensor

torch: Any = import_module("torch")

__all__ = ["ATTENTIONS", "attend", "attention_of_product", "biases", "softmax"]

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
    repeats = _repeats(key[0], value[0])
    if repeats > 1 and _same_in_all(key, repeats) and _same_in_all(value, repeats):
        key, value = key[:, ::repeats], value[:, ::repeats]
    N, H, L, _ = query.shape
    S = key.shape[2]
    given = call.get("attn_mask", "attn_bias")
    allowed = None if given is None else _allowed(given, call["query"], S)
    if call["is_causal"] and (L, S) != (1, 1):
        past = torch.ones(L, S, dtype=torch.bool, device=query.device).tril_()  # the first query sees the first key
        allowed = past if allowed is None else allowed & past
    mask, causal = _mask(recorder, allowed, (N, H, L, S))
    if given is not None and given.dtype != torch.bool and biases(given):
        recorder.leave("aten::add", "elements", N * H * L * S, N * H * L * S * given.element_size())
    scale = call.get("scale")
    given_roles = {"query": query, "key": key, "value": value}
    roles = {role: recorder.values(f"its {role}", tensor) for role, tensor in given_roles.items()}
    return Origin(_draft(recorder, roles, mask, causal, query.shape[-1] ** -0.5 if scale is None else float(scale)))


def softmax(recorder: Recorder, call: Call) -> Origin | None:
    """Begin a softmax; of scores it may become a part of attention."""
    input, axis = call["self"], int(call["dim"])
    if input.dim() == 0:
        return None
    last = axis in (-1, input.dim() - 1)
    rows = input if last else input.movedim(axis, -1)
    before = recorder.origin(input)
    roles = {"input": recorder.mask("its input", rows)}
    origin = recorder.rowwise("softmax", tuple(rows.shape), roles)
    assert origin.draft is not None
    origin.draft.name = recorder.paths.name("softmax")
    scores = before.scores if before is not None else None
    if scores is None or not last or not _holds(input, scores.product.output_shape):
        return origin
    N, H, L, S = _four(input).shape
    allowed = _four(input) > MASKED if scores.masked else None
    mask, causal = _mask(recorder, allowed, (N, H, L, S))
    steps = [*scores.steps, origin.draft]
    product = Scores(scores.product, scores.factor, scores.masked, steps)
    origin.weights = Weights(product, tuple(input.shape), mask, causal)
    return origin


def attention_of_product(recorder: Recorder, a: Any, b: Any) -> Origin | None:
    """Begin the attention operator whose second product this is, if it is one: its first and its softmax go with it.

    It is one where the first factor is a softmax, over all of the last axis, of the product of two activations, with
    nothing between but factors above 0 and masks.
    """
    origin = recorder.origin(a)
    weights = None if origin is None else origin.weights
    if weights is None or weights.scores.product.absorbed or not 0 < weights.scores.factor < math.inf:
        return None
    product = weights.scores.product
    N, H, L, S = _four_sizes(weights.shape)
    if not _holds(a, weights.shape) or b.dim() < 2 or b.shape[-2] != S or a.dim() != b.dim():
        return None
    if b.shape[:-2] != a.shape[:-2] or len({b.numel() // (S * b.shape[-1]), N * H}) != 1:
        return None
    kinds = recorder.tensors
    D = product.roles["a"].tensor.shape[-1]

    def whole(handle: Handle, turned: bool = False) -> Handle:
        def change(array: NDArray[Any]) -> NDArray[Any]:
            array = array.swapaxes(-1, -2) if turned else array
            return array.reshape(N, H, *array.shape[-2:])

        return kinds.derived(handle, change)

    query, key = whole(product.roles["a"]), whole(product.roles["b"], turned=True)
    value = recorder.values("its value", b)
    value = value if len(value.tensor.shape) == 4 else whole(value)
    repeats = _repeats_of(key, value)
    if repeats > 1:
        key, value = (kinds.derived(handle, lambda array: array[:, ::repeats]) for handle in (key, value))
    assert query.tensor.shape == (N, H, L, D)
    for step in (product, *weights.scores.steps):
        step.absorbed = True
    roles = {"query": query, "key": key, "value": value}
    draft = _draft(recorder, roles, weights.mask, weights.causal, weights.scores.factor)
    return Origin(draft)


def _draft(recorder: Recorder, roles: dict[str, Handle], mask: Tensor | None, causal: bool, scale: float) -> Draft:
    if mask is not None:
        roles = {**roles, "mask": Handle(mask)}
    if not 0 < scale < math.inf:
        raise InputError(f"{recorder.where}: attention with the scale {scale}, expected one above 0")
    shape = (*roles["query"].tensor.shape[:3], roles["value"].tensor.shape[-1])
    return recorder.draft("attention", "attention", shape, roles, scale=scale, causal=causal)


def biases(added: Any) -> bool:
    """Tell whether what is added to scores is more than a mask."""
    return bool(((added != 0) & (added > MASKED)).any())


def _allowed(given: Any, query: Any, keys: int) -> Any:
    """Return where a mask allows to look, of no more than four axes."""
    allowed = given if given.dtype == torch.bool else given > MASKED
    if query.dim() == 3 and allowed.dim() == 3:
        return allowed[:, None]
    return allowed if query.dim() <= 4 else _four(allowed.expand(*query.shape[:-1], keys))


def _mask(recorder: Recorder, allowed: Any, shape: tuple[int, ...]) -> tuple[Tensor | None, bool]:
    """Return the mask (N, H, L, S) and whether the map is causal; a row that may look nowhere keeps its first key."""
    if allowed is None or bool(allowed.all()):
        return None, False
    N, H, L, S = shape
    if L <= S:
        causal = torch.ones(L, S, dtype=torch.bool, device=allowed.device).tril_(S - L)
        if bool((allowed == causal).all()):
            return None, True
    allowed = allowed.expand(shape)
    empty = ~allowed.any(-1)
    some = bool(empty.any())

    def parts() -> Iterator[NDArray[np.uint8]]:
        rows = allowed.reshape(N * H, L, S) if some else None
        for begin in range(0, N * H, 8):  # eight maps fill whole octets
            heads = range(begin, min(begin + 8, N * H))
            maps = [allowed[head // H, head % H] if rows is None else rows[head].clone() for head in heads]
            block = torch.stack(maps)
            if some:
                block[..., 0] |= ~block.any(-1)
            yield np.packbits(block.cpu().numpy(), bitorder="little")

    return recorder.tensors.packed(parts(), shape), False


def _four(tensor: Any) -> Any:
    """Return a tensor as (N, H, rows, columns)."""
    if tensor.dim() <= 4:
        return tensor.reshape(_four_sizes(tuple(tensor.shape)))
    return tensor.reshape(-1, *tensor.shape[-3:])


def _four_sizes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    *leading, rows, columns = shape
    images, heads = (math.prod(leading[:-1]), leading[-1]) if len(leading) > 1 else (leading[0] if leading else 1, 1)
    return images, heads, rows, columns


def _holds(tensor: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether a tensor is that of this shape, if with its leading axes joined or split."""
    same = math.prod(shape) == tensor.numel() and tuple(tensor.shape[-2:]) == tuple(shape[-2:])
    return bool(same and tensor.dim() >= 2 and tensor.is_contiguous())


def _repeats(key: Any, value: Any) -> int:
    """Return how many heads in a row hold the same keys and values: those of grouped queries, repeated."""
    heads = key.shape[0]
    for repeats in range(heads, 1, -1):
        if heads % repeats == 0 and _same_in_all(key[None], repeats) and _same_in_all(value[None], repeats):
            return repeats
    return 1


def _same_in_all(tensor: Any, repeats: int) -> bool:
    """Tell whether (N, H, …) is the same in each `repeats` heads."""
    first = tensor[:, 1] == tensor[:, 0]
    if not bool(first.all()):
        return False
    groups = tensor.reshape(tensor.shape[0], -1, repeats, *tensor.shape[2:])
    return bool((groups == groups[:, :, :1]).all())


def _repeats_of(key: Handle, value: Handle) -> int:
    parts = [torch.from_numpy(np.asarray(_values(handle))) for handle in (key, value)]
    repeats = _repeats(parts[0][0], parts[1][0])
    return repeats if repeats == 1 or all(_same_in_all(part, repeats) for part in parts) else 1


def _values(handle: Handle) -> NDArray[Any]:
    assert isinstance(handle.tensor, ValueTensor)
    return np.array(handle.tensor.values())
