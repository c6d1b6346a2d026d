"""What must not depend on the processor that kernels are compiled for; run as a module it prints this as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator import load_arch, simulate
from simulator.hardware.bits import gather, has_bit_gather
from simulator.trace import Conv2d, DensityTensor, Trace, ValueTensor

Words = NDArray[np.uint64]


@njit
def gathered(words, masks):  # type: ignore[no-untyped-def]
    result = np.empty_like(words)
    for i in range(words.size):
        result[i] = gather(words[i], masks[i])
    return result


def random_words() -> tuple[Words, Words]:
    """Return words and masks of every density."""
    rng = np.random.default_rng(64)
    bits = rng.random((2, 2000, 64)) < rng.random((2, 2000, 1))
    words, masks = np.packbits(bits, axis=-1, bitorder="little").view("<u8")[..., 0].astype(np.uint64)
    return words, masks


def random_trace() -> Trace:
    rng = np.random.default_rng(0)
    basis = ValueTensor(rng.integers(-127, 128, (3, 3, 3)))
    coefficients = DensityTensor((10, 70, 3), 0.2, seed=1, bits=1)
    image, hidden = DensityTensor((1, 70, 6, 6), 0.4, seed=2), DensityTensor((1, 10, 6, 6), 0.6, seed=3)
    decomposed = Conv2d("decomposed", image, basis=basis, coefficients=coefficients, padding=1)
    pointwise = Conv2d("pointwise", hidden, DensityTensor((5, 10, 1, 1), 0.5, seed=4, bits=1))
    return Trace("random", (decomposed, pointwise))


def answers() -> dict[str, Any]:
    """Return a digest of gathered words, and all that a small run found."""
    result = simulate(random_trace(), load_arch("escalate"))
    return {
        "bit_gather": has_bit_gather(),
        "gathered": hashlib.sha256(gathered(*random_words()).astype("<u8").tobytes()).hexdigest(),
        **{part: getattr(result, part) for part in ("summary", "table", "units", "streams", "actions")},
    }


if __name__ == "__main__":
    print(json.dumps(answers()))
