"""Print what the A100 model gives beside what LLMCompass measured, and how its three numbers were calibrated.

``python -m tests.benchmarks.gpu`` prints the table; ``… calibrate`` fits the numbers anew. Measurements: LLMCompass
(ISCA 2024), github.com/PrincetonUniversity/LLMCompass (2e015fd), ae/figure5: PyTorch on an A100 80 GB, median of the
host's time around each call and a synchronisation, products in BF16 (batched ones FP16), normalisation and GeLU
compiled, GPT-3 layer of one GPU of four (tensor parallel), batch 8, prefill of 2048 tokens, decoding at 3072.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log

from simulator import load_arch, simulate
from simulator.trace import Attention, DensityTensor, Linear, MatMul, Operator, Rowwise, Trace

SYNCHRONISED = {"launch.synchronised": "true"}


@dataclass(frozen=True)
class Line:
    """One measurement."""

    group: str
    name: str
    operator: Operator
    measured_ms: float
    times: int = 1
    """How often the operator runs within the measurement."""
    calibrated: bool = False
    """Whether a number of the model was calibrated on it."""
    target: bool = True
    """Whether it is one of the lines that the model is judged by."""


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


WIDE = {
    64: 0.1900, 128: 0.2003, 256: 0.3185, 512: 0.6118, 1024: 1.1990, 2048: 2.3586, 4096: 4.4576, 8192: 8.6216,
    16384: 17.0307, 32768: 35.4407,
}  # fmt: skip
"""M × 12288 × 12288: milliseconds (matmul_A100.csv)."""
SQUARE = {
    64: 0.0296, 128: 0.0310, 256: 0.0356, 512: 0.0471, 1024: 0.0927, 2048: 0.2818, 4096: 1.0210, 8192: 3.9614,
    16384: 15.0087, 32768: 61.1346,
}  # fmt: skip
"""8192 × n × n (matmul_A100.csv)."""
PREFILL = (13.721823692, 1.881122589, 1.183152199, 4.540324211, 17.464280128, 17.485618591, 2.801537514, 0.681638718,
           0.524282455)  # fmt: skip
"""QKV … GeLU (transformer_A100.csv)."""
DECODE = (0.212430954, 0.106096268, 0.138640404, 0.068902969, 0.185966492, 0.186085701, 0.016689301, 0.048041344,
          0.047922134)  # fmt: skip
"""The same (transformerAR_A100.csv)."""
KERNELS = ("QKV", "QK", "AV", "Wo", "W1", "W2", "softmax", "layer norm", "GeLU")
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
LLMCOMPASS_LISTED = (512, 1024, 2048, 4096, 8192, 16384)


def layer(tokens: int, queries: int, keys: int) -> list[tuple[Operator, int]]:
    """Return the kernels of a GPT-3 layer of one GPU of four: (operator, times); Q, K and V are three products."""
    heads = 8 * 96 // 4
    return [
        (linear(tokens, 3072, 12288), 3),
        (batched(heads, queries, 128, keys), 1),
        (batched(heads, queries, keys, 128), 1),
        (linear(tokens, 12288, 3072), 1),
        (linear(tokens, 12288, 12288), 1),
        (linear(tokens, 12288, 12288), 1),
        (rowwise("softmax", heads, queries, keys), 1),
        (rowwise("layer_norm", tokens, 12288), 1),
        (rowwise("gelu", tokens, 12288), 1),
    ]


def lines() -> Iterator[Line]:
    """Yield all measurements."""
    for m, ms in WIDE.items():
        yield Line("GEMM", f"{m}x12288x12288", linear(m, 12288, 12288), ms, calibrated=m == 64)
    for n, ms in SQUARE.items():
        listed = n in LLMCOMPASS_LISTED
        yield Line("GEMM", f"8192x{n}x{n}", linear(8192, n, n), ms, calibrated=n in (64, 4096, 16384), target=listed)
    for stage, measured, shape in (("prefill", PREFILL, (8 * 2048, 2048, 2048)), ("decode", DECODE, (8, 1, 3072))):
        for name, ms, (operator, times) in zip(KERNELS, measured, layer(*shape), strict=True):
            yield Line(f"GPT-3 {stage}", name, operator, ms, times)
    for kind, table in (("softmax", SOFTMAX), ("layer_norm", NORM)):
        for (rows, width), rate in table.items():
            first = (rows, width) == (4096, 32) and kind == "softmax"
            ms = rows * width / rate / 1e6
            yield Line(kind, f"{rows}x{width}", rowwise(kind, rows, width), ms, calibrated=first, target=False)
    for power, rate in GELU.items():
        operator = rowwise("gelu", 2 ** (power - 10), 1024)
        yield Line("gelu", f"2^{power}", operator, 2**power / rate / 1e6, calibrated=power in (10, 29), target=False)


def milliseconds(operator: Operator, arch: str, settings: dict[str, str] | None = None) -> float:
    """Return the time of an operator."""
    machine = load_arch(arch, settings or {})
    return simulate(Trace("gpu", (operator,)), machine).cycles / machine.chip.clock * 1e3


def errors(settings: dict[str, str] | None = None) -> list[tuple[Line, float, float]]:
    """Return of each measurement the simulated time and the relative error."""
    found = []
    for line in lines():
        ours = milliseconds(line.operator, "a100", SYNCHRONISED | (settings or {})) * line.times
        found.append((line, ours, ours / line.measured_ms - 1))
    return found


DFSS_LENGTHS = (256, 512, 1024, 2048, 4096)
"""Of Dfss's benchmark.py: batch 48, 24 at 4096; 4 heads of 64; BF16 on A100: speed-ups of 1.38 to 1.86."""


