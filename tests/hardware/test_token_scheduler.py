"""Token-parallel schedulers against the twin that looks at all keys for each load."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.hardware.bits import pack
from simulator.hardware.token_scheduler import ONE_LANE, ORDERS, Homes, Schedule, TokenScheduler, schedule
from tests.real import DATA, needs_data
from tests.reference import token_scheduler as twin

Masks = NDArray[np.bool_]

PUBLISHED = [{2, 3, 4, 7}, {0, 1, 2, 3}, {2, 3, 4, 7}, {4, 5, 6, 7}]


def mask_of(wants: list[set[int]], keys: int) -> Masks:
    return np.array([[key in wanted for key in range(keys)] for wanted in wants])


def scheduled(mask: Masks, tokens: int, order: Any, homes: Homes = ONE_LANE) -> Schedule:
    return schedule(pack(mask), TokenScheduler(tokens=tokens, order=order), with_issues=True, homes=homes)


def wants_of(mask: Masks, tokens: int) -> list[list[set[int]]]:
    """Deal the queries of a head out to groups: the keys of each."""
    wants = [set(np.flatnonzero(row).tolist()) for row in mask]
    return [wants[first : first + tokens] for first in range(0, len(wants), tokens)]


def lane_of(token: int, span: int, lanes: int) -> int:
    """Deal tokens out to lanes in spans, one after the other."""
    return [lane for _ in range(token // span // lanes + 1) for lane in range(lanes)][token // span]


def expected(mask: Masks, tokens: int, order: str, homes: Homes = ONE_LANE, **changed: Any) -> Schedule:
    """What the twin makes of a head, written as the kernel writes it."""
    groups = wants_of(mask, tokens)
    made = [getattr(twin, order)(wants, **changed) for wants in groups]
    issues = [
        (number, tokens * group + query, key)
        for group, rounds in enumerate(made)
        for number, loads in enumerate(rounds)
        for key, queries in loads
        for query in queries
    ]
    return Schedule(
        rounds=np.array([len(rounds) for rounds in made], np.int64),
        loads=np.array([sum(map(len, rounds)) for rounds in made], np.int64),
        pairs=np.array([sum(map(len, wants)) for wants in groups], np.int64),
        union=np.array([len(set().union(*wants)) for wants in groups], np.int64),
        remote=np.array(
            [
                sum(
                    lane_of(key, homes.key_span, homes.lanes) != lane_of(tokens * group, homes.query_span, homes.lanes)
                    for loads in rounds
                    for key, _ in loads
                )
                for group, rounds in enumerate(made)
            ],
            np.int64,
        ),
        issues=np.array(issues, np.int32).reshape(-1, 3),
    )


def counts_of(made: Schedule) -> list[list[int]]:
    """Rounds, loads, pairs and union of each group."""
    return [counts.tolist() for counts in (made.rounds, made.loads, made.pairs, made.union)]


def assert_schedules_equal(one: Schedule, other: Schedule) -> None:
    for field in ("rounds", "loads", "pairs", "union", "remote", "issues"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


def assert_lawful(mask: Masks, tokens: int, made: dict[str, Schedule]) -> None:
    """Laws that need no twin, of all orders on one head."""
    wanted = np.argwhere(mask)
    most = [max(map(len, wants)) for wants in wants_of(mask, tokens)]
    for order, one in made.items():
        assert one.issues is not None
        turns, queries, keys = one.issues.T
        issued = np.stack((queries, keys), axis=1)
        np.testing.assert_array_equal(issued[np.lexsort((keys, queries))], wanted, err_msg=f"{order}: every pair once")
        at_most_one = np.unique(np.stack((turns, queries), axis=1), axis=0)
        assert len(at_most_one) == len(wanted), f"{order}: a query gets more than one key in a round"
        loads = np.unique(np.stack((queries // tokens, turns, keys), axis=1), axis=0)
        np.testing.assert_array_equal(np.bincount(loads[:, 0], minlength=len(most)), one.loads)
        runs = 1 + sum(one != other for one, other in pairwise(zip(queries // tokens, turns, keys, strict=True)))
        assert not len(wanted) or runs == len(loads), f"{order}: the queries of a load do not follow each other"
        assert (one.union <= one.loads).all()
        assert (one.loads <= made["row_by_row"].loads).all()
        np.testing.assert_array_equal(one.rounds, one.pairs if order == "row_by_row" else most)


@st.composite
def heads(draw: st.DrawFn) -> Masks:
    """Draw up to 14 queries and 150 keys: of every density, with empty and full rows, alike, or row-balanced."""
    queries, keys = draw(st.integers(1, 14)), draw(st.one_of(st.integers(1, 12), st.integers(1, 150)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["any", "alike", "balanced"]))
    scores = rng.random((queries, keys))
    if kind == "balanced":
        return scores.argsort(axis=1).argsort(axis=1) < draw(st.integers(0, keys))
    if kind == "alike":
        return (scores + 3 * rng.random(keys)) < 4 * rng.random()
    return scores < rng.choice([0.0, 1.0, *rng.random(6) ** 2], (queries, 1))


@pytest.mark.parametrize(("order", "rounds", "loads"), [("row_by_row", 16, 16), ("in_order", 4, 11)])
def test_published_queries_by_index(order: str, rounds: int, loads: int) -> None:
    made = scheduled(mask_of(PUBLISHED, 8), 4, order)
    assert counts_of(made) == [[rounds], [loads], [16], [8]]


def test_published_queries_out_of_order() -> None:
    """2, 3 to three queries with 5, 6 to the fourth; then 4, 7 with 0, 1: each key loaded once."""
    made = scheduled(mask_of(PUBLISHED, 8), 4, "out_of_order")
    assert counts_of(made) == [[4], [8], [16], [8]]
    assert made.issues is not None
    loads = dict.fromkeys((turn, key) for turn, _, key in made.issues.tolist())
    assert list(loads) == [(0, 2), (0, 5), (1, 3), (1, 6), (2, 4), (2, 0), (3, 7), (3, 1)]


def test_a_key_that_moves_in_may_be_the_lowest() -> None:
    """5 goes to query 2 while query 0 gets 0; then only query 0 wants it, as it wants 6, which comes after."""
    made = scheduled(mask_of([{0, 5, 6}, {0, 1}, {5}], 7), 3, "out_of_order")
    assert made.issues is not None
    assert made.issues.tolist() == [[0, 0, 0], [0, 1, 0], [0, 2, 5], [1, 1, 1], [1, 0, 5], [2, 0, 6]]


@settings(max_examples=600)
@given(heads(), st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 40))
def test_orders_equal_the_twin_and_keep_the_laws(
    mask: Masks, tokens: int, lanes: int, groups: int, key_span: int
) -> None:
    homes = Homes(lanes, tokens * groups, key_span)
    made = {order: scheduled(mask, tokens, order, homes) for order in ORDERS}
    for order, one in made.items():
        assert_schedules_equal(one, expected(mask, tokens, order, homes))
    assert_lawful(mask, tokens, made)


@settings(max_examples=60)
@given(heads(), st.integers(7, 16))
def test_wide_groups_equal_the_twin(mask: Masks, tokens: int) -> None:
    """More FIFOs than bits of a word."""
    assert_schedules_equal(scheduled(mask, tokens, "out_of_order"), expected(mask, tokens, "out_of_order"))


@settings(max_examples=50)
@given(heads(), st.integers(1, 6), st.sampled_from(list(ORDERS)))
def test_counts_are_the_same_whether_or_not_issues_are_listed(mask: Masks, tokens: int, order: Any) -> None:
    counted = schedule(pack(mask), TokenScheduler(tokens=tokens, order=order))
    assert counted.issues is None
    listed = scheduled(mask, tokens, order)
    assert_schedules_equal(counted, replace(listed, issues=None))


@pytest.mark.parametrize("tokens", [1, 2, 4, 6, 8])
def test_row_balance_takes_as_many_rounds_as_keys_are_kept(tokens: int) -> None:
    scores = np.random.default_rng(tokens).random((258, 300))
    mask = scores.argsort(axis=1).argsort(axis=1) < 30
    made = {order: scheduled(mask, tokens, order) for order in ORDERS}
    assert (made["out_of_order"].rounds == 30).all()
    assert_lawful(mask, tokens, made)
    totals = {order: one.loads.sum() for order, one in made.items()}
    if tokens > 1:
        assert totals["out_of_order"] < totals["in_order"] < totals["row_by_row"]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (5, 64)], ids=str)
@pytest.mark.parametrize("order", list(ORDERS))
def test_a_head_without_connections_takes_no_round(shape: tuple[int, int], order: str) -> None:
    made = scheduled(np.zeros(shape, bool), 4, order)
    assert len(made.rounds) == -(-shape[0] // 4)
    assert counts_of(made) == [[0] * len(made.rounds)] * 4
    assert made.issues is not None
    assert made.issues.shape == (0, 3)


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"tokens": 17}, {"order": "random"}], ids=str)
def test_a_scheduler_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TokenScheduler.model_validate({"tokens": 4, "order": "in_order", **wrong})


@pytest.mark.parametrize(
    "preferences",
    [("most", "lowest"), ("most", "alone", "lowest"), ("alone", "lowest"), ("alone", "most", "highest")],
    ids=", ".join,
)
def test_a_rule_that_is_slightly_off_is_noticed(preferences: tuple[str, ...]) -> None:
    """The schedule is the twin's, and differs from those of twins with another rule.

    Up to T = 4 the first two preferences may change places: the first key of a round has most wanters, so that what
    it leaves unserved is too few for a key shared with a served query to have more unserved wanters than another.
    """
    rng = np.random.default_rng(4)
    mask = rng.random((200, 70)) < rng.random((200, 1))
    made = scheduled(mask, 6, "out_of_order")
    assert_schedules_equal(made, expected(mask, 6, "out_of_order"))
    with pytest.raises(AssertionError, match="loads"):
        assert_schedules_equal(made, expected(mask, 6, "out_of_order", preferences=preferences))


@needs_data
def test_masks_of_a_vision_transformer() -> None:
    """DeiT-Tiny, 12 layers of 3 heads, the connections that hold 95 % of the attention."""
    heads = np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"].reshape(-1, 197, 197)
    totals = dict.fromkeys(("union", "out_of_order", "in_order", "row_by_row"), 0)
    for mask in heads:
        made = {order: scheduled(mask, 4, order) for order in ORDERS}
        for order, one in made.items():
            assert_schedules_equal(one, expected(mask, 4, order))
            totals[order] += int(one.loads.sum())
        assert_lawful(mask, 4, made)
        totals["union"] += int(made["out_of_order"].union.sum())
    print("\nkeys loaded, T = 4:", ", ".join(f"{order} {loads:,}" for order, loads in totals.items()))
    assert list(totals.values()) == sorted(totals.values())
    assert totals["out_of_order"] < totals["in_order"]
    assert totals["row_by_row"] == heads.sum()
