"""Real data to test on, where it is at hand: beside the checkout, in ``shared/data``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from simulator.compress import hybrid_quantise
from simulator.trace import Conv2d, Linear, Operator, Trace, quantise

DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data are not at hand: no folder {DATA}")

Floats = NDArray[np.float32]


def cifar_images(count: int) -> tuple[Floats, list[int]]:
    """Return the first images of different classes, normalised as ResNet-20 was trained: (N, 3, 32, 32), and labels."""
    from PIL import Image

    files = [sorted((DATA / "cifar10_test").glob(f"{label}_*.jpg"))[0] for label in range(count)]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 for file in files])
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(((pixels - mean) / deviation).transpose(0, 3, 1, 2)), list(range(count))


def resnet20(images: Floats) -> tuple[Trace, Floats]:
    """Run ResNet-20 and trace it: its real activations in 8 bits, its weights decomposed; and the scores."""
    from safetensors.numpy import load_file

    weights = load_file(DATA / "resnet20_cifar10.safetensors")
    operators: list[Operator] = []

    def conv(x: Floats, layer: str, norm: str, stride: int) -> Floats:
        weight = weights[f"{layer}.weight"]
        operators.append(Conv2d(layer, quantise(x), weight=quantise(weight), stride=stride, padding=1))
        windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
        y = np.einsum("ncpqrs,kcrs->nkpq", windows[:, :, ::stride, ::stride], weight, optimize=True)
        scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
        shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        return y * scale[:, None, None] + shift[:, None, None]

    x = np.maximum(conv(images, "conv1", "bn1", 1), 0)
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(conv(x, f"{name}.conv1", f"{name}.bn1", stride), 0)
            y = conv(y, f"{name}.conv2", f"{name}.bn2", 1)
            if stride == 2:  # the parameter-free shortcut: every other pixel, channels padded with zeros
                x = np.pad(x[:, :, ::2, ::2], ((0, 0), (x.shape[1] // 2,) * 2, (0, 0), (0, 0)))
            x = np.maximum(x + y, 0)
    x = x.mean(axis=(2, 3))
    weight = weights["linear.weight"]
    operators.append(Linear("linear", quantise(x), weight=quantise(weight)))
    return hybrid_quantise(Trace("resnet20", tuple(operators))), x @ weight.T + weights["linear.bias"]
