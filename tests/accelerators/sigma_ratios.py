"""SIGMA beside a dense systolic array of 128 × 128 on the sparse products of its paper's figure 12.

``python -m tests.accelerators.sigma_ratios`` prints them. Sizes, densities and ratios are as a public model of others
reads them off the figure; the systolic array's cycles are that model's account of it: for each 128 × 128 piece of the
operand that stays, 128 cycles to load it, one for each row streamed, 127 to drain, 1 to write. Whichever operand stays
on SIGMA for fewer cycles stays on both. The cycles are those of the arrays alone, as in the figure.
"""

from __future__ import annotations

from simulator import load_arch, simulate
from simulator.trace import DensityTensor, Linear, Trace

CASES = {
    # M, N, K of (M × K) · (K × N), the first 20 % dense, the second 70 %, and the ratio; 3 and 5 are too large to run
    1: (128, 2048, 4096, 4.5),
    2: (320, 3072, 4096, 5.5),
    4: (2048, 4096, 32, 16.0),
    6: (35, 8457, 2560, 11.0),
    7: (31999, 1024, 84, 8.0),
    8: (84, 1024, 4096, 6.0),
    9: (2048, 1, 128, 5.0),
    10: (256, 256, 2048, 6.0),
}
SIDE = 128


def systolic(streamed: int, stays: int, K: int) -> int:
    """Return the cycles of the systolic array."""
    return -(-stays // SIDE) * -(-K // SIDE) * (SIDE + streamed + SIDE - 1 + 1)


def sigma(streamed: tuple[int, float], stays: tuple[int, float], K: int) -> int:
    """Return the cycles of the engines; of either operand the size of its own axis and its density."""
    tensors = (DensityTensor((size, K), density, seed) for seed, (size, density) in enumerate((streamed, stays)))
    operator = Linear("gemm", next(tensors), weight=next(tensors))
    settings = {f"{name}.size": "1 GiB" for name in ("activation_buffer", "weight_buffer", "output_buffer")}
    result = simulate(Trace("gemm", (operator,)), load_arch("sigma", {**settings, "tiling.pixels": "100000"}))
    return int(result.operators[0].program.stages[0].cycles.sum())


def ratio(M: int, N: int, K: int) -> float:
    """Return the systolic array's cycles over SIGMA's."""
    first, second = (M, 0.2), (N, 0.7)
    cycles, dense = min((sigma(first, second, K), systolic(M, N, K)), (sigma(second, first, K), systolic(N, M, K)))
    return dense / cycles


def main() -> None:
    """Print published ratios beside ours, and STONNE's cycles."""
    print(f"{'case':>4}{'M':>7}{'N':>7}{'K':>7}{'published':>11}{'ours':>8}")
    for case, (M, N, K, published) in CASES.items():
        ours = ratio(M, N, K)
        print(f"{case:4}{M:7}{N:7}{K:7}{published:11.2f}{ours:8.2f}  {ours / published - 1:+.0%}")
    cycles = stonne()
    print(f"512³, weights 20 %, inputs 50 %, 1,024 multipliers: {cycles:,}; STONNE 29,995 ({cycles / 29995 - 1:+.1%})")


def stonne() -> int:
    """Return the engines' cycles of the product that STONNE's SIGMA was measured on."""
    operator = Linear("gemm", DensityTensor((512, 512), 0.5, 1), weight=DensityTensor((512, 512), 0.2, 2))
    result = simulate(Trace("gemm", (operator,)), load_arch("sigma", {"engines.count": "8"}))
    return int(result.operators[0].program.stages[0].cycles.sum())


if __name__ == "__main__":
    main()