def attention(images: int, heads: int, length: int, size: int) -> Attention:
    """Return dense attention."""
    return Attention("attention", *(dense(images, heads, length, size) for _ in range(3)))


def dfss() -> list[tuple[int, float, float]]:
    """Return length, dense and N:M milliseconds of Dfss's benchmark."""
    found = []
    for length in DFSS_LENGTHS:
        operator = attention(24 if length == 4096 else 48, 4, length, 64)
        times = (milliseconds(operator, "a100", {"precision": "bf16", "attention.mode": m}) for m in ("dense", "n_m"))
        found.append((length, *times))
    return found


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
        ("launch.library", lambda x: f"{x:.1f} us", 40, 5, [("GEMM", "8192x64x64")]),
        ("launch.native", lambda x: f"{x:.1f} us", 40, 1, [("softmax", "4096x32")]),
        ("launch.compiled", lambda x: f"{x:.1f} us", 90, 5, [("gelu", "2^10")]),
        ("tensor.achieved", lambda x: f"{x:.3f}", 0.6, 1.0, [("GEMM", f"8192x{n}x{n}") for n in (4096, 16384)]),
        ("dram.bandwidth", lambda x: f"{x:.0f} GB/s", 1200, 2039, [("GEMM", "64x12288x12288"), ("gelu", "2^29")]),
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
        note = "  calibrated on" if line.calibrated else "" if line.target else "  beside the targets"
        print(f"{line.group:14}{line.name:16}{line.measured_ms:10.4f}{ours:10.4f}{error:+8.1%}{note}")
    for name, chosen in (
        ("all", found),
        ("targets", [f for f in found if f[0].target]),
        ("targets held out", [f for f in found if f[0].target and not f[0].calibrated]),
        ("held out", [f for f in found if not f[0].calibrated]),
    ):
        sizes = [abs(error) for _, _, error in chosen]
        over = sum(size > 0.15 for size in sizes)
        print(f"{name}: {len(sizes)} lines, median {statistics.median(sizes):.1%}, {over} above 15 %")
    for stage in ("prefill", "decode"):
        own = [(line, ours) for line, ours, _ in found if line.group == f"GPT-3 {stage}"]
        twice = [(line, ours, 2 if line.name == "layer norm" else 1) for line, ours in own]
        measured, total = sum(line.measured_ms * n for line, _, n in twice), sum(ours * n for _, ours, n in twice)
        print(f"GPT-3 {stage} without all-reduce: {measured:.4f} ms, ours {total:.4f} ({total / measured - 1:+.1%})")
    print("\nDfss 2:4, A100, BF16 (published 1.38 to 1.86)")
    for length, full, pruned in dfss():
        print(f"n={length}: dense {full:.4f} ms, N:M {pruned:.4f} ms, {full / pruned:.2f}x")
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
    print("\nSensitivity: each assumed number halved and doubled; targets' median error and lines above 15 %")
    for key, value in assumed():
        for factor in (0.5, 2):
            sizes = [abs(e) for line, _, e in errors({key: scaled(value, factor)}) if line.target]
            over = sum(size > 0.15 for size in sizes)
            print(f"{key:24}{scaled(value, factor):>8}: {statistics.median(sizes):6.1%} {over}")


def assumed() -> list[tuple[str, str]]:
    """Return the numbers of a100 that were assumed and that these lines use."""
    return [
        ("sm.latency", "600"), ("instructions.exp", "8"), ("instructions.divide", "9"), ("instructions.tanh", "15"),
        ("dram.latency", "400 ns"), ("slice", "1024 KiB"), ("launch.device", "3000 ns"), ("l2.partitions", "2"),
    ]  # fmt: skip


def scaled(value: str, factor: float) -> str:
    """Return a quantity, multiplied."""
    number, _, unit = value.partition(" ")
    return f"{max(1, int(float(number) * factor))} {unit}".strip()


if __name__ == "__main__":
    calibrate() if sys.argv[1:] == ["calibrate"] else main()
