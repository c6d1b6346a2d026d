"""Embedding bags and sparse products, against loops and dense matrices; and what is drawn for graphs."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.errors import InputError
from simulator.trace import DensityTensor, EmbeddingBag, SpMM, Trace, ValueTensor, load_trace, save_trace
from simulator.trace.graph import draw_matrix


def values(array, bits=8, scale=1.0):
    return ValueTensor(np.asarray(array), scale, bits)


def bag(indices, lengths, rows=9, mode="sum"):
    table = values(np.random.default_rng(1).integers(-100, 100, (rows, 4)))
    return EmbeddingBag("bag", table, values(indices, 32), values(lengths, 32), mode=mode)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any), st.sampled_from(("sum", "max")), st.integers(0))
def test_bags_are_those_of_a_loop(lengths, mode, seed):
    indices = np.random.default_rng(seed).integers(0, 9, sum(lengths))
    operator = bag(indices, lengths, mode=mode)
    table, start, expected = operator.table.values().astype(np.int64), 0, []
    for length in lengths:
        rows = table[indices[start : start + length]]
        start += length
        expected.append(getattr(rows, mode)(axis=0) if length else np.zeros(4, np.int64))
    assert operator.reference().tolist() == np.array(expected).tolist()
    assert operator.output_shape == (len(lengths), 4)


def test_what_a_bag_costs():
    assert bag([1, 2, 3, 4], [3, 1]).macs == 0
    assert bag([1, 2, 3, 4], [3, 1]).operations == {"add": 8}
    assert bag([1, 2, 3, 4], [3, 1], mode="mean").operations == {"add": 8, "divide": 8}
    assert bag([1, 2, 3, 4], [3, 1], mode="max").operations == {"compare": 8}
    assert bag([1, 2], [1, 1], mode="mean").reference() is None


def test_rows_of_different_scales_have_no_sum_in_integers():
    table = ValueTensor(np.ones((2, 4), np.int64), (0.5, 0.25))
    operator = EmbeddingBag("bag", table, values([0, 1], 32), values([2], 32))
    assert operator.reference() is None
    assert not operator.has_reference


@pytest.mark.parametrize(
    ("indices", "lengths", "sentence"),
    [
        ([0, 9], [2], "indices hold 9, expected rows of the table, 0 to 8"),
        ([0, -1], [2], "indices hold -1"),
        ([0, 1], [3], "lengths sum up to 3, expected the 2 lookups"),
        ([0, 1], [3, -1], "lengths hold -1"),
    ],
)
def test_bags_that_do_not_fit_their_table_are_refused(indices, lengths, sentence):
    with pytest.raises(InputError, match=rf"operator 'bag' \(embedding_bag\): {re.escape(sentence)}"):
        bag(indices, lengths).reference()


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match=r"unknown mode 'som' \(did you mean 'sum'\?\)"):
        bag([1], [1], mode="som")


@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(0, 2**32))
def test_a_sparse_product_is_that_of_the_whole_matrix(rows, columns, weighted, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-9, 10, (rows, columns)) * (rng.random((rows, columns)) < 0.4)
    matrix[rng.integers(rows), rng.integers(columns)] = 3
    matrix = matrix if weighted else matrix != 0
    dense = values(rng.integers(-99, 99, (columns, 5)))
    operator = SpMM.of("spmm", matrix, dense)
    assert operator.reference().tolist() == (matrix.astype(np.int64) @ dense.values()).tolist()
    assert operator.macs == np.count_nonzero(matrix) * 5


@given(
    st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.sampled_from((0, 2.1, 2.9, 30)), st.integers(0, 2**32)
)
def test_a_matrix_drawn_has_its_non_zeros_once_and_in_order(rows, columns, part, exponent, seed):
    nonzeros = max(1, round(part * rows * columns))
    indptr, indices = draw_matrix(rows, columns, nonzeros, exponent, seed)
    assert indptr[0] == 0
    assert indptr[-1] == nonzeros == len(indices)
    dense = DensityTensor((columns, 2), 1, 0)
    given_whole = SpMM("spmm", dense, indptr=values(indptr, 32), indices=values(indices, 32))
    assert given_whole.matrix() is not None  # which refuses repetitions and columns out of range
    assert [a.tolist() for a in draw_matrix(rows, columns, nonzeros, exponent, seed)] == [
        indptr.tolist(),
        indices.tolist(),
    ]


def test_degrees_follow_the_power_law():
    indptr, indices = draw_matrix(20_000, 20_000, 200_000, 2.5, seed=3)
    for degrees in (np.diff(indptr), np.bincount(indices, minlength=20_000)):
        large = degrees[degrees >= 20]
        fitted = 1 + len(large) / np.log(large / 19.5).sum()  # Clauset, Shalizi and Newman 2009, (3.7)
        assert fitted == pytest.approx(2.5, abs=0.15)
    assert np.diff(draw_matrix(1000, 1000, 5000, 0, seed=3)[0]).tolist() == [5] * 1000


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nonzeros": 0}, "nonzeros must be a whole number of at least 1, not 0"),
        ({"nonzeros": 17}, "nonzeros must be at most 4 × 4 = 16, not 17"),
        ({"nonzeros": 2**31, "rows": 2**30}, "nonzeros must be below 2^31"),
        ({"exponent": 2}, "exponent must be above 2"),
        ({"indptr": [0, 1, 2]}, "indices is missing"),
        ({"values": [1]}, "values are given"),
        ({"indptr": [0, 1, 2], "indices": [0, 4]}, "indices hold 4, expected columns, 0 to 3"),
        ({"indptr": [0, 2, 1], "indices": [0, 1]}, "indptr does not rise"),
        ({"indptr": [0, 0, 2], "indices": [1, 1]}, "indices of row 1 do not rise"),
        ({"indptr": [0, 2], "indices": [0, 1], "rows": 3}, "rows is 3, expected the 1"),
    ],
)
def test_matrices_that_are_none_are_refused(change, sentence):
    tensors = {key: values(change[key], 32) for key in ("indptr", "indices", "values") if key in change}
    others = {key: change[key] for key in change if key not in tensors}
    if "indices" not in tensors:
        others = {"nonzeros": 5, **others}
    with pytest.raises(InputError, match=rf"operator 'graph' \(spmm\): {re.escape(sentence)}"):
        SpMM("graph", DensityTensor((4, 2), 1, 0), **tensors, **others).matrix()


def test_gathering_comes_back_from_a_file(tmp_path):
    dense = values(np.arange(8).reshape(4, 2))
    drawn = SpMM("drawn", dense, nonzeros=6, exponent=2.5, seed=4)
    trace = Trace("gathering", (bag([1, 2, 8], [1, 2]), drawn, SpMM.of("whole", np.eye(4, dtype=bool), dense)))
    save_trace(trace, tmp_path / "gathering.safetensors")
    read = load_trace(tmp_path / "gathering.safetensors")
    assert read.digest == trace.digest
    for operator, original in zip(read.operators, trace.operators, strict=True):
        assert operator.reference().tolist() == original.reference().tolist()


@pytest.mark.parametrize("chip", ["escalate", "dota"])
def test_chips_that_do_not_gather_say_so(chip):
    graph = SpMM("aggregate", DensityTensor((4, 2), 1, 0), nonzeros=6)
    for operator in (bag([1], [1]), graph):
        with pytest.raises(InputError, match=f"operator '{operator.name}'.*{operator.type}.*not run"):
            simulate(Trace("gathering", (operator,)), load_arch(chip))
