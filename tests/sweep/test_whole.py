"""The shipped sweep of 1,008 points of ESCALATE on ResNet-18, ended in every way and run by every kind of worker."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from simulator.plans import PlanStore
from simulator.sweep import sweep
from tests.sweep.sweeps import OF_RUN, ROOT, assert_same, gone, ran, results, started, temporary, workers_of

FILE = ROOT / "sweeps" / "escalate.yaml"
POINTS = 1008
KILLS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    found = sweep(FILE, folder / "out", workers=1, plans=folder / "plans")
    assert len(found) == POINTS
    assert (found.status == "ok").all()
    return found.drop(columns=OF_RUN)


def test_killed_at_twenty_random_moments(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    chance = random.Random(20)
    options = ("--workers", "2", "--out", str(tmp_path / "out"), "--plans", str(tmp_path / "plans"))
    kept: list[int] = []
    for place in range(KILLS):
        process, begun = started(FILE, *options), time.monotonic()
        if place == 0:
            while process.poll() is None and not _lines(tmp_path / "out"):
                time.sleep(0.1)
            first = time.monotonic() - begun  # rows come from here on
        else:
            time.sleep(chance.uniform(0.3, 1.15) * first)
        assert process.poll() is None, "it ended before it could be killed"
        children = workers_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert gone(children), "workers outlive their parent"
        kept.append(_lines(tmp_path / "out"))
    print(f"points kept at each of {KILLS} kills: {kept}")
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] < POINTS
    final = ran(FILE, *options)
    assert final.returncode == 0, final.stderr
    assert_same(results(tmp_path / "out"), undisturbed)
    assert len(pd.read_parquet(tmp_path / "out" / "points")) == POINTS
    PlanStore(tmp_path / "plans").remove_partial(0)
    assert temporary(tmp_path) == []


def _lines(out: Path) -> int:
    journal = out / "journal.jsonl"
    return len(results(out)) if journal.exists() and journal.stat().st_size else 0


def test_a_dask_cluster_finds_the_same(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[cluster]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = sweep(FILE, tmp_path / "out", cluster=cluster.scheduler_address, plans=tmp_path / "plans")
    assert_same(found.drop(columns=OF_RUN), undisturbed)


def test_a_dask_worker_killed_in_the_middle_loses_nothing(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[cluster]'")
    killed = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill() -> None:
            journal = tmp_path / "out" / "journal.jsonl"
            while not (journal.exists() and journal.read_bytes().count(b"\n") >= POINTS // 3):
                time.sleep(0.02)
            worker = cluster.workers[0].process.process.pid
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        found = sweep(FILE, tmp_path / "out", cluster=cluster.scheduler_address, plans=tmp_path / "plans")
        killer.join(10)
    assert killed
    assert_same(found.drop(columns=OF_RUN), undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no disk can be made here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_it_and_it_resumes(undisturbed: pd.DataFrame, small_disk: Path, tmp_path: Path) -> None:
    options = ("--workers", "2", "--out", str(small_disk / "out"), "--plans", str(tmp_path / "plans"))
    stopped = ran(FILE, *options)
    assert stopped.returncode == 2
    assert stopped.stderr.count("\n") == 1
    assert "No space left on device; what is finished is kept, the same command goes on where it was" in stopped.stderr
    kept = len(results(small_disk / "out"))
    assert 0 < kept < POINTS
    again = ran(FILE, *options)  # still full
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    final = ran(FILE, *options)
    assert final.returncode == 0, final.stderr
    assert f"{kept} of them found there" in final.stdout
    assert_same(results(small_disk / "out"), undisturbed)
    assert temporary(small_disk) == []
