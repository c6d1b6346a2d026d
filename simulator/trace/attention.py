"""Attention, its connections given by values, by a mask or by a retention alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace.checks import Shape, real, whole
from simulator.trace.connections import (
    Words,
    allowed_keys,
    allowed_words,
    checked_rule,
    count_kept,
    draw_connections,
    pack_rows,
    per_head,
    row_blocks,
    select_rows,
    unpack_rows,
)
from simulator.trace.detection import checked_shift, estimate, limits, project, require_range, require_ternary
from simulator.trace.operator import Operator, register
from simulator.trace.reference import matmul
from simulator.trace.tensor import MaskTensor, Tensor, ValueTensor

_DETECTOR = ("tokens", "projection", "detector_query", "detector_key")


@dataclass(frozen=True, eq=False)
class Attended:
    """What a chip made of an attention operator."""

    kept: NDArray[np.uint64]
    """(N, H, L, ⌈S/64⌉): the connections kept, packed."""
    values: NDArray[np.float64]
    """(N, H, L, E): the output, scales applied."""
    tolerance: NDArray[np.float64]
    """(N, H, L): by how much the chip's number formats may take a row's values from those in real numbers."""


@register
@dataclass(frozen=True, eq=False)
class Attention(Operator):
    """Softmax(scale · Q·Kᵀ)·V over the connections kept, per image and head.

    Which connections (query, key) are kept is said in one of four ways:

    - `mask`: by another detector or by hand; the rule is then "none";
    - the detector's tensors with known values, and the rule "top_k" or "threshold" on the scores they estimate;
    - the rule "top_k" without such values: a row-balanced mask is drawn from `seed`;
    - the rule "none" and no mask: all, of a causal map those that are not in the future.

    Detector tensors of which only the shape is known (`DensityTensor`) say what detection costs.

    Args:
        query: (N, H, L, D).
        key: (N, G, S, D), G divides H; head h looks at the keys and values of group h·G // H.
        value: (N, G, S, E).
        mask: (N, H, L, S), a `MaskTensor`, 1 for a connection kept.
        tokens: (N, L, C), what the detector projects.
        memory: (N, S, C), what it projects for the keys, where these come from elsewhere (cross-attention).
        projection: (C, k), of −1, 0 and 1, the rank k at most C.
        detector_query: (H, k, k), integers of `precision` bits.
        detector_key: (H, k, k), integers of `precision` bits.
        output: (N, H, L, E), what is stored; for its density only.
        scale: of the scores before the softmax; 0, the default, stands for 1/√D.
        causal: query i sees the keys 0 … i + S − L: the queries are the last of the sequence.
        rule: "none", "top_k" or "threshold", see `simulator.trace.connections.select`.
        retention: part of the keys that "top_k" keeps in each row, above 0 to 1; or
        keys_per_row: their number, 1 to S.
        threshold: integer score that "threshold" keeps, one or one per head; kept as one per head.
        precision: of the detector, 2, 4 or 8 bits.
        projection_shift: right shift that brings tokens · projection to `precision` bits.
        query_shift: the same for the estimated queries, one or one per head; kept as one per head.
        key_shift: the same for the estimated keys.
        seed: of a mask that is drawn.

    Raises:
        InputError: a shape or an attribute contradicts another. What only the data show is refused by the
            methods that read them.

    """

    type: ClassVar[str] = "attention"
    roles: ClassVar[tuple[str, ...]] = ("query", "key", "value", "mask", *_DETECTOR, "memory", "output")
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None
    tokens: Tensor | None = None
    projection: Tensor | None = None
    detector_query: Tensor | None = None
    detector_key: Tensor | None = None
    memory: Tensor | None = None
    output: Tensor | None = None
    scale: float = 0.0
    causal: bool = False
    rule: str = "none"
    retention: float | None = None
    keys_per_row: int | None = None
    threshold: int | tuple[int, ...] | None = None
    precision: int = 4
    projection_shift: int = 0
    query_shift: int | tuple[int, ...] = 0
    key_shift: int | tuple[int, ...] = 0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_maps()
        self._require_detector()
        try:
            self._clean_attributes()
        except InputError as error:
            raise self._error(str(error)) from None
        if self.mask is not None and self.rule != "none":
            raise self._error(f"rule is '{self.rule}', expected 'none' where a mask says what is kept")
        if self.rule == "threshold" and not self.is_detected:
            raise self._error(
                "the rule 'threshold' needs the values of tokens, projection, detector_query, detector_key"
            )

    def _require_maps(self) -> None:
        for role, axes in (("query", "N, H, L, D"), ("key", "N, G, S, D"), ("value", "N, G, S, E")):
            self._require_axes(role, axes)
        N, H, L, D = self.query.shape
        G, S = self.key.shape[1:3]
        self._require_shape("key", (N, G, S, D), "N, G, S, D")
        self._require_shape("value", (N, G, S, self.value.shape[-1]), "N, G, S, E")
        if H % G:
            raise self._error(f"key has {G} heads, expected a divisor of the {H} heads of query")
        self._require_shape("mask", (N, H, L, S), "N, H, L, S")
        if self.mask is not None and not isinstance(self.mask, MaskTensor):
            raise self._error(f"mask is known by its {self.mask.kind} only, expected a MaskTensor")
        self._require_shape("output", self.output_shape, "N, H, L, E")

    def _require_detector(self) -> None:
        given = [role for role in _DETECTOR if getattr(self, role) is not None]
        if given and len(given) < len(_DETECTOR):
            missing = next(role for role in _DETECTOR if role not in given)
            raise self._error(f"{missing} is missing, a detector has {', '.join(_DETECTOR)}")
        if self.memory is not None and not given:
            raise self._error("memory is given, but tokens, which it goes with, are not")
        if self.tokens is None or self.projection is None:
            return
        (N, H, L, _), S = self.query.shape, self.key_count
        self._require_axes("tokens", "N, L, C")
        self._require_axes("projection", "C, k")
        C, k = self.tokens.shape[-1], self.projection.shape[-1]
        self._require_shape("tokens", (N, L, C), "N, L, C")
        self._require_shape("memory", (N, S, C), "N, S, C")
        if self.memory is None and L != S:
            raise self._error(f"memory is missing: {L} tokens cannot stand for {S} keys")
        self._require_shape("projection", (C, k), "C, k")
        if k > C:
            raise self._error(f"projection has rank {k}, expected at most the {C} features of tokens")
        for role in ("detector_query", "detector_key"):
            self._require_shape(role, (H, k, k), "H, k, k")

    def _clean_attributes(self) -> None:
        scale = real(self.scale, "scale") or self.head_size**-0.5
        if scale <= 0:
            raise InputError(f"scale must be above 0, not {self.scale!r}")
        if not isinstance(self.causal, bool):
            raise InputError(f"causal must be true or false, not {self.causal!r}")
        allowed_keys(self.query_count, self.key_count, self.causal)
        retention, keys_per_row, threshold = checked_rule(
            self.rule, self.retention, self.keys_per_row, self.threshold, self.key_count
        )
        limits(self.precision)
        shifts = {what: per_head(getattr(self, what), what, self.heads, 0) for what in ("query_shift", "key_shift")}
        for what, numbers in shifts.items():
            checked_shift(max(numbers), what)
        self._set(
            scale=scale,
            retention=retention,
            keys_per_row=keys_per_row,
            threshold=None if threshold is None else per_head(threshold, "threshold", self.heads),
            projection_shift=checked_shift(self.projection_shift, "projection_shift"),
            seed=whole(self.seed, "seed", 0),
            **shifts,
        )

    @property
    def images(self) -> int:
        """N."""
        return self.query.shape[0]

    @property
    def heads(self) -> int:
        """H, of the queries."""
        return self.query.shape[1]

    @property
    def groups(self) -> int:
        """G, heads of keys and values."""
        return self.key.shape[1]

    @property
    def query_count(self) -> int:
        """L."""
        return self.query.shape[2]

    @property
    def key_count(self) -> int:
        """S."""
        return self.key.shape[2]

    @property
    def head_size(self) -> int:
        """D, of queries and keys."""
        return self.query.shape[3]

    @property
    def value_size(self) -> int:
        """E."""
        return self.value.shape[3]

    @property
    def rank(self) -> int | None:
        """The rank k of the detector, None where there is no detector."""
        return None if self.projection is None else self.projection.shape[1]

    @property
    def is_detected(self) -> bool:
        """Whether the detector's tensors have known values, so that scores can be estimated."""
        needed = [getattr(self, role) for role in _DETECTOR] + ([self.memory] if self.memory is not None else [])
        return all(isinstance(tensor, ValueTensor) for tensor in needed)

    @property
    def output_shape(self) -> Shape:
        """(N, H, L, E)."""
        return (*self.query.shape[:3], self.value.shape[3])

    @property
    def macs(self) -> int:
        """N·H·L·S·(D + E): Q·Kᵀ and A·V of the whole map, the future of a causal one included."""
        return math.prod(self.query.shape[:3]) * self.key_count * (self.head_size + self.value_size)

    def group_of(self, head: int) -> int:
        """Return the head of keys and values that a head of queries looks at."""
        return head * self.groups // self.heads

    def kept(self, image: int, head: int) -> Words:
        """Return the connections kept: (L, ⌈S/64⌉) words, see `simulator.trace.connections`.

        Raises:
            InputError: no such image or head, a row of the mask without a key, a causal mask that keeps the
                future, or as `estimates`.

        """
        self._require_place(image, head)
        L, S = self.query_count, self.key_count
        if self.mask is not None:
            return self._given(image, head)
        if self.rule == "none":
            return allowed_words(L, S, self.causal)
        if self.is_detected:
            return self._detected(image, head)
        return draw_connections(
            L, S, retention=self.retention, keys_per_row=self.keys_per_row, causal=self.causal,
            seed=self.seed, image=image, head=head,
        )  # fmt: skip

    def kept_mask(self, image: int, head: int) -> NDArray[np.bool_]:
        """Return the connections kept as (L, S) booleans; raises as `kept`."""
        return unpack_rows(self.kept(image, head), self.key_count)

    def require_detector(self) -> None:
        """Refuse a projection that is not ternary and weights that do not fit the precision.

        Raises:
            InputError: so it is.

        """
        try:
            require_ternary(_values(self.projection))
            for role in ("detector_query", "detector_key"):
                for weight in _values(getattr(self, role)):
                    require_range(weight, self.precision, role)
        except InputError as error:
            raise self._error(str(error)) from None

    def estimates(self, image: int, head: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return what the detector makes of tokens: estimated queries (L, k) and keys (S, k).

        Raises:
            InputError: the values of the detector's tensors are not known, the projection is not ternary, or a
                weight does not fit the precision.

        """
        self._require_place(image, head)
        if not self.is_detected:
            raise self._error("there are no estimates, the values of a detector's tensors are not known")
        tokens, projection, query, key = (_values(getattr(self, role)) for role in _DETECTOR)
        precision, shift = self.precision, self.projection_shift
        try:
            own = project(tokens[image], projection, precision, shift)
            other = own if self.memory is None else project(_values(self.memory)[image], projection, precision, shift)
            return (
                estimate(own, query[head], precision, _of(self.query_shift, head), "detector_query"),
                estimate(other, key[head], precision, _of(self.key_shift, head), "detector_key"),
            )
        except InputError as error:
            raise self._error(str(error)) from None

    def scores(self, image: int, head: int) -> NDArray[np.int64]:
        """Return the scores that the detector estimates, (L, S) integers; raises as `estimates`."""
        query, key = self.estimates(image, head)
        return matmul(query, key.T)

    @property
    def has_values(self) -> bool:
        """Whether the values of query, key and value are known."""
        return all(isinstance(tensor, ValueTensor) for tensor in (self.query, self.key, self.value))

    @property
    def has_reference(self) -> bool:
        """Whether the output can be checked, or at least what a detector keeps."""
        return self.has_values or (self.is_detected and self.rule != "none")

    def agrees(self, output: Attended) -> bool:
        """Tell whether exactly the connections of `kept` were kept, and `reference_output` met within the tolerance.

        Where the values of query, key and value are not known, the connections alone are compared.
        """
        for image, head in np.ndindex(self.images, self.heads):
            kept = self.kept(image, head)
            expected = self.reference_output(image, head, kept)
            if not np.array_equal(output.kept[image, head], kept):
                return False
            if expected is None:
                continue
            error = np.abs(output.values[image, head] - expected)
            if not (error <= output.tolerance[image, head][:, None]).all():
                return False
        return True

    def reference(self) -> None:
        """Return None: a softmax has no exact integer result; see `reference_output`."""
        return None

    def reference_output(self, image: int, head: int, kept: Words | None = None) -> NDArray[np.float64] | None:
        """Return the masked softmax attention of one head in float64, scales applied: (L, E).

        Args:
            image: 0 … N − 1.
            head: 0 … H − 1.
            kept: the connections kept, packed; None: those of `kept(image, head)`.

        Returns:
            None where the values of query, key or value are not known.

        Raises:
            InputError: as `kept`, or `kept` has another shape.

        """
        self._require_place(image, head)
        if not self.has_values:
            return None
        group = self.group_of(head)
        query, key, value = (
            _real(tensor, image, place)
            for tensor, place in ((self.query, head), (self.key, group), (self.value, group))
        )
        words = self.kept(image, head) if kept is None else kept
        expected = (self.query_count, -(-self.key_count // 64))
        if words.shape != expected or words.dtype != np.uint64:
            raise self._error(
                f"kept is {words.dtype} of shape {words.shape}, expected packed rows of {expected} uint64"
            )
        output = np.empty((self.query_count, self.value_size))
        for rows in row_blocks(self.query_count):
            seen = unpack_rows(words[rows], self.key_count)
            scores = np.where(seen, query[rows] @ key.T * self.scale, -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            output[rows] = weights @ value / weights.sum(axis=1, keepdims=True)
        return output

    def _given(self, image: int, head: int) -> Words:
        assert isinstance(self.mask, MaskTensor)
        L, S = self.query_count, self.key_count
        first = (image * self.heads + head) * L * S
        octets = self.mask.content()[first // 8 : -(-(first + L * S) // 8)]
        bits = np.unpackbits(octets, bitorder="little")[first % 8 : first % 8 + L * S]
        words = pack_rows(bits.view(np.bool_).reshape(L, S))
        where = f"of image {image}, head {head}"
        empty = np.flatnonzero(count_kept(words) == 0)
        if len(empty):
            raise self._error(f"mask keeps no key in row {empty[0]} {where}, expected one or more in every row")
        future = (words & ~allowed_words(L, S, self.causal)).any(axis=1)
        if future.any():
            raise self._error(f"mask keeps the future in row {future.argmax()} {where}, which is causal")
        return words

    def _detected(self, image: int, head: int) -> Words:
        query, key = self.estimates(image, head)
        limits = allowed_keys(self.query_count, self.key_count, self.causal)
        level = None if self.threshold is None else _of(self.threshold, head)
        rules = self.rule, self.retention, self.keys_per_row, level
        blocks = row_blocks(self.query_count)
        return np.concatenate(
            [pack_rows(select_rows(matmul(query[rows], key.T), limits[rows], *rules)) for rows in blocks]
        )

    def _require_place(self, image: int, head: int) -> None:
        if not (0 <= image < self.images and 0 <= head < self.heads):
            raise self._error(f"has {self.images} images of {self.heads} heads, no image {image} with head {head}")


def _values(tensor: Any) -> NDArray[np.integer[Any]]:
    values: NDArray[np.integer[Any]] = tensor.values()
    return values


def _real(tensor: Any, image: int, head: int) -> NDArray[np.float64]:
    scale = tensor.scale[image] if isinstance(tensor.scale, tuple) else tensor.scale
    real_values: NDArray[np.float64] = tensor.values()[image, head] * scale
    return real_values


def _of(numbers: Any, head: int) -> int:
    number: int = numbers[head]
    return number
