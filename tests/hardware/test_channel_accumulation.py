"""The CA kernels against their slow twin, unit by unit: cycles, matched pairs and sums."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.hardware.channel_accumulation import ChannelAccumulation
from simulator.hardware.pe_array import RECORD, Assignment, PEArray, accumulate
from simulator.trace import Conv2d, list_traces, load_trace
from tests.hardware.units import SEVEN, Units, accumulation, rows_of, run_units, vectors
from tests.reference import channel_accumulation as slow

BATCHES, CONFIGURATIONS, PIXELS, UNITS = 16, 40, 5, 4
ARRAY = PEArray(blocks=1, slices=1, slices_own="bases", input_queue=1, result_queue=1)

Batch = tuple[ChannelAccumulation, NDArray[Any], NDArray[Any]]


def twin(
    unit: ChannelAccumulation, activations: NDArray[Any], coefficients: NDArray[Any], network: int = 64, **changed: Any
) -> Units:
    """Run every pixel with every coefficient vector through the slow unit, its window ``changed`` if so told."""
    window: dict[str, Any] = {"look_ahead": unit.look_ahead, "offsets": unit.offsets, **changed}
    ideal = unit.concentration == "ideal"
    results = [
        [slow.accumulate(c, a, unit.adders, network=network, ideal=ideal, **window) for c in coefficients.tolist()]
        for a in activations.tolist()
    ]
    fields = ("cycles", "pairs", "total")
    return Units(*(np.array([[getattr(r, field) for r in row] for row in results]) for field in fields))


def accumulated(unit: ChannelAccumulation, activations: NDArray[Any], coefficients: NDArray[Any]) -> dict[str, Any]:
    """Run each pixel as a row of its own, with one T per CA, through the array; one broadcast cycle a pixel."""
    ones = np.ones(len(activations), np.int64)
    cas = np.ones((len(coefficients), 2), np.int64)
    records, sums = accumulate(
        rows_of(activations, ones, ones), vectors(coefficients)[0], Assignment(np.arange(len(cas)), cas),
        unit.window(), ARRAY, 0, vectors(coefficients)[1], activations[activations != 0].astype(np.int64),
    )  # fmt: skip
    return dict(zip(RECORD, records.T, strict=True), sums=sums)


def assert_same(found: Units, expected: Units, message: str = "") -> None:
    for field in ("cycles", "pairs", "sums"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), f"{field} {message}")


def assert_equals_twin(unit: ChannelAccumulation, activations: Any, coefficients: Any, network: int = 64) -> int:
    """Hold the kernels, one by one and inside the array, to the twin; returns the units compared."""
    expected = twin(unit, activations, coefficients, network)
    assert_same(run_units(unit, activations, coefficients), expected, repr(unit))
    record = accumulated(unit, activations, coefficients)
    np.testing.assert_array_equal(record["sums"], expected.sums)
    np.testing.assert_array_equal(record["pairs"], expected.pairs.sum(axis=1))
    np.testing.assert_array_equal(record["ca_busy"], expected.cycles.sum(axis=1))
    np.testing.assert_array_equal(record["cycles"], 1 + expected.cycles.max(axis=1))
    return expected.cycles.size


# Random units


def density(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Of each row its own: empty, full, or anything between."""
    return rng.choice([0, 1, *rng.random(6)], (size, 1))


def random_unit(rng: np.random.Generator) -> ChannelAccumulation:
    """Any adders; no window, rows ahead without offsets, Bit-Tactical's window, up to nine offsets; or ideal."""
    adders = int(rng.choice([1, 2, 4, 8, 16, 32, *rng.integers(1, 33, 4)]))
    kind = rng.choice(["none", "no offsets", "seven", "any", "any", "ideal"])
    if kind in ("none", "ideal"):
        return accumulation(adders, 0, ideal=kind == "ideal")
    if kind == "seven":
        return accumulation(adders, 2, SEVEN)
    look_ahead = int(rng.integers(1, 5))
    reach = [(ahead, aside) for ahead in range(1, look_ahead + 1) for aside in range(-5, 6)]
    count = 0 if kind == "no offsets" else rng.integers(1, 10)
    return accumulation(adders, look_ahead, tuple(reach[i] for i in rng.permutation(len(reach))[:count]))


