"""Sensitivity against functions of which it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.report import correlation_ratio, sensitivity, sobol_indices
from tests.report.sweeps import grid

EFFECTS = st.lists(
    st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=4), min_size=1, max_size=4
)  # fmt: skip


def cost(function: Any) -> Any:
    """Make a function of the axes the cycles of a sweep."""
    return lambda setting, scale: {"cycles": function(**setting) * scale, "energy_pj": 1.0, "area_mm2": None}


def test_of_a_product_of_signs_all_is_interaction() -> None:
    sign = np.array([-1.0, 1.0])
    first, total = sobol_indices(np.multiply.outer(sign, sign))
    assert first.tolist() == [0, 0]
    assert total.tolist() == [1, 1]


def test_indices_by_hand() -> None:
    """Of y = a + b + a·b with a, b in -1, 1 and c idle: variances 1, 1 and 1 of 3."""
    a, b, _ = np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [0.0, 1.0, 2.0], indexing="ij")
    first, total = sobol_indices(a + b + a * b)
    np.testing.assert_allclose(first, [1 / 3, 1 / 3, 0], atol=1e-15)
    np.testing.assert_allclose(total, [2 / 3, 2 / 3, 0], atol=1e-15)


def test_the_ishigami_function_has_the_indices_of_its_formula() -> None:
    """Of sin x + 7 sin² y + 0.1 z⁴ sin x on [-π, π]³: variances of x, y, and x with z, by integration."""
    of_x, of_y, of_xz = (1 + 0.1 * np.pi**4 / 5) ** 2 / 2, 7**2 / 8, 0.1**2 * np.pi**8 * 8 / 225
    points = -np.pi + 2 * np.pi * (np.arange(60) + 0.5) / 60
    x, y, z = np.meshgrid(points, points, points, indexing="ij")
    first, total = sobol_indices(np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x))
    whole = of_x + of_y + of_xz
    np.testing.assert_allclose(first, np.array([of_x, of_y, 0]) / whole, atol=2e-3)
    np.testing.assert_allclose(total, np.array([of_x + of_xz, of_y, of_xz]) / whole, atol=2e-3)


@given(EFFECTS)
def test_indices_of_an_additive_function_sum_to_one(effects: list[list[float]]) -> None:
    values = sum(np.array(effect).reshape([-1 if i == j else 1 for j in range(len(effects))])
                 for i, effect in enumerate(effects))  # fmt: skip
    first, total = sobol_indices(values)
    if np.ptp(values) == 0:
        assert np.isnan(first).all()
    else:
        assert first.sum() == pytest.approx(1)
        np.testing.assert_allclose(first, total, atol=1e-12)


@given(
    arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
           elements=st.integers(-99, 99).map(float)),
    st.integers(1, 4), st.integers(-9, 9).filter(bool), st.integers(-99, 99),
)  # fmt: skip
def test_a_dummy_has_none_and_scale_does_not_matter(values: np.ndarray, copies: int, factor: int, shift: int) -> None:
    first, total = sobol_indices(np.repeat(values[..., None], copies, axis=3))
    if np.ptp(values) == 0:
        assert np.isnan(total).all()
        return
    assert total[-1] == pytest.approx(0, abs=1e-12)
    assert (first <= total + 1e-12).all()
    assert first.sum() <= 1 + 1e-12
    again = sobol_indices(factor * values + shift)
    np.testing.assert_allclose(again, (first[:-1], total[:-1]), atol=1e-9)


@given(arrays(float, st.tuples(st.integers(2, 5), st.integers(1, 5)), elements=st.integers(-9, 9).map(float)))
def test_on_a_grid_the_correlation_ratio_is_the_first_order_index(values: np.ndarray) -> None:
    groups = np.arange(len(values)).repeat(values.shape[1])
    found, expected = correlation_ratio(values.ravel(), groups), sobol_indices(values)[0][0]
    assert found == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_one_at_a_time_holds_all_others_where_the_objective_is_least() -> None:
    axes = {"a": [1.0, 2.0, 3.0], "b": [0.0, 10.0], "mode": ["rows", "columns"]}
    table = sensitivity(grid(axes=axes, cost=cost(lambda a, b, mode: a * (1 + b) + (mode == "rows"))), ["cycles"])
    found = table.set_index("axis")
    assert (found["best"] == 1).all()
    assert found["high"].to_dict() == {"a": 3, "b": 11, "mode": 2}
    assert found["at_high"].to_dict() == {"a": [3], "b": [10], "mode": ["rows"]}
    assert found["compared"].to_dict() == {"a": 3, "b": 2, "mode": 2}
    assert (found["method"] == "full grid").all()


def test_every_chip_and_work_has_its_own_and_an_axis_of_one_value_none() -> None:
    axes = {"a": [1.0, 2.0], "idle": [5.0]}
    table = sensitivity(grid(("x", "y"), ("u", "v"), axes, cost(lambda a, idle: a)), ["cycles"])
    assert len(table) == 4
    assert set(table["axis"]) == {"a"}
    assert (table["total"] == 1).all()
    assert table["best"].tolist() == pytest.approx([1, 4, 1.3, 5.2])


def test_linked_axes_are_one() -> None:
    frame = grid(axes={"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0]}, cost=cost(lambda a, b: a + b))
    frame.insert(list(frame.columns).index("a") + 1, "twin", frame["a"] * 8)
    assert set(sensitivity(frame, ["cycles"])["method"]) == {"correlation ratio"}
    table = sensitivity(frame, ["cycles"], [("a", "twin")]).set_index("axis")
    assert set(table["method"]) == {"full grid"}
    assert set(table.index) == {"b", "a + twin"}
    assert table["at_high"]["a + twin"] == [3, 24]
    assert table["first_order"].sum() == pytest.approx(1)


@pytest.mark.parametrize("how", ["missing", "failed", "unknown"])
def test_what_is_no_full_grid_has_correlation_ratios_only(how: str) -> None:
    frame = grid(axes={"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0]}, cost=cost(lambda a, b: a * b))
    if how == "missing":
        frame = frame.drop(index=4)
    elif how == "failed":
        frame.loc[4, "status"] = "failed"
    else:
        frame.loc[4, "cycles"] = np.nan
    table = sensitivity(frame, ["cycles"])
    assert set(table["method"]) == {"correlation ratio"}
    assert table["total"].isna().all()
    assert (table["points"] == 5).all()
    left = frame.drop(index=4, errors="ignore")
    expected = correlation_ratio(left["cycles"], left["a"])
    assert table.set_index("axis")["first_order"]["a"] == pytest.approx(expected)
    assert table.set_index("axis")["chance"].to_dict() == {"a": 2 / 4, "b": 1 / 4}


def test_a_level_of_which_all_points_failed_is_missed() -> None:
    frame = grid(axes={"a": [1.0, 2.0], "b": [1.0, 2.0]}, cost=cost(lambda a, b: a * b))
    frame.loc[frame["a"] == 2, "status"] = "failed"
    assert set(sensitivity(frame, ["cycles"])["method"]) == {"correlation ratio"}


def test_axes_of_many_values_are_grouped_so_that_each_value_alone_explains_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [(float(a), float(b)) for a, b in rng.random((400, 2))]
    frame = pd.concat([grid(axes={"a": [a], "b": [b]}, cost=cost(lambda a, b: a)) for a, b in rows[:60]])
    table = sensitivity(frame.reset_index(drop=True), ["cycles"]).set_index("axis")
    assert table["first_order"]["a"] > 0.95
    assert table["first_order"]["b"] < 0.5
    assert (table["chance"] == 9 / 59).all()


def test_what_does_not_vary_says_so() -> None:
    table = sensitivity(grid(axes={"a": [1.0, 2.0]}), ["energy_pj"])
    frame = grid(axes={"a": [1.0, 2.0]}, cost=cost(lambda a: 7.0))
    assert set(sensitivity(frame, ["cycles"])["method"]) == {"does not vary"}
    assert len(table) == 1


def test_values_that_jobs_do_not_set_are_a_value() -> None:
    frame = pd.concat([grid(axes={"a": [1.0]}), grid(axes={"a": [None]})], ignore_index=True)
    frame["a"] = frame["a"].astype(float)
    frame.loc[1, "cycles"] *= 2
    (row,) = sensitivity(frame, ["cycles"]).to_dict("records")
    assert (row["method"], row["total"], row["values"]) == ("full grid", 1, 2)


def test_no_axes_no_sensitivity() -> None:
    assert len(sensitivity(grid(axes={}, cost=cost(lambda: 1.0)))) == 0


def test_a_point_that_stands_twice_makes_no_grid() -> None:
    frame = grid(axes={"a": [1.0, 2.0], "b": [1.0, 2.0]}, cost=cost(lambda a, b: a * b))
    assert set(sensitivity(frame, ["cycles"])["method"]) == {"full grid"}
    twice = pd.concat([frame, frame.iloc[:1]], ignore_index=True)
    assert set(sensitivity(twice, ["cycles"])["method"]) == {"correlation ratio"}
