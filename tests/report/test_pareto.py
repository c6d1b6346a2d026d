"""Fronts and hypervolumes, against what is obvious and slow."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.report import hypervolume, pareto_front

TABLES = st.integers(1, 4).flatmap(
    lambda objectives: arrays(
        float, st.tuples(st.integers(0, 40), st.just(objectives)),
        elements=st.one_of(st.integers(0, 6).map(float), st.just(float("nan"))),
    )
)  # fmt: skip


def obvious(table: np.ndarray) -> list[bool]:
    def beats(a: np.ndarray, b: np.ndarray) -> bool:
        return bool((a <= b).all() and (a < b).any())

    return [not np.isnan(row).any() and not any(beats(other, row) for other in table) for row in table]


@given(TABLES)
def test_a_front_is_what_no_point_beats(table: np.ndarray) -> None:
    assert pareto_front(table).tolist() == obvious(table)


@given(TABLES, st.randoms(use_true_random=False))
def test_a_front_does_not_depend_on_the_order_of_points_or_objectives(table: np.ndarray, lot: object) -> None:
    rows, columns = list(range(len(table))), list(range(table.shape[1]))
    lot.shuffle(rows)  # type: ignore[attr-defined]
    lot.shuffle(columns)  # type: ignore[attr-defined]
    assert pareto_front(table[rows][:, columns]).tolist() == pareto_front(table)[rows].tolist()


def test_a_front_by_hand() -> None:
    table = [(1, 9), (2, 5), (2, 5), (3, 6), (4, 1), (4, 2), (np.nan, 0)]
    assert pareto_front(table).tolist() == [True, True, True, False, True, False, False]


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_what_is_no_table_has_no_front(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected values"):
        pareto_front(np.zeros(shape))


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_front_of_a_hundred_thousand_points_takes_no_time_even_if_it_is_all_of_them(objectives: int) -> None:
    sphere = np.abs(np.random.default_rng(1).normal(size=(100_000, objectives)))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    begun = time.process_time()
    assert pareto_front(-sphere).all()
    assert time.process_time() - begun < 3


def test_hypervolumes_by_hand() -> None:
    assert hypervolume([(1, 2)], (3, 4)) == 4
    assert hypervolume([(1, 3), (2, 1), (2, 3)], (4, 4)) == 7
    assert hypervolume([(0, 0, 1), (1, 1, 0)], (2, 2, 2)) == 4 + 1
    assert hypervolume([(5, 0), (np.nan, 0)], (4, 4)) == 0
    with pytest.raises(ValueError, match="expected values"):
        hypervolume([(1, 2)], (3, 4, 5))


@given(st.integers(1, 4).flatmap(lambda n: arrays(np.int64, st.tuples(st.integers(0, 5), st.just(n)),
                                                  elements=st.integers(0, 5))))  # fmt: skip
def test_a_hypervolume_is_that_of_the_union_of_boxes(table: np.ndarray) -> None:
    worst = np.full(table.shape[1], 4)
    inside = [row for row in table.tolist() if all(value < 4 for value in row)]
    volume = 0.0
    for size in range(1, len(inside) + 1):
        for some in combinations(inside, size):
            volume -= (-1) ** size * np.prod(worst - np.max(some, axis=0))
    assert hypervolume(table, worst.tolist()) == volume
