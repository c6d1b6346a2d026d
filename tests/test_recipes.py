"""The shipped traces: what they hold, and that their recipes make them again, bit for bit."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from simulator.trace import Attention, Conv2d, Linear, Rowwise, Trace, ValueTensor, load_trace
from simulator.trace.connections import kept_per_row

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "traces" / "digits_cnn.safetensors"
CHARACTERS = ROOT / "traces" / "char_transformer.safetensors"
DECOMPOSED = ("conv1", "conv2", "conv3", "conv4")
LAYERS = ("stem", "conv1", "conv2", "depthwise", "pointwise", "conv3", "conv4", "linear")
PARTS = (
    *(f"attention.{part}" for part in ("norm", "qkv", "heads", "out", "add")),
    *(f"ffn.{part}" for part in ("norm", "up", "relu", "down", "add")),
)


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


@pytest.fixture(scope="module")
def characters() -> Trace:
    return load_trace(CHARACTERS)


@pytest.fixture(scope="module")
def attentions(characters) -> list[Attention]:
    return [operator for operator in characters.operators if isinstance(operator, Attention)]


def test_characters_has_four_layers_of_all_operators(characters):
    layers = {operator.name: operator for operator in characters.operators}
    assert tuple(layers) == (*(f"layers.{i}.{part}" for i in range(4) for part in PARTS), "norm", "logits")
    shapes = {"attention.qkv": (192, 64), "attention.out": (64, 64), "ffn.up": (88, 64), "ffn.down": (64, 88)}
    kinds = {"attention.norm": "layer_norm", "attention.add": "add", "ffn.norm": "layer_norm", "ffn.relu": "relu"}
    for i in range(4):
        for part, shape in shapes.items():
            operator = layers[f"layers.{i}.{part}"]
            assert isinstance(operator, Linear)
            assert operator.input.shape == (2, 512, shape[1])
            assert operator.weight.shape == shape
        for part, kind in (kinds | {"ffn.add": "add"}).items():
            operator = layers[f"layers.{i}.{part}"]
            assert isinstance(operator, Rowwise)
            assert operator.kind == kind
            assert operator.input.shape == (2, 512, 88 if kind == "relu" else 64)
        assert layers[f"layers.{i}.attention.heads"].tokens is layers[f"layers.{i}.attention.qkv"].input
    assert layers["logits"].weight.shape == (97, 64)


def test_characters_has_values_everywhere_that_a_check_needs_them(characters):
    for operator in characters.operators:
        if isinstance(operator, Linear):
            for tensor in (operator.input, operator.weight):
                assert isinstance(tensor, ValueTensor)
                assert tensor.bits == 8
            assert operator.reference().shape == operator.output_shape
    assert CHARACTERS.stat().st_size <= 3_000_000


def test_characters_attends_by_its_detectors(attentions):
    for operator in attentions:
        for tensor in (operator.query, operator.key, operator.value):
            assert isinstance(tensor, ValueTensor)
            assert (tensor.shape, tensor.bits) == ((2, 4, 512, 16), 16)
        assert operator.is_detected
        assert (operator.rule, operator.retention, operator.causal) == ("top_k", 0.1, True)
        assert (operator.rank, operator.precision) == (32, 8)
        assert operator.tokens.bits == operator.tokens.values().dtype.itemsize * 8 == 8


def test_characters_keeps_equally_many_keys_and_none_of_the_future(attentions):
    expected = kept_per_row(np.arange(1, 513), retention=0.1)
    for operator in attentions:
        for image, head in np.ndindex(2, 4):
            kept = operator.kept_mask(image, head)
            assert (kept.sum(axis=1) == expected).all()
            assert not np.triu(kept, 1).any()


def test_characters_queries_and_values_are_those_that_the_integers_give(characters):
    """The 16-bit queries, keys and values are products of the 8-bit tokens and weights, but for rounding."""
    layers = {operator.name: operator for operator in characters.operators}
    for i in range(4):
        linear, heads = layers[f"layers.{i}.attention.qkv"], layers[f"layers.{i}.attention.heads"]
        made = linear.reference() * (linear.input.scale * linear.weight.scale)
        for part, tensor in zip(np.split(made, 3, axis=-1), (heads.query, heads.key, heads.value), strict=True):
            real = tensor.values().transpose(0, 2, 1, 3).reshape(part.shape) * tensor.scale
            assert np.abs(real - part).max() <= tensor.scale


def test_characters_says_where_it_comes_from_and_what_it_reached(characters):
    said = characters.provenance
    assert said["recipe"] == "workloads/char_transformer.py"
    near = float(said["loss"]) / float(said["loss dense"]) <= 1.02
    assert near or float(said["accuracy dense"]) - float(said["accuracy"]) <= 0.015


@pytest.mark.recipe
def test_the_recipe_makes_the_shipped_characters_again(characters, tmp_path):
    pytest.importorskip("torch")
    if characters.provenance["python"] != platform.python_version():
        pytest.skip(f"the shipped trace was made of the library of Python {characters.provenance['python']}")
    for library in ("torch", "numpy"):
        if characters.provenance[library] != version(library):
            pytest.skip(f"the shipped trace was made with {library} {characters.provenance[library]}")
    again = tmp_path / "char_transformer.safetensors"
    module = "simulator.workloads.char_transformer"
    subprocess.run([sys.executable, "-m", module, "--device", "cpu", "--output", str(again)], cwd=ROOT, check=True)
    assert again.read_bytes() == CHARACTERS.read_bytes()
