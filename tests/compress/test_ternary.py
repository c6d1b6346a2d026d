import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from simulator.compress import least_squares_scale, ternarise
from simulator.errors import InputError

FLOATS = arrays(np.float64, array_shapes(max_dims=3, max_side=6), elements=st.floats(-1e3, 1e3))


def test_twn_keeps_what_exceeds_seven_tenths_of_the_mean():
    codes, scale = ternarise(np.array([4.0, -2.0, 1.0, 0.0, -1.0]), "twn")
    assert codes.tolist() == [1, -1, 0, 0, 0]
    assert codes.dtype == np.int8
    assert scale == 3.0


def test_ttq_keeps_what_exceeds_a_twentieth_of_the_largest():
    codes, scale = ternarise(np.array([100.0, -5.0, 5.1, -50.9]), "ttq")
    assert codes.tolist() == [1, 0, 1, -1]
    assert scale == pytest.approx(52.0)


def test_the_threshold_itself_is_dropped():
    assert ternarise(np.array([1.0, 0.05]), "ttq")[0].tolist() == [1, 0]


@given(x=FLOATS, rule=st.sampled_from(["twn", "ttq"]))
def test_the_scale_is_the_best_one(x, rule):
    codes, scale = ternarise(x, rule)
    error = np.sum((x - scale * codes) ** 2)
    for other in (0.9 * scale, 1.1 * scale):
        assert error <= np.sum((x - other * codes) ** 2) * (1 + 1e-9) + 1e-9
    assert (codes[codes != 0] == np.sign(x)[codes != 0]).all()


@given(x=FLOATS, data=st.data(), rule=st.sampled_from(["twn", "ttq"]))
def test_an_axis_ternarises_each_of_its_indices_alone(x, data, rule):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    codes, scale = ternarise(x, rule, axis)
    assert np.broadcast_shapes(scale.shape, x.shape) == x.shape
    for i in range(x.shape[axis]):
        alone, its_scale = ternarise(x.take([i], axis), rule)
        assert (codes.take([i], axis) == alone).all()
        assert scale.take(i, axis).item() == pytest.approx(its_scale)


def test_zeros_stay_zero_and_have_a_usable_scale():
    codes, scale = ternarise(np.zeros((2, 3)), axis=0)
    assert not codes.any()
    assert scale.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("x", "arguments", "sentence"),
    [
        (np.ones(3), {"rule": "tnt"}, r"unknown ternary rule 'tnt'.*ttq, twn"),
        (np.ones(3), {"axis": 1}, "axis 1 does not exist"),
        (np.ones(0), {}, "at least one"),
        (np.array([np.inf]), {}, "finite"),
    ],
)
def test_what_cannot_be_ternarised_is_refused(x, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        ternarise(x, **arguments)


def test_a_scale_needs_codes_of_the_same_shape():
    with pytest.raises(InputError, match="one shape"):
        least_squares_scale(np.ones(3), np.ones(4, dtype=np.int8))
