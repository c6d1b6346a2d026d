"""The detector's arithmetic and its filters against the twin of Python integers, and against the trace's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.dataflow.token_parallel import Detector
from simulator.hardware.connection_filter import (
    ConnectionFilter,
    keep_above,
    keep_largest,
    rescale,
    rescaled_product,
)
from simulator.trace import Attention, DensityTensor, ValueTensor, load_trace
from simulator.trace.connections import kept_per_row, select, unpack_rows
from simulator.trace.detection import limits, quantise_shift
from tests.reference import detector as twin

Integers = NDArray[np.int64]
SHIPPED = Path(__file__).parents[2] / "traces" / "char_transformer.safetensors"
PRECISIONS = (2, 4, 8)


def sets(words: NDArray[np.uint64], keys: int) -> list[set[int]]:
    """Read packed rows, and that nothing is behind the last key."""
    everything = unpack_rows(words, 64 * words.shape[1])
    assert not everything[:, keys:].any()
    return [set(np.flatnonzero(row).tolist()) for row in everything]


@given(
    st.one_of(st.integers(-(2**62), 2**62), st.integers(-40, 40)),
    st.one_of(st.integers(0, 62), st.integers(0, 4)),
    st.sampled_from(PRECISIONS),
)
@settings(max_examples=600)
def test_rescaling_equals_the_fraction(number: int, shift: int, precision: int) -> None:
    expected = twin.rescale(number, shift, precision)
    assert rescale(number, shift, *limits(precision)) == expected
    assert quantise_shift(np.array([number]), shift, precision).tolist() == [expected]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_small_number_is_rescaled_as_the_fraction(precision: int) -> None:
    for shift in range(8):
        for number in range(-600, 600):
            assert rescale(number, shift, *limits(precision)) == twin.rescale(number, shift, precision)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Integers, Integers]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b, c = (draw(st.integers(1, 12)) for _ in range(3))
    size = draw(st.sampled_from((1, 2, 40, 2**15, 2**28)))
    density = draw(st.sampled_from((0.0, 0.4, 1.0)))
    left, right = (rng.integers(-size, size + 1, shape) for shape in ((a, b), (b, c)))
    return left * (rng.random(left.shape) < density), right


@settings(max_examples=300)
@given(matrices(), st.integers(0, 40), st.sampled_from(PRECISIONS))
def test_products_equal_the_twin(operands: tuple[Integers, Integers], shift: int, precision: int) -> None:
    left, right = operands
    made = rescaled_product(left, right, shift, *limits(precision))
    assert made.tolist() == twin.rescaled_product(left.tolist(), right.tolist(), shift, precision)


@st.composite
def estimates(draw: st.DrawFn) -> tuple[Integers, Integers, bool]:
    """Draw Q̃ (L, k) and K̃ (S, k) of 2, 4 or 8 bits, from all alike to all saturated: few levels, many ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = limits(draw(st.sampled_from(PRECISIONS)))
    causal = draw(st.booleans())
    queries, rank = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    keys = queries + draw(st.integers(0, 130)) if causal else draw(st.one_of(st.integers(1, 9), st.integers(1, 140)))
    kind = draw(st.sampled_from(("any", "saturated", "alike", "few")))
    values = {"any": range(low, high + 1), "saturated": (low, high), "alike": (high,), "few": (0, 0, 0, 1)}[kind]
    pool = np.array(values)
    return rng.choice(pool, (queries, rank)), rng.choice(pool, (keys, rank)), causal


