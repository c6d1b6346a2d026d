"""Attention without any skipping: two dense products for every head, one after the other, and a softmax between.

Q·Kᵀ gives the scores, all of them, of a causal map those of the future, too; A·V weights the values. The softmax in
between is no work of the array.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.folds import Match, Product
from simulator.dataflow.layers import Layer
from simulator.dataflow.token_parallel import variant
from simulator.dataflow.windows import Axis
from simulator.hardware.mfu import FRACTION, tolerance
from simulator.hardware.systolic_array import AXES, SystolicArray, multiply_folds, run_folds
from simulator.trace import Attended, Attention
from simulator.trace.connections import allowed_keys, count_kept


@dataclass(frozen=True)
class AttentionGeometry:
    """What matching attention depends on, beside the operator."""

    array: SystolicArray
    operand_bits: int


@dataclass(frozen=True, eq=False)
class AttentionMatch:
    """Both products of all heads."""

    operator: Attention
    """With every connection kept, whatever the trace omits."""
    scores: Match
    context: Match
    output: Attended | None
    """What the products gave, where it was asked for."""


def match_attention(operator: Attention, geometry: AttentionGeometry, check: bool) -> AttentionMatch:
    """Walk the folds of both products of every head; with ``check`` along the operands, adding their products up."""
    operator = variant(operator, "full")
    L, S, D, E = operator.query_count, operator.key_count, operator.head_size, operator.value_size
    heads = operator.images * operator.heads
    array = geometry.array
    connections = int(allowed_keys(L, S, operator.causal).sum()) * heads
    output, totals = None, heads * np.array([_count((L, D, S), array), _count((L, S, E), array)])
    if check and operator.has_values:
        output, totals = _multiply(operator, geometry)

    def product(place: int, reduction: int, filters: int) -> Match:
        layer = Layer(operator, 1, heads, reduction, filters, Axis(1, 1, 1, 0, 1), Axis(L, 1, 1, 0, 1))
        cycles, pairs = totals[place].tolist()
        return Match(operator, array, Product(layer), cycles - array.last, pairs, connections * reduction, None)

    scores, context = product(0, D, S), product(1, S, E)
    return AttentionMatch(operator, scores, replace(context, effectual=connections * E), output)


def _count(extents: tuple[int, int, int], array: SystolicArray) -> tuple[int, int]:
    """Return cycles and pairs of the folds of a product."""
    M, K, N = extents
    none = np.zeros((max(M, N), K), np.int64)
    cycles, pairs, _ = run_folds(extents, AXES[array.dataflow], array.rows, array.columns, array.preload, none, none)
    return cycles, pairs


def _multiply(operator: Attention, geometry: AttentionGeometry) -> tuple[Attended, NDArray[np.int64]]:
    """Return the output, and cycles and pairs of all heads' scores and contexts (2, 2)."""
    rows = (operator.images, operator.heads, operator.query_count)
    kept = np.zeros((*rows, -(-operator.key_count // 64)), np.uint64)
    made = Attended(kept, np.zeros((*rows, operator.value_size)), np.zeros(rows))
    totals = np.zeros((2, 2), np.int64)
    allowed = _mask(operator)
    fraction = geometry.operand_bits - 1
    for image, head in np.ndindex(rows[:2]):
        group = operator.group_of(head)
        queries, keys, values = (
            np.ascontiguousarray(tensor.values()[image, place]) for tensor, place in _operands(operator, head, group)
        )
        step, largest = _scales(operator, image, values)
        scores, taken = _product(queries, keys, geometry.array)
        totals[0] += taken
        weights = _softmax(scores, allowed, np.float32(step), fraction)
        sums, taken = _product(weights, np.ascontiguousarray(values.T), geometry.array)
        totals[1] += taken
        words = operator.kept(image, head)
        count = count_kept(words)
        highest = step * np.abs(scores).max(axis=1).astype(np.float64)
        made.kept[image, head] = words
        made.values[image, head] = sums * (2.0**-fraction * _scale(operator.value, image))
        rounding = (2.0 ** -(fraction + 1) - 2.0 ** -(FRACTION + 1)) * count * largest
        made.tolerance[image, head] = tolerance(count, highest, largest) + rounding
    return made, totals


def _operands(operator: Attention, head: int, group: int) -> tuple[tuple[Any, int], ...]:
    return (operator.query, head), (operator.key, group), (operator.value, group)


def _product(
    inputs: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], array: SystolicArray
) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Multiply (M, K) by (N, K): the sums (M, N), and cycles and pairs."""
    (M, K), N = inputs.shape, len(weights)
    sums = np.zeros((M, N), np.int64)
    shape = (M, K, N), AXES[array.dataflow], array.rows, array.columns, array.preload
    cycles, pairs, _ = multiply_folds(
        *shape, inputs.ravel(), np.arange(M) * K, np.arange(K), weights, weights != 0, sums
    )
    return sums, (cycles, pairs)


def _softmax(
    scores: NDArray[np.int64], allowed: NDArray[np.bool_], step: np.float32, fraction: int
) -> NDArray[np.int64]:
    """Return the weights in FP32, rounded to so many fractional bits; those that are not allowed are 0."""
    scaled = np.where(allowed, scores.astype(np.float32) * step, np.float32(-np.inf))
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights = powers / powers.sum(axis=1, keepdims=True, dtype=np.float32)
    rounded: NDArray[np.int64] = np.rint(weights * np.float32(2.0**fraction)).astype(np.int64)
    return rounded


def _mask(operator: Attention) -> NDArray[np.bool_]:
    counts = allowed_keys(operator.query_count, operator.key_count, operator.causal)
    mask: NDArray[np.bool_] = np.arange(operator.key_count) < np.asarray(counts)[:, None]
    return mask


def _scale(tensor: Any, image: int) -> float:
    scale: float = tensor.scale[image] if isinstance(tensor.scale, tuple) else tensor.scale
    return scale


def _scales(operator: Attention, image: int, values: NDArray[np.integer[Any]]) -> tuple[float, float]:
    """Return what an integer score stands for, and the largest magnitude of a value."""
    step = operator.scale * _scale(operator.query, image) * _scale(operator.key, image)
    return step, float(np.abs(values.astype(np.float64)).max()) * _scale(operator.value, image)
