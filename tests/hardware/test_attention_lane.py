"""Lanes of groups against the twin that steps every unit every cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.hardware.attention_lane import PHASES, STATES, UNITS, WORK, run_lane, run_lanes
from tests.reference import attention_lane as twin

Counts = NDArray[np.int64]

LENGTHS = (0, 1, 2, 3, 7)


@st.composite
def works(draw: st.DrawFn, most: int = 12) -> Counts:
    """Draw the work of 0 to ``most`` groups, each column of its own length, so that each unit is the slowest at times.

    The comparators work during detection or after it.
    """
    groups = draw(st.integers(0, most))
    longest = draw(st.lists(st.sampled_from(LENGTHS), min_size=len(WORK), max_size=len(WORK)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    work = rng.integers(0, np.array(longest) + 1, (groups, len(WORK)))
    if draw(st.booleans()):
        work = np.where(work > 0, longest, 0) if draw(st.booleans()) else np.tile(longest, (groups, 1))
    work[:, WORK.index(draw(st.sampled_from(("detect_filter", "filter"))))] = 0
    return work.astype(np.int64)


befores = st.one_of(st.just((0, 0)), st.tuples(st.integers(0, 9), st.integers(0, 9)))


Lane = tuple[int, Counts, Counts]


def kernel(work: Counts, before: tuple[int, int], phased: bool) -> Lane:
    states, phases = np.zeros((len(UNITS), len(STATES)), np.int64), np.zeros(len(PHASES), np.int64)
    return int(run_lane(work, np.array(before), phased, states, phases)), states, phases


def stepped(work: Counts, before: tuple[int, int], phased: bool, **changed: Any) -> Lane:
    """What the twin makes of a lane, written as the kernel writes it."""
    groups = [dict(zip(WORK, group, strict=True)) for group in work.tolist()]
    made = twin.run(groups, before, phased, **changed)
    assert all(set(spent) <= set(STATES) for spent in made.spent.values())
    states = np.array([[made.spent[unit][state] for state in STATES] for unit in UNITS])
    return made.total, states, np.array([made.phases[phase] for phase in PHASES])


def assert_lanes_equal(one: Lane, other: Lane) -> None:
    assert one[0] == other[0]
    assert one[2].tolist() == other[2].tolist()
    named = [
        {(unit, state): int(lane[1][u, s]) for u, unit in enumerate(UNITS) for s, state in enumerate(STATES)}
        for lane in (one, other)
    ]
    assert named[0] == named[1]


@settings(max_examples=700)
@given(works(), befores, st.booleans())
def test_a_lane_equals_the_stepped_twin_in_every_state_of_every_unit(
    work: Counts, before: tuple[int, int], phased: bool
) -> None:
    made = kernel(work, before, phased)
    assert_lanes_equal(made, stepped(work, before, phased))
    assert (made[1].sum(axis=1) == made[0]).all()
    assert made[1].min() >= 0


@pytest.mark.parametrize("column", range(len(WORK)), ids=WORK)
@pytest.mark.parametrize("phased", [False, True])
def test_the_slowest_unit_hardly_waits(column: int, phased: bool) -> None:
    """One cycle of all, and forty of one: this one sets the pace once the pipeline is full."""
    work = np.ones((6, len(WORK)), np.int64)
    work[:, WORK.index("filter" if WORK[column] != "filter" else "detect_filter")] = 0
    work[:, column] = 40
    cycles, states, _ = made = kernel(work, (0, 0), phased)
    assert_lanes_equal(made, stepped(work, (0, 0), phased))
    assert 6 * 40 <= cycles < 6 * 40 + 25
    assert 6 * 40 <= states[:, 0].max() <= 6 * 42


@settings(max_examples=150)
@given(works(most=5), befores, st.booleans(), st.integers(0, 2**32 - 1))
def test_less_work_never_takes_longer(work: Counts, before: tuple[int, int], phased: bool, seed: int) -> None:
    less = np.random.default_rng(seed).integers(0, work + 1)
    assert kernel(less, before, phased)[0] <= kernel(work, before, phased)[0]


@settings(max_examples=100)
@given(works(), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_lane_of_every_part_and_head_has_its_own_groups(
    work: Counts, parts: int, lanes: int, phased: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    heads = np.stack([work, work[::-1], 2 * work])
    order = rng.permutation(len(work))
    bounds = np.sort(rng.integers(0, len(work) + 1, parts * lanes + 1))
    bounds[0], bounds[-1] = 0, len(work)
    before = rng.integers(0, 5, (3, parts, lanes, 2))
    cycles = np.zeros((3, parts, lanes), np.int64)
    states = np.zeros((*cycles.shape, len(UNITS), len(STATES)), np.int64)
    phases = np.zeros((*cycles.shape, len(PHASES)), np.int64)
    run_lanes(heads, before, order, bounds, phased, cycles, states, phases)
    for head, part, lane in np.ndindex(*cycles.shape):
        own = order[slice(*bounds[part * lanes + lane : part * lanes + lane + 2])]
        alone = kernel(heads[head][own], tuple(before[head, part, lane]), phased)
        at = head, part, lane
        assert_lanes_equal((cycles[at], states[at], phases[at]), alone)


@pytest.mark.parametrize("changed", [{"buffers": 1}, {"buffers": 3}, {"ahead": 0}, {"ahead": 2}], ids=str)
@pytest.mark.parametrize("phased", [False, True])
def test_a_lane_that_is_slightly_off_is_noticed(changed: dict[str, int], phased: bool) -> None:
    """The states are those of the twin, and differ from those of twins with other buffers or another order."""
    work = np.random.default_rng(2).integers(1, 9, (9, len(WORK)))
    work[:, WORK.index("detect_filter")] = 0
    made = kernel(work, (3, 4), phased)
    assert_lanes_equal(made, stepped(work, (3, 4), phased))
    with pytest.raises(AssertionError):
        assert_lanes_equal(made, stepped(work, (3, 4), phased, **changed))
