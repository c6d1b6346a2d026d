"""Every operator that multiplies, seen as a grouped convolution, is that operator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dataflow.layers import layer_of
from simulator.errors import InputError
from simulator.trace import MatMul, Operator, ValueTensor
from simulator.trace.effectual import effectual_macs
from simulator.trace.reference import conv2d
from tests.operators import convolutions, linears, masked, matmuls, rowwises, values


@st.composite
def stacks(draw: st.DrawFn) -> MatMul:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    stack, m, k, n = (draw(st.integers(1, 5)) for _ in range(4))
    return MatMul("matmul", values(rng, (stack, m, k), 0.5), values(rng, (stack, k, n), 0.5))


@settings(deadline=None)
@given(operator=st.one_of(convolutions(), linears(), matmuls(), stacks()))
def test_a_layer_computes_the_operator(operator: Operator) -> None:
    layer = layer_of(operator)
    assert layer.macs == operator.macs
    inputs, weights = layer.input_values(), layer.weight_values()
    assert inputs is not None
    assert weights is not None
    assert inputs.shape == layer.input_shape
    assert weights.shape == layer.weight_shape
    vertical, horizontal = layer.vertical, layer.horizontal
    output = conv2d(
        inputs.reshape(layer.images, -1, vertical.size, horizontal.size),
        weights.reshape(-1, *layer.weight_shape[2:]),
        *((getattr(vertical, way), getattr(horizontal, way)) for way in ("stride", "padding", "dilation")),
        layer.groups,
    )
    assert operator.agrees(layer.as_output(output.reshape(layer.output_shape)))
    np.testing.assert_array_equal(layer.input_mask(), inputs != 0)
    assert not (~layer.weight_mask() & (weights != 0)).any()
    blind = layer_of(masked(operator))
    np.testing.assert_array_equal(blind.weight_mask(), layer.weight_mask())
    assert blind.weight_values() is None
    assert blind.input_values() is None


def test_stored_outputs_lie_where_the_outputs_do() -> None:
    rng = np.random.default_rng(1)
    operator = MatMul("m", values(rng, (2, 3, 4), 0.5), values(rng, (2, 4, 5), 0.5), values(rng, (2, 3, 5), 0.5))
    layer = layer_of(operator)
    assert operator.output is not None
    mask = layer.output_mask()
    assert mask is not None
    assert mask.shape == layer.output_shape
    stored = ValueTensor(mask.astype(np.int64)).values()
    assert stored is not None
    np.testing.assert_array_equal(layer.as_output(stored), operator.output.mask())
    assert effectual_macs(operator) is not None


@given(operator=rowwises())
def test_what_does_not_multiply_is_refused(operator: Operator) -> None:
    with pytest.raises(InputError, match="runs conv2d, linear and matmul"):
        layer_of(operator)
