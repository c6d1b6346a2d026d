"""Multiply-accumulates of two non-zeros: counted from sums along one axis of each operand, one operand at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.trace.attention import Attention
from simulator.trace.connections import allowed_keys, kept_per_row
from simulator.trace.operator import Conv2d, Linear, MatMul, Operator
from simulator.trace.reference import recompose
from simulator.trace.tensor import DensityTensor, Tensor

__all__ = ["effectual_macs"]

Counts = NDArray[Any]
"""Whole numbers; of density tensors the real numbers expected."""


def effectual_macs(operator: Operator) -> int | None:
    """Return how many multiply-accumulates of an operator have two non-zero operands, where that is cheap to say.

    Of density tensors, which are not drawn for it, the number expected. Of a decomposed weight those of the weight put
    together. Of attention those of the connections kept, D + E each.

    Returns:
        None where only much work or nothing would tell: a detector that keeps what is above a threshold, a decomposed
        weight whose values are not known, a type of operator that is not known here.

    """
    if operator.macs == 0:
        return 0
    if isinstance(operator, Linear):
        return _sum(_along(operator.input, _all_but(operator.input, -1)) * _along(operator.weight, (0,)))
    if isinstance(operator, MatMul):
        return _sum(_along(operator.a, (-2,)) * _along(operator.b, (-1,)))
    if isinstance(operator, Conv2d):
        weights = _of_filters(operator)
        return None if weights is None else _sum(weights * _of_windows(operator).reshape(weights.shape))
    if isinstance(operator, Attention):
        kept = _connections(operator)
        return None if kept is None else kept * (operator.head_size + operator.value_size)
    return None


def _sum(counts: Counts) -> int:
    total: int | float = counts.sum().item()
    return round(total)


def _all_but(tensor: Tensor, axis: int) -> tuple[int, ...]:
    kept = axis % len(tensor.shape)
    return tuple(place for place in range(len(tensor.shape)) if place != kept)


def _along(tensor: Tensor, axes: tuple[int, ...]) -> Counts:
    """Return the non-zeros summed over some axes."""
    gone = {axis % len(tensor.shape) for axis in axes}
    if isinstance(tensor, DensityTensor):
        left = [size for place, size in enumerate(tensor.shape) if place not in gone]
        return np.full(left, tensor.density * tensor.size / max(int(np.prod(left)), 1))
    counts: Counts = tensor.mask().sum(axis=tuple(gone), dtype=np.int64)
    return counts


def _of_filters(operator: Conv2d) -> Counts | None:
    """Return the non-zero weights of each tap, of all filters of a group: (groups, C/groups, R, S)."""
    K, G = operator.out_channels, operator.groups
    shape = (G, operator.in_channels // G, *operator.kernel_size)
    if operator.weight is None:
        basis, coefficients = _values(operator.basis), _values(operator.coefficients)
        if basis is None or coefficients is None:
            return None
        mask = recompose(basis, coefficients) != 0
    elif isinstance(operator.weight, DensityTensor):
        return np.full(shape, operator.weight.density * K / G)
    else:
        mask = operator.weight.mask()
    counts: Counts = mask.reshape(G, K // G, *shape[1:]).sum(axis=1, dtype=np.int64)
    return counts


def _values(tensor: Tensor | None) -> NDArray[np.integer[Any]] | None:
    return None if tensor is None else tensor.values()


def _of_windows(operator: Conv2d) -> Counts:
    """Return the non-zero inputs that each tap meets in all windows of all images: (C, R, S)."""
    R, S = operator.kernel_size
    C = operator.in_channels
    is_density = isinstance(operator.input, DensityTensor)
    planes = None if is_density else operator.input.mask().sum(axis=0, dtype=np.int32)
    each = operator.input.density * operator.input.shape[0] if is_density else 0.0
    counts: Counts = np.zeros((C, R, S), np.float64 if is_density else np.int64)
    for r in range(R):
        rows = _met(operator, 0, r)
        for s in range(S):
            columns = _met(operator, 1, s)
            if planes is None:
                counts[:, r, s] = each * len(rows) * len(columns)
            elif rows and columns:
                counts[:, r, s] = planes[:, _slice(rows), _slice(columns)].sum(axis=(1, 2), dtype=np.int64)
    return counts


def _met(operator: Conv2d, way: int, tap: int) -> range:
    """Return the rows (way 0) or columns (1) of the input that a tap meets, those of the padding left out."""
    step, size = operator.stride[way], operator.input.shape[2 + way]
    begin = tap * operator.dilation[way] - operator.padding[way]
    first = -(begin // step) if begin < 0 else 0
    last = min(operator.output_shape[2 + way], -((begin - size) // step))
    return range(begin + first * step, begin + max(first, last) * step, step)


def _slice(met: range) -> slice:
    return slice(met.start, met.stop, met.step)


def _connections(operator: Attention) -> int | None:
    """Return the connections kept, of all images and heads."""
    if operator.mask is not None:
        return int(np.count_nonzero(operator.mask.mask()))
    if operator.rule == "threshold":
        return None
    allowed = allowed_keys(operator.query_count, operator.key_count, operator.causal)
    if operator.rule == "top_k":
        allowed = kept_per_row(allowed, operator.retention, operator.keys_per_row)
    return operator.images * operator.heads * int(allowed.sum())
