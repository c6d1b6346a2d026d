"""Operators: shapes, work, digests and what they refuse; the reference against seven loops."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, MatMul, ValueTensor
from simulator.trace.reference import conv2d, matmul


def seven_loops(x, w, stride, padding, dilation, groups):
    """Return the convolution and the number of its multiply-accumulates, padded zeros included."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)).tolist()
    (N, C), (K, Cg, R, S) = (len(x), len(x[0])), w.shape
    P = (len(x[0][0]) - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (len(x[0][0][0]) - dilation[1] * (S - 1) - 1) // stride[1] + 1
    out, count = np.zeros((N, K, P, Q), object), 0
    for n, k, p, q, c, r, s in itertools.product(*map(range, (N, K, P, Q, Cg, R, S))):
        channel = k // (K // groups) * (C // groups) + c
        pixel = x[n][channel][p * stride[0] + r * dilation[0]][q * stride[1] + s * dilation[1]]
        out[n, k, p, q] += pixel * int(w[k, c, r, s])
        count += 1
    return out, count


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def convolutions(draw, decomposed):
    groups, per_group, filters = (draw(st.integers(1, 3)) for _ in range(3))
    N, M = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    R, S = draw(pairs)
    H, W = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    stride, dilation, padding = draw(pairs), draw(pairs), draw(paddings)
    assume(H + 2 * padding[0] > dilation[0] * (R - 1) and W + 2 * padding[1] > dilation[1] * (S - 1))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    limit = draw(st.sampled_from([1, 127, 2**24]))
    x, basis = (
        rng.integers(-limit, limit, (N, groups * per_group, H, W)),
        rng.integers(-limit, limit, (M, R, S)),
    )
    K = groups * filters
    if decomposed:
        coefficients = rng.integers(-1, 2, (K, per_group, M))
        parts = {"basis": ValueTensor(basis, bits=32), "coefficients": ValueTensor(coefficients, bits=1)}
        weight = np.einsum("kcm,mrs->kcrs", coefficients, basis)
    else:
        weight = rng.integers(-limit, limit, (K, per_group, R, S))
        parts = {"weight": ValueTensor(weight, bits=32)}
    attributes = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Conv2d("c", ValueTensor(x, bits=32), **parts, **attributes), x, weight, attributes


@given(st.one_of(convolutions(decomposed=False), convolutions(decomposed=True)))
def test_convolution_is_seven_loops(case):
    operator, x, weight, attributes = case
    expected, count = seven_loops(x, weight, **attributes)
    result = operator.reference()
    assert result.dtype == np.int64
    assert result.shape == operator.output_shape
    assert np.array_equal(result, expected)
    assert operator.macs == count
    assert operator.kernel_size == weight.shape[2:]
    assert (operator.in_channels, operator.out_channels) == (x.shape[1], weight.shape[0])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_products(m, k, n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-128, 128, (2, m, k)), rng.integers(-128, 128, (2, k, n))
    product = MatMul("p", ValueTensor(a), ValueTensor(b))
    assert np.array_equal(product.reference(), np.einsum("imk,ikn->imn", a, b))
    assert (product.output_shape, product.macs) == ((2, m, n), 2 * m * k * n)
    layer = Linear("l", ValueTensor(a), ValueTensor(b[0].T))
    assert np.array_equal(layer.reference(), a @ b[0])
    assert (layer.output_shape, layer.macs) == ((2, m, n), 2 * m * k * n)


def test_exact_beyond_float64():
    a = np.array([[2**31, 1]])
    b = np.array([[2**31 - 1], [1]])
    assert matmul(a, b).tolist() == [[2**31 * (2**31 - 1) + 1]]
    with pytest.raises(InputError, match="64-bit"):
        matmul(np.full((1, 4), 2**31), np.full((4, 1), 2**31))


def test_convolution_is_fast():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-128, 128, (1, 128, 28, 28)), rng.integers(-128, 128, (128, 128, 3, 3))
    start = time.perf_counter()
    conv2d(x, w, padding=(1, 1))
    assert time.perf_counter() - start < 0.5


def test_no_values_no_reference():
    values, mask = ValueTensor(np.ones((1, 2, 3, 3), int)), MaskTensor.of(np.ones((1, 2, 3, 3), bool))
    basis, coefficients = ValueTensor(np.ones((1, 1, 1), int)), DensityTensor((2, 2, 1), 0.5, 0)
    assert Conv2d("c", values, mask).reference() is None
    assert Conv2d("c", mask, values).reference() is None
    assert Conv2d("c", values, basis=basis, coefficients=coefficients).reference() is None
    assert Linear("l", mask, DensityTensor((2, 3), 0.5, 0)).reference() is None
    assert MatMul("m", mask, values).reference() is None


def test_output_is_not_needed_for_the_result():
    x, w = ValueTensor(np.ones((1, 1, 2, 2), int)), ValueTensor(np.ones((1, 1, 1, 1), int))
    operator = Conv2d("c", x, w, output=DensityTensor((1, 1, 2, 2), 0.5, 0))
    assert operator.reference().tolist() == [[[[1, 1], [1, 1]]]]
    assert list(operator.tensors) == ["input", "weight", "output"]


def test_depthwise():
    assert Conv2d("d", density(1, 4, 3, 3), density(4, 1, 3, 3), groups=4).is_depthwise
    assert not Conv2d("d", density(1, 4, 3, 3), density(4, 2, 3, 3), groups=2).is_depthwise
    assert not Conv2d("d", density(1, 1, 3, 3), density(4, 1, 3, 3)).is_depthwise


