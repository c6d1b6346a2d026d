"""Small traces and files for the tests of traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, MatMul, Trace, ValueTensor, quantise


def every_kind() -> Trace:
    """A trace with all operators, all kinds of tensors, both forms of weight and a shared tensor."""
    rng = np.random.default_rng(7)
    hidden = MaskTensor.of(rng.random((1, 8, 7, 7)) < 0.5)
    stored = ValueTensor(rng.integers(0, 256, (1, 6, 4, 4)), scale=0.5)
    first = Conv2d(
        "conv1",
        quantise(rng.normal(size=(1, 3, 7, 7))),
        quantise(rng.normal(size=(8, 3, 3, 3)), axis=0),
        output=hidden,
        padding=1,
    )
    second = Conv2d(
        "conv2",
        hidden,
        basis=ValueTensor(rng.integers(-127, 128, (2, 3, 3)), scale=0.1),
        coefficients=ValueTensor(rng.integers(-1, 2, (6, 8, 2)), bits=1),
        output=stored,
        stride=2,
        padding=1,
    )
    linear = Linear("fc", DensityTensor((5, 9), 0.3, seed=4), DensityTensor((4, 9), 1, seed=5, bits=4))
    scores = MatMul("scores", DensityTensor((2, 3, 4), 0.5, 1), ValueTensor(rng.integers(-9, 9, (2, 4, 5))))
    again = Conv2d("conv3", stored, DensityTensor((2, 6, 3, 3), 0.25, seed=0))
    return Trace("every kind", (first, second, linear, scores, again), {"model": "none", "seed": "7"})


def tampered(source: Path, target: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Path:
    """Write a copy of a trace file after `change(header, arrays)`, which may return another header text."""
    with safe_open(source, framework="numpy") as file:
        header = json.loads(file.metadata()["skipper"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
    text = change(header, arrays)
    save_file(arrays, target, {"skipper": text if isinstance(text, str) else json.dumps(header)})
    return target
