from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from simulator.compress import (
    decompose_conv,
    decomposed_weights,
    fold_scales,
    hybrid_quantise,
    recompose,
    ternary_weights,
)
from simulator.errors import InputError
from simulator.trace import Conv2d, Linear, MaskTensor, Trace, ValueTensor, quantise

RESNET20 = Path(__file__).parents[2].parent / "shared" / "data" / "resnet20_cifar10.safetensors"


def conv(shape: tuple[int, ...], groups: int = 1, seed: int = 0, name: str = "conv") -> Conv2d:
    generator = np.random.default_rng(seed)
    activations = ValueTensor(generator.integers(0, 9, (1, shape[1] * groups, 5, 5)))
    return Conv2d(name, activations, quantise(generator.standard_normal(shape), axis=0), groups=groups)


@given(seed=st.integers(0, 2**32 - 1), bases=st.integers(1, 9), rule=st.sampled_from(["twn", "ttq"]))
def test_the_integers_recompose_to_the_weight_by_the_scale_of_the_basis(seed, bases, rule):
    weight = np.random.default_rng(seed).standard_normal((4, 8, 3, 3))
    basis, coefficients = decomposed_weights(weight, bases, rule)
    assert (basis.bits, coefficients.bits, coefficients.scale) == (8, 1, 1.0)
    assert set(np.unique(coefficients.values())) <= {-1, 0, 1}
    rebuilt = basis.scale * recompose(basis.values(), coefficients.values())
    assert np.sum((rebuilt - weight) ** 2) < np.sum(weight**2)


def test_a_basis_kernel_that_no_code_uses_does_not_set_the_range():
    codes = np.array([[[1, 0]]], dtype=np.int8)
    basis, _ = fold_scales(np.ones((2, 1, 1)), codes, np.array([0.01, 1.0]))
    assert basis.values().reshape(-1).tolist() == [127, 0]


def test_ternary_weights_have_a_scale_per_output_channel():
    weight = ternary_weights(np.array([[4.0, -2.0, 0.1], [0.5, 0.5, 0.5]]))
    assert weight.values().tolist() == [[1, -1, 0], [1, 1, 1]]
    assert weight.scale == (3.0, 0.5)
    assert weight.bits == 1


def test_a_convolution_keeps_its_geometry_and_computes_with_the_recomposed_weight():
    whole = replace(conv((6, 8, 3, 3)), stride=(2, 1), padding=(1, 1))
    split = decompose_conv(whole, bases=6)
    assert split.is_decomposed
    assert (split.stride, split.padding, split.output_shape) == ((2, 1), (1, 1), whole.output_shape)
    assert split.input is whole.input
    weight = ValueTensor(recompose(split.basis.values(), split.coefficients.values()), bits=16)
    assert (split.reference() == replace(whole, weight=weight).reference()).all()


def test_each_kind_of_layer_is_compressed_in_its_own_way():
    dense, grouped = conv((8, 3, 3, 3), name="first"), conv((8, 1, 3, 3), groups=8, name="depthwise")
    kernels, pointwise = conv((4, 8, 3, 3), name="kernels"), conv((4, 8, 1, 1), name="pointwise")
    linear = Linear("linear", ValueTensor(np.ones((1, 6), np.int8)), quantise(np.arange(12.0).reshape(2, 6)))
    trace = Trace("t", (dense, grouped, kernels, pointwise, linear), {"model": "m"})
    small = hybrid_quantise(trace, bases=5)
    result = {operator.name: operator for operator in small.operators}
    assert result["first"] is dense
    assert result["depthwise"] is grouped
    assert result["kernels"].basis.shape == (5, 3, 3)
    assert result["pointwise"].weight.bits == result["linear"].weight.bits == 1
    assert small.provenance == {
        "model": "m",
        "compression": "hybrid quantisation, M = 5, twn, not retrained",
    }


def test_only_known_whole_weights_are_decomposed():
    operator = conv((4, 8, 3, 3))
    with pytest.raises(InputError, match="decomposed already"):
        decompose_conv(decompose_conv(operator))
    with pytest.raises(InputError, match="only its mask is"):
        decompose_conv(replace(operator, weight=MaskTensor.of(operator.weight.mask())))


@pytest.mark.skipif(not RESNET20.exists(), reason=f"the trained ResNet-20 is not at {RESNET20}")
def test_coefficients_of_a_trained_resnet20_are_half_zero_without_retraining():
    """Known from elsewhere: mean 0.52 at M = 6 under the TWN rule, layers in 0.41 … 0.56."""
    weights = [w for w in load_file(RESNET20).values() if w.ndim == 4 and w.shape[2:] == (3, 3)]
    densities = [decomposed_weights(w, 6)[1].density for w in weights]
    assert np.mean(densities) == pytest.approx(0.52, abs=0.03)
    assert min(densities) > 0.35
    assert max(densities) < 0.62
