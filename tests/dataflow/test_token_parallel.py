"""What the token-parallel dataflow keeps, computes and shares out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dataflow.token_parallel import (
    AttentionGeometry,
    AttentionMatch,
    DenseGeometry,
    LinearMatch,
    Retention,
    RowwiseMatch,
    deal,
    match,
    shares,
    variant,
)
from simulator.errors import InputError
from simulator.hardware.lanes import Chips, Lanes
from simulator.hardware.rmmu import RMMU
from simulator.hardware.token_scheduler import TokenScheduler
from simulator.trace import Attended, Attention, DensityTensor, Linear, MaskTensor, Rowwise, ValueTensor, quantise
from simulator.trace.connections import count_kept

ORDERS = ("row_by_row", "in_order", "out_of_order")
KINDS = ("none", "mask", "drawn", "keys_per_row", "top_k", "threshold")


def attending(
    retention: Retention = "trace", lanes: int = 2, tokens: int = 4, order: Any = "out_of_order", deal: Any = "turns"
) -> AttentionGeometry:
    return AttentionGeometry(Lanes(count=lanes, deal=deal), TokenScheduler(tokens=tokens, order=order), retention)


def multiplying(chips: int = 1, lanes: int = 2, split: Any = "batch", rows: int = 4, width: int = 16) -> DenseGeometry:
    unit = RMMU(rows=rows, width=width, detection_rows=0)
    return DenseGeometry(Chips(count=chips, split=split), Lanes(count=lanes, deal="turns"), unit)


def attention(kind: str, seed: int = 0, L: int = 9, more: int = 0, causal: bool = False, **sizes: int) -> Attention:
    """Make attention with real values whose connections are given in one of the ways there are."""
    rng = np.random.default_rng(seed)
    N, G, per_group = sizes.get("N", 1), sizes.get("G", 1), sizes.get("per_group", 2)
    S, H, D, E, C, k = L + more, G * per_group, 8, 3, 6, 4
    rules: dict[str, dict[str, Any]] = {
        "none": {},
        "mask": {},
        "drawn": {"rule": "top_k", "retention": 0.4, "seed": seed},
        "keys_per_row": {"rule": "top_k", "keys_per_row": min(3, S)},
        "top_k": {"rule": "top_k", "retention": 0.3},
        "threshold": {"rule": "threshold", "threshold": tuple(rng.integers(-9, 20, H).tolist())},
    }
    given = rules[kind]
    if kind == "mask":
        seen = rng.random((N, H, L, S)) < 0.4
        seen[..., 0] = True
        allowed = np.arange(S) <= np.arange(L)[:, None] + S - L
        given["mask"] = MaskTensor.of(seen & allowed if causal else seen)
    if kind in ("top_k", "threshold"):
        given |= {
            "tokens": ValueTensor(rng.integers(-99, 100, (N, L, C))),
            "memory": ValueTensor(rng.integers(-99, 100, (N, S, C))) if more else None,
            "projection": ValueTensor(rng.integers(-1, 2, (C, k)), bits=2),
            "detector_query": ValueTensor(rng.integers(-8, 8, (H, k, k)), bits=4),
            "detector_key": ValueTensor(rng.integers(-8, 8, (H, k, k)), bits=4),
            "projection_shift": 4,
            "query_shift": 2,
            "key_shift": 2,
        }
    return Attention(
        "a",
        quantise(rng.normal(size=(N, H, L, D)) * 2, axis=0),
        quantise(rng.normal(size=(N, G, S, D)) * 2),
        quantise(rng.normal(size=(N, G, S, E)), axis=0),
        causal=causal,
        **given,
    )


def unknown(*shape: int) -> DensityTensor:
    return DensityTensor(shape, 1, 0)


# Which connections are omitted


@pytest.mark.parametrize("kind", KINDS)
def test_the_trace_says_what_is_kept(kind: str) -> None:
    operator = attention(kind)
    assert variant(operator, "trace") is operator


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_full_attention_has_neither_detector_nor_mask(kind: str, causal: bool) -> None:
    operator = attention(kind, causal=causal)
    full = variant(operator, "full")
    assert (full.rule, full.mask, full.rank, full.tokens, full.memory) == ("none", None, None, None, None)
    keys = [9] * 9 if not causal else list(range(1, 10))
    assert count_kept(full.kept(0, 1)).tolist() == keys
    assert (full.query, full.key, full.value) == (operator.query, operator.key, operator.value)
    assert (full.scale, full.causal, full.name) == (operator.scale, causal, "a")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("mask", "none")])
def test_a_part_of_each_row(kind: str) -> None:
    """Half of 9 keys are 5; with a detector these are its best ones."""
    operator = attention(kind)
    part = variant(operator, 0.5)
    assert (part.rule, part.retention, part.keys_per_row, part.threshold) == ("top_k", 0.5, None, None)
    assert count_kept(part.kept(0, 0)).tolist() == [5] * 9
    assert part.is_detected == operator.is_detected
    if operator.is_detected:
        scores = operator.scores(0, 0)
        for row, seen in zip(scores, part.kept_mask(0, 0), strict=True):
            assert row[seen].min() >= row[~seen].max()


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("kind", "gives"), [("mask", "a mask"), ("none", "no detector")])
def test_a_part_of_a_mask_or_without_a_detector_is_refused(kind: str, gives: str, check: bool) -> None:
    with pytest.raises(InputError, match=f"operator 'a': attention.retention is 0.5, but the trace gives {gives}"):
        variant(attention(kind), 0.5)
    with pytest.raises(InputError, match="expected 'trace' or 'full'"):
        match(attention(kind), attending(0.5), check)


# What is computed


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    return attention(
        draw(st.sampled_from(KINDS)),
        seed=draw(st.integers(0, 999)),
        L=draw(st.integers(1, 12)),
        more=draw(st.one_of(st.just(0), st.integers(0, 70))),
        causal=draw(st.booleans()),
        N=draw(st.integers(1, 2)),
        G=draw(st.integers(1, 2)),
        per_group=draw(st.integers(1, 3)),
    )


@settings(max_examples=150)
@given(attentions(), st.sampled_from(("trace", "full", 0.2, 1.0)), st.sampled_from(ORDERS), st.integers(1, 5))
def test_what_lanes_attend_to_agrees(operator: Attention, retention: Any, order: str, tokens: int) -> None:
    if retention not in ("trace", "full") and (operator.mask is not None or operator.rule == "none"):
        retention = "trace"
    machine = attending(retention, tokens=tokens, order=order, lanes=3)
    made = match(operator, machine, check=True)
    assert isinstance(made, AttentionMatch)
    assert made.output is not None
    assert made.operator.agrees(made.output)
    assert made.of("pairs").sum() == sum(
        count_kept(made.operator.kept(*place)).sum() for place in np.ndindex(operator.images, operator.heads)
    )
    unchecked = match(operator, machine, check=False)
    assert unchecked.output is None
    np.testing.assert_array_equal(unchecked.records, made.records)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_output_does_not_agree(kind: str) -> None:
    """One bit of what is kept, in one head; one value beyond what its row is allowed, either way."""
    operator = attention(kind, seed=3, N=2, G=2)
    made = match(operator, attending(), check=True)
    assert isinstance(made, AttentionMatch)
    right = made.output
    assert isinstance(right, Attended)
    assert operator.agrees(right)
    for bit in (0, 5, 8):
        kept = right.kept.copy()
        kept[1, 3, 7, 0] ^= np.uint64(1 << bit)
        assert not operator.agrees(replace(right, kept=kept))
    exact = operator.reference_output(1, 3)
    assert exact is not None
    for sign in (-1, 1):
        values = right.values.copy()
        values[1, 3, 7, 2] = exact[7, 2] + sign * 0.99 * right.tolerance[1, 3, 7]
        assert operator.agrees(replace(right, values=values))
        values[1, 3, 7, 2] = exact[7, 2] + sign * 1.01 * right.tolerance[1, 3, 7]
        assert not operator.agrees(replace(right, values=values))
    values = right.values.copy()
    values[1, 3, 7, 2] = np.nan
    assert not operator.agrees(replace(right, values=values))


def test_the_tolerance_of_an_operator_is_small() -> None:
    """What 200 keys make is known to a few hundredths of the largest output, and better where fewer are kept."""
    few, all_keys = (
        match(attention("drawn", L=200), attending(retention), check=True).output for retention in (0.05, "full")
    )
    assert isinstance(few, Attended)
    assert isinstance(all_keys, Attended)
    largest = np.abs(all_keys.values).max()
    assert all_keys.tolerance.max() < 0.05 * largest
    assert few.tolerance.max() < all_keys.tolerance.min()


def test_only_what_is_asked_for_is_computed() -> None:
    linear = Linear("l", ValueTensor(np.ones((2, 3), int)), ValueTensor(np.ones((4, 3), int)))
    made = match(linear, multiplying(), check=False)
    assert isinstance(made, LinearMatch)
    assert (made.output, made.working) == (None, None)
    rowwise = match(Rowwise("r", unknown(2, 3), kind="gelu"), multiplying(), check=True)
    assert isinstance(rowwise, RowwiseMatch)
    assert rowwise.output is None


# Who does what

machines = st.tuples(st.integers(1, 4), st.integers(1, 5), st.sampled_from(("batch", "heads")))
leading = st.lists(st.integers(1, 7), max_size=3)


@settings(max_examples=300)
@given(leading, st.integers(1, 30), machines)
def test_every_output_of_every_token_is_computed_once(
    shape: list[int], outputs: int, machine: tuple[int, int, str]
) -> None:
    chips, lanes, split = machine
    operator = Linear("l", unknown(*shape, 3), unknown(outputs, 3))
    made = shares(operator, multiplying(chips, lanes, split))
    done = np.zeros((int(np.prod(shape)), outputs), int)
    assert len(made) == chips
    for share in made:
        assert len(share.bounds) == lanes + 1
        for first, last in pairwise(share.bounds):
            assert first <= last
            done[first:last, share.outputs.start : share.outputs.stop] += 1
    assert (done == 1).all()


@settings(max_examples=300)
@given(leading, machines)
def test_every_token_is_dealt_once_and_sequences_are_whole(shape: list[int], machine: tuple[int, int, str]) -> None:
    chips, lanes, split = machine
    tokens = int(np.prod(shape))
    dealt = deal((*shape, 3), multiplying(chips, lanes, split))
    chip_of = np.full(tokens, -1)
    for chip, bounds in enumerate(dealt):
        sizes = np.diff(bounds)
        assert len(sizes) == lanes
        assert sizes.min() >= 0
        assert sizes.max() - sizes.min() <= 1
        assert (chip_of[bounds[0] : bounds[-1]] == -1).all()
        chip_of[bounds[0] : bounds[-1]] = chip
    assert (chip_of >= 0).all()
    if split == "batch":
        sequences = chip_of.reshape(shape[0] if len(shape) > 1 else 1, -1)
        assert (sequences == sequences[:, :1]).all()
        held = np.bincount(sequences[:, 0], minlength=chips)
    else:
        held = np.bincount(chip_of, minlength=chips)
    assert held.max() - held.min() <= 1


@settings(max_examples=100)
@given(
    leading, st.integers(1, 40), st.integers(1, 12), machines, st.integers(1, 5), st.sampled_from((1, 4, 16)),
    st.integers(0, 999),
)  # fmt: skip
def test_what_lanes_multiply_is_exact(
    shape: list[int], reduction: int, outputs: int, machine: tuple[int, int, str], rows: int, width: int, seed: int
) -> None:
    """The rows work one cycle per token and step of the reduction, in each block of outputs of each chip."""
    chips, lanes, split = machine
    rng = np.random.default_rng(seed)
    operator = Linear(
        "l",
        ValueTensor(rng.integers(-(2**15), 2**15, (*shape, reduction)), bits=16),
        ValueTensor(rng.integers(-(2**15), 2**15, (outputs, reduction)), bits=16),
    )
    arranged = multiplying(chips, lanes, split, rows, width)
    made = match(operator, arranged, check=True)
    assert isinstance(made, LinearMatch)
    assert operator.agrees(made.output)
    steps = -(-reduction // width)
    assert made.working == sum(
        int(share.bounds[-1] - share.bounds[0]) * steps * -(-len(share.outputs) // rows)
        for share in shares(operator, arranged)
    )
    assert made.output is not None
    wrong = made.output.copy()
    wrong.flat[-1] += 1
    assert not operator.agrees(wrong)


@given(
    st.integers(1, 40), st.integers(0, 40), st.integers(1, 5), st.integers(1, 5), st.sampled_from(("turns", "blocks"))
)
def test_schedulers_know_where_the_lanes_keep_tokens(L: int, more: int, lanes: int, tokens: int, dealt: str) -> None:
    operator = Attention("a", unknown(1, 1, L, 2), unknown(1, 1, L + more, 2), unknown(1, 1, L + more, 2))
    machine = attending(lanes=lanes, tokens=tokens, deal=dealt)
    live = machine.homes(operator)
    assert live.lanes == lanes
    for count, span in ((L, live.query_span), (L + more, live.key_span)):
        assert span % tokens == 0
        here = [token // span % lanes for token in range(count)]
        assert here == machine.lanes.homes(count, tokens).tolist()
