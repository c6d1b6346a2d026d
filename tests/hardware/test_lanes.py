"""Who holds which token."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulator.hardware.accumulator import Accumulator
from simulator.hardware.lanes import Chips, Lanes, Link

counts, groups, tokens = st.integers(1, 9), st.integers(1, 8), st.integers(1, 300)


def lanes(count: int, deal: Any) -> Lanes:
    return Lanes(count=count, deal=deal)


def dealt_in_turn(tokens: int, group: int, count: int) -> list[int]:
    """Hand group after group to lane after lane, like cards."""
    homes: list[int] = []
    lane = 0
    while len(homes) < tokens:
        homes += [lane] * min(group, tokens - len(homes))
        lane = (lane + 1) % count
    return homes


@given(tokens, groups, counts)
def test_groups_are_dealt_in_turn(tokens: int, group: int, count: int) -> None:
    assert lanes(count, "turns").homes(tokens, group).tolist() == dealt_in_turn(tokens, group, count)


@given(tokens, groups, counts)
def test_blocks_are_one_per_lane_of_whole_groups(tokens: int, group: int, count: int) -> None:
    """Lane after lane has one block; all but the last are equal, and no larger than the most loaded lane must be."""
    homes = lanes(count, "blocks").homes(tokens, group).tolist()
    blocks = [(lane, len(list(own))) for lane, own in groupby(homes)]
    assert [lane for lane, _ in blocks] == list(range(len(blocks)))
    assert len(blocks) <= count
    first = blocks[0][1]
    assert {size for _, size in blocks[:-1]} <= {first}
    assert blocks[-1][1] <= first
    assert first <= group * -(-tokens // (group * count))


@given(tokens, groups, counts, st.sampled_from(("turns", "blocks")))
def test_every_token_has_one_lane_and_a_group_is_not_split(tokens: int, group: int, count: int, deal: str) -> None:
    machine = lanes(count, deal)
    homes = machine.homes(tokens, group)
    assert homes.shape == (tokens,)
    assert ((homes >= 0) & (homes < count)).all()
    assert all(len(set(homes[first : first + group].tolist())) == 1 for first in range(0, tokens, group))
    span = machine.span(tokens, group)
    assert span % group == 0
    assert homes.tolist() == [token // span % count for token in range(tokens)]
    loads = np.bincount(homes, minlength=count)
    if tokens % (group * count) == 0:
        assert (loads == tokens // count).all()


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (Lanes, {"count": 0}), (Lanes, {"deal": "random"}), (Link, {"bytes_per_cycle": 0}),
        (Chips, {"count": 0}), (Chips, {"split": "layers"}), (Accumulator, {"per_cycle": 0}),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused(part: Any, wrong: dict[str, Any]) -> None:
    right = {
        Lanes: {"count": 4, "deal": "turns"},
        Link: {"bytes_per_cycle": 64},
        Chips: {"count": 1, "split": "batch"},
        Accumulator: {"per_cycle": 512},
    }[part]
    part.model_validate(right)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        part.model_validate(right | wrong)
