"""The butterfly networks in RTL: every output, and the cycle of every output, as of the kernels and the twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.hardware.butterfly import ButterflyNetwork, concentrate, dilute
from simulator.trace import Conv2d, ValueTensor, load_trace
from tests.reference import butterfly as twin
from tests.rtl.bench import Bench, Builds, Change, Numbers, Playable, Response, join, needs_verilator

pytestmark = needs_verilator

SOURCES = ("butterfly.sv", "bench_butterfly.sv")
LATENCY = {"combinational": 0, "pipelined": ButterflyNetwork(lanes=16, payload_bits=8, run_time_mask=True).latency}

Masks = NDArray[np.bool_]


def built(builds: Builds, lanes: int, *changes: Change) -> Bench:
    return builds.bench(SOURCES, {"LANES": lanes}, *changes)


@pytest.fixture(scope="module")
def bench_16(builds: Builds) -> Bench:
    return built(builds, 16)


@pytest.fixture(scope="module")
def bench_64(builds: Builds) -> Bench:
    return built(builds, 64)


def played(
    bench: Playable, masks: Masks, payload: Numbers, valid: Masks
) -> dict[tuple[str, str], tuple[Numbers, Numbers]]:
    """Play one word a cycle, where ``valid``; for each network: the cycles of its outputs (N,) and these (N, lanes)."""
    words = join([(valid, 1), (masks, 1), (payload, 8)], bench.in_words)
    response = Response(bench.play(words, len(words) + 10))
    assert response.take(1).all()
    response.take(1)
    found = {}
    for variant in LATENCY:
        for direction in ("gather", "scatter"):
            out = np.flatnonzero(response.take(1))
            found[variant, direction] = out, response.take(8, masks.shape[1])[out]
    return found


def mismatches(bench: Playable, masks: Masks, payload: Numbers, valid: Masks | None = None) -> list[tuple[str, str]]:
    """Networks of which any output, or the cycle of any, differs from the kernel's."""
    valid = np.ones(len(masks), bool) if valid is None else valid
    entered = np.flatnonzero(valid)
    wrong = []
    for (variant, direction), (cycles, results) in played(bench, masks, payload, valid).items():
        expected = (concentrate if direction == "gather" else dilute)(payload[valid], masks[valid])
        same = np.array_equal(cycles, entered + LATENCY[variant]) and np.array_equal(results, expected)
        wrong += [] if same else [(variant, direction)]
    return wrong


def every_mask() -> Masks:
    return (np.arange(1 << 16)[:, None] >> np.arange(16) & 1).astype(bool)


def payload_of(rng: np.random.Generator, masks: Masks) -> Numbers:
    return rng.integers(0, 256, masks.shape)


def random_masks(rng: np.random.Generator, count: int, lanes: int) -> Masks:
    """Masks of every density, from empty to full."""
    return rng.random((count, lanes)) < np.linspace(0, 1, count)[rng.permutation(count), None]


def test_every_mask_of_16_lanes(bench_16: Bench) -> None:
    masks = every_mask()
    assert mismatches(bench_16, masks, payload_of(np.random.default_rng(1), masks)) == []


def test_random_masks_of_64_lanes(bench_64: Bench) -> None:
    rng = np.random.default_rng(2)
    masks = random_masks(rng, 10_000, 64)
    assert mismatches(bench_64, masks, payload_of(rng, masks)) == []


def test_words_with_gaps_between_them(bench_64: Bench) -> None:
    """A word leaves as long after it entered, whatever comes before and after it."""
    rng = np.random.default_rng(3)
    masks = random_masks(rng, 1000, 64)
    assert mismatches(bench_64, masks, payload_of(rng, masks), rng.random(1000) < 0.5) == []


def test_words_of_the_shipped_network(bench_16: Bench) -> None:
    """Activations of neighbouring channels, 16 of a pixel a word."""
    trace = load_trace(Path(__file__).parents[2] / "traces" / "digits_cnn.safetensors")
    layers = [layer for layer in trace.operators if isinstance(layer, Conv2d)]
    inputs = [layer.input.values() for layer in layers if isinstance(layer.input, ValueTensor)]
    pixels = [values.swapaxes(0, 1).reshape(values.shape[1], -1).T for values in inputs if values.shape[1] % 16 == 0]
    words = np.concatenate([values.reshape(-1, 16) for values in pixels]).astype(np.int64)[:20_000]
    assert 0.1 < (words != 0).mean() < 0.9
    assert mismatches(bench_16, words != 0, words & 255) == []


@pytest.mark.parametrize("lanes", [16, 64])
def test_the_twin(lanes: int, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(4)
    masks = random_masks(rng, 300, lanes)
    payload = payload_of(rng, masks)
    bench = request.getfixturevalue(f"bench_{lanes}")
    for (_, direction), (_, results) in played(bench, masks, payload, np.ones(300, bool)).items():
        model = twin.gather if direction == "gather" else twin.scatter
        pairs = zip(payload.tolist(), masks.astype(int).tolist(), strict=True)
        assert results.tolist() == [model(word, mask) for word, mask in pairs]


BROKEN: dict[str, Change] = {
    "a count too low by a lane": (
        "butterfly.sv",
        "(2 * b * D + D - 1) * COUNT",
        "(2 * b * D + (D > 1 ? D - 2 : 0)) * COUNT",
    ),
    "rotation without complement": ("butterfly.sv", "(~turned[k] >> ", "(turned[k] >> "),
    "a cycle too early": ("butterfly.sv", "valid_out = valid[2]", "valid_out = valid[1]"),
    "the mask of the next word": ("butterfly.sv", "mask_2 <= mask_1;", "mask_2 <= mask;"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_design_is_caught(name: str, builds: Builds) -> None:
    masks = every_mask()[::97]
    bench = built(builds, 16, BROKEN[name])
    assert mismatches(bench, masks, payload_of(np.random.default_rng(5), masks))
