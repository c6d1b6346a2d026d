"""Axes: what a range holds, and what its values are."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.sweep.axes import Range, Written, values_of


def values(**range_: Any) -> list[Written]:
    return values_of(Range.model_validate({"from": range_.pop("start"), **range_}), "axis 'x'")


def texts(**range_: Any) -> list[str]:
    return [value.text for value in values(**range_)]


def test_values_as_they_are_written() -> None:
    assert values_of(["64 KiB", 16, 0.5, True, "rows"], "x") == [
        Written("64 KiB", 65536.0),
        Written("16", 16.0),
        Written("0.5", 0.5),
        Written("true", None),
        Written("rows", None),
    ]


def test_ranges() -> None:
    assert texts(start=1, to=7, step=3) == ["1", "4", "7"]
    assert texts(start=1, to=8, step=3) == ["1", "4", "7"]
    assert texts(start=0.1, to=0.3, step=0.1) == ["0.1", "0.2", "0.3"]
    assert texts(start="1 KiB", to="4 KiB", points=3, scale="log") == ["1024 B", "2048 B", "4096 B"]
    assert texts(start="10 ns", to="20 ns", points=3) == ["10000 ps", "15000 ps", "20000 ps"]
    assert texts(start="1 GHz", to="2 GHz", step="500 MHz") == ["1000000000 Hz", "1500000000 Hz", "2000000000 Hz"]
    assert texts(start=1, to=3, points=9) == ["1", "2", "3"]
    assert texts(start=5, to=5, points=4) == ["5"]


@given(low=st.integers(-1000, 1000), length=st.integers(0, 500), step=st.integers(1, 60))
def test_whole_steps_are_a_python_range(low: int, length: int, step: int) -> None:
    expected = [str(number) for number in range(low, low + length + 1, step)]
    assert texts(start=low, to=low + length, step=step) == expected


@given(
    low=st.floats(1e-3, 1e6),
    ratio=st.floats(1, 1e4),
    points=st.integers(1, 60),
    scale=st.sampled_from(["linear", "log"]),
)
def test_points_lie_between_the_ends_and_rise(low: float, ratio: float, points: int, scale: str) -> None:
    high = low * ratio
    numbers = [value.number or 0.0 for value in values(start=low, to=high, points=points, scale=scale)]
    assert 1 <= len(numbers) <= points
    assert all(a < b for a, b in pairwise(numbers))
    assert math.isclose(numbers[0], low, rel_tol=1e-11)
    if points > 1:
        assert math.isclose(numbers[-1], high, rel_tol=1e-11)
    assert all(Written.of(float(v.text)) == v for v in values(start=low, to=high, points=points, scale=scale))


@given(low=st.integers(1, 2**30), high=st.integers(1, 2**30), points=st.integers(2, 40))
def test_sizes_are_whole(low: int, high: int, points: int) -> None:
    low, high = min(low, high), max(low, high)
    for scale in ("linear", "log"):
        found = values(start=f"{low} B", to=f"{high} B", points=points, scale=scale)
        assert found[0].text == f"{low} B"
        assert found[-1].text == f"{high} B"
        assert all(value.number == int(value.text.removesuffix(" B")) for value in found)


@pytest.mark.parametrize(
    ("range_", "sentence"),
    [
        ({"start": 5, "to": 4, "step": 1}, "an empty range, from 5 to 4"),
        ({"start": "1 KiB", "to": "4 GHz", "points": 2}, "'from' is in B and 'to' in Hz"),
        ({"start": 1, "to": 4}, "expected either 'step' or 'points'"),
        ({"start": 1, "to": 4, "step": 1, "points": 2}, "expected either 'step' or 'points'"),
        ({"start": 0, "to": 4, "points": 2, "scale": "log"}, "begins above 0"),
        ({"start": 1, "to": 4, "step": 0}, "expected a number above 0"),
        ({"start": "a", "to": 4, "step": 1}, "'a' is no number"),
        ({"start": True, "to": 4, "step": 1}, "is no number"),
        ({"start": 1, "to": 1e9, "step": 1}, "expected at most 1,000,000"),
        ({"start": 1, "to": 1e9, "points": 10**9, "scale": "log"}, "expected at most 1,000,000"),
        ({"start": 0, "to": 1e308, "step": 5e-324}, "expected at most 1,000,000"),
    ],
)
def test_refused(range_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=r"^axis 'x': ") as refused:
        values(**range_)
    assert sentence in str(refused.value)


def test_a_value_twice_is_refused() -> None:
    with pytest.raises(InputError, match="the value 4 stands twice"):
        values_of([4, 8, 4], "axis 'x'")
    with pytest.raises(InputError, match="the values 64 KiB and 65536 are the same"):
        values_of(["64 KiB", 65536], "axis 'x'")
