"""A³: the greedy search against its twin, post-scoring against its rule, the published cycles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.accelerators.a3 import Approximation, approximate
from simulator.hardware.greedy_candidates import search
from simulator.results.result import OperatorResult
from simulator.trace import Attention, DensityTensor, MaskTensor, ValueTensor
from simulator.trace.connections import unpack_rows
from tests.operators import trace_of
from tests.reference import greedy_candidates as twin


def run(operator: Any, check: bool = False, **given_: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in given_.items()}
    return simulate(trace_of(operator), load_arch("a3", parameters), check).operators[0]


def values(n: int = 96, size: int = 32, top: int = 99) -> Attention:
    rng = np.random.default_rng(0)
    return Attention("heads", *(ValueTensor(rng.integers(-top, top + 1, (1, 2, n, size)), 0.02) for _ in range(3)))


@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 7)), seed=st.integers(0, 2**32),
    part=st.sampled_from((0.1, 0.5, 3.0)), top=st.sampled_from((1, 9, 1000)), density=st.sampled_from((0.2, 1.0)),
)  # fmt: skip
def test_the_search_is_its_twin(shape: tuple[int, int, int], seed: int, part: float, top: int, density: float) -> None:
    """Small integers make many equal products: of these the lowest column's goes first."""
    (L, S, D), rng = shape, np.random.default_rng(seed)
    queries, keys = (rng.integers(-top, top + 1, size).astype(np.float64) for size in ((L, D), (S, D)))
    allowed = rng.random((L, S)) < density
    allowed[:, 0] = True
    order = np.ascontiguousarray(np.argsort(keys, axis=0, kind="stable").T)
    iterations = np.maximum(1, (part * allowed.sum(axis=1)).astype(np.int64))
    candidates = np.zeros((L, S), np.bool_)
    search(queries, keys, order, allowed, iterations, candidates)
    for query in range(L):
        expected = twin.search(queries[query].tolist(), keys.tolist(), allowed[query].tolist(), int(iterations[query]))
        assert set(np.flatnonzero(candidates[query]).tolist()) == expected


def test_post_scoring_drops_small_weights() -> None:
    operator = values()
    allowed = operator.kept(0, 0)
    kept, candidates = approximate(
        operator, 0, 0, allowed, Approximation(connections="own", enabled=True, iterations=0.5, threshold=0.05)
    )
    query, key = (tensor.values()[0, 0] * 0.02 for tensor in (operator.query, operator.key))
    scores = query @ key.T * operator.scale
    for row, own in zip(scores, unpack_rows(kept, 96), strict=True):
        assert np.exp(row[own] - row[own].max()).min() >= 0.05
    assert (candidates >= unpack_rows(kept, 96).sum(axis=1)).all()
    assert candidates.max() <= 96


@pytest.mark.parametrize("n", [20, 320])
def test_the_published_cycles_of_the_base_design(n: int) -> None:
    """A query takes 3 n + 27 cycles; each further one n + 9."""
    for queries in (1, 5):
        shapes = (1, 1, queries, 64), (1, 1, n, 64), (1, 1, n, 64)
        operator = Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes))
        result = run(operator, approximation__enabled="false")
        assert result.program.stages[0].cycles.sum() == 3 * n + 27 + (queries - 1) * (n + 9)


def test_an_approximated_query_takes_its_slowest_module() -> None:
    """By hand: 64 keys, 32 iterations, 48 kept: 57 cycles a query; with 16 kept it waits for the search."""
    for kept, pace in ((48, 48 + 9), (16, 32 + 9)):
        mask = np.zeros((1, 1, 10, 64), np.bool_)
        mask[..., :kept] = True
        shapes = (1, 1, 10, 64), (1, 1, 64, 64), (1, 1, 64, 64)
        operator = Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes), mask=MaskTensor.of(mask))
        whole = (32 + 9) + 3 * (kept + 9)
        assert run(operator).program.stages[0].cycles.sum() == 9 * pace + whole


def test_fewer_iterations_keep_less() -> None:
    operator = values()
    results = [run(operator, check=True, approximation__iterations=part) for part in ("2", "0.5", "0.125")]
    assert all(result.verified for result in results)
    performed = [result.program.macs.performed for result in results]
    assert performed == sorted(performed, reverse=True)
    base = run(operator, check=True, approximation__enabled="false")
    assert base.verified
    assert base.program.macs.performed == base.program.macs.effectual == operator.macs
    strict = run(operator, approximation__threshold="0.5")
    assert strict.program.macs.effectual < results[1].program.macs.effectual
