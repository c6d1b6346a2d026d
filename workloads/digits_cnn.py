"""A small CNN on handwritten digits, compressed the way ESCALATE does, as a trace of its integers.

Four steps, each a few lines below:

1. train a small network of 3×3, strided, depthwise, 1×1 and fully connected layers in floating point;
2. decompose its 3×3 layers into six basis kernels and their coefficients (PENNI, ICML 2020);
3. retrain with ternary coefficients, fewer and fewer of them, and 8-bit basis kernels and activations
   (ESCALATE, MICRO 2021: the sparsity comes from retraining, not from rounding a trained network);
4. run the integer network, operator by operator, and keep what it computes: the trace.

Run ``python -m simulator.workloads.digits_cnn`` (needs the extra ``[recipes]``; two minutes on one core).
"""

from __future__ import annotations

import os

# One thread and one set of instructions: sums in another order would train another network.
os.environ.update(
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    OPENBLAS_CORETYPE="Haswell",
    MKL_CBWR="AVX2",
    ONEDNN_MAX_CPU_ISA="AVX2",
    ATEN_CPU_CAPABILITY="avx2",
)

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from simulator.compress import (
    decompose,
    fold_scales,
    keep_largest,
    least_squares_scale,
    real_values,
    ternary_weights,
    weight_bits,
)
from simulator.trace import Conv2d, Linear, Operator, Trace, ValueTensor, quantise, save_trace

BASES = 6
DENSE_EPOCHS, RETRAIN_EPOCHS, SETTLING_EPOCHS = 6, 24, 10
BATCH = 64
SPARSITY_WEIGHT = 1e-5
"""Weight of the l1 norm of the coefficients in the loss."""
PIXEL_STEP = 1 / 127
ACTIVATION_STEP = 4 / 127
"""Value of one unit of an 8-bit activation: batch norm leaves little beyond 4, where ReLU is clipped."""


