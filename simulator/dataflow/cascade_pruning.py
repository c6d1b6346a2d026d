"""Cascade pruning of tokens and heads, local pruning of values, and keys that want their low bits.

A token's importance is what the queries of all heads give it of their softmax; tokens of least importance are pruned
for all heads, and a query then leaves out the values of its smallest weights. A head's importance is the sum of its
outputs' magnitudes. Where the values are not known, a token is pruned that the trace keeps for no query of an image.

Source: Wang, Zhang, Han, "SpAtten", HPCA 2021. The chip's cascade prunes by the importance that earlier layers and this
one have added up; an operator stands alone here, and its own importance decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.dataflow.omitted_attention import Selection, Words, real_rows, seen_keys, selects
from simulator.hardware.low_bit_mask import few_bits
from simulator.hardware.quick_select import TopK, list_kept, select_rows
from simulator.hardware.real_scores import Scores
from simulator.program import Counts
from simulator.trace import Attention, MaskTensor, ValueTensor
from simulator.trace.connections import pack_rows, row_blocks, unpack_rows

RECORD: Final = ("looked", "kept", "again", "top_k", "compared")
"""Of a query: keys multiplied, values multiplied, whether low bits are wanted, cycles of top-k, numbers compared."""
ORDER_SEED: Final = 0
"""Of the order in which unknown numbers reach the top-k engine."""


class Pruning(Selection):
    """What is pruned where the chip decides."""

    tokens: Annotated[float, Field(gt=0, le=1)]
    """Part of the tokens that stay as keys and values, for all heads."""
    heads: Annotated[float, Field(gt=0, le=1)]
    """Part of the heads that stay; grouped-query heads all do."""
    values: Annotated[float, Field(gt=0, le=1)]
    """Part of the tokens left of which a query takes the values."""


class Progressive(Part):
    """Progressive quantisation: high bits first, low bits where a softmax is flat."""

    high: Annotated[int, Field(ge=2, le=16)]
    """Bits of a key that are always fetched; of a value, too."""
    low: Annotated[int, Field(ge=0, le=16)]
    """Bits of a key that are fetched, and its scores computed again, where they are wanted."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    """A query wants the low bits where its largest weight is below; 0: none ever does."""


def prune_heads(operator: Attention, pruning: Pruning) -> Attention:
    """Return the operator with the heads that stay, of each image those of most importance."""
    H = operator.heads
    staying = max(1, int(np.floor(pruning.heads * H + 0.5)))
    if staying == H or operator.groups != H or not operator.has_values or not selects(operator, pruning.connections):
        return operator
    chosen = np.stack([_important(operator, image, staying) for image in range(operator.images)])
    taken: dict[str, Any] = {role: _taken(operator.tensors[role], chosen) for role in ("query", "key", "value")}
    if operator.mask is not None:
        place = np.arange(operator.images)[:, None]
        taken["mask"] = MaskTensor.of(operator.mask.mask()[place, chosen], operator.mask.bits)
    roles = ("tokens", "projection", "detector_query", "detector_key", "memory", "output")
    numbers = ("retention", "keys_per_row", "threshold")
    cleared: dict[str, Any] = dict.fromkeys(roles + numbers)
    return replace(operator, **cleared, **taken, rule="none", query_shift=0, key_shift=0)


def _important(operator: Attention, image: int, staying: int) -> NDArray[np.int64]:
    importance = np.zeros(operator.heads)
    for head in range(operator.heads):
        allowed = _allowed(operator, image, head)
        value, scores = real_rows(operator, "value", image, head), _scores(operator, image, head)
        for rows in row_blocks(operator.query_count):
            importance[head] += np.abs(scores.softmax(rows, allowed[rows]) @ value).sum()
    return np.sort(np.argsort(-importance, kind="stable")[:staying])


def _taken(tensor: Any, chosen: NDArray[np.int64]) -> ValueTensor:
    values = np.take_along_axis(tensor.values(), chosen[:, :, None, None], axis=1)
    return ValueTensor(values, tensor.scale, bits=tensor.bits)


def _allowed(operator: Attention, image: int, head: int) -> NDArray[np.bool_]:
    if operator.mask is not None:
        return operator.kept_mask(image, head)
    seen: NDArray[np.bool_] = np.arange(operator.key_count) < seen_keys(operator)[:, None]
    return seen


def _scores(operator: Attention, image: int, head: int, bits: int | None = None) -> Scores:
    """Return the scores of a head; of keys brought to fewer bits, where these are given."""
    query, key = (real_rows(operator, role, image, head) for role in ("query", "key"))
    if bits is not None:
        numbers, step = few_bits(key, bits)
        key = numbers * step
    return Scores(query, key, operator.scale)


class Cascade:
    """The pruning of an operator, image by image, and what it costs each query."""

    def __init__(self, operator: Attention, pruning: Pruning, progressive: Progressive, top_k: TopK):
        self.operator, self.pruning, self.progressive, self.top_k = operator, pruning, progressive, top_k
        self.alive = np.zeros((operator.images, operator.key_count), np.bool_)
        self.values = np.zeros((operator.images, operator.heads), np.int64)
        """Values that a query of the head takes."""
        self.own: dict[tuple[int, int], Counts] = {}
        """Records of the heads of which the weights are known."""

    def select(self, operator: Attention, image: int, allowed: Words) -> Words:
        """Return what an image keeps of what is allowed, (H, L, W)."""
        free = [unpack_rows(head, operator.key_count) for head in allowed]
        self.alive[image] = self._tokens(image, free)
        kept = np.empty_like(allowed)
        for head, own in enumerate(free):
            kept[head], self.own[image, head] = self._values(image, head, own & self.alive[image])
        return kept

    def _tokens(self, image: int, free: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
        S = self.operator.key_count
        importance = np.zeros(S)
        best = np.zeros((len(free), self.operator.query_count), np.int64)
        for head, allowed in enumerate(free):
            scores = _scores(self.operator, image, head)
            for rows in row_blocks(self.operator.query_count):
                weights = scores.softmax(rows, allowed[rows])
                importance += weights.sum(axis=0)
                best[head, rows] = weights.argmax(axis=1)
        staying = max(1, int(np.floor(self.pruning.tokens * S + 0.5)))
        alive = np.zeros(S, np.bool_)
        alive[np.argsort(-importance, kind="stable")[:staying]] = True
        saved = alive.copy()
        for head, allowed in enumerate(free):  # a query whose tokens are all pruned saves its best
            lost = ~(allowed & alive).any(axis=1)
            saved[best[head, lost]] = True
        return saved

    def _values(self, image: int, head: int, candidates: NDArray[np.bool_]) -> tuple[Words, Counts]:
        operator = self.operator
        looked = candidates.sum(axis=1)
        counts = np.maximum(1, np.floor(self.pruning.values * looked + 0.5).astype(np.int64))
        kept = np.zeros_like(candidates)
        records = np.zeros((operator.query_count, len(RECORD)), np.int64)
        records[:, 0], records[:, 1] = looked, counts
        scores, rough = (_scores(operator, image, head, bits) for bits in (None, self.progressive.high))
        for rows in row_blocks(operator.query_count):
            weights = scores.softmax(rows, candidates[rows])
            sharpest = rough.softmax(rows, candidates[rows]).max(axis=1)
            records[rows, 2] = sharpest < self.progressive.threshold
            self._engine(weights, candidates[rows], counts[rows], records[rows], kept[rows])
        return pack_rows(kept), records

    def _engine(
        self,
        numbers: NDArray[np.float64],
        candidates: NDArray[np.bool_],
        counts: Counts,
        records: Counts,
        kept: NDArray[np.bool_],
    ) -> None:
        """Let some rows pass the top-k engine: fill in what it does, (rows, len(RECORD)), and finds, (rows, S)."""
        unit = self.top_k
        select_rows(numbers, candidates, counts, unit.comparators, unit.latency, records[:, 3:], kept)

    def walk(self, image: int, head: int, kept: Words, issues: NDArray[np.int32]) -> Counts:
        """List what a head keeps, and return its records (L, len(RECORD))."""
        list_kept(kept[head], issues)
        self.values[image, head] = np.bitwise_count(np.bitwise_or.reduce(kept[head])).sum()
        if (image, head) in self.own:
            return self.own[image, head]
        if head == 0:
            wanted = np.bitwise_or.reduce(kept.reshape(-1, kept.shape[-1]))
            self.alive[image] = unpack_rows(wanted[None], self.operator.key_count)
        mine = unpack_rows(kept[head], self.operator.key_count)
        candidates = (np.arange(self.operator.key_count) < seen_keys(self.operator)[:, None]) & self.alive[image]
        records = np.zeros((len(mine), len(RECORD)), np.int64)
        records[:, 0], records[:, 1] = candidates.sum(axis=1), mine.sum(axis=1)
        stream = np.random.Generator(np.random.PCG64(ORDER_SEED))
        for rows in row_blocks(len(mine)):
            numbers = stream.random(mine[rows].shape)
            self._engine(numbers, candidates[rows], records[rows, 1], records[rows], np.zeros_like(mine[rows]))
        return records

    @property
    def staying(self) -> Counts:
        """(N,): tokens that are not pruned."""
        staying: Counts = self.alive.sum(axis=1)
        return staying