def test_digest_is_of_the_work_not_of_the_name():
    x, w = density(1, 4, 6, 6), density(4, 4, 3, 3)
    operator = Conv2d("a", x, w)
    assert Conv2d("b", density(1, 4, 6, 6), w, stride=1).digest == operator.digest
    others = [
        Conv2d("a", x, w, stride=2),
        Conv2d("a", x, w, padding=1),
        Conv2d("a", x, w, output=density(1, 4, 4, 4)),
        Conv2d("a", x, density(4, 4, 3, 3, seed=1)),
        MatMul("a", x, density(1, 4, 6, 6)),
    ]
    assert len({other.digest for other in [operator, *others]}) == 6


def density(*shape, seed=0):
    return DensityTensor(shape, 0.5, seed)


X, W = density(1, 4, 6, 6), density(8, 4, 3, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Conv2d("c1", X),
            r"operator 'c1' \(conv2d\): needs either weight, or basis and coefficients",
        ),
        (lambda: Conv2d("c1", X, W, basis=density(2, 3, 3)), "exactly one"),
        (lambda: Conv2d("c1", X, basis=density(2, 3, 3)), "exactly one"),
        (lambda: Conv2d("c1", X, coefficients=density(8, 4, 2)), "exactly one"),
        (lambda: Conv2d("c1", X, W, density(2, 3, 3), density(8, 4, 2)), "exactly one"),
        (
            lambda: Conv2d("c1", density(4, 6, 6), W),
            r"input has shape \(4, 6, 6\), expected 4 axes \(N, C, H, W\)",
        ),
        (lambda: Conv2d("c1", X, density(8, 4, 9)), r"weight has shape \(8, 4, 9\), expected 4 axes"),
        (lambda: Conv2d("c1", X, density(8, 3, 3, 3)), r"weight has shape .* expected \(8, 4, 3, 3\)"),
        (lambda: Conv2d("c1", X, basis=density(2, 9), coefficients=density(8, 4, 2)), "basis has shape"),
        (
            lambda: Conv2d("c1", X, basis=density(2, 3, 3), coefficients=density(8, 4, 3)),
            r"expected \(8, 4, 2\)",
        ),
        (
            lambda: Conv2d("c1", X, basis=density(2, 3, 3), coefficients=density(8, 4)),
            "coefficients has shape",
        ),
        (
            lambda: Conv2d("c1", X, W, output=density(1, 8, 6, 6)),
            r"output has shape .* expected \(1, 8, 4, 4\)",
        ),
        (lambda: Conv2d("c1", X, density(8, 4, 7, 3)), "output would be empty"),
        (lambda: Conv2d("c1", X, W, dilation=3), "output would be empty"),
        (
            lambda: Conv2d("c1", X, W, stride=0),
            r"operator 'c1' \(conv2d\): stride must be a whole number of at least 1",
        ),
        (lambda: Conv2d("c1", X, W, stride=(1, 2, 3)), "stride must be one whole number or two"),
        (lambda: Conv2d("c1", X, W, stride=1.5), "stride"),
        (lambda: Conv2d("c1", X, W, stride=True), "stride"),
        (lambda: Conv2d("c1", X, W, stride="22"), "stride"),
        (lambda: Conv2d("c1", X, W, dilation=(1, 0)), "dilation"),
        (lambda: Conv2d("c1", X, W, padding=-1), "padding must be a whole number of at least 0"),
        (lambda: Conv2d("c1", X, W, groups=0), "groups"),
        (lambda: Conv2d("c1", X, W, groups=3), "groups is 3, expected a divisor of both C = 4 and K = 8"),
        (lambda: Conv2d("c1", X, density(6, 1, 3, 3), groups=4), "divisor"),
        (
            lambda: Conv2d("c1", np.ones((1, 4, 6, 6)), W),
            "input must be a tensor, not ndarray; use ValueTensor",
        ),
        (lambda: Conv2d("c1", None, W), "input must be a tensor, not NoneType"),
        (lambda: Conv2d("c1", X, np.ones(3)), "weight must be a tensor"),
        (lambda: Conv2d("", X, W), "name of an operator"),
        (lambda: Conv2d("a\nb", X, W), "name of an operator"),
        (lambda: Conv2d(3, X, W), "name of an operator"),
        (lambda: Linear("fc", density(5, 4), density(3, 5)), r"'fc' \(linear\): weight .* expected \(3, 4\)"),
        (lambda: Linear("fc", density(5, 4), density(4)), "expected 2 axes"),
        (lambda: Linear("fc", density(5, 4), None), "weight must be a tensor"),
        (lambda: Linear("fc", density(5, 4), density(3, 4), density(5, 4)), r"output .* expected \(5, 3\)"),
        (lambda: MatMul("mm", density(4), density(4, 5)), "a has shape .* at least 2 axes"),
        (lambda: MatMul("mm", density(2, 3, 4), density(2, 3, 5)), r"b has shape .* expected \(2, 4, 5\)"),
        (lambda: MatMul("mm", density(2, 3, 4), density(4, 5)), r"expected \(2, 4, 5\)"),
        (lambda: MatMul("mm", density(3, 4), density(4, 5), density(4, 5)), r"output .* expected \(3, 5\)"),
    ],
)
def test_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
