"""SparTen by hand, on real masks, and beside the designs that its paper compares it with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import Arch
from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, Trace, ValueTensor
from tests.accelerators import sparten_ratios
from tests.operators import trace_of
from tests.real import DATA, cifar_images, needs_data, resnet20


@pytest.fixture(scope="module")
def sparten() -> Arch[Any]:
    return load_arch("sparten")


@needs_data
def test_resnet20_on_real_images_is_exact(sparten: Arch[Any]) -> None:
    trace, _ = resnet20(cifar_images(2)[0])
    result = simulate(trace, sparten, check=True)
    assert [o.verified for o in result.operators] == [True] * 20
    macs = result.summary["macs"]
    assert macs["performed"] == macs["effectual"] < macs["dense"]


@needs_data
@pytest.mark.parametrize("chip", ["sparten", "sparten_one_sided", "sparten_dense"])
@pytest.mark.parametrize(
    ("layer", "effectual"), [("07", 1_702_140), ("13", 1_144_158), ("19", 1_457_458), ("25", 948_572)]
)
def test_effectual_macs_of_mobilenet_masks(chip: str, layer: str, effectual: int) -> None:
    """The published ground truth (Sparseloop, MICRO 2022); each design performs what it does not skip."""
    masks = np.load(DATA / "mobilenet_masks" / f"L{layer}.npz")
    activations, weights = masks["activations"], masks["weights"]
    operator = Conv2d(
        "pointwise",
        MaskTensor.of(activations.transpose(2, 0, 1)[None]),
        weight=MaskTensor.of(weights[:, :, None, None]),
    )
    performed = {
        "sparten": effectual,
        "sparten_one_sided": int(activations.sum()) * len(weights),
        "sparten_dense": activations.size * len(weights),
    }
    macs = simulate(trace_of(operator), load_arch(chip)).summary["macs"]
    assert macs["effectual"] == effectual
    assert macs["performed"] == performed[chip]


def ones(*shape: int) -> ValueTensor:
    return ValueTensor(np.ones(shape, np.int64))


@pytest.mark.parametrize("chip", ["sparten", "sparten_one_sided", "sparten_dense"])
def test_a_dense_layer_by_hand(chip: str) -> None:
    """1×1, 128 → 64 channels, 8×4 pixels: a pixel for each cluster; a chunk takes each filter 128 cycles."""
    result = simulate(trace_of(Conv2d("pointwise", ones(1, 128, 8, 4), weight=ones(64, 128, 1, 1))), load_arch(chip))
    join = result.operators[0].program.stages[1]
    assert join.cycles.tolist() == [2 * 128 + 3]  # two filters for each unit, and the pipeline's fill
    assert result.summary["macs"]["performed"] == 64 * 128 * 32
    streams = dict(zip(result.streams["stream"], result.streams["compulsory_bytes"], strict=True))
    maps = {"sparten": (16, 16, 8), "sparten_one_sided": (16, 0, 8), "sparten_dense": (0, 0, 0)}[chip]
    assert streams == {
        "input": 32 * (128 + maps[0]),
        "weight": 64 * (128 + maps[1]),
        "output": 32 * (64 + maps[2]),
    }


def test_a_chunk_without_a_match_takes_a_cycle(sparten: Arch[Any]) -> None:
    """300 channels are chunks of 128, 128 and 44; the weights meet the inputs in the second one only."""
    inputs, weights = np.zeros((1, 300), np.int64), np.ones((32, 300), np.int64)
    inputs[0, 130:140] = 3
    result = simulate(trace_of(Linear("linear", ValueTensor(inputs), weight=ValueTensor(weights))), sparten, check=True)
    assert result.verified is True
    assert result.operators[0].program.stages[1].cycles.tolist() == [1 + 10 + 1 + 3]


def test_balancing_gains_where_filters_differ() -> None:
    """Half of the filters empty, half full: in their order two units in a row wait for each other, paired none does."""
    weights = np.zeros((64, 128, 1, 1), np.int64)
    weights[::2] = 1
    operator = Conv2d("pointwise", ones(1, 128, 8, 4), weight=ValueTensor(weights))
    cycles = {}
    for balancing in ("none", "GB-S", "GB-H"):
        result = simulate(trace_of(operator), load_arch("sparten", {"cluster.balancing": balancing}))
        cycles[balancing] = result.operators[0].program.stages[1].cycles.sum()
    assert cycles == {"none": 128 + 128 + 3, "GB-S": 128 + 1 + 3, "GB-H": 128 + 1 + 3}


def test_filters_too_large_are_refused(sparten: Arch[Any]) -> None:
    operator = Linear("wide", DensityTensor((1, 600_000), 0.5, 1), weight=DensityTensor((2, 600_000), 0.5, 2))
    with pytest.raises(InputError, match=r"'wide'.*enlarge weight_buffer\.size"):
        simulate(trace_of(operator), sparten)
    row = Conv2d("row", DensityTensor((1, 1024, 1, 1024), 1.0, 1), weight=DensityTensor((2, 1024, 1, 1), 0.5, 2))
    with pytest.raises(InputError, match=r"'row'.*enlarge activation_buffer\.size"):
        simulate(trace_of(row), sparten)


@pytest.mark.parametrize("chip", ["sparten", "sparten_one_sided", "sparten_dense"])
def test_area_is_known(chip: str) -> None:
    operator = Linear("linear", DensityTensor((1, 64), 0.5, 1), weight=DensityTensor((32, 64), 0.5, 2))
    assert simulate(Trace("t", (operator,)), load_arch(chip)).summary["area_mm2"] > 0


@needs_data
def test_speedups_on_the_densities_of_alexnet() -> None:
    """As docs/sparten.md has them; no design beats the oracle, and each step of the balancing gains."""
    dense = sparten_ratios.cycles("ALEX", "dense").sum()
    gain = {
        design: dense / sparten_ratios.cycles("ALEX", design).sum()
        for design in sparten_ratios.DESIGNS
        if design != "SCNN"
    }
    assert gain == pytest.approx(
        {"dense": 1, "activations only": 1.37, "weights only": 1.79, "none": 2.25, "GB-S": 2.38, "GB-H": 2.64},
        abs=0.006,
    )
    assert gain["GB-H"] < sparten_ratios.oracle("ALEX")


@needs_data
def test_filters_are_as_dense_in_the_papers_own_table() -> None:
    """Its table 3, where public code quotes it, beside what SCNN's authors measured: the same pruned networks."""
    measured = {
        layer.name: layer.weight for network in ("VGG", "inception") for layer in sparten_ratios.layers(network)
    }
    apart = [abs(density - measured[name]) for name, density in sparten_ratios.TABLE_3.items()]
    assert len(apart) == 13 + 6
    assert max(apart) < 0.035
    assert sum(apart) / len(apart) < 0.01
