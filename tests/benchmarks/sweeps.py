"""Time the shipped sweep with one worker and with two, and one of ten times as many points; print ratios.

``python -m tests.benchmarks.sweeps``: minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from simulator.sweep import read_frame
from tests.sweep.sweeps import ROOT, started, workers_of

FILE = ROOT / "sweeps" / "escalate.yaml"
RUNS = 3
ALONE = "sum(i * i for i in range(20_000_000))"
"""What two processes do side by side without hindering each other, if the machine has two whole cores."""
OUTSIDE = "dram.bandwidth"
"""The axis of which no plan depends on."""


@dataclass(frozen=True)
class Timed:
    """A sweep that was run."""

    seconds: float
    """Of the whole command."""
    rate: float
    """Points per second, from the first that began to the last that ended."""
    worker_mb: float
    """The most that a worker held."""
    parent_mb: float
    """The most that the process that hands out held."""
    found: pd.DataFrame


def timed(file: Path, workers: int, folder: Path) -> Timed:
    """Run a sweep as a command of its own, with no plans of others."""
    begun = time.perf_counter()
    process = started(file, "--workers", str(workers), "--out", str(folder / "out"), "--plans", str(folder / "plans"))
    peaks: dict[int, float] = {}
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks), daemon=True)
    watcher.start()
    _, said = process.communicate()
    seconds = time.perf_counter() - begun
    assert process.returncode == 0, said
    watcher.join(10)
    found = read_frame(folder / "out")
    parent = peaks.pop(process.pid)
    return Timed(seconds, rate(found), max(peaks.values()), parent, found)


def rate(found: pd.DataFrame) -> float:
    """Return points per second while points were run."""
    begun = pd.to_datetime(found.started)
    ended = begun + pd.to_timedelta(found.spent_s, unit="s")
    return len(found) / float((ended.max() - begun.min()).total_seconds())


def _watch(parent: int, peaks: dict[int, float]) -> None:
    while True:
        for process in (parent, *workers_of(parent)):
            try:
                text = Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue
            if "VmHWM:" in text:
                peaks[process] = int(text.split("VmHWM:")[1].split()[0]) / 1000
            elif process == parent:
                return  # it ended
        time.sleep(1)


def outside_ms(found: pd.DataFrame) -> float:
    """Return what a point costs in the mean that differs only outside the plan from one before it, in ms."""
    axes = list(found.columns[3 : found.columns.get_loc("status")].drop(OUTSIDE))
    ordered = found.sort_values("started")
    return float(ordered[ordered.duplicated(axes)].spent_s.mean() * 1000)


def scaling() -> float:
    """Return how much more two processes do than one on this machine, of work of which they share nothing."""
    taken = {}
    for count in (1, 2):
        begun = time.perf_counter()
        for process in [subprocess.Popen([sys.executable, "-c", ALONE]) for _ in range(count)]:
            process.wait()
        taken[count] = time.perf_counter() - begun
    return 2 * taken[1] / taken[2]


def main() -> None:
    """Run all and print: of one worker and of two the fastest of some runs in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [tuple(timed(FILE, n, folder / f"{n} {turn}") for n in (1, 2)) for turn in range(RUNS)]
        one, two = (max(each, key=lambda run: run.rate) for each in zip(*runs, strict=True))
        machine = max(scaling() for _ in range(RUNS))
        print(f"{len(one.found):,} points of ESCALATE on ResNet-18")
        for workers, each in ((1, one), (2, two)):
            print(
                f"  {workers} worker(s): {each.seconds:.1f} s, {each.rate:.1f} points/s while running, "
                f"{outside_ms(each.found):.1f} ms for a point outside the plan, "
                f"{each.worker_mb:.0f} MB at most in a worker, {each.parent_mb:.0f} MB in the parent"
            )
        print(
            f"  two against one: rate x{two.rate / one.rate:.2f}, whole command x{one.seconds / two.seconds:.2f}; "
            f"of processes that share nothing x{machine:.2f} on this machine"
        )
        many = folder / "many.yaml"
        many.write_text(FILE.read_text("utf-8").replace("points: 21", "points: 210"), "utf-8")
        ten = timed(many, 2, folder / "10")
        begun = time.perf_counter()
        opened = pd.read_parquet(folder / "10" / "out" / "points")
        opening = time.perf_counter() - begun
        print(
            f"{len(opened):,} points with 2 workers: {ten.seconds:.1f} s, x{ten.seconds / two.seconds:.2f} as long, "
            f"{ten.rate:.1f} points/s while running, {ten.worker_mb:.0f} MB at most in a worker, "
            f"{ten.parent_mb:.0f} MB in the parent; opened in {opening:.2f} s"
        )


if __name__ == "__main__":
    main()
