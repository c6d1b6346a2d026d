"""SparTen beside the designs that its paper compares it with, on the layers and densities that SCNN's authors measured.

``python -m tests.accelerators.sparten_ratios`` prints them all: cycles by network, and speed-ups over the dense design,
of whole networks and as means over layers, with masks drawn independently and with filters as unequal as those of a
really pruned SqueezeNet; what each assumption does to them; and the speed-up over SCNN on other choices of layers, with
the filter densities of SparTen's own table, and over other SCNNs. The DRAM is so fast that the units decide.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simulator import load_arch, simulate
from simulator.synthesis import draw_weights, fit_weights
from simulator.trace import Conv2d, DensityTensor, MaskTensor, Tensor, Trace
from simulator.trace.effectual import effectual_macs
from tests.real import DATA

FAST = {"dram.bandwidth": "10 TB/s", "dram.latency": "0 ns"}
NETWORKS = {"ALEX": "AlexNet", "VGG": "VGG-16", "inception": "GoogLeNet"}
DESIGNS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "SCNN": ("scnn", {}),
    "dense": ("sparten_dense", {}),
    "activations only": ("sparten_one_sided", {}),
    "weights only": ("sparten_one_sided", {"skips": "weights"}),
    "none": ("sparten", {"cluster.balancing": "none"}),
    "GB-S": ("sparten", {"cluster.balancing": "GB-S"}),
    "GB-H": ("sparten", {}),
}
ASSUMED = {
    "2 input chunks": {"cluster.input_chunks": "2"},
    "2 input chunks, GB-S": {"cluster.input_chunks": "2", "cluster.balancing": "GB-S"},
    "64 sums permuted": {"cluster.permuted_per_cycle": "64"},
    "16 bytes broadcast": {"cluster.broadcast_bytes": "16"},
    "no fill": {"cluster.fill": "0"},
    "tiles of 256 pixels": {"tiling.pixels": "256"},
    "tiles of 4096 pixels": {"tiling.pixels": "4096"},
}
TABLE_3 = {
    "VGG_conv1_1": 0.58, "VGG_conv1_2": 0.21, "VGG_conv2_1": 0.34, "VGG_conv2_2": 0.36, "VGG_conv3_1": 0.53,
    "VGG_conv3_2": 0.24, "VGG_conv3_3": 0.42, "VGG_conv4_1": 0.32, "VGG_conv4_2": 0.27, "VGG_conv4_3": 0.34,
    "VGG_conv5_1": 0.32, "VGG_conv5_2": 0.29, "VGG_conv5_3": 0.36, "inception_3a-1x1": 0.38,
    "inception_3a-3x3_reduce": 0.41, "inception_3a-3x3": 0.43, "inception_3a-5x5_reduce": 0.35,
    "inception_3a-5x5": 0.33, "inception_3a-pool_proj": 0.47,
}  # fmt: skip
"""Densities of the filters in SparTen's table 3, as far as public code quotes it, as sparsities:
github.com/Yang-YiFan/STR, export_nonstr.py, lines 143 to 151 of commit ec52712."""
LISTS: Mapping[str, Callable[[str], bool]] = {
    "all 73": lambda name: True,
    "of GoogLeNet 3a": lambda name: not name.startswith("inception") or "_3a" in name,
    "of GoogLeNet 3a and 5a": lambda name: not name.startswith("inception") or "_3a" in name or "_5a" in name,
    "the same without conv1": lambda name: LISTS["of GoogLeNet 3a and 5a"](name) and name != "ALEX_conv1",
}
"""Choices of layers, by their names. Of GoogLeNet's modules only 3a is known to be in table 3; AlexNet's first layer
has a stride, and the abstract says that SCNN's approach is not applicable to that."""
SCNNS = {
    "as configured": {},
    "no queue before a bank": {"accumulators.queue": "0"},
    "a barrier at each channel": {"weight_fifo.depth": "1"},
    "both": {"accumulators.queue": "0", "weight_fifo.depth": "1"},
}
"""SCNNs slower than that of its paper, to see which would be as slow as SparTen's figures have it."""