def random_batch(rng: np.random.Generator) -> Batch:
    few, some, many = rng.integers(1, 33), rng.integers(33, 129), rng.integers(129, 301)
    channels = int(rng.choice([few, some, many], p=[0.65, 0.25, 0.1]))
    activations = rng.integers(1, 128, (PIXELS, channels)) * rng.choice([-1, 1], (PIXELS, channels))
    activations *= rng.random((PIXELS, channels)) < density(rng, PIXELS)
    coefficients = rng.choice([-1, 1], (UNITS, channels)) * (rng.random((UNITS, channels)) < density(rng, UNITS))
    return random_unit(rng), activations, coefficients


def test_enough_units_are_compared() -> None:
    assert BATCHES * CONFIGURATIONS * PIXELS * UNITS >= 10_000


@pytest.mark.parametrize("seed", range(BATCHES))
def test_random_units_equal_the_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(CONFIGURATIONS):
        network = int(rng.choice([4, 8, 16, 16, 64]))  # how wide its networks are is of no matter to a unit
        compared += assert_equals_twin(*random_batch(rng), network)
    assert compared == CONFIGURATIONS * PIXELS * UNITS


def test_the_random_units_reach_every_corner() -> None:
    """The generator draws what the comparison promises: extremes of density, of windows and of widths."""
    batches = [random_batch(rng) for rng in map(np.random.default_rng, range(400))]
    for operand in (1, 2):
        shares = np.concatenate([(batch[operand] != 0).mean(axis=1) for batch in batches])
        assert shares.min() == 0
        assert shares.max() == 1
    assert {unit.look_ahead for unit, *_ in batches} == {0, 1, 2, 3, 4}
    assert {len(unit.offsets) for unit, *_ in batches} == set(range(10))
    assert {unit.concentration for unit, *_ in batches} == {"window", "ideal"}
    assert {unit.adders for unit, *_ in batches} >= {1, 32}
    assert max(batch[1].shape[1] for batch in batches) > 256
    assert any(batch[1].shape[1] % batch[0].adders for batch in batches)
    assert min(batch[1].min() for batch in batches) < 0


@pytest.mark.parametrize("look_ahead", [1, 2, 4])
def test_the_last_row_is_padded_with_empty_codes(look_ahead: int) -> None:
    """A row of five lanes that straddles two words of codes, after a pixel that filled the second of them."""
    activations = np.ones((2, 128), np.int64)
    activations[1, 62:] = 0
    coefficients = np.zeros((3, 128), np.int64)
    coefficients[0, 64:] = 1
    coefficients[1, [0, 61, 64, 65]] = -1
    coefficients[2] = 1
    assert_equals_twin(accumulation(5, look_ahead, ((1, 0),)), activations, coefficients)


@pytest.mark.parametrize("look_ahead", [1, 15])
def test_the_furthest_look_ahead(look_ahead: int) -> None:
    """Rows that are empty but for one in many: the longest skips."""
    rng = np.random.default_rng(look_ahead)
    coefficients = np.where(rng.random((20, 256)) < rng.choice([0.01, 0.03, 0.1], (20, 1)), 1, 0)
    activations = np.where(rng.random((4, 256)) < 0.9, 3, 0)
    assert_equals_twin(accumulation(2, look_ahead, ((look_ahead, 1), (1, 0))), activations, coefficients)


# Units counted by hand, units of a real network

ACTIVATION_MAP = "11010110101111010111100111110101"
COEFFICIENT_MAP = "01000010100000010000100001100100"


@pytest.mark.parametrize(("adders", "look_ahead", "cycles"), [(4, 0, 6), (4, 1, 3), (4, 2, 3), (8, 0, 3), (8, 2, 2)])
def test_worked_example(adders: int, look_ahead: int, cycles: int) -> None:
    unit = accumulation(adders, look_ahead, tuple(offset for offset in SEVEN if offset[0] <= look_ahead))
    activations = np.array([[int(bit) * (channel + 1) for channel, bit in enumerate(ACTIVATION_MAP)]])
    coefficients = np.array([[int(bit) * (-1) ** channel for channel, bit in enumerate(COEFFICIENT_MAP)]])
    result = run_units(unit, activations, coefficients)
    assert (result.cycles.item(), result.pairs.item()) == (cycles, 8)
    assert result.sums.item() == int(activations[0] @ coefficients[0])
    record = accumulated(unit, activations, coefficients)
    assert (record["cycles"].item(), record["pairs"].item()) == (1 + cycles, 8)


