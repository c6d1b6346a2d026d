"""Sums that have to come out exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.engine import apportion
from simulator.trace import Conv2d, DensityTensor
from tests.operators import trace_of


@given(st.integers(1, 1000), st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_apportion_sums_exactly_and_stays_close(instances: int, cycles: int, parts: list[int]) -> None:
    rest = -sum(parts) % instances  # unit-cycles are instances × cycles
    totals = np.array([*parts, rest + instances * cycles], np.int64)
    shares = apportion(int(totals.sum()) // instances, totals)
    assert sum(shares) == totals.sum() // instances
    for share, total in zip(shares, totals.tolist(), strict=True):
        assert share in (total // instances, -(-total // instances))


def test_apportion_gives_the_largest_remainder_the_missing_cycle() -> None:
    assert apportion(3, [5, 4, 0, 3]) == [1, 1, 0, 1]
    assert apportion(3, [6, 5, 1, 0]) == [2, 1, 0, 0]


def test_units_that_an_operator_leaves_idle_take_no_cycles_from_the_stalls() -> None:
    """A plane of 3 x 4 leaves PEs of SCNN without a pixel, and its multipliers are the critical unit."""
    conv = Conv2d("conv", DensityTensor((1, 49, 3, 4), 0.7, 1), weight=DensityTensor((1, 49, 3, 3), 0.9, 2))
    result = simulate(trace_of(conv), load_arch("scnn", {"pes.rows": "1"}))
    (operator,) = result.operators
    assert operator.timeline.units[operator.critical][1][-1] > 0
    assert sum(operator.stalls.values()) == operator.cycles
