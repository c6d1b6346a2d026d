"""Small sweeps that tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simulator.sweep import read_frame
from simulator.trace import Linear, Trace, ValueTensor, save_trace

ROOT = Path(__file__).parents[2]
OF_RUN = ["host", "started", "spent_s"]
"""Columns that differ from run to run."""
SMALL = """\
skipper: 1
chips: {escalate: {arch: escalate}}
works: {digits: {trace: digits_cnn}}
axes:
  array.blocks: [2, 4]
  dram.bandwidth: {from: 1 GB/s, to: 32 GB/s, points: 6, scale: log}
  activation_buffer.size: [8 KiB, 64 KiB]
"""
POINTS = 24


def written(folder: Path, text: str = SMALL) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, "utf-8")
    return path


def tiny_trace(path: Path, inputs: int = 6) -> Path:
    """Write a trace of one small product, which every chip for CNNs runs in milliseconds."""
    rng = np.random.default_rng(inputs)
    operator = Linear("fc", ValueTensor(rng.integers(0, 9, (1, inputs))), ValueTensor(rng.integers(-9, 9, (4, inputs))))
    save_trace(Trace(path.stem, (operator,)), path)
    return path


def command(file: Path, *options: str) -> list[str]:
    what = "sweep" if file.suffix == ".yaml" else "batch"
    return [sys.executable, "-m", "simulator", what, str(file), *options]


def started(file: Path, *options: str, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(file, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more
    )


def ran(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    process = started(file, *options)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def results(folder: Path) -> pd.DataFrame:
    """All that is the same whoever runs the points."""
    return read_frame(folder).drop(columns=OF_RUN)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Bit for bit."""
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def temporary(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".partial")]


def workers_of(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{parent}\n" in status.read_text():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def gone(processes: list[int]) -> bool:
    """Tell whether processes end within seconds; one that nobody waits for is gone, too."""
    for _ in range(300):
        left = []
        for number in processes:
            try:
                left += [number] if "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text() else []
            except OSError:
                continue
        if not left:
            return True
        time.sleep(0.1)
    return False
