"""SCALE-Sim's cycles beside ours: random matrix products and the convolutions of ResNet-18, in three dataflows.

``SCALESIM_PYTHON=… python -m tests.accelerators.scalesim_runs [--write]`` runs SCALE-Sim 3.0.0 with an interpreter that
has it (``pip install 'numpy<2.4' scalesim==3.0.0`` in an environment of its own; some ten minutes), prints its
stall-free cycles beside ours, and keeps its own in the table that the ordinary tests read.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simulator import load_arch
from simulator.accelerators.systolic import geometry, match, tile
from simulator.trace import Conv2d, DensityTensor, Operator
from tests.benchmarks.networks import resnet18

TABLE = Path(__file__).with_name("scalesim_cycles.csv")
DRIVER = Path(__file__).with_name("scalesim_driver.py")
DATAFLOWS = {"os": "output", "ws": "weight", "is": "input"}
PRODUCTS = 40


@dataclass(frozen=True)
class Case:
    """A layer on an array, as SCALE-Sim is told of it: its input map is padded already, and no larger than is used."""

    rows: int
    columns: int
    dataflow: str
    layer: tuple[int, ...]
    """Height and width of the input map, those of the filters, channels, filters, stride."""


def product(m: int, k: int, n: int) -> tuple[int, ...]:
    """Return (M, K) · (K, N) as SCALE-Sim sees it: each row of the input map is a window."""
    return m, k, 1, k, 1, n, 1


def layer(operator: Operator) -> tuple[int, ...]:
    """Return a convolution as SCALE-Sim must be told of it."""
    assert isinstance(operator, Conv2d)
    assert operator.groups == operator.input.shape[0] == 1 == max(operator.dilation)
    (P, Q), (R, S), (stride, _) = operator.output_shape[2:], operator.kernel_size, operator.stride
    used = (P - 1) * stride + R, (Q - 1) * stride + S
    return *used, R, S, operator.in_channels, operator.out_channels, stride


def operator_of(case: Case) -> Conv2d:
    """Return a layer as one of ours."""
    height, width, R, S, channels, filters, stride = case.layer
    image = DensityTensor((1, channels, height, width), 0.5, 0)
    return Conv2d("layer", image, weight=DensityTensor((filters, channels, R, S), 0.5, 1), stride=stride)


@cache
def convolutions() -> tuple[Conv2d, ...]:
    """Return the convolutions of ResNet-18."""
    return tuple(operator for operator in resnet18().operators if isinstance(operator, Conv2d))


def cases() -> list[Case]:
    """Return all cases: forty products drawn on as many arrays, and ResNet-18's on 32×32."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(PRODUCTS):
        rows, columns = (int(each) for each in rng.integers(1, 17, 2))
        shape = product(*(int(each) for each in np.exp(rng.uniform(0, np.log(120), 3)) + 0.5))
        found += [Case(rows, columns, dataflow, shape) for dataflow in DATAFLOWS]
    shapes = dict.fromkeys(layer(operator) for operator in convolutions())
    return found + [Case(32, 32, dataflow, shape) for dataflow in DATAFLOWS for shape in shapes]


def reference(wanted: list[Case]) -> list[dict[str, Any]]:
    """Run SCALE-Sim: its cycles, stall cycles and seconds for each case."""
    python = os.environ["SCALESIM_PYTHON"]
    told = json.dumps([asdict(case) for case in wanted])
    done = subprocess.run([python, DRIVER], input=told, stdout=subprocess.PIPE, text=True, check=True)
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


def ours(operator: Operator, rows: int, columns: int, dataflow: str) -> int:
    """Return the cycles of our array, stalls left out."""
    settings = {"array.rows": rows, "array.columns": columns, "array.dataflow": DATAFLOWS[dataflow]}
    chip = load_arch("systolic", {key: str(value) for key, value in settings.items()}).chip
    program = tile(operator, match(operator, geometry(operator, chip), False), chip)
    return int(program.stages[0].cycles.sum())


@cache
def table() -> dict[Case, int]:
    """Read SCALE-Sim's cycles."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return {
        Case(int(r["rows"]), int(r["columns"]), r["dataflow"], tuple(map(int, r["layer"].split()))): int(r["cycles"])
        for r in rows
    }


def write(found: dict[Case, int]) -> None:
    """Keep SCALE-Sim's cycles."""
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rows", "columns", "dataflow", "layer", "cycles"])
        for case, cycles in found.items():
            writer.writerow([case.rows, case.columns, case.dataflow, " ".join(map(str, case.layer)), cycles])


def main() -> int:
    """Run, compare, and write where asked to."""
    wanted = cases()
    results = reference(wanted)
    if any(result["stalls"] for result in results):
        raise SystemExit("SCALE-Sim stalled: its cycles cannot be compared")
    found = {case: int(result["cycles"]) for case, result in zip(wanted, results, strict=True)}
    if "--write" in sys.argv:
        write(found)
    differ = 0
    for case, theirs in found.items():
        own = ours(operator_of(case), case.rows, case.columns, case.dataflow)
        differ += own != theirs
        shape = "×".join(map(str, case.layer))
        print(f"{case.rows}×{case.columns} {case.dataflow} {shape}: {theirs:,} SCALE-Sim, {own:,} Skipper")
    print(f"{len(found) - differ} of {len(found)} equal")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
