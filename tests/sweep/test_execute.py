"""A sweep carried out: the same dataset whoever runs it, and however often it is ended."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.plans import PlanStore
from simulator.sweep import execute, read_frame, sweep
from simulator.sweep.runs import Point
from tests.sweep.sweeps import POINTS, SMALL, assert_same, gone, ran, results, started, temporary, workers_of, written


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(written(folder), folder / "out", workers=1, plans=folder / "plans")
    return results(folder / "out")


def test_every_point_is_what_a_run_finds(undisturbed: pd.DataFrame) -> None:
    assert len(undisturbed) == POINTS
    assert (undisturbed.status == "ok").all()
    for row in undisturbed.sample(3, random_state=1).to_dict("records"):
        arch = load_arch(
            "escalate",
            {
                "array.blocks": str(int(row["array.blocks"])),
                "dram.bandwidth": f"{int(row['dram.bandwidth'])} B/s",
                "activation_buffer.size": f"{int(row['activation_buffer.size'])} B",
            },
        )
        summary = simulate(load_trace("digits_cnn"), arch).summary
        assert row["config_digest"] == summary["digests"]["config"]
        assert row["trace_digest"] == summary["digests"]["trace"]
        for key in ("cycles", "seconds", "energy_pj", "area_mm2", "utilization"):
            assert row[key] == summary[key]
        assert row["dram_bytes"] == summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"]
        assert row["bound_cycles"] == summary["bound"]["cycles"] <= row["cycles"]


def test_two_workers_find_the_same_and_nothing_is_run_again(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file = written(tmp_path)
    options = ("--workers", "2", "--out", str(tmp_path / "out"), "--plans", str(tmp_path / "plans"), "--json")
    first = ran(file, *options)
    assert first.returncode == 0, first.stderr
    expected = {"points": POINTS, "finished": POINTS, "resumed": 0, "failed": 0, "stopped": False}
    assert json.loads(first.stdout) == {
        "schema_version": 1, "sweep": "small", "out": str(tmp_path / "out"), **expected,
    }  # fmt: skip
    assert_same(results(tmp_path / "out"), undisturbed)
    begun = read_frame(tmp_path / "out").started
    again = json.loads(ran(file, *options).stdout)
    assert again["resumed"] == POINTS
    assert read_frame(tmp_path / "out").started.equals(begun)
    assert len(pd.read_parquet(tmp_path / "out" / "points")) == POINTS
    assert temporary(tmp_path) == []


def test_a_failed_point_is_a_row_with_its_error(tmp_path: Path) -> None:
    text = SMALL.replace("[2, 4]", "[0, 2]").replace("[8 KiB, 64 KiB]", "[1 B, 64 KiB]")
    done = ran(written(tmp_path, text), "--out", str(tmp_path / "out"), "--workers", "1")
    assert done.returncode == 1, done.stderr
    found = read_frame(tmp_path / "out")
    assert len(found) == POINTS
    bad = found[(found["array.blocks"] == 0) | (found["activation_buffer.size"] == 1)]
    assert (bad.status == "failed").all()
    assert bad.error.str.contains("array.blocks|activation_buffer", regex=True).all()
    assert bad.cycles.isna().all()
    good = found.drop(bad.index)
    assert len(good) == 6
    assert (good.status == "ok").all()
    assert good.error.isna().all()


def test_a_worker_that_is_killed_by_a_point_fails_that_point(
    undisturbed: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = str(undisturbed.point[5])
    submitted = execute._Running._submitted

    def submitting(running: Any, chunk: list[Point]) -> Any:
        if any(point.digest == deadly for point in chunk):
            return running.executor.submit(os._exit, 9)
        return submitted(running, chunk)

    monkeypatch.setattr(execute._Running, "_submitted", submitting)
    found = sweep(written(tmp_path), tmp_path / "out", workers=2).drop(columns=["host", "started", "spent_s"])
    assert found.point.is_unique
    assert len(found) == POINTS
    lost = found[found.status == "failed"]
    assert list(lost.point) == [deadly]
    assert "killed" in lost.error.iloc[0]
    others = found.point != deadly
    assert list(found[others].cycles) == list(undisturbed[undisturbed.point != deadly].cycles)


def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    """Once, while points are run; `test_whole` does so at twenty random moments."""
    file, out = written(tmp_path, SMALL.replace("points: 6", "points: 60")), tmp_path / "out"
    options = ("--workers", "2", "--out", str(out), "--plans", str(tmp_path / "plans"))
    process = started(file, *options)
    while process.poll() is None and not ((out / "journal.jsonl").exists() and (out / "journal.jsonl").read_bytes()):
        time.sleep(0.01)
    children = workers_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert gone(children), "workers outlive their parent"
    final = ran(file, *options)
    assert final.returncode == 0, final.stderr
    PlanStore(tmp_path / "plans").remove_partial(0)
    assert temporary(tmp_path) == []
    assert len(pd.read_parquet(out / "points")) == 240
    sweep(file, tmp_path / "undisturbed", workers=1, plans=tmp_path / "plans")
    assert_same(results(out), results(tmp_path / "undisturbed"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anything_runs_ends_it_at_once(number: signal.Signals, tmp_path: Path) -> None:
    axes = "{dram.bandwidth: {from: 1 GB/s, to: 99 GB/s, points: 20000}}"  # the area of each design takes minutes
    file = written(tmp_path, SMALL.partition("axes:")[0] + f"axes: {axes}\nbudget: {{area_mm2: 20}}\n")
    process = started(file, "--out", str(tmp_path / "out"), "--workers", "1")
    while not caught(process.pid) & 1 << (signal.SIGTERM - 1):  # the last of the two
        time.sleep(0.02)
    process.send_signal(number)
    try:
        _, said = process.communicate(timeout=5)
    finally:
        process.kill()
    assert (process.returncode, said) == (128 + number, "skipper: stopped before anything was run\n")
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_control_c_while_files_are_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.sweep.read_sweep", interrupted)
    done = CliRunner().invoke(main, ["sweep", str(written(tmp_path))])
    assert (done.exit_code, done.stderr) == (130, "skipper: stopped\n")


def caught(process: int) -> int:
    """Return the signals for which a process has handlers, as bits."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("SigCgt:")[2].split()[0], 16)


