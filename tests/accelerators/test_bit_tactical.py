"""The weight-skipping chip by hand and on real masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import Arch
from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, ValueTensor
from tests.accelerators import sparten_ratios
from tests.operators import trace_of
from tests.real import DATA, cifar_images, needs_data, resnet20

DENSE = {"array.look_ahead": "0", "array.offsets": "[]"}


@pytest.fixture(scope="module")
def chip() -> Arch[Any]:
    return load_arch("bit_tactical")


@needs_data
def test_resnet20_on_real_images_is_exact(chip: Arch[Any]) -> None:
    result = simulate(resnet20(cifar_images(2)[0])[0], chip, check=True)
    assert [o.verified for o in result.operators] == [True] * 20


@needs_data
@pytest.mark.parametrize(
    ("layer", "effectual"), [("07", 1_702_140), ("13", 1_144_158), ("19", 1_457_458), ("25", 948_572)]
)
def test_effectual_macs_of_mobilenet_masks(chip: Arch[Any], layer: str, effectual: int) -> None:
    """The published ground truth (Sparseloop, MICRO 2022); products of zero activations are performed, too."""
    masks = np.load(DATA / "mobilenet_masks" / f"L{layer}.npz")
    activations, weights = masks["activations"], masks["weights"]
    operator = Conv2d(
        "pointwise",
        MaskTensor.of(activations.transpose(2, 0, 1)[None]),
        weight=MaskTensor.of(weights[:, :, None, None]),
    )
    macs = simulate(trace_of(operator), chip).summary["macs"]
    assert macs["effectual"] == effectual
    assert macs["performed"] == int(weights.sum()) * activations.shape[0] * activations.shape[1]


def pointwise(weights: np.ndarray[Any, Any]) -> Conv2d:
    return Conv2d(
        "pointwise", ValueTensor(np.ones((1, 64, 4, 4), np.int64)), weight=ValueTensor(weights[:, :, None, None])
    )


@pytest.mark.parametrize(
    ("kept", "cycles"),
    [
        pytest.param(np.ones(64), 4, id="dense: a cycle for each row of 16"),
        pytest.param(np.arange(64) < 16, 2, id="three empty rows: two are passed over, the third takes a cycle"),
        pytest.param(np.arange(64) // 16 % 2 == 0, 2, id="every other row empty: passed over"),
        pytest.param(np.arange(64) % 2 == 0, 2, id="every other lane: the row after fills what is empty"),
    ],
)
def test_rows_by_hand(chip: Arch[Any], kept: np.ndarray[Any, Any], cycles: int) -> None:
    """64 filters alike, 16 pixels: one block and four pixels for each of four tiles, times four."""
    result = simulate(trace_of(pointwise(np.tile(kept.astype(np.int64), (64, 1)))), chip, check=True)
    assert result.verified is True
    assert result.operators[0].program.stages[0].cycles.tolist() == [16 * cycles + 6]


def test_filters_of_a_tile_step_together(chip: Arch[Any]) -> None:
    """One dense filter of sixteen holds the fifteen empty ones."""
    weights = np.zeros((64, 64), np.int64)
    weights[::16] = 1
    assert simulate(trace_of(pointwise(weights)), chip).operators[0].program.stages[0].cycles.tolist() == [16 * 4 + 6]


@needs_data
def test_speedups_on_the_densities_of_alexnet() -> None:
    """As docs/bit_tactical.md has them: between nothing and what the density of the weights allows."""
    trace = sparten_ratios.trace("ALEX")
    with_window, without = (
        simulate(trace, load_arch("bit_tactical", {**sparten_ratios.FAST, **settings})) for settings in ({}, DENSE)
    )
    gain = without.cycles / with_window.cycles
    assert gain == pytest.approx(1.55, abs=0.006)
    assert gain < without.summary["macs"]["dense"] / with_window.summary["macs"]["performed"]


def test_filters_too_large_are_refused(chip: Arch[Any]) -> None:
    operator = Linear("wide", DensityTensor((1, 100_000), 0.5, 1), weight=DensityTensor((16, 100_000), 0.9, 2))
    with pytest.raises(InputError, match=r"'wide'.*enlarge weight_buffer\.size"):
        simulate(trace_of(operator), chip)