@dataclass(frozen=True)
class Layer:
    """One layer: its shape and how its weight is stored after compression."""

    name: str
    inputs: int
    outputs: int
    size: int
    storage: type[Storage]
    stride: int = 1
    groups: int = 1

    @property
    def geometry(self) -> dict[str, int]:
        """Stride, padding and groups, as PyTorch and the trace both call them."""
        return {"stride": self.stride, "padding": self.size // 2, "groups": self.groups}


class Storage(nn.Module):
    """A weight that trains in floating point while the network computes with what the chip will hold."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def tensors(self) -> dict[str, ValueTensor]:
        """Return the integers the chip multiplies, by the operator's role."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """Return the value of those integers; the gradient passes straight through to the parameters."""
        return straight_through(self.weight, real(self.tensors()["weight"]))


class EightBit(Storage):
    """8-bit integers, one scale per output channel."""

    def tensors(self) -> dict[str, ValueTensor]:
        """Return the rounded weight."""
        return {"weight": quantise(self.weight.detach().numpy(), bits=8, axis=0)}


class Ternary(Storage):
    """Ternary codes by the TWN rule, one scale per output channel."""

    def tensors(self) -> dict[str, ValueTensor]:
        """Return the codes."""
        return {"weight": ternary_weights(self.weight.detach().numpy())}


class Decomposed(Storage):
    """Basis kernels of 8 bits and ternary coefficients, non-zero where ``kept``."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        del self.weight
        basis, coefficients = decompose(weight.detach().numpy(), BASES)
        self.basis = nn.Parameter(torch.from_numpy(basis).float())
        self.coefficients = nn.Parameter(torch.from_numpy(coefficients).float())
        self.kept = np.ones(coefficients.shape, dtype=np.bool_)

    def codes_and_scale(self) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Return the signs of the coefficients kept, and the best scale for those of each basis kernel."""
        coefficients = self.coefficients.detach().numpy()
        codes = (np.sign(coefficients) * self.kept).astype(np.int8)
        return codes, least_squares_scale(coefficients, codes, axis=2)

    def tensors(self) -> dict[str, ValueTensor]:
        """Return the basis, the scales folded in, and the codes."""
        basis, coefficients = fold_scales(self.basis.detach().numpy(), *self.codes_and_scale())
        return {"basis": basis, "coefficients": coefficients}

    def forward(self) -> Tensor:
        """Return the recomposed kernels; the gradient reaches both parts, also of coefficients not kept."""
        scale = torch.from_numpy(self.codes_and_scale()[1]).float()
        tensors = self.tensors()
        basis = straight_through(self.basis * scale.reshape(-1, 1, 1), real(tensors["basis"]))
        codes = straight_through(self.coefficients / scale, real(tensors["coefficients"]))
        return torch.einsum("kcm,mrs->kcrs", codes, basis)


LAYERS = (
    Layer("stem", 1, 32, 3, EightBit),
    Layer("conv1", 32, 32, 3, Decomposed),
    Layer("conv2", 32, 64, 3, Decomposed, stride=2),
    Layer("depthwise", 64, 64, 3, EightBit, groups=64),
    Layer("pointwise", 64, 64, 1, Ternary),
    Layer("conv3", 64, 64, 3, Decomposed),
    Layer("conv4", 64, 64, 3, Decomposed, stride=2),
)
FLAT = 64 * 4 * 4
CLASSES = 10


class DigitsNet(nn.Module):
    """The layers above, each with batch norm and ReLU, and a fully connected one."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(a.outputs, a.inputs // a.groups, a.size, a.size) for a in LAYERS] + [(CLASSES, FLAT)]
        self.weights = nn.ParameterList(nn.init.kaiming_normal_(torch.empty(shape)) for shape in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(a.outputs) for a in LAYERS)
        self.bias = nn.Parameter(torch.zeros(CLASSES))
        self.storages = nn.ModuleList()

    def compress(self) -> None:
        """From now on store each weight as its layer says, and activations in 8 bits."""
        kinds = [layer.storage for layer in LAYERS] + [Ternary]
        self.storages = nn.ModuleList(kind(weight) for kind, weight in zip(kinds, self.weights, strict=True))
        self.weights = nn.ParameterList()

    def decomposed(self) -> list[Decomposed]:
        """Return the layers that have coefficients to prune: none before compression."""
        return [storage for storage in self.storages if isinstance(storage, Decomposed)]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 10) of images (N, 1, 16, 16)."""
        *kernels, last = [storage() for storage in self.storages] or self.weights
        x = images
        for layer, kernel, norm in zip(LAYERS, kernels, self.norms, strict=True):
            x = norm(functional.conv2d(x, kernel, **layer.geometry))
            x = eight_bit(x) if self.storages else functional.relu(x)
        return functional.linear(x.flatten(1), last, self.bias)


def straight_through(parameter: Tensor, value: Tensor) -> Tensor:
    """Return the value with the parameter's gradient (Bengio et al., 2013)."""
    return parameter + (value - parameter).detach()


def real(tensor: ValueTensor) -> Tensor:
    """Return integers times their scale, for PyTorch."""
    return torch.from_numpy(real_values(tensor)).float()


def eight_bit(x: Tensor) -> Tensor:
    """Return ReLU, clipped and rounded to the 128 values 0 … 127 steps."""
    x = x.clamp(0, 127 * ACTIVATION_STEP)
    return straight_through(x, (x / ACTIVATION_STEP).round() * ACTIVATION_STEP)


def load_data(seed: int) -> tuple[list[ValueTensor], list[Tensor]]:
    """Return images, scaled to 16×16 pixels of 8 bits, and labels, each for training and for the test."""
    digits = load_digits()
    small = torch.from_numpy(digits.images / 16).float()[:, None]
    large = functional.interpolate(small, scale_factor=2, mode="bilinear").numpy()
    parts = train_test_split(large, digits.target, test_size=0.25, random_state=seed, stratify=digits.target)
    images = [ValueTensor(np.rint(part * 127).astype(np.int8), PIXEL_STEP) for part in parts[:2]]
    return images, [torch.from_numpy(part) for part in parts[2:]]


def train(network: DigitsNet, images: Tensor, labels: Tensor, epochs: int, rate: float) -> Iterator[int]:
    """Train, one epoch at each step of the iterator, which yields before the epoch starts."""
    steps = -(-len(images) // BATCH)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps, pct_start=0.15)
    for epoch in range(epochs):
        yield epoch
        network.train()
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(network(images[batch]), labels[batch])
            loss = loss + SPARSITY_WEIGHT * sum(d.coefficients.abs().sum() for d in network.decomposed())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def prune_together(layers: list[Decomposed], density: float) -> None:
    """Keep the largest coefficients of all layers together; how many a layer keeps is its own affair."""
    pool = torch.cat([layer.coefficients.detach().flatten() for layer in layers])
    kept = keep_largest(pool.numpy(), density)
    ends = np.cumsum([layer.kept.size for layer in layers])[:-1]
    for layer, mask in zip(layers, np.split(kept, ends), strict=True):
        layer.kept = mask.reshape(layer.kept.shape)


def density_at(epoch: int, target: float) -> float:
    """Return the density to prune to: from one half to the target, fast, then slower (Zhu & Gupta 2017)."""
    left = max(0.0, 1 - epoch / (RETRAIN_EPOCHS - SETTLING_EPOCHS))
    return target + (0.5 - target) * left**3


def operators(network: DigitsNet, images: ValueTensor) -> tuple[list[Operator], NDArray[np.float64]]:
    """Run the integer network; return its operators, whose outputs feed one another, and the logits."""
    done: list[Operator] = []
    x = images
    *storages, last = network.storages
    for layer, storage, norm in zip(LAYERS, storages, network.norms, strict=True):
        operator = Conv2d(layer.name, x, **storage.tensors(), **layer.geometry)
        x = requantised(operator, norm)
        done.append(replace(operator, output=x))
    linear = Linear("linear", ValueTensor(x.values().reshape(-1, FLAT), x.scale), **last.tensors())
    logits = linear.reference() * output_scale(linear) + network.bias.detach().numpy()
    return [*done, linear], logits


def requantised(operator: Conv2d, norm: nn.BatchNorm2d) -> ValueTensor:
    """Return the 8-bit activations: batch norm with its running statistics, ReLU, rounding."""
    mean, variance, gain, offset = (
        part.detach().numpy().astype(np.float64)[:, None, None]
        for part in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    sums = operator.reference() * output_scale(operator).reshape(-1, 1, 1)
    normalised = (sums - mean) / np.sqrt(variance + norm.eps) * gain + offset
    return ValueTensor(np.rint(normalised / ACTIVATION_STEP).clip(0, 127).astype(np.int8), ACTIVATION_STEP)


def output_scale(operator: Conv2d | Linear) -> NDArray[np.float64]:
    """Return what one unit of the integer result is worth, one number or one per output channel."""
    tensors = operator.tensors
    weight = tensors.get("weight", tensors.get("basis"))
    return np.asarray(weight.scale) * operator.input.scale


def table(trace: Trace) -> Table:
    """Return what compression leaves of each layer, and of all."""
    sizes = {operator.name: weight_bits(operator) for operator in trace.operators}
    total = {key: sum(size[key] for size in sizes.values()) for key in sizes["stem"]}
    result = Table("layer", "weight", caption="Densities of weight and input; weights in kbit.")
    for column in ("density", "input", *total):
        result.add_column(column.replace("_", " "), justify="right")
    for operator in trace.operators:
        weight = operator.tensors.get("coefficients", operator.tensors.get("weight"))
        shape = "×".join(map(str, weight.shape))
        kbits = (f"{bits / 1000:.1f}" for bits in sizes[operator.name].values())
        result.add_row(operator.name, shape, f"{weight.density:.1%}", f"{operator.input.density:.1%}", *kbits)
    result.add_section()
    result.add_row("all", "", "", "", *(f"{bits / 1000:.1f}" for bits in total.values()))
    result.add_row("ratio", "", "", "", *(f"{total['fp32'] / bits:.1f}x" for bits in total.values()))
    return result


def train_and_compress(
    pixels: list[ValueTensor], labels: list[Tensor], density: float, console: Console
) -> tuple[DigitsNet, dict[str, float]]:
    """Return the compressed network and its accuracy on the held-out images before and after."""
    network, training = DigitsNet(), real(pixels[0])
    epochs = train(network, training, labels[0], DENSE_EPOCHS, 5e-3)
    for _ in track(epochs, "Dense", DENSE_EPOCHS, console=console):
        pass
    with torch.no_grad():
        before = accuracy(network.eval()(real(pixels[1])).numpy(), labels[1])
    network.compress()
    epochs = train(network, training, labels[0], RETRAIN_EPOCHS, 3e-3)
    for epoch in track(epochs, "Compressed", RETRAIN_EPOCHS, console=console):
        prune_together(network.decomposed(), density_at(epoch, density))
    after = accuracy(operators(network, pixels[1])[1], labels[1])
    return network, {"before": before, "after": after}


def accuracy(logits: NDArray[np.floating], labels: Tensor) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels.numpy()))


@click.command(context_settings={"show_default": True})
@click.option("--output", type=click.Path(path_type=Path), help="Trace file; else the shipped one.")
@click.option("--images", type=click.IntRange(1, 450), default=4, help="Test images in the trace.")
@click.option("--density", type=click.FloatRange(0.01, 1), default=0.1, help="Coefficients that survive.")
@click.option("--seed", type=int, default=0, help="Seed of split, weights and batches.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def main(output: Path | None, images: int, density: float, seed: int, force: bool) -> None:
    """Train, compress and retrain a CNN on scikit-learn's digits, and write the trace of its integers."""
    target = output or Path(__file__).parents[1] / "traces" / "digits_cnn.safetensors"
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists; --force overwrites it")
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    console = Console()
    pixels, labels = load_data(seed)
    network, reached = train_and_compress(pixels, labels, density, console)
    provenance = {
        "recipe": "workloads/digits_cnn.py",
        "dataset": f"scikit-learn load_digits, 16x16, first {images} images of the held-out quarter",
        "seed": str(seed),
        "compression": f"hybrid quantisation, M = {BASES}, coefficients pruned to {density:g}, retrained",
        **{f"accuracy {when}": f"{share:.4f}" for when, share in reached.items()},
        **{library: version(library) for library in ("torch", "scikit-learn", "numpy")},
    }
    chosen = ValueTensor(pixels[1].values()[:images], PIXEL_STEP)
    trace = Trace("digits_cnn", tuple(operators(network, chosen)[0]), provenance)
    save_trace(trace, target, force)
    console.print(table(trace))
    console.print(
        "Accuracy on {} held-out images: {before:.2%} fp32, {after:.2%} compressed.".format(len(labels[1]), **reached)
    )
    console.print(f"Wrote {target} ({target.stat().st_size / 1024:.0f} KiB).")


if __name__ == "__main__":
    main()
