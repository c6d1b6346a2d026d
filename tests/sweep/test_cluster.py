"""The same sweep through Dask."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from simulator.sweep import sweep
from tests.sweep.sweeps import OF_RUN, ROOT, assert_same, command, results, written

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[cluster]'")


def test_a_local_cluster_finds_the_same(tmp_path: Path) -> None:
    file = written(tmp_path)
    expected = sweep(file, tmp_path / "here", workers=1, plans=tmp_path / "plans")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = sweep(file, tmp_path / "there", cluster=cluster.scheduler_address)
    assert_same(found.drop(columns=OF_RUN), expected.drop(columns=OF_RUN))


@pytest.mark.slow
def test_slurm_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask_jobqueue is not installed")
    if shutil.which("sinfo") is None or subprocess.run(["sinfo", "--noheader"], capture_output=True).returncode:
        pytest.skip("no Slurm answers here")
    settings = "{cores: 1, processes: 1, memory: 2GB, walltime: '00:10:00'}"
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "jobqueue.yaml").write_text(f"jobqueue: {{slurm: {settings}}}\n", "utf-8")
    file = written(tmp_path)
    expected = sweep(file, tmp_path / "here", workers=1, plans=tmp_path / "plans")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_CONFIG": str(tmp_path / "dask")}
    options = ("--cluster", "slurm", "--workers", "2", "--out", str(tmp_path / "there"))
    ended = subprocess.run(
        command(file, *options), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert_same(results(tmp_path / "there"), expected.drop(columns=OF_RUN))
