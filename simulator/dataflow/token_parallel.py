"""The token-parallel dataflow of transformers: lanes hold tokens; groups of queries detect, omit and attend.

``match`` walks the real data once and keeps what does not depend on rates: for attention, of each group of queries, the
rounds, loads and pairs of the keys that it keeps; for dense layers, the cycles of each lane in each block of outputs.
Rows of PEs, memories and links are timed later.

Source: Qu et al., "DOTA: Detect and Omit Weak Attentions for Scalable Transformer Acceleration", ASPLOS 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, LawViolation
from simulator.hardware.connection_filter import keep_above, keep_largest, rescaled_product
from simulator.hardware.lanes import Chips, Lanes
from simulator.hardware.mfu import FRACTION, attend, tolerance
from simulator.hardware.rmmu import RMMU, multiply_dense
from simulator.hardware.token_scheduler import RECORD, Homes, TokenScheduler, schedule
from simulator.program import Counts
from simulator.trace import Attended, Attention, Linear, Operator, Rowwise, ValueTensor
from simulator.trace.connections import allowed_keys, count_kept, kept_per_row
from simulator.trace.detection import limits

OPERAND_BITS = 16
"""Of everything that the chip multiplies, but in detection."""

Retention = Literal["trace", "full"] | float


@dataclass(frozen=True)
class AttentionGeometry:
    """What matching attention depends on, beside the operator: equal geometries share a match."""

    lanes: Lanes
    scheduler: TokenScheduler
    retention: Retention

    def homes(self, operator: Attention) -> Homes:
        """Return where queries and keys live."""
        group = self.scheduler.tokens
        spans = (self.lanes.span(tokens, group) for tokens in (operator.query_count, operator.key_count))
        return Homes(self.lanes.count, *spans)


@dataclass(frozen=True)
class DenseGeometry:
    """What matching all else depends on."""

    chips: Chips
    lanes: Lanes
    rmmu: RMMU


Geometry = AttentionGeometry | DenseGeometry


@dataclass(frozen=True, eq=False)
class AttentionMatch:
    """What an attention operator keeps, group by group."""

    operator: Attention
    records: Counts
    """(N, H, groups, len(RECORD)), see ``token_scheduler.RECORD``."""
    output: Attended | None
    """What the chip's own loops computed, where it was asked for."""

    def of(self, field: str) -> Counts:
        """Return one of the records, (N · H, groups)."""
        counts: Counts = self.records[..., RECORD.index(field)]
        return counts.reshape(-1, self.records.shape[2])


@dataclass(frozen=True, eq=False)
class LinearMatch:
    """A dense layer."""

    operator: Linear
    output: Counts | None
    """The exact integers, shape of the operator's output, where they were asked for."""
    working: int | None
    """Cycles that the rows of all lanes work, counted where the integers are computed."""


@dataclass(frozen=True, eq=False)
class RowwiseMatch:
    """What happens between products."""

    operator: Rowwise
    output: None = None


Match = AttentionMatch | LinearMatch | RowwiseMatch


