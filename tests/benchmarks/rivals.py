"""``python -m tests.benchmarks.rivals``: the dense systolic array beside other simulators, on the same two layers.

The figures of the others were measured on a two-core machine, one process each, and are printed as they were. Where
``SCALESIM_PYTHON`` names an interpreter that has SCALE-Sim 3.0.0, that one is timed here, too (minutes, 3 GB).
"""

from __future__ import annotations

import os
import time

import numpy as np

from simulator import load_arch, simulate
from simulator.trace import Conv2d, Linear, MaskTensor, Operator, Trace
from tests.accelerators.scalesim_runs import Case, product, reference

RUNS = 7
ELSEWHERE = {
    "conv 3×3×64×64 at 56×56": {"ONNXim": 0.12, "SCALE-Sim 3.0": 22.7, "DNNsim, SCNN": 0.22},
    "matrix product 1024³": {"ONNXim": 0.57, "SCALE-Sim 3.0": 310.0},
}
"""Seconds."""
LARGE = {f"{name}_buffer.size": "512 KiB" for name in ("input", "weight", "output")}


def dense(*shape: int) -> MaskTensor:
    """Return a tensor without zeros."""
    return MaskTensor.of(np.ones(shape, np.bool_))


def layers() -> tuple[Operator, ...]:
    """Return the two layers, dense."""
    return (
        Conv2d("conv 3×3×64×64 at 56×56", dense(1, 64, 56, 56), weight=dense(64, 64, 3, 3), padding=1),
        Linear("matrix product 1024³", dense(1024, 1024), weight=dense(1024, 1024)),
    )


def fastest(trace: Trace, settings: dict[str, str]) -> tuple[float, int, int]:
    """Return the processor seconds of the fastest of some runs, nothing kept from one to the next, cycles and tiles."""
    arch = load_arch("systolic", settings)
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        result = simulate(trace, arch)
        times.append(time.process_time() - start)
    return min(times), int(result.operators[0].program.stages[0].cycles.sum()), result.operators[0].program.tiles


def main() -> None:
    """Print seconds and ratios."""
    ours = 0.0
    for operator in layers():
        print(f"{operator.name}: {operator.macs:,} MACs on 32×32, output stationary")
        for told, settings in (("as shipped, 64 KiB buffers", {}), ("512 KiB buffers", LARGE)):
            seconds, cycles, tiles = fastest(Trace("rivals", (operator,)), settings)
            print(f"  Skipper, {told}: {cycles:,} cycles of the array, {tiles} tiles, {seconds * 1e3:.1f} ms")
            ours = ours if settings else seconds
            for name, theirs in ELSEWHERE[operator.name].items():
                print(f"    {name}, measured before: {theirs:g} s, {theirs / seconds:,.0f} times as long")
    if "SCALESIM_PYTHON" in os.environ:
        (theirs_now,) = reference([Case(32, 32, "os", product(1024, 1024, 1024))])
        print(
            f"SCALE-Sim on the product, now: {theirs_now['cycles']:,} cycles, {theirs_now['seconds']:.1f} s, "
            f"{theirs_now['seconds'] / ours:,.0f} times as long (shown: 500)"
        )


if __name__ == "__main__":
    main()