@pytest.mark.parametrize(("pixel", "vector"), [([5, 0, 7], [0, 1, 0]), ([0, 0, 0], [1, 1, 1]), ([5, 5, 5], [0, 0, 0])])
@pytest.mark.parametrize(
    "unit", [accumulation(4, 0), accumulation(4, 2, SEVEN), accumulation(4, 0, ideal=True)], ids=str
)
def test_a_unit_takes_at_least_one_cycle(unit: ChannelAccumulation, pixel: list[int], vector: list[int]) -> None:
    assert_same(run_units(unit, np.array([pixel]), np.array([vector])), Units(*np.array([1, 0, 0]).reshape(3, 1, 1)))


@cache
def digits() -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return pixels (P, C) and coefficient vectors (T, C) of each layer of the shipped network that the CAs run."""
    layers = {}
    for operator in load_trace("digits_cnn").operators:
        decomposed = isinstance(operator, Conv2d) and operator.is_decomposed
        weight = operator.tensors["coefficients" if decomposed else "weight"]
        if weight.bits == 1:
            pixels = np.moveaxis(operator.tensors["input"].values(), 1, -1)
            channels = pixels.shape[-1]
            coefficients = np.moveaxis(weight.values(), 1, -1).reshape(-1, channels)
            layers[operator.name] = pixels.reshape(-1, channels).astype(int), coefficients.astype(int)
    return layers


@pytest.mark.skipif("digits_cnn" not in list_traces(), reason="the trace digits_cnn is not shipped here")
def test_a_real_network_equals_the_twin() -> None:
    assert digits().keys() == {"conv1", "conv2", "pointwise", "conv3", "conv4", "linear"}
    rng = np.random.default_rng(0)
    compared = 0
    for pixels, coefficients in digits().values():
        for unit in (accumulation(16, 2, SEVEN), accumulation(4, 2, SEVEN), accumulation(16, 0)):
            size = 12 if pixels.shape[1] <= 64 else 4
            sample = rng.permutation(len(pixels))[:size], rng.permutation(len(coefficients))[:size]
            compared += assert_equals_twin(unit, pixels[sample[0]], coefficients[sample[1]])
    assert compared >= 1000


# The comparison can fail


def small_set() -> list[Batch]:
    """Units that need their window: dense enough to take, sparse enough to skip."""
    rng = np.random.default_rng(1)
    return [
        (accumulation(adders, 2, SEVEN), rng.integers(0, 4, (5, 80)), (rng.random((10, 80)) < share).astype(int))
        for adders in (4, 8)
        for share in (0.1, 0.3, 0.5)
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"look_ahead": 3},
        {"look_ahead": 1, "offsets": [offset for offset in SEVEN if offset[0] == 1]},
        {"offsets": SEVEN[:-1]},
        {"offsets": SEVEN[1:]},
        {"offsets": SEVEN[::-1]},
        {"offsets": [(ahead, aside + 1) for ahead, aside in SEVEN]},
        {"offsets": [(ahead, -aside) for ahead, aside in SEVEN]},
    ],
    ids=["further", "less far", "last lost", "first lost", "other order", "shifted", "mirrored"],
)
def test_a_window_that_is_slightly_off_is_noticed(changed: dict[str, Any]) -> None:
    """The kernels equal the twin, and differ in cycles from twins whose window is not quite the same."""
    batches = small_set()
    found = [run_units(*batch).cycles for batch in batches]
    same = [twin(*batch, network=16).cycles for batch in batches]
    other = [twin(*batch, network=16, **changed).cycles for batch in batches]
    assert np.array_equal(found, same)
    assert not np.array_equal(found, other)


# The configuration


def test_offsets_beyond_the_window_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"offset \(2, 0\) reaches beyond look_ahead = 1"):
        accumulation(4, 1, ((1, 0), (2, 0)))


def test_latency_is_that_of_both_networks_and_the_result_register() -> None:
    assert accumulation(4, 0).latency == 1 + 3 + 1
