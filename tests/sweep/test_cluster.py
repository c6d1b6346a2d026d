"""The same sweep through Dask."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from simulator.sweep import sweep
from tests.sweep.sweeps import OF_RUN, POINTS, SMALL, assert_same, written

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[cluster]'")


def test_a_local_cluster_finds_the_same(tmp_path: Path) -> None:
    file = written(tmp_path)
    expected = sweep(file, tmp_path / "here", workers=1, plans=tmp_path / "plans")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = sweep(file, tmp_path / "there", cluster=cluster.scheduler_address)
    assert_same(found.drop(columns=OF_RUN), expected.drop(columns=OF_RUN))


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, SMALL.replace("points: 6", "points: 60"))
    killed = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill() -> None:
            journal = tmp_path / "out" / "journal.jsonl"
            while not (journal.exists() and journal.read_bytes().count(b"\n") >= 30):
                time.sleep(0.02)
            worker = cluster.workers[0].process.process.pid
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        found = sweep(file, tmp_path / "out", cluster=cluster.scheduler_address)
        killer.join(10)
    assert killed
    assert len(found) == POINTS * 10
    assert found.point.is_unique
    assert (found.status == "ok").all()