def variant(operator: Attention, retention: Retention) -> Attention:
    """Return the operator with as many connections omitted as the configuration says.

    Raises:
        InputError: a part is to be kept, but the trace gives a mask, or nothing that tells which part.

    """
    if retention == "trace":
        return operator
    if retention == "full":
        roles = ("mask", "tokens", "projection", "detector_query", "detector_key", "memory")
        without: dict[str, Any] = dict.fromkeys(roles)
        return replace(operator, **without, rule="none", retention=None, keys_per_row=None, threshold=None)
    if operator.mask is not None or (operator.rank is None and operator.rule != "top_k"):
        given = "a mask" if operator.mask is not None else "no detector"
        raise InputError(
            f"operator '{operator.name}': attention.retention is {retention}, but the trace gives {given}; "
            "expected 'trace' or 'full'"
        )
    return replace(operator, rule="top_k", retention=retention, keys_per_row=None, threshold=None)


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk an operator's data once: see ``Match``; with ``check``, compute its values in the loops that count.

    Raises:
        InputError: what only the data show, see ``simulator.trace.Attention.kept``.

    """
    if isinstance(operator, Attention):
        assert isinstance(geometry, AttentionGeometry)
        return _match_attention(variant(operator, geometry.retention), geometry, check)
    if isinstance(operator, Linear):
        assert isinstance(geometry, DenseGeometry)
        return LinearMatch(operator, *(_multiplied(operator, geometry) if check else (None, None)))
    assert isinstance(operator, Rowwise)
    return RowwiseMatch(operator)


def _match_attention(operator: Attention, geometry: AttentionGeometry, check: bool) -> AttentionMatch:
    rows = (operator.images, operator.heads, operator.query_count)
    groups = geometry.scheduler.groups(operator.query_count)
    records = np.zeros((*rows[:2], groups, len(RECORD)), np.int64)
    output = None
    if check:
        kept = np.zeros((*rows, -(-operator.key_count // 64)), np.uint64)
        output = Attended(kept, np.zeros((*rows, operator.value_size)), np.zeros(rows))
    detector = Detector(operator) if operator.rule != "none" and operator.is_detected else None
    for image, head in np.ndindex(rows[:2]):
        words = operator.kept(image, head) if detector is None else detector.keep(image, head)
        made = schedule(words, geometry.scheduler, check, geometry.homes(operator))
        if made.pairs.sum() != count_kept(words).sum():
            raise LawViolation(f"{operator.name}: {made.pairs.sum()} pairs are issued, {count_kept(words).sum()} kept")
        records[image, head] = np.stack([getattr(made, field) for field in RECORD], axis=1)
        if output is not None:
            output.kept[image, head] = words
        if output is not None and made.issues is not None and operator.has_values:
            output.values[image, head], output.tolerance[image, head] = attend_issues(
                operator, image, head, words, made.issues
            )
    return AttentionMatch(operator, records, output)


class Detector:
    """The chip's own arithmetic of a detector: the connections that it keeps of each head."""

    def __init__(self, operator: Attention):
        self.operator = operator
        self.range = limits(operator.precision)
        self.allowed = allowed_keys(operator.query_count, operator.key_count, operator.causal)
        self.image: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def keep(self, image: int, head: int) -> NDArray[np.uint64]:
        """Return the connections kept, packed (L, W).

        Raises:
            InputError: as ``simulator.trace.Attention.estimates``.

        """
        operator = self.operator
        if self.image is None or self.image[0] != image:
            operator.require_detector()
            own = self._project(operator.tokens, image)
            self.image = image, own, own if operator.memory is None else self._project(operator.memory, image)
        shift_query, shift_key = (_of(shifts, head) for shifts in (operator.query_shift, operator.key_shift))
        queries = rescaled_product(self.image[1], _ints(operator.detector_query)[head], shift_query, *self.range)
        keys = rescaled_product(self.image[2], _ints(operator.detector_key)[head], shift_key, *self.range)
        words = np.zeros((len(queries), -(-len(keys) // 64)), np.uint64)
        columns = np.ascontiguousarray(keys.T)
        if operator.rule == "threshold":
            keep_above(queries, columns, self.allowed, _of(operator.threshold, head), words)
        else:
            counts = kept_per_row(self.allowed, operator.retention, operator.keys_per_row)
            keep_largest(queries, columns, self.allowed, counts, words)
        return words

    def _project(self, tokens: Any, image: int) -> NDArray[np.int64]:
        shift = self.operator.projection_shift
        projected: NDArray[np.int64] = rescaled_product(
            _ints(tokens)[image], _ints(self.operator.projection), shift, *self.range
        )
        return projected


def _of(numbers: Any, head: int) -> int:
    number: int = numbers[head]
    return number


def _ints(tensor: Any) -> NDArray[np.integer[Any]]:
    assert isinstance(tensor, ValueTensor)
    return np.ascontiguousarray(tensor.values())


def attend_issues(
    operator: Attention, image: int, head: int, words: NDArray[np.uint64], issues: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Attend along the issues: the real values (L, E), and by how much each row may be off (L,)."""
    group = operator.group_of(head)
    queries, keys, values = (
        _ints(tensor)[image, place]
        for tensor, place in ((operator.query, head), (operator.key, group), (operator.value, group))
    )
    scales = [_scale(tensor, image) for tensor in (operator.query, operator.key, operator.value)]
    step = operator.scale * scales[0] * scales[1]
    lengths = [np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)) for rows in (queries, keys)]
    highest = step * lengths[0] * lengths[1].max()  # |q·k| ≤ |q| |k|
    if highest.max(initial=0) > np.finfo(np.float32).max:
        raise InputError(f"operator '{operator.name}': scores may reach {highest.max():.2g}, more than FP32 holds")
    output = np.zeros((operator.query_count, operator.value_size), np.int64)
    attend(issues, queries, keys, values, np.float32(step), output)
    largest = float(np.abs(values.astype(np.float64)).max()) * scales[2]
    real = output.astype(np.float64) * float(2.0**-FRACTION * scales[2])
    return real, tolerance(count_kept(words), highest, largest)


def _scale(tensor: Any, image: int) -> float:
    scale: float = tensor.scale[image] if isinstance(tensor.scale, tuple) else tensor.scale
    return scale


@dataclass(frozen=True, eq=False)
class Share:
    """What a chip does of a dense layer."""

    bounds: NDArray[np.int64]
    """(lanes + 1,): where the tokens of each lane begin."""
    outputs: range


def shares(operator: Linear, geometry: DenseGeometry) -> list[Share]:
    """Share a dense layer out: tokens to chips and lanes, or outputs to chips and all tokens to the lanes of each."""
    chips, outputs = geometry.chips, operator.weight.shape[0]
    if chips.split == "batch":
        return [Share(bounds, range(outputs)) for bounds in deal(operator.input.shape, geometry)]
    bounds = _evenly(operator.input.size // operator.input.shape[-1], geometry.lanes.count)
    cuts = _evenly(outputs, chips.count).tolist()
    return [Share(bounds, range(first, last)) for first, last in pairwise(cuts)]


def deal(shape: tuple[int, ...], geometry: DenseGeometry) -> list[NDArray[np.int64]]:
    """Deal tokens, all axes but the last, out to the lanes of each chip: where those of each lane begin, (lanes + 1,).

    Sequences, along the first of three or more axes, are whole on a chip where chips split the batch.
    """
    tokens, chips = math.prod(shape[:-1]), geometry.chips
    sequences = shape[0] if len(shape) > 2 and chips.split == "batch" else 1 if chips.split == "batch" else tokens
    cuts = (_evenly(sequences, chips.count) * (tokens // sequences)).tolist()
    return [first + _evenly(last - first, geometry.lanes.count) for first, last in pairwise(cuts)]


def _evenly(total: int, shares: int) -> NDArray[np.int64]:
    """Return where each of so many even shares begins, and where the last one ends."""
    return np.arange(shares + 1) * total // shares


def _multiplied(operator: Linear, geometry: DenseGeometry) -> tuple[Counts, int]:
    """Multiply with the lanes' own loops; return the integers, and the cycles that their rows work in all."""
    tokens, weights = _ints(operator.input).reshape(-1, operator.input.shape[-1]), _ints(operator.weight)
    output, working = np.zeros((len(tokens), len(weights)), np.int64), 0
    for share in shares(operator, geometry):
        own = slice(share.outputs.start, share.outputs.stop)
        sums, cycles = multiply_dense(tokens, weights[own], share.bounds.tolist(), geometry.rmmu)
        rows = slice(share.bounds[0], share.bounds[-1])
        output[rows, own] += sums[rows]
        working += int(cycles.sum())
    return output.reshape(operator.output_shape), working
