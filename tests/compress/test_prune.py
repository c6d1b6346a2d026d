import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from simulator.compress import keep_largest, prune
from simulator.errors import InputError

# Few distinct magnitudes, so that most draws have ties.
TIED = arrays(np.int64, array_shapes(max_dims=3, max_side=7), elements=st.integers(-3, 3))


@given(x=TIED, density=st.floats(0, 1))
def test_the_count_is_exact_and_the_kept_are_the_first_of_a_stable_sort(x, density):
    kept = keep_largest(x, density)
    count = int(np.floor(density * x.size + 0.5))
    expected = np.zeros(x.size, dtype=bool)
    expected[np.argsort(-np.abs(x).reshape(-1), kind="stable")[:count]] = True
    assert (kept.reshape(-1) == expected).all()


@given(x=TIED, density=st.floats(0, 1), data=st.data())
def test_an_axis_prunes_each_of_its_indices_alone(x, density, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    kept = keep_largest(x, density, axis)
    for i in range(x.shape[axis]):
        assert (kept.take(i, axis) == keep_largest(x.take(i, axis), density)).all()


def test_ties_go_to_the_first():
    assert keep_largest(np.array([1.0, -1.0, 1.0, 1.0]), 0.5).tolist() == [True, True, False, False]


def test_prune_zeroes_the_rest_and_keeps_the_type():
    x = np.array([[1, -9], [5, 2]], dtype=np.int8)
    assert prune(x, 0.5).tolist() == [[0, -9], [5, 0]]
    assert prune(x, 0.5).dtype == np.int8
    assert prune(x, 0.5, axis=1).tolist() == [[0, -9], [5, 0]]
    assert prune(x, 0.0).tolist() == [[0, 0], [0, 0]]
    assert (prune(x, 1.0) == x).all()


def test_the_most_negative_integer_is_the_largest_magnitude():
    assert prune(np.array([-128, 127], dtype=np.int8), 0.5).tolist() == [-128, 0]


@pytest.mark.parametrize(
    ("x", "density", "axis", "sentence"),
    [
        (np.ones(3), 1.5, None, "0 … 1, not 1.5"),
        (np.ones(3), 0.5, 2, "axis 2 does not exist"),
        (np.array([np.nan]), 0.5, None, "finite"),
    ],
)
def test_what_cannot_be_pruned_is_refused(x, density, axis, sentence):
    with pytest.raises(InputError, match=sentence):
        prune(x, density, axis)
