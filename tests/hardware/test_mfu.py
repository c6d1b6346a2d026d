"""Softmax and weighted sums of the multi-function unit against those in float64, within the tolerance it claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.hardware.mfu import FRACTION, MultiFunctionUnit, attend, tolerance
from simulator.trace.rowwise import operations

FX16 = np.iinfo(np.int16)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """Integers of a head, the value of one unit of a score, and which connections are kept."""

    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    values: NDArray[np.int64]
    step: float
    kept: NDArray[np.bool_]

    @property
    def scores(self) -> Floats:
        """(L, S), in float64; the integers are below 2^53."""
        products: NDArray[np.int64] = self.queries @ self.keys.T
        assert np.abs(products).max() < 2**53
        return products * self.step

    @property
    def tolerance(self) -> Floats:
        """(L,), in units of a value."""
        highest = np.where(self.kept, np.abs(self.scores), 0).max(axis=1)
        return tolerance(self.kept.sum(axis=1), highest, float(np.abs(self.values).max()))

    def reference(self) -> Floats:
        """Masked softmax in float64: (L, E), in units of a value."""
        output = np.zeros((len(self.queries), self.values.shape[1]))
        for query, seen in enumerate(self.kept):
            scores = self.scores[query, seen]
            weights = np.exp(scores - scores.max())
            output[query] = (weights[:, None] * self.values[seen]).sum(axis=0) / weights.sum()
        return output

    def issues(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return the connections kept in some order; the round is of no account."""
        pairs = rng.permutation(np.argwhere(self.kept))
        return np.column_stack((np.arange(len(pairs)), pairs)).astype(np.int32)

    def attend(self, issues: NDArray[np.int32]) -> Floats:
        output = np.zeros((len(self.queries), self.values.shape[1]), np.int64)
        attend(issues, self.queries, self.keys, self.values, np.float32(self.step), output)
        return output * 2.0**-FRACTION

    def error(self, issues: NDArray[np.int32]) -> Floats:
        """Return the largest error of each row, in units of what is tolerated."""
        return np.abs(self.attend(issues) - self.reference()).max(axis=1) / self.tolerance


