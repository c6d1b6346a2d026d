"""Print what the A100 model gives beside sweeps that LLMCompass measured, and how its numbers were calibrated.

``python -m tests.benchmarks.gpu`` prints the sweeps, and V100 on DOTA's shapes; ``… calibrate`` fits the numbers anew.
Products and GPT-3's layer are experiments: ``skipper reproduce gpu_gemm``, ``gpu_gpt3``, ``gpu_dfss``. Measurements:
LLMCompass (ISCA 2024), github.com/PrincetonUniversity/LLMCompass (2e015fd), ae/figure5: PyTorch on an A100 80 GB,
median of the host's time around each call and a synchronisation, normalisation and GeLU compiled.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log

from simulator import load_arch, simulate
from simulator.reproduce import read_experiment
from simulator.trace import Attention, DensityTensor, Linear, MatMul, Operator, Rowwise, Trace

SYNCHRONISED = {"launch.synchronised": "true"}


@dataclass(frozen=True)
class Line:
    """One measurement."""

    group: str
    name: str
    operator: Operator
    measured_ms: float
    calibrated: bool = False
    """Whether a number of the model was calibrated on it."""


def dense(*shape: int) -> DensityTensor:
    """Return a tensor without zeros, of which only the shape matters."""
    return DensityTensor(shape, 1.0, 0, bits=16)


def linear(rows: int, columns: int, reduction: int) -> Linear:
    """Return a product of a matrix with weights."""
    return Linear("gemm", dense(rows, reduction), weight=dense(columns, reduction))


def batched(batch: int, rows: int, reduction: int, columns: int) -> MatMul:
    """Return a batch of products."""
    return MatMul("bmm", dense(batch, rows, reduction), dense(batch, reduction, columns))


def rowwise(kind: str, *shape: int) -> Rowwise:
    """Return what is done between products."""
    return Rowwise(kind, dense(*shape), kind=kind)


PRODUCTS = {
    "64 × 12288 × 12288": (64, 12288, 12288), "8192 × 64 × 64": (8192, 64, 64),
    "8192 × 4096 × 4096": (8192, 4096, 4096), "8192 × 16384 × 16384": (8192, 16384, 16384),
}  # fmt: skip
"""Those of ``experiments/gpu_gemm.yaml`` that numbers are calibrated on: M, N, K."""
SOFTMAX = {
    (4096, 32): 9.99556, (4096, 64): 19.63414, (4096, 128): 37.27158, (4096, 256): 68.71948, (4096, 512): 111.34295,
    (4096, 1024): 152.97553, (4096, 2048): 167.54463, (4096, 4096): 204.56030, (4096, 8192): 216.51921,
    (4096, 16384): 242.02491, (4096, 32768): 240.88573, (32, 4096): 8.45778, (512, 4096): 96.66036,
    (2048, 4096): 166.75058, (8192, 4096): 229.96322, (32768, 4096): 278.82613,
}  # fmt: skip
"""Rows × elements: 10^9 elements per second (softmax_A100.csv)."""
NORM = {
    (4096, 32): 2.47638, (4096, 1024): 78.88873, (4096, 2048): 139.06866, (4096, 4096): 211.31755,
    (4096, 8192): 265.29216, (4096, 16384): 210.44858, (4096, 32768): 199.27432, (2048, 4096): 141.87247,
    (8192, 4096): 284.89370, (32768, 4096): 385.84644,
}  # fmt: skip
"""The same of layer norm (layernorm_A100.csv)."""
GELU = {
    10: 0.0212622, 20: 21.9353941, 22: 86.6610150, 23: 141.8724711, 24: 210.3699378, 25: 277.0422999,
    26: 328.2507017, 27: 360.1727150, 28: 379.5381449, 29: 390.3275808,
}  # fmt: skip
"""Log2 of the elements: 10^9 elements per second (gelu_A100.csv)."""


def lines() -> Iterator[Line]:
    """Yield the sweeps, and what else numbers are calibrated on."""
    measured = {figure.name: figure.published for figure in read_experiment("gpu_gemm").experiment.figures}
    for name, sizes in PRODUCTS.items():
        yield Line("GEMM", name, linear(*sizes), measured[name] or 0, calibrated=True)
    for kind, table in (("softmax", SOFTMAX), ("layer_norm", NORM)):
        for (rows, width), rate in table.items():
            first = (rows, width) == (4096, 32) and kind == "softmax"
            ms = rows * width / rate / 1e6
            yield Line(kind, f"{rows}x{width}", rowwise(kind, rows, width), ms, calibrated=first)
    for power, rate in GELU.items():
        operator = rowwise("gelu", 2 ** (power - 10), 1024)
        yield Line("gelu", f"2^{power}", operator, 2**power / rate / 1e6, calibrated=power in (10, 29))


def milliseconds(operator: Operator, arch: str, settings: dict[str, str] | None = None) -> float:
    """Return the time of an operator."""
    machine = load_arch(arch, settings or {})
    return simulate(Trace("gpu", (operator,)), machine).cycles / machine.chip.clock * 1e3


def errors() -> list[tuple[Line, float, float]]:
    """Return of each measurement the simulated time and the relative error."""
    found = []
    for line in lines():
        ours = milliseconds(line.operator, "a100", SYNCHRONISED)
        found.append((line, ours, ours / line.measured_ms - 1))
    return found


def attention(images: int, heads: int, length: int, size: int) -> Attention:
    """Return dense attention."""
    return Attention("attention", *(dense(images, heads, length, size) for _ in range(3)))


DOTA_SHAPES = {
    "BERT-large, n=384": (16, 384, 64),
    "GPT-2, n=4096": (12, 4096, 64),
    "LRA image, n=1024": (1, 1024, 32),
    "LRA text, n=2048": (4, 2048, 64),
    "LRA retrieval, n=4096": (4, 4096, 32),
}
"""Heads, length and head size of a layer of the benchmarks that DOTA names; sizes of heads are their models'."""