@settings(max_examples=350)
@given(estimates(), st.floats(0, 1, exclude_min=True))
def test_top_k_equals_the_twin_and_is_row_balanced(made: tuple[Integers, Integers, bool], retention: float) -> None:
    queries, keys, causal = made
    allowed = twin.allowed(len(queries), len(keys), causal)
    counts = twin.how_many(allowed, retention)
    assert kept_per_row(np.array(allowed), retention).tolist() == counts
    words = np.zeros((len(queries), -(-len(keys) // 64)), np.uint64)
    keep_largest(queries, np.ascontiguousarray(keys.T), np.array(allowed), np.array(counts), words)
    scores = twin.scores(queries.tolist(), keys.tolist())
    expected = twin.top_k(scores, allowed, counts)
    assert sets(words, len(keys)) == expected
    assert [len(row) for row in sets(words, len(keys))] == counts
    by_the_trace = select(np.array(scores), "top_k", retention=retention, causal=causal)
    np.testing.assert_array_equal(unpack_rows(words, len(keys)), by_the_trace)


@settings(max_examples=350)
@given(estimates(), st.data())
def test_threshold_equals_the_twin(made: tuple[Integers, Integers, bool], data: st.DataObject) -> None:
    queries, keys, causal = made
    allowed = twin.allowed(len(queries), len(keys), causal)
    scores = twin.scores(queries.tolist(), keys.tolist())
    present = sorted({score for row in scores for score in row})
    level = data.draw(st.one_of(st.sampled_from(present), st.sampled_from((-(2**62), 2**62)), st.integers(-20, 20)))
    words = np.zeros((len(queries), -(-len(keys) // 64)), np.uint64)
    keep_above(queries, np.ascontiguousarray(keys.T), np.array(allowed), level, words)
    assert sets(words, len(keys)) == twin.threshold(scores, allowed, level)
    by_the_trace = select(np.array(scores), "threshold", threshold=level, causal=causal)
    np.testing.assert_array_equal(unpack_rows(words, len(keys)), by_the_trace)


def test_ties_by_hand() -> None:
    """Of equal scores the first ones are kept, and what equals the threshold is; a row without any keeps its best."""
    queries, keys = np.array([[1], [-1]]), np.array([[1, 2, 2, 2, 0]])
    words = np.zeros((2, 1), np.uint64)
    keep_largest(queries, keys, np.array([5, 4]), np.array([2, 3]), words)
    assert sets(words, 5) == [{1, 2}, {0, 1, 2}]
    words[:] = 0
    keep_above(queries, keys, np.array([5, 4]), 2, words)
    assert sets(words, 5) == [{1, 2, 3}, {0}]


# Whole detectors


@st.composite
def detectors(draw: st.DrawFn) -> Attention:
    """Draw attention that its detector's values select; shifts from none, all saturated, to all zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    precision, rule, causal = draw(st.sampled_from(PRECISIONS)), draw(st.sampled_from(("top_k", "threshold"))), False
    images, heads, queries, features = (draw(st.integers(1, most)) for most in (2, 3, 8, 9))
    rank = draw(st.integers(1, features))
    memory, keys = None, queries
    if draw(st.booleans()):
        keys = queries + draw(st.integers(0, 70))
        memory = ValueTensor(rng.integers(-128, 128, (images, keys, features)))
    causal = draw(st.booleans())
    low, high = limits(precision)
    shift = draw(st.sampled_from((0, 1, 3, 6, 12)))
    return Attention(
        "a",
        DensityTensor((images, heads, queries, 4), 1, 0),
        DensityTensor((images, 1, keys, 4), 1, 0),
        DensityTensor((images, 1, keys, 4), 1, 0),
        tokens=ValueTensor(rng.integers(-128, 128, (images, queries, features))),
        memory=memory,
        projection=ValueTensor(rng.integers(-1, 2, (features, rank)), bits=2),
        detector_query=ValueTensor(rng.integers(low, high + 1, (heads, rank, rank)), bits=precision),
        detector_key=ValueTensor(rng.integers(low, high + 1, (heads, rank, rank)), bits=precision),
        causal=causal,
        rule=rule,
        retention=draw(st.floats(0.01, 1)) if rule == "top_k" else None,
        threshold=tuple(draw(st.integers(-30, 30)) for _ in range(heads)) if rule == "threshold" else None,
        precision=precision,
        projection_shift=shift,
        query_shift=tuple(draw(st.integers(0, 5)) for _ in range(heads)),
        key_shift=tuple(draw(st.integers(0, 5)) for _ in range(heads)),
    )


def expected(operator: Attention, image: int, head: int, every: int) -> list[set[int]]:
    """What the twin keeps of every so many queries of one head of an operator."""

    def values(role: str) -> Any:
        return getattr(operator, role).values().tolist()

    sources = values("tokens")[image], values("tokens" if operator.memory is None else "memory")[image]
    shifts = operator.query_shift, operator.key_shift
    made = []
    for role, source, shift in zip(("detector_query", "detector_key"), sources, shifts, strict=True):
        assert isinstance(shift, tuple)
        projected = twin.rescaled_product(source, values("projection"), operator.projection_shift, operator.precision)
        made.append(twin.rescaled_product(projected, values(role)[head], shift[head], operator.precision))
    scores = twin.scores(made[0][::every], made[1])
    allowed = twin.allowed(operator.query_count, operator.key_count, operator.causal)[::every]
    if operator.rule == "threshold":
        assert isinstance(operator.threshold, tuple)
        return twin.threshold(scores, allowed, operator.threshold[head])
    counts = [min(operator.keys_per_row, keys) for keys in allowed] if operator.keys_per_row else None
    return twin.top_k(scores, allowed, counts or twin.how_many(allowed, operator.retention or 1.0))


def assert_detected(operator: Attention, image: int, heads: range, every: int = 1) -> None:
    chip = Detector(operator)
    for head in heads:
        words = chip.keep(image, head)
        assert sets(words, operator.key_count)[::every] == expected(operator, image, head, every)
        np.testing.assert_array_equal(words, operator.kept(image, head))


@settings(max_examples=200)
@given(detectors())
def test_detectors_equal_the_twin_and_the_trace(operator: Attention) -> None:
    for image in range(operator.images):
        assert_detected(operator, image, range(operator.heads))


@pytest.mark.skipif(not SHIPPED.is_file(), reason=f"no trace with a trained detector is shipped yet: {SHIPPED.name}")
def test_the_detector_of_a_shipped_transformer() -> None:
    """A head of every layer against the trace's own rules, some of its rows against the twin."""
    operators = [one for one in load_trace(SHIPPED).operators if isinstance(one, Attention) and one.is_detected]
    assert operators
    for layer, operator in enumerate(operators):
        own = layer % operator.heads
        assert_detected(operator, 0, range(own, own + 1), every=7)


# Timing


def test_a_pass_over_scores() -> None:
    unit = ConnectionFilter(comparators=16)
    assert unit.cycles(np.array([0, 1, 16, 17, 197])).tolist() == [0, 1, 1, 2, 13]
    with pytest.raises(ValidationError, match="comparators"):
        ConnectionFilter(comparators=0)
