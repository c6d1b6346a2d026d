"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from simulator.trace import Conv2d, Linear, MaskTensor, Trace, ValueTensor, save_trace

# The first example may compile kernels, and a busy machine is no failure.
settings.register_profile("skipper", deadline=None)
settings.load_profile("skipper")


@pytest.fixture(scope="session")
def small_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random trace with real values and one layer of each kind that ESCALATE runs."""
    rng = np.random.default_rng(20)

    def activations(channels: int, size: int, density: float) -> ValueTensor:
        shape = (1, channels, size, size)
        return ValueTensor(rng.integers(1, 128, shape) * (rng.random(shape) < density))

    def codes(*shape: int) -> ValueTensor:
        return ValueTensor(rng.integers(-1, 2, shape) * (rng.random(shape) < 0.5), bits=1)

    first = Conv2d("first", activations(3, 12, 1.0), weight=ValueTensor(rng.integers(-9, 10, (16, 3, 3, 3))), padding=1)
    sparse = Conv2d(
        "decomposed",
        activations(16, 12, 0.4),
        basis=ValueTensor(rng.integers(-99, 100, (4, 3, 3))),
        coefficients=codes(24, 16, 4),
        output=MaskTensor.of(rng.random((1, 24, 6, 6)) < 0.5),
        stride=2,
        padding=1,
    )
    depthwise = Conv2d(
        "depthwise",
        activations(24, 6, 0.5),
        weight=ValueTensor(rng.integers(-9, 10, (24, 1, 3, 3))),
        padding=1,
        groups=24,
    )
    pointwise = Conv2d("pointwise", activations(24, 6, 0.5), weight=codes(40, 24, 1, 1))
    linear = Linear("linear", ValueTensor(rng.integers(0, 9, (1, 70))), codes(10, 70))
    path = tmp_path_factory.mktemp("traces") / "small.safetensors"
    save_trace(Trace("small", (first, sparse, depthwise, pointwise, linear), {"recipe": "tests/conftest.py"}), path)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the points of sweeps and batches in a thread of the tests' own process, which has all kernels."""

    @contextmanager
    def threads(*_: object) -> Iterator[tuple[ThreadPoolExecutor, int]]:
        with ThreadPoolExecutor(1) as executor:
            yield executor, 1

    monkeypatch.setattr("simulator.sweep.execute._executor", threads)