def calibrate() -> None:
    """Fit each number so that the mean logarithm of the error over the lines it is calibrated on is zero."""
    by_name = {(line.group, line.name): line for line in lines()}
    settings: dict[str, str] = {}

    def bias(key: str, value: str, chosen: list[tuple[str, str]]) -> float:
        changed = SYNCHRONISED | settings | {key: value}
        return statistics.mean(
            log(milliseconds(by_name[c].operator, "a100", changed) / by_name[c].measured_ms) for c in chosen
        )

    plans: list[tuple[str, Callable[[float], str], float, float, list[tuple[str, str]]]] = [
        ("launch.library", lambda x: f"{x:.1f} us", 40, 5, [("GEMM", "8192 × 64 × 64")]),
        ("launch.native", lambda x: f"{x:.1f} us", 40, 1, [("softmax", "4096x32")]),
        ("launch.compiled", lambda x: f"{x:.1f} us", 90, 5, [("gelu", "2^10")]),
        ("tensor.achieved", lambda x: f"{x:.3f}", 0.6, 1.0, [("GEMM", f"8192 × {n} × {n}") for n in (4096, 16384)]),
        ("dram.bandwidth", lambda x: f"{x:.0f} GB/s", 1200, 2039, [("GEMM", "64 × 12288 × 12288"), ("gelu", "2^29")]),
    ]
    for _ in range(2):  # the second time with the others' values
        for key, text, slow, fast, chosen in plans:
            low, high = slow, fast
            for _ in range(14):
                middle = (low + high) / 2
                if bias(key, text(middle), chosen) > 0:
                    low = middle
                else:
                    high = middle
            settings[key] = text(high)
            print(key, settings[key], f"mean error {exp(bias(key, settings[key], chosen)) - 1:+.2%}")


def main() -> None:
    """Print the tables."""
    found = errors()
    print(f"{'A100, measured by LLMCompass':30}{'ms':>10}{'ours':>10}{'error':>8}")
    for line, ours, error in found:
        note = "  calibrated on" if line.calibrated else ""
        print(f"{line.group:14}{line.name:16}{line.measured_ms:10.4f}{ours:10.4f}{error:+8.1%}{note}")
    sizes = [abs(error) for line, _, error in found if not line.calibrated]
    over = sum(size > 0.15 for size in sizes)
    print(f"held out: {len(sizes)} lines, median {statistics.median(sizes):.1%}, {over} above 15 %")
    print(
        "\nV100, attention of one layer and sequence, ms: FP32, FP16; as eager models have it, each kernel waited for"
    )
    for name, (heads, length, size) in DOTA_SHAPES.items():
        operator = attention(1, heads, length, size)
        eager = SYNCHRONISED | {"attention.passes": "2"}
        times = [
            milliseconds(operator, "v100", {"precision": precision} | how)
            for how in ({}, eager)
            for precision in ("fp32", "fp16")
        ]
        print(f"{name:24}{times[0]:8.4f}{times[1]:8.4f}   eager {times[2]:8.4f}{times[3]:8.4f}")


if __name__ == "__main__":
    calibrate() if sys.argv[1:] == ["calibrate"] else main()