def integers(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> NDArray[np.int64]:
    """Draw 16-bit operands."""
    if kind == "extreme":
        return rng.choice([FX16.min, FX16.max, 0], shape)
    if kind == "small":
        return rng.integers(-3, 4, shape)
    return np.clip(np.rint(rng.normal(size=shape) * 2**13), FX16.min, FX16.max).astype(np.int64)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Draw heads of scores up to ±1000, whose exponential FP32 cannot hold; each row keeps one key at least."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, keys, D, E = draw(st.integers(1, 6)), draw(st.sampled_from((1, 2, 9, 200))), draw(st.integers(1, 64)), 3
    kind = draw(st.sampled_from(("normal", "extreme", "small")))
    q, k = integers(rng, (queries, D), kind), integers(rng, (keys, D), kind)
    v = integers(rng, (keys, E), draw(st.sampled_from(("normal", "extreme"))))
    v[0, 0] = 1  # not all of them zero
    if draw(st.booleans()):
        k[:] = k[0]  # all scores of a row are equal
    kept = rng.random((queries, keys)) < draw(st.sampled_from((0.0, 0.1, 0.5, 1.0)))
    kept[np.arange(queries), rng.integers(0, keys, queries)] = True
    largest = draw(st.sampled_from((0.001, 1.0, 10.0, 80.0, 1000.0)))
    return Head(q, k, v, largest / max(1, int(np.abs(q @ k.T).max())), kept)


@settings(max_examples=600)
@given(heads(), st.integers(0, 2**32 - 1))
def test_outputs_are_those_of_real_numbers_within_the_tolerance(head: Head, seed: int) -> None:
    assert head.error(head.issues(np.random.default_rng(seed))).max() <= 1


def test_largest_scores_of_sixteen_bits() -> None:
    """Products of ±2^15 in 64 places, scaled to ±80, each query with keys of both signs."""
    signs = np.array([[1], [-1]])
    queries, keys = (FX16.min * signs * np.ones((2, 64), np.int64) for _ in range(2))
    values = np.array([[100, -7], [3, 5]])
    head = Head(np.maximum(queries, -FX16.max), keys, values, 80 / (2**30 * 64), np.ones((2, 2), bool))
    assert head.scores.max() > 79.9
    issues = head.issues(np.random.default_rng(0))
    assert head.error(issues).max() <= 1
    np.testing.assert_allclose(head.attend(issues), values, atol=0.01)


@given(st.integers(FX16.min, FX16.max), st.integers(FX16.min, FX16.max))
def test_a_single_key_hands_on_its_value(score: int, value: int) -> None:
    """Its weight is 1, exactly."""
    one = np.ones((1, 1), np.int64)
    head = Head(one * score, one, one * value, 0.001, one.astype(bool))
    assert head.attend(head.issues(np.random.default_rng(0))).tolist() == [[value]]


@pytest.mark.parametrize("keys", [1, 2, 4, 8, 64, 1024])
def test_equal_scores_are_averaged(keys: int) -> None:
    """2^-n is a weight without rounding."""
    values = np.arange(2 * keys).reshape(keys, 2)
    head = Head(np.full((3, 4), 9), np.full((keys, 4), 5), values, 0.01, np.ones((3, keys), bool))
    np.testing.assert_array_equal(head.attend(head.issues(np.random.default_rng(0))), [values.mean(axis=0)] * 3)


def real_head(seed: int, keys: int) -> Head:
    """Queries, keys and values of a normal distribution, as a transformer has them, all connections kept."""
    rng = np.random.default_rng(seed)
    q, k, v = (integers(rng, (shape, 16), "normal") for shape in (24, keys, keys))
    return Head(q, k, v, 2.0**-26 / 4, np.ones((24, keys), bool))


@pytest.mark.parametrize("keys", [4, 16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_the_tolerance_is_not_loose(seed: int, keys: int) -> None:
    """Rounding n weights, as good as at random, gives an error of √n where n is tolerated, and not a thousandth."""
    head = real_head(seed, keys)
    error = head.error(head.issues(np.random.default_rng(seed)))
    assert error.max() <= 1
    assert error.max() > 1e-2
    assert np.median(error) > 1e-3


@pytest.mark.parametrize("keys", [4, 16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_key_left_out_or_taken_twice_is_noticed(seed: int, keys: int) -> None:
    """Of each row, whichever key with an even share of the weight or more."""
    head = real_head(seed, keys)
    issues = head.issues(np.random.default_rng(seed))
    weights = np.exp(head.scores - head.scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    tried = 0
    for place in np.random.default_rng(seed).permutation(len(issues))[:60]:
        _, query, key = issues[place]
        if weights[query, key] * keys >= 1:
            assert head.error(np.delete(issues, place, axis=0))[query] > 1
            assert head.error(np.insert(issues, place, issues[place], axis=0))[query] > 1
            tried += 1
    assert tried > 5


def test_large_scores_are_known_less_exactly() -> None:
    """Two keys of nearly the same score, about 1000: FP32 has its differences to 2^-14 only, and that is tolerated."""
    rng = np.random.default_rng(7)
    queries = np.abs(integers(rng, (200, 16), "normal")) + 1
    keys = 8000 + rng.integers(-1, 2, (2, 16))
    values = np.array([[FX16.max], [FX16.min]])
    head = Head(queries, keys, values, 1000 / int((queries @ keys.T).max()), np.ones((200, 2), bool))
    error = head.error(head.issues(rng)) * head.tolerance
    assert (error <= head.tolerance).all()
    assert (error > tolerance(np.full(200, 2), np.zeros(200), float(FX16.max))).sum() > 20


def test_the_order_of_issues_matters_by_rounding_only() -> None:
    head = real_head(0, 64)
    made = [head.attend(head.issues(np.random.default_rng(seed))) for seed in range(4)]
    assert all((np.abs(made[0] - other) <= head.tolerance[:, None]).all() for other in made[1:])


# Timing


def unit(**changed: Any) -> MultiFunctionUnit:
    return MultiFunctionUnit.model_validate({"exponentials": 16, "dividers": 16, "adders": 16} | changed)


@given(st.integers(0, 500), st.integers(1, 20), st.integers(1, 20))
def test_all_exponentials_and_then_all_divisions(kept: int, exponentials: int, dividers: int) -> None:
    """Cycle by cycle: as many as there are units, until none is left."""
    cycles = 0
    for units in (exponentials, dividers):
        left = kept
        while left > 0:
            left -= units
            cycles += 1
    made = unit(exponentials=exponentials, dividers=dividers).softmax_cycles(np.array([kept]))
    assert made.tolist() == [cycles]


def test_element_wise_operations_by_hand() -> None:
    """GELU of 100: exp and division in units of their own; the slowest says how long it takes."""
    assert operations("gelu", 100, 1) == {"multiply": 100, "add": 100, "exp": 100, "divide": 100}
    assert unit().cycles(operations("gelu", 100, 1)) == 7
    assert unit(adders=3).cycles(operations("gelu", 100, 1)) == 34
    assert unit(dividers=1).cycles({"sqrt": 9, "add": 100}) == 9
    assert unit(exponentials=2).cycles({"exp": 9, "add": 16}) == 5
    assert unit().cycles({"compare": 0}) == 0


@pytest.mark.parametrize("field", ["exponentials", "dividers", "adders"])
def test_a_unit_without_means_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        unit(**{field: 0})
