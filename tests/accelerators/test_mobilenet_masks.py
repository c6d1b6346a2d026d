"""Every chip that runs a 1×1 convolution finds the effectual MACs of a really pruned MobileNet, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import list_configs
from simulator.errors import InputError
from simulator.trace import Conv2d, MaskTensor, Trace
from tests.real import DATA, needs_data

EFFECTUAL = {"L07": 1_702_140, "L13": 1_144_158, "L19": 1_457_458, "L25": 948_572}
"""The published ground truth (Sparseloop, MICRO 2022)."""
REFUSING = {"a3", "dota", "elsa", "sanger", "spatten", "vitcod"}
"""Chips of attention."""


@needs_data
@pytest.mark.parametrize("chip", list_configs())
def test_effectual_macs(chip: str) -> None:
    bits = 1 if chip == "escalate" else 8  # its coefficients are ternary
    operators = tuple(pointwise(layer, bits) for layer in EFFECTUAL)
    if chip in REFUSING:
        with pytest.raises(InputError):
            simulate(Trace("mobilenet", operators[:1]), load_arch(chip))
        return
    result = simulate(Trace("mobilenet", operators), load_arch(chip))
    assert [operator.program.macs.effectual for operator in result.operators] == list(EFFECTUAL.values())


def pointwise(layer: str, bits: int) -> Conv2d:
    """Return a layer: weights (M, C), activations (E, F, C) as its file has them."""
    with np.load(DATA / "mobilenet_masks" / f"{layer}.npz") as masks:
        return Conv2d(
            layer,
            MaskTensor.of(masks["activations"].transpose(2, 0, 1)[None]),
            weight=MaskTensor.of(masks["weights"][:, :, None, None], bits=bits),
        )
