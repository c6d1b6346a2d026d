"""The SIGMA-like array by hand, on real masks, and beside published and others' cycles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import Arch
from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, ValueTensor
from tests.accelerators import sigma_ratios
from tests.operators import trace_of
from tests.real import DATA, cifar_images, needs_data, resnet20


@pytest.fixture(scope="module")
def sigma() -> Arch[Any]:
    return load_arch("sigma")


@needs_data
def test_resnet20_on_real_images_is_exact(sigma: Arch[Any]) -> None:
    result = simulate(resnet20(cifar_images(2)[0])[0], sigma, check=True)
    assert [o.verified for o in result.operators] == [True] * 20
    assert result.summary["macs"]["performed"] == result.summary["macs"]["effectual"]


@needs_data
@pytest.mark.parametrize(
    ("layer", "effectual"), [("07", 1_702_140), ("13", 1_144_158), ("19", 1_457_458), ("25", 948_572)]
)
def test_effectual_macs_of_mobilenet_masks(sigma: Arch[Any], layer: str, effectual: int) -> None:
    """The published ground truth (Sparseloop, MICRO 2022)."""
    masks = np.load(DATA / "mobilenet_masks" / f"L{layer}.npz")
    operator = Conv2d(
        "pointwise",
        MaskTensor.of(masks["activations"].transpose(2, 0, 1)[None]),
        weight=MaskTensor.of(masks["weights"][:, :, None, None]),
    )
    macs = simulate(trace_of(operator), sigma).summary["macs"]
    assert macs["effectual"] == macs["performed"] == effectual


def test_folds_by_hand() -> None:
    """1×1, 64 → 48 channels, a weight in four: 768 non-zeros are three folds of 256, each past 20 pixels."""
    weights = np.zeros((48, 64, 1, 1), np.int64)
    weights[:, ::4] = 2
    operator = Conv2d("pointwise", ValueTensor(np.ones((1, 64, 4, 5), np.int64)), weight=ValueTensor(weights))
    arch = load_arch("sigma", {"engines.count": "2", "engines.load_words": "100", "engines.stream_words": "6"})
    result = simulate(trace_of(operator), arch, check=True)
    assert result.verified is True
    stage = result.operators[0].program.stages[0]
    # 16 distinct elements of each pixel are read in 3 cycles; 256 weights are loaded in 3; the latency is 10
    assert stage.cycles.tolist() == [3 * (3 + 20 * 3 + 10)]
    assert result.summary["macs"]["performed"] == 768 * 20


def test_one_fold_stays_while_tiles_pass() -> None:
    """Weights that fit at once are loaded once, whatever the number of tiles."""
    operator = Linear("linear", DensityTensor((64, 32), 0.5, 1), weight=DensityTensor((16, 32), 1.0, 2))
    result = simulate(trace_of(operator), load_arch("sigma", {"tiling.pixels": "16"}))
    assert result.operators[0].program.stages[0].cycles.tolist() == [4 + 16 + 10, 16 + 10, 16 + 10, 16 + 10]


def test_stonne() -> None:
    """512³, weights 20 %, activations 50 %, 1,024 multipliers: 8 % below STONNE's 29,995, no less than the ideal."""
    assert 13_107 < sigma_ratios.stonne() == pytest.approx(29_995, rel=0.09)


def test_a_fold_too_large_is_refused() -> None:
    operator = Linear("wide", DensityTensor((4, 4096), 0.5, 1), weight=DensityTensor((64, 4096), 0.9, 2))
    with pytest.raises(InputError, match=r"'wide'.*enlarge weight_buffer\.size"):
        simulate(trace_of(operator), load_arch("sigma", {"weight_buffer.size": "8 KiB"}))
