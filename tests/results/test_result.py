"""Sums that have to come out exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine import apportion


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
