"""The shipped traces: what they hold, and that their recipes make them again, bit for bit."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from simulator.trace import Conv2d, Linear, Trace, load_trace

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "traces" / "digits_cnn.safetensors"
DECOMPOSED = ("conv1", "conv2", "conv3", "conv4")
LAYERS = ("stem", "conv1", "conv2", "depthwise", "pointwise", "conv3", "conv4", "linear")


@pytest.fixture(scope="module")
def digits() -> Trace:
    return load_trace(DIGITS)


def test_digits_has_a_layer_of_each_kind(digits):
    layers = {operator.name: operator for operator in digits.operators}
    assert tuple(layers) == LAYERS
    assert layers["stem"].input.shape == (4, 1, 16, 16)
    assert layers["depthwise"].is_depthwise
    assert layers["pointwise"].kernel_size == (1, 1)
    assert isinstance(layers["linear"], Linear)
    for name in DECOMPOSED:
        assert layers[name].is_decomposed
        assert layers[name].basis.shape == (6, 3, 3)
        assert layers[name].in_channels >= 8
    assert [layers[name].stride for name in DECOMPOSED] == [(1, 1), (2, 2), (1, 1), (2, 2)]


def test_digits_is_eight_bit_and_ternary(digits):
    for operator in digits.operators:
        assert operator.input.bits == 8
        assert operator.input.values().min() == 0
        assert operator.input.values().max() <= 127
        codes = operator.tensors.get("coefficients", operator.tensors.get("weight"))
        ternary = operator.name not in ("stem", "depthwise")
        assert codes.bits == (1 if ternary else 8)
        assert (set(np.unique(codes.values())) == {-1, 0, 1}) == ternary


def test_digits_is_sparse(digits):
    layers = {operator.name: operator for operator in digits.operators}
    for name in DECOMPOSED:
        assert 0.05 < layers[name].coefficients.density < 0.2
    for name in LAYERS[1:]:
        assert 0.3 < layers[name].input.density < 0.6


def test_digits_activations_are_those_that_the_integers_give(digits):
    """ReLU keeps order: within a channel a larger sum never becomes a smaller activation."""
    convolutions = [operator for operator in digits.operators if isinstance(operator, Conv2d)]
    for operator, follower in zip(convolutions, digits.operators[1:], strict=True):
        stored = operator.output.values()
        assert (follower.input.values().ravel() == stored.ravel()).all()
        sums = operator.reference()
        for k in range(operator.out_channels):
            channel = stored[:, k].ravel()[np.argsort(sums[:, k], axis=None, kind="stable")].astype(int)
            steps = np.diff(channel)
            assert (steps >= 0).all() or (steps <= 0).all()


def test_digits_shares_tensors_and_is_small(digits):
    for operator, follower in zip(digits.operators[:6], digits.operators[1:7], strict=True):
        assert follower.input is operator.output
    assert DIGITS.stat().st_size <= 2 * 2**20


def test_digits_says_where_it_comes_from_and_what_it_reached(digits):
    assert digits.provenance["recipe"] == "workloads/digits_cnn.py"
    before, after = (float(digits.provenance[f"accuracy {when}"]) for when in ("before", "after"))
    assert after >= 0.97
    assert before - after <= 0.02


@pytest.mark.recipe
def test_the_recipe_makes_the_shipped_digits_again(digits, tmp_path):
    for library in ("torch", "sklearn"):
        pytest.importorskip(library)
    for library in ("torch", "scikit-learn", "numpy"):
        if digits.provenance[library] != version(library):
            pytest.skip(f"the shipped trace was made with {library} {digits.provenance[library]}")
    again = tmp_path / "digits_cnn.safetensors"
    command = [sys.executable, "-m", "simulator.workloads.digits_cnn", "--output", str(again)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert again.read_bytes() == DIGITS.read_bytes()
