from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from simulator.compress import captured_energy, decompose, recompose
from simulator.errors import InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RESNET20 = DATA / "resnet20_cifar10.safetensors"


def random_weight(seed: int, shape: tuple[int, ...] = (5, 7, 3, 3)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@given(
    seed=st.integers(0, 2**32 - 1),
    filters=st.integers(1, 6),
    channels=st.integers(1, 6),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
)
def test_all_bases_recompose_the_weight_exactly(seed, filters, channels, rows, columns):
    weight = random_weight(seed, (filters, channels, rows, columns))
    basis, coefficients = decompose(weight, rows * columns)
    assert basis.shape == (rows * columns, rows, columns)
    assert coefficients.shape == (filters, channels, rows * columns)
    np.testing.assert_allclose(recompose(basis, coefficients), weight, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_error_falls_with_every_basis_kernel_and_is_the_energy_left(seed):
    weight = random_weight(seed)
    errors = [np.sum((recompose(*decompose(weight, m)) - weight) ** 2) for m in range(1, 10)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    left = [1 - captured_energy(weight, m) for m in range(1, 10)]
    np.testing.assert_allclose(np.array(errors) / np.sum(weight**2), left, atol=1e-12)


def test_the_basis_is_that_of_the_singular_value_decomposition_without_centring():
    weight = random_weight(1) + 2.0
    _, _, vectors = np.linalg.svd(weight.reshape(35, 9))
    basis, _ = decompose(weight, 4)
    np.testing.assert_allclose(np.abs(np.sum(basis.reshape(4, 9) * vectors[:4], axis=1)), 1.0)


def test_signs_are_deterministic():
    weight = random_weight(2)
    basis, coefficients = decompose(weight, 9)
    mirrored, opposite = decompose(-weight, 9)
    np.testing.assert_allclose(mirrored, basis, atol=1e-12)
    np.testing.assert_allclose(opposite, -coefficients, atol=1e-12)
    flat = basis.reshape(9, 9)
    assert (flat[np.arange(9), np.abs(flat).argmax(axis=1)] > 0).all()


def test_integers_recompose_exactly_in_integers():
    basis = np.array([[[100, -127]], [[1, 2]]], dtype=np.int8)
    coefficients = np.array([[[1, 1], [-1, 0]]], dtype=np.int8)
    kernels = recompose(basis, coefficients)
    assert kernels.dtype == np.int64
    assert kernels.tolist() == [[[[101, -125]], [[-100, 127]]]]


def test_a_weight_of_zeros_is_captured_whole():
    assert captured_energy(np.zeros((2, 3, 3, 3)), 1) == 1.0


@pytest.mark.parametrize(
    ("weight", "bases", "sentence"),
    [
        (np.ones((2, 3, 3)), 1, r"\(K, C, R, S\)"),
        (np.ones((2, 0, 3, 3)), 1, r"\(K, C, R, S\)"),
        (np.full((2, 3, 3, 3), np.nan), 1, "finite"),
        (np.ones((2, 3, 3, 3)), 0, "1 to 9 basis kernels, not 0"),
        (np.ones((2, 3, 3, 3)), 10, "1 to 9 basis kernels, not 10"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(weight, bases, sentence):
    with pytest.raises(InputError, match=sentence):
        decompose(weight, bases)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="agree on M"):
        recompose(np.ones((2, 3, 3)), np.ones((4, 4, 3)))


@pytest.mark.skipif(not RESNET20.exists(), reason=f"the trained ResNet-20 is not at {RESNET20}")
@pytest.mark.parametrize(
    ("bases", "mean", "least"), [(4, 0.779, 0.660), (5, 0.851, 0.760), (6, 0.911, 0.839), (7, 0.949, None)]
)
def test_energies_of_a_trained_resnet20(bases, mean, least):
    weights = [w for w in load_file(RESNET20).values() if w.ndim == 4 and w.shape[2:] == (3, 3)]
    energies = [captured_energy(w, bases) for w in weights]
    assert len(energies) == 19
    assert np.mean(energies) == pytest.approx(mean, abs=1e-3)
    if least is not None:
        assert min(energies) == pytest.approx(least, abs=1e-3)