def runs(process: int, what: bytes) -> bool:
    """Tell whether a process, if it is still there, was called with some word."""
    with suppress(OSError):
        return what in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals, undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    file = written(tmp_path, SMALL.replace("points: 6", "points: 600"))
    out = tmp_path / "out"
    options = ("--workers", "1", "--out", str(out), "--plans", str(tmp_path / "plans"), "--json")
    process = started(file, *options)
    while process.poll() is None and not ((out / "journal.jsonl").exists() and (out / "journal.jsonl").read_bytes()):
        time.sleep(0.02)
    children = workers_of(process.pid)
    process.send_signal(number)
    found, said = process.communicate()
    assert process.returncode == 128 + number
    assert said == "skipper: stopped; the same command goes on where it was\n"
    document = json.loads(found)
    assert document["stopped"]
    assert 0 < document["finished"] < document["points"] == 2400
    assert len(pd.read_parquet(out / "points")) == document["finished"]
    assert gone(children)
    assert temporary(tmp_path) == []


def test_a_second_signal_ends_it_at_once(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    """While a worker takes longer than anybody waits."""
    file = written(tmp_path)
    options = ("--workers", "1", "--out", str(tmp_path / "out"), "--plans", str(tmp_path / "plans"))
    process = started(file, *options)
    while not (children := [child for child in workers_of(process.pid) if runs(child, b"spawn_main")]):
        time.sleep(0.02)
    os.kill(children[0], signal.SIGSTOP)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert gone(children)
    assert said == "skipper: ended at once; what is finished is kept, the same command goes on where it was\n"
    assert ran(file, *options).returncode == 0
    assert_same(results(tmp_path / "out"), undisturbed)


def test_no_room_on_the_disk(undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    file = written(tmp_path)
    options = ("--workers", "1", "--out", str(tmp_path / "out"), "--plans", str(tmp_path / "plans"))
    limit = 6000
    process = started(
        file, *options, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    )
    _, said = process.communicate()
    assert process.returncode == 2
    assert said.startswith("skipper: ")
    assert said.count("\n") == 1
    assert "File too large; what is finished is kept, the same command goes on where it was" in said
    assert (tmp_path / "out" / "journal.jsonl").stat().st_size <= limit
    assert ran(file, *options).returncode == 0
    assert_same(results(tmp_path / "out"), undisturbed)
    assert temporary(tmp_path) == []
