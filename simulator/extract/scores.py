"""Attention as any library spells it: scores, perhaps scaled and masked, a softmax, a product with the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.draft import Draft, Handle, Origin, Scores, Weights
from simulator.extract.recorder import Recorder
from simulator.trace import Tensor, ValueTensor

__all__ = ["MASKED", "Seen", "biases", "context", "draft", "four_sizes", "mask_of", "repeats_of", "weights"]

MASKED: Final = -9000.0
"""A score of at most this much, or to which as much is added, is masked: models use −∞, the least number, −10⁴."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A tensor of some library: what the recorder captures, its shape, and whether it lies in one row-major piece."""

    tensor: Any
    shape: tuple[int, ...]
    whole: bool

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Tell whether it is the tensor of this shape, if with its leading axes joined or split."""
        same = len(self.shape) >= 2 and math.prod(shape) == math.prod(self.shape) and self.shape[-2:] == shape[-2:]
        return same and self.whole


def weights(recorder: Recorder, input: Seen, rows: Seen, allowed: Callable[[], NDArray[np.bool_]]) -> Origin:
    """Begin a softmax; of scores it may become a part of attention.

    Args:
        recorder: what keeps the operators.
        input: of the softmax.
        rows: the same with the axis of the softmax last; `input` itself where it is.
        allowed: says which scores are not masked, in the shape of the input.

    """
    before = recorder.origin(input.tensor)
    origin = recorder.rowwise("softmax", rows.shape, {"input": recorder.mask("its input", rows.tensor)})
    scores = None if before is None else before.scores
    if scores is None or rows is not input or not input.holds(scores.product.output_shape):
        return origin
    assert origin.draft is not None
    shape = four_sizes(input.shape)
    mask, causal = mask_of(recorder, allowed().reshape(shape) if scores.masked else None, shape)
    product = Scores(scores.product, scores.factor, scores.masked, [*scores.steps, origin.draft])
    origin.weights = Weights(product, input.shape, mask, causal)
    return origin


def context(recorder: Recorder, a: Seen, b: Seen, joined: bool = False) -> Origin | None:
    """Begin the attention operator whose second product this is, if it is one: its first and its softmax go with it.

    It is one where the first factor is a softmax, over all of the last axis, of the product of two activations, with
    nothing between but factors above 0 and masks.

    Args:
        recorder: what keeps the operators.
        a: the first factor.
        b: the second factor.
        joined: whether the product of queries and keys may be that of several attentions, written once.

    """
    origin = recorder.origin(a.tensor)
    found = None if origin is None else origin.weights
    if found is None or not 0 < found.scores.factor < math.inf:
        return None
    product, steps = found.scores.product, found.scores.steps
    if (steps[-1] if joined else product).absorbed:
        return None  # another attention's
    N, H, _, S = four_sizes(found.shape)
    if not a.holds(found.shape) or len(b.shape) != len(a.shape) or b.shape[:-1] != (*a.shape[:-2], S):
        return None
    tensors = recorder.tensors

    def by_head(handle: Handle, turned: bool = False) -> Handle:
        def change(array: NDArray[Any]) -> NDArray[Any]:
            array = array.swapaxes(-1, -2) if turned else array
            return array.reshape(N, H, *array.shape[-2:])

        return tensors.derived(handle, change)

    query, key = by_head(product.roles["a"]), by_head(product.roles["b"], turned=True)
    value = recorder.values("its value", b.tensor)
    value = value if len(value.tensor.shape) == 4 else by_head(value)
    repeats = repeats_of(_integers(key), _integers(value))
    if repeats > 1:
        key, value = (tensors.derived(handle, lambda array: array[:, ::repeats]) for handle in (key, value))
    for step in (product, *steps):
        step.absorbed = True
    usual = query.tensor.shape[-1] ** -0.5
    factor = found.scores.factor
    scale = usual if abs(factor - usual) < 1e-6 * usual else factor  # some hold √ of it in single precision
    roles = {"query": query, "key": key, "value": value}
    return Origin(draft(recorder, roles, found.mask, found.causal, scale))


def draft(recorder: Recorder, roles: dict[str, Handle], mask: Tensor | None, causal: bool, scale: float) -> Draft:
    """Begin an attention operator.

    Raises:
        InputError: the scale is not above 0.

    """
    if mask is not None:
        roles = {**roles, "mask": Handle(mask)}
    if not 0 < scale < math.inf:
        raise InputError(f"{recorder.where}: attention with the scale {scale}, expected one above 0")
    shape = (*roles["query"].tensor.shape[:3], roles["value"].tensor.shape[-1])
    return recorder.draft("attention", "attention", shape, roles, scale=scale, causal=causal)


def mask_of(
    recorder: Recorder, allowed: NDArray[np.bool_] | None, shape: tuple[int, ...]
) -> tuple[Tensor | None, bool]:
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


def biases(added: Any) -> bool:
    """Tell whether what is added to scores is more than a mask."""
    return bool(((added != 0) & (added > MASKED)).any())


def repeats_of(key: Any, value: Any) -> int:
    """Return how many heads in a row hold the same keys and values, both (N, H, …): those of grouped queries."""
    heads = key.shape[1]

    def same(head: int) -> bool:
        return all(bool((each[:, head] == each[:, head + 1]).all()) for each in (key, value))

    if heads == 1 or not same(0):
        return 1
    equal = [same(head) for head in range(heads - 1)]
    for repeats in range(heads, 1, -1):
        if heads % repeats == 0 and all(equal[head] for head in range(heads - 1) if (head + 1) % repeats):
            return repeats
    return 1


def four_sizes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return a shape as (N, H, rows, columns)."""
    *leading, rows, columns = shape
    images, heads = (math.prod(leading[:-1]), leading[-1]) if len(leading) > 1 else (leading[0] if leading else 1, 1)
    return images, heads, rows, columns


def _integers(handle: Handle) -> NDArray[Any]:
    assert isinstance(handle.tensor, ValueTensor)
    return handle.tensor.values()
