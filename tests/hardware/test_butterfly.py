from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.hardware.butterfly import ButterflyNetwork, concentrate, control_bits, dilute
from tests.reference import butterfly as gates

WIDTHS = [2, 4, 8, 16, 32, 64, 128, 256]


def all_masks(n: int) -> NDArray[np.bool_]:
    return (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(bool)


def random_masks(rng: np.random.Generator, words: int, n: int) -> NDArray[np.bool_]:
    """Masks of every density, empty and full ones among them."""
    masks = rng.random((words, n)) < rng.random((words, 1))
    masks[0], masks[-1] = False, True
    return masks


def selected(payload: NDArray[np.int32], masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Plain selection, in order, to the front of each word."""
    packed = np.zeros_like(payload)
    packed[np.arange(masks.shape[1]) < masks.sum(axis=1, keepdims=True)] = payload[masks]
    return packed


def spread(payload: NDArray[np.int32], masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Plain assignment of the front of each word to the selected lanes, in order."""
    result = np.zeros_like(payload)
    result[masks] = payload[np.arange(masks.shape[1]) < masks.sum(axis=1, keepdims=True)]
    return result


def assert_selects(payload: NDArray[np.int32], masks: NDArray[np.bool_]) -> None:
    controls = control_bits(masks)
    np.testing.assert_array_equal(concentrate(payload, masks, controls), selected(payload, masks))
    np.testing.assert_array_equal(dilute(payload, masks, controls), spread(payload, masks))


def test_selects_and_spreads_under_every_mask_of_sixteen_lanes() -> None:
    masks = all_masks(16)
    payload = np.random.default_rng(16).integers(-(2**31), 2**31, masks.shape, dtype=np.int32)
    assert_selects(payload, masks)


@pytest.mark.parametrize("n", WIDTHS)
def test_selects_and_spreads_under_random_masks(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(10):
        masks = random_masks(rng, 10_000, n)
        assert_selects(rng.integers(-(2**31), 2**31, masks.shape, dtype=np.int32), masks)


def gate_level(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.array([gates.controls(mask) for mask in masks.astype(int).tolist()], np.uint8)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_controls_are_those_of_the_gates_for_every_mask(n: int) -> None:
    masks = all_masks(n)
    np.testing.assert_array_equal(control_bits(masks), gate_level(masks))


@pytest.mark.parametrize(("n", "words"), [(16, 3000), (32, 2000), (64, 1000), (128, 500), (256, 300)])
def test_controls_are_those_of_the_gates_for_random_masks(n: int, words: int) -> None:
    masks = random_masks(np.random.default_rng(n), words, n)
    np.testing.assert_array_equal(control_bits(masks), gate_level(masks))


def test_the_published_example_dilutes() -> None:
    """Ibex, Hilewitz & Lee: abcdefgh deposited under 10101101 is d0e0fg0h; lane 0 is written rightmost."""
    payload = np.frombuffer(b"abcdefgh"[::-1], np.uint8)[None]
    mask = np.array([[int(bit) for bit in "10101101"[::-1]]], np.uint8)
    diluted = dilute(payload, mask)
    assert bytes(diluted[0, ::-1]).replace(b"\0", b"0") == b"d0e0fg0h"
    concentrated = concentrate(diluted, mask)
    assert bytes(concentrated[0, ::-1]).replace(b"\0", b"0") == b"000defgh"


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_every_integer_type_comes_back_unchanged(dtype: type[np.generic]) -> None:
    limits = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    payload = np.array([[*limits, *limits]], dtype)
    mask = np.array([[1, 1, 0, 1]], np.uint8)
    result = concentrate(payload, mask)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.array([[limits[0], limits[1], limits[1], 0]], dtype))


def test_one_static_mask_serves_many_words() -> None:
    rng = np.random.default_rng(0)
    payload = rng.integers(-128, 128, (50, 32), dtype=np.int8)
    before = payload.copy()
    mask = rng.random((1, 32)) < 0.4
    repeated = np.repeat(mask, 50, axis=0)
    np.testing.assert_array_equal(concentrate(payload, mask), concentrate(payload, repeated))
    np.testing.assert_array_equal(dilute(payload, mask, control_bits(mask)), dilute(payload, repeated))
    np.testing.assert_array_equal(payload, before)


def test_an_empty_batch_and_strided_arrays() -> None:
    assert concentrate(np.zeros((0, 8), np.int8), np.zeros((0, 8), bool)).shape == (0, 8)
    assert control_bits(np.zeros((0, 8), bool)).shape == (0, 3, 4)
    masks, payload = np.asfortranarray(all_masks(8)), np.arange(2048, dtype=np.int32).reshape(256, 8)[:, ::-1]
    assert_selects(payload, masks)


@pytest.mark.parametrize("shape", [(4,), (1, 1), (1, 0), (2, 12), (1, 512), (2, 3, 4)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="power of two from 2 to 256"):
        control_bits(np.zeros(shape, np.uint8))


def test_what_does_not_fit_together_is_refused() -> None:
    masks = np.zeros((3, 8), np.uint8)
    with pytest.raises(ValueError, match="0 and 1 only"):
        control_bits(masks + np.uint8(2))
    with pytest.raises(ValueError, match="bool or uint8"):
        control_bits(masks.astype(np.int64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="integer type"):
        concentrate(masks.astype(float), masks)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="does not fit masks"):
        concentrate(np.zeros((2, 8), np.int8), masks)
    with pytest.raises(ValueError, match="does not fit masks"):
        dilute(np.zeros((3, 4), np.int8), masks[:1])
    with pytest.raises(ValueError, match="the controls of these masks"):
        dilute(np.zeros((3, 8), np.int8), masks, control_bits(masks[:1]))


@pytest.mark.parametrize(
    ("lanes", "stages", "switches"), [(8, 3, 12), (16, 4, 32), (32, 5, 80), (64, 6, 192), (128, 7, 448)]
)
def test_sizes_are_the_published_ones(lanes: int, stages: int, switches: int) -> None:
    network = ButterflyNetwork(lanes=lanes, payload_bits=2, run_time_mask=True)
    assert (network.stages, network.switches) == (stages, switches)


@pytest.mark.parametrize(("run_time_mask", "latency"), [(False, 1), (True, 3)])
def test_latency_is_the_published_one(run_time_mask: bool, latency: int) -> None:
    network = ButterflyNetwork(lanes=64, payload_bits=1, run_time_mask=run_time_mask)
    assert network.latency == latency
    assert network.words_per_cycle == 1


@pytest.mark.parametrize("lanes", [-8, 0, 1, 3, 48, 512])
def test_a_network_of_another_width_is_refused(lanes: int) -> None:
    with pytest.raises(ValidationError, match="power of two from 2 to 256"):
        ButterflyNetwork(lanes=lanes, payload_bits=1, run_time_mask=False)


def test_a_network_is_strict_and_frozen() -> None:
    with pytest.raises(ValidationError, match="payload_bits"):
        ButterflyNetwork(lanes=8, payload_bits=0, run_time_mask=False)
    with pytest.raises(ValidationError, match="Extra inputs"):
        ButterflyNetwork.model_validate({"lanes": 8, "payload_bits": 1, "run_time_mask": False, "stages": 3})
    network = ButterflyNetwork(lanes=8, payload_bits=1, run_time_mask=False)
    with pytest.raises(ValidationError, match="frozen"):
        network.lanes = 16  # type: ignore[misc]


def test_actions() -> None:
    concentration = ButterflyNetwork(lanes=64, payload_bits=2, run_time_mask=True)
    assert concentration.actions(10, 1) == {"butterfly_switches": 10, "butterfly_controls": 1}
    dilution = ButterflyNetwork(lanes=64, payload_bits=1, run_time_mask=False)
    assert dilution.actions(10, 10) == {"butterfly_switches": 10}
    per_tile = concentration.actions(np.array([10, 0]), np.array([1, 2]))
    assert {kind: count.tolist() for kind, count in per_tile.items()} == {
        "butterfly_switches": [10, 0],
        "butterfly_controls": [1, 2],
    }