@dataclass(frozen=True)
class Layer:
    """A row of the table."""

    name: str
    shape: tuple[int, ...]
    """R, S, P, Q, C, K."""
    weight: float
    input: float
    output: float


@cache
def layers(network: str) -> tuple[Layer, ...]:
    """Return the layers of a network, by the beginning of their names in the table."""
    with (DATA / "scnn_layer_densities.csv").open() as file:
        return tuple(
            Layer(
                row["layer"], tuple(int(row[axis]) for axis in "RSPQCK"), *(float(row[f"{t}_density"]) for t in tensors)
            )
            for tensors in [("weight", "input", "output")]
            for row in csv.DictReader(file)
            if row["layer"].startswith(network)
        )


@cache
def squeezenet() -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the really pruned weights."""
    from safetensors.numpy import load_file

    weights = load_file(DATA / "squeezenet_pruned.safetensors")
    return {name: weight != 0 for name, weight in weights.items() if weight.ndim == 4}


def unequal(layer: Layer, seed: int) -> Tensor:
    """Draw a weight whose filters differ as those of SqueezeNet's layer of that kernel with most nearly as many do.

    Their densities are multiplied so that the layer has its own; those of channels and places likewise.
    """
    R, S, _, _, C, K = layer.shape
    alike = [mask for mask in squeezenet().values() if (mask.shape[2] == 1) == (R == 1) and mask.shape[1] > 3]
    mask = min(alike, key=lambda m: abs(m.shape[0] - K))
    profile = fit_weights(mask)
    times = layer.weight / profile.density
    scaled = {
        name: tuple(min(1.0, share * times) for share in getattr(profile, name))
        for name in ("filters", "channels", "places")
    }
    drawn = draw_weights(profile.model_copy(update={"density": layer.weight, **scaled}), (K, C, R, S), seed)
    return MaskTensor.of(drawn)


@cache
def trace(network: str, real: bool = False, table_3: bool = False) -> Trace:
    """Make a network's trace: outputs as large as inputs, as the table has no others."""
    operators = []
    for i, layer in enumerate(layers(network)):
        R, S, P, Q, C, K = layer.shape
        if table_3:
            layer = replace(layer, weight=TABLE_3.get(layer.name, layer.weight))
        operators.append(
            Conv2d(
                layer.name,
                DensityTensor((1, C, P, Q), layer.input, 3 * i),
                weight=unequal(layer, i) if real else DensityTensor((K, C, R, S), layer.weight, 3 * i + 1),
                output=DensityTensor((1, K, P, Q), layer.output, 3 * i + 2),
                padding=((R - 1) // 2, (S - 1) // 2),
            )
        )
    return Trace(NETWORKS[network], tuple(operators))


def cycles(
    network: str, design: str, real: bool = False, settings: Mapping[str, str] = FAST, table_3: bool = False
) -> NDArray[np.int64]:
    """Return the cycles of each layer."""
    chip, own = DESIGNS[design]
    return cycles_on(chip, trace(network, real, table_3), {**own, **settings})


def cycles_on(chip: str, trace: Trace, settings: Mapping[str, str]) -> NDArray[np.int64]:
    """Return the cycles of each operator on a chip."""
    return np.array([operator.cycles for operator in simulate(trace, load_arch(chip, settings)).operators])


def oracle(network: str, real: bool = False) -> float:
    """Return dense ÷ effectual MACs: what no design beats over a dense one of as many multipliers, fully used."""
    macs = simulate(trace(network, real), load_arch("sparten_dense", FAST)).summary["macs"]
    return float(macs["dense"] / macs["effectual"])


def mean(values: list[float]) -> str:
    """Return the arithmetic and the geometric mean."""
    return f"{np.mean(values):5.2f} {np.exp(np.mean(np.log(values))):5.2f}"


def table(title: str, real: bool, settings: Mapping[str, str]) -> None:
    """Print cycles and speed-ups of every design."""
    print(f"\n{title}\n{'':18}{''.join(f'{name:>28}' for name in NETWORKS.values())}   means of networks, layers")
    dense = {network: cycles(network, "dense", real, settings) for network in NETWORKS}
    for design in DESIGNS:
        own = {network: cycles(network, design, real, settings) for network in NETWORKS}
        each = {network: dense[network] / own[network] for network in NETWORKS}
        whole = [float(dense[network].sum() / own[network].sum()) for network in NETWORKS]
        cells = [f"{own[n].sum():14,}{w:6.2f} ({each[n].mean():5.2f})" for n, w in zip(NETWORKS, whole, strict=True)]
        print(f"{design:18}{''.join(cells)}   {mean(whole)}  {mean([float(e.mean()) for e in each.values()])}")


Each = Mapping[str, NDArray[np.float64]]
"""Of each network's layers."""


def ratio(slow: Each, fast: Each, chosen: Callable[[str], bool] = LISTS["all 73"]) -> str:
    """Return how many times as fast: of each network and as a mean over its layers, and the means of the networks."""
    whole, by_layers = [], []
    for network in NETWORKS:
        at = np.array([chosen(layer.name) for layer in layers(network)])
        whole.append(float(slow[network][at].sum() / fast[network][at].sum()))
        by_layers.append(float((slow[network][at] / fast[network][at]).mean()))
    cells = [f"{w:8.2f} ({e:5.2f})" for w, e in zip(whole, by_layers, strict=True)]
    return f"{''.join(cells)}   {mean(whole)}  {mean(by_layers)}"


def over_scnn() -> None:
    """Print how many times as fast as SCNN: on other layers, with the densities of table 3, and as other SCNNs."""
    print(f"\nOver SCNN\n{'':30}{''.join(f'{name:>16}' for name in NETWORKS.values())}   means of networks, layers")
    scnn, fast = ({n: cycles(n, design) for n in NETWORKS} for design in ("SCNN", "GB-H"))
    two = {n: cycles(n, "GB-H", False, {**FAST, **ASSUMED["2 input chunks"]}) for n in NETWORKS}
    bound = {n: np.array([effectual_macs(o) or 0 for o in trace(n).operators]) / 1024 for n in NETWORKS}
    for name, chosen in LISTS.items():
        for of, own in (("SparTen", fast), ("2 input chunks", two), ("perfect", bound)):
            print(f"{f'{name}, {of}':39}{ratio(scnn, own, chosen)}")
    quoted = [{n: cycles(n, design, table_3=True) for n in NETWORKS} for design in ("SCNN", "GB-H", "dense")]
    print(f"{'table 3':39}{ratio(quoted[0], quoted[1])}\n{'table 3, over dense':39}{ratio(quoted[2], quoted[1])}")
    dense = {n: cycles(n, "dense") for n in NETWORKS}
    dcnn = {n: cycles_on("dcnn", trace(n), FAST) for n in NETWORKS}
    for name, settings in SCNNS.items():
        own = {n: cycles(n, "SCNN", False, {**FAST, **settings}) for n in NETWORKS}
        for of, value in (("over DCNN", ratio(dcnn, own)), ("over dense", ratio(dense, own))):
            print(f"{f'SCNN, {name}, {of}':39}{value}")
        print(f"{'SparTen over it':39}{ratio(own, fast)}")


def main() -> None:
    """Print everything."""
    for title, real in (("Masks drawn independently", False), ("Filters as unequal as SqueezeNet's", True)):
        table(f"{title}, DRAM no limit: cycles, speed-up over dense (mean over layers)", real, FAST)
        print(f"{'oracle':18}{''.join(f'{oracle(network, real):20.2f}{str():8}' for network in NETWORKS)}")
    table("Masks drawn independently, DRAM as configured", False, {})
    print("\nAssumptions, masks drawn independently: speed-up over dense")
    dense = {network: int(cycles(network, "dense").sum()) for network in NETWORKS}
    for name, settings in ASSUMED.items():
        whole = [dense[n] / int(cycles(n, "GB-H", False, {**FAST, **settings}).sum()) for n in NETWORKS]
        print(f"{name:22}{''.join(f'{value:8.2f}' for value in whole)}   {mean(whole)}")
    over_scnn()


if __name__ == "__main__":
    main()
