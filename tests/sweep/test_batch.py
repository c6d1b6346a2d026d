"""Batches: unrelated runs of one file, each found in one dataset, whatever fails or ends it."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import shlex
import signal
import time
import timeit
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, load_trace, simulate
from simulator.arch.config import parse_config, parse_yaml
from simulator.cli import main
from simulator.errors import InputError
from simulator.jobs import Work
from simulator.sweep import Stop, batch, carry_out, read_batch, read_frame, work
from simulator.sweep.dataset import Dataset
from simulator.sweep.jobs import Batch, parse_batch
from simulator.trace import Trace
from tests.sweep.sweeps import ROOT, assert_same, ran, results, started, temporary, tiny_trace

JOBS = """\
name,arch,trace,array.rows,dram.bandwidth,memory,without,array.blocks
a,systolic,TRACE,4,,,,
b,systolic,TRACE,8,1 GB/s,simple,,

,systolic,TRACE,4,,,,
c,systolic,TRACE,4,,,,
unknown chip,systolik,TRACE,,,,,
missing trace,systolic,nothing_here,,,,,
unknown parameter,systolic,TRACE,,,,,2
unusable value,systolic,TRACE,many,,,,
no such memory,systolic,TRACE,,,ddr9,,
refused,escalate,char_transformer,,,,,
long trace,systolic,LONG,,,,,
"""
NAMED = [line.split(",")[0] for line in JOBS.splitlines()[1:] if line and not line.startswith(",")]
ERRORS = {
    "unknown chip": "'systolik' is no architecture",
    "missing trace": "'nothing_here' is neither a file",
    "unknown parameter": "array.blocks: systolic.yaml has no such parameter",
    "unusable value": "'array.rows' should be a valid integer, not 'many'",
    "no such memory": "ddr9",
    "long trace": "is neither a file",
    "refused": "which ESCALATE does not run",
}


def skipper(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch that was run to its end: jobs.csv, and its dataset in ``out``."""
    folder = tmp_path_factory.mktemp("batch")
    tiny_trace(folder / "tiny.safetensors")
    (folder / "jobs.csv").write_text(JOBS.replace("LONG", "x" * 300).replace("TRACE", str(folder / "tiny.safetensors")))
    done = skipper("batch", folder / "jobs.csv", "--out", folder / "out", "--workers", 1, "--plans", folder / "plans")
    (folder / "said.json").write_text(json.dumps([done.exit_code, done.stdout, done.stderr]))
    return folder


def test_a_failed_job_is_a_row_with_its_error_and_status_1(folder: Path) -> None:
    status, out, err = json.loads((folder / "said.json").read_text())
    assert status == 1
    frame = read_frame(folder / "out").set_index("name")
    assert frame.status.to_dict() == {name: "failed" if name in ERRORS else "ok" for name in NAMED}
    for name, sentence in ERRORS.items():
        assert sentence in frame.error[name]
        assert "\n" not in frame.error[name]
    assert "line 7 (unknown chip) failed: 'systolik'" in err
    assert "and 2 more failed" in err
    assert out.splitlines()[-1] == (
        f"batch=jobs lines=11 jobs=10 finished=10 ok=3 failed=7 resumed=0 stopped=false out={folder / 'out'}"
    )


def test_every_named_line_is_found_and_what_they_share_was_run_once(folder: Path) -> None:
    frame = pd.read_parquet(folder / "out" / "points")
    assert sorted(frame.name) == sorted(NAMED)
    assert frame.set_index("name").line.to_dict() == dict(zip(NAMED, (2, 3, 6, 7, 8, 9, 10, 11, 12, 13), strict=True))
    assert frame.point.is_unique
    same = frame.set_index("name").loc[["a", "c"]].drop(columns=["point", "line"])
    assert same.drop_duplicates().shape[0] == 1  # started at one moment: one run


def test_a_row_is_what_a_run_finds(folder: Path) -> None:
    row = read_frame(folder / "out").set_index("name").loc["b"]
    arch = load_arch("systolic", {"array.rows": "8", "dram.bandwidth": "1 GB/s"})
    summary = simulate(load_trace(folder / "tiny.safetensors"), arch).summary
    for key in ("cycles", "seconds", "energy_pj", "area_mm2", "utilization"):
        assert row[key] == summary[key]
    assert row["dram.bandwidth"] == 1e9
    assert (row.chip, row.work, row.memory) == ("systolic", str(folder / "tiny.safetensors"), "simple")


def test_the_same_command_again_runs_nothing_and_says_the_same(folder: Path) -> None:
    before = read_frame(folder / "out")
    done = skipper("batch", folder / "jobs.csv", "--out", folder / "out", "--workers", 1, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "schema_version": 1, "batch": "jobs", "lines": 11, "jobs": 10, "finished": 10, "ok": 3, "failed": 7,
        "resumed": 10, "stopped": False, "out": str(folder / "out"),
    }  # fmt: skip
    assert_same(read_frame(folder / "out"), before)


def test_a_folder_belongs_to_one_batch(folder: Path, tmp_path: Path) -> None:
    done = skipper("batch", folder / "jobs.csv", "--out", folder / "out", "--memory", "detailed")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "already holds another sweep" in done.stderr
    sweep = tmp_path / "small.yaml"
    sweep.write_text("skipper: 1\nchips: {s: {arch: systolic}}\nworks: {d: {trace: digits_cnn}}\n")
    done = skipper("sweep", sweep, "--out", folder / "out", "--workers", 1)
    assert done.exit_code == 2
    assert "already holds another sweep" in done.stderr


@pytest.mark.usefixtures("in_process")
def test_all_ok_is_status_0_and_json_lines_say_the_same(folder: Path, tmp_path: Path) -> None:
    trace = str(folder / "tiny.safetensors")
    lines = [
        {"name": "a", "arch": "systolic", "trace": trace, "array.rows": 4},
        {"name": "b", "arch": "systolic", "trace": trace, "array.rows": 8, "dram.bandwidth": "1 GB/s", "without": None},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = skipper("batch", tmp_path / "jobs.jsonl", "--out", tmp_path / "out", "--plans", tmp_path / "plans")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith(f"ok=2 failed=0 resumed=0 stopped=false out={tmp_path / 'out'}\n")
    columns = ["point", "name", "cycles", "energy_pj", "config_digest"]
    found, other = results(tmp_path / "out")[columns], results(folder / "out")[columns]
    assert found.to_dict("records") == other[other.name.isin(["a", "b"])].to_dict("records")


WORK = 2.5
"""Seconds that all jobs take: longer than a worker computes after a signal."""


def many(folder: Path) -> Path:
    """Jobs of which each has a chip's file of its own, which is read anew."""
    text = files("simulator.arch_configs").joinpath("systolic.yaml").read_text()
    each = min(timeit.repeat(lambda: parse_yaml(text, ""), number=1, repeat=4))
    count = round(WORK / each)
    trace = tiny_trace(folder / "tiny.safetensors")
    lines = ["name,arch,trace,array.rows"]
    for number in range(count):
        (folder / f"{number}.yaml").write_text(f"{text}# {number}\n")
        lines.append(f"job {number},{folder / f'{number}.yaml'},{trace},{number % 7 + 1}")
    file = folder / "many.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.usefixtures("in_process")
def test_sigterm_ends_it_in_order_and_resumed_it_equals_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = many(tmp_path), tmp_path / "out"
    options = ("--workers", "1", "--plans", str(tmp_path / "plans"))
    process = started(file, "--out", str(out), *options)
    while process.poll() is None and not ((out / "journal.jsonl").exists() and (out / "journal.jsonl").read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, err = process.communicate()
    assert process.returncode == 143
    assert err == "skipper: stopped; the same command goes on where it was\n"
    words = dict(word.split("=") for word in said.splitlines()[-1].split())
    assert 0 < int(words["finished"]) < int(words["jobs"]) == len(read_batch(file).lines)
    assert words["stopped"] == "true"
    kept = pd.read_parquet(out / "points")
    assert len(kept) == int(words["finished"])
    assert temporary(out) == []

    done = ran(file, "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    assert f"resumed={words['finished']} " in done.stdout
    assert read_frame(out).started.isin(kept.started).sum() == len(kept)
    config = parse_config((tmp_path / "0.yaml").read_text(), "systolic", "0.yaml")
    monkeypatch.setattr("simulator.arch.config.parse_config", lambda *_: config)  # they differ in a comment
    batch(file, tmp_path / "undisturbed", workers=1, plans=tmp_path / "plans")
    assert_same(results(out), results(tmp_path / "undisturbed"))
    assert len(results(out)) == int(words["jobs"])


@pytest.mark.usefixtures("in_process")
def test_a_kill_between_the_rows_of_one_run_leaves_those_that_are_missing(folder: Path, tmp_path: Path) -> None:
    named = read_batch(folder / "jobs.csv")
    whole = results(folder / "out")
    rows = [{str(k): v for k, v in row.items()} for row in whole.to_dict("records")]
    kept = Dataset(tmp_path / "out", named.columns, named.kept, named.made_with)
    empty = dict.fromkeys(named.columns)
    known = {key: value for row in rows if row["name"] == "a" for key, value in row.items() if pd.notna(value)}
    kept.add([{**empty, **known}])
    kept.abandon()
    last = carry_out(named, tmp_path / "out", 1, stop=Stop())
    assert (last.total, last.done, last.resumed) == (10, 10, 1)
    assert list(results(tmp_path / "out").point) == list(whole.point)


def test_what_workers_are_told_of_a_job_does_not_grow_with_their_number() -> None:
    def told(count: int) -> int:
        made = parse_batch("arch,trace,clock\n" + "".join(f"a,t{n:06},{n}\n" for n in range(count)), "x", "x", True)
        assert len(made.points) == count
        return max(len(pickle.dumps(made.run(point))) for point in made.points)

    assert told(3000) <= told(10) + 8


@pytest.mark.usefixtures("in_process")
def test_whatever_a_work_raises_fails_its_jobs_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = work.open_work

    def opening(asked: Work) -> Trace:
        if asked.trace == "odd":
            raise OSError("an odd disk")
        return opened(asked)

    monkeypatch.setattr(work, "open_work", opening)
    lines = f"arch,trace,array.rows\nsystolic,odd,4\nsystolic,odd,8\nsystolic,{folder / 'tiny.safetensors'},4\n"
    (tmp_path / "jobs.csv").write_text(lines)
    found = batch(tmp_path / "jobs.csv", tmp_path / "out").set_index("line")
    assert found.error[[2, 3]].tolist() == ["OSError: an odd disk"] * 2
    assert found.status[4] == "ok"
    assert carry_out(read_batch(tmp_path / "jobs.csv"), tmp_path / "out", retry_failed=True).failed == 2
    work._trace.cache_clear()  # as in a process of its own
    there = {"trace": str(folder / "tiny.safetensors")}
    monkeypatch.setattr(work, "open_work", lambda asked: opened(asked.model_copy(update=there)))
    last = carry_out(read_batch(tmp_path / "jobs.csv"), tmp_path / "out", retry_failed=True)
    assert (last.done, last.resumed, last.failed) == (3, 1, 0)
    again = batch(tmp_path / "jobs.csv", tmp_path / "out").set_index("line")
    assert again.status.tolist() == ["ok"] * 3
    assert again.loc[4].equals(found.loc[4])


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"arch": TEXT, "trace": TEXT}, optional={"name": TEXT, "memory": TEXT, "array.blocks": TEXT, "work.a": TEXT}
        ),
        min_size=1,
        unique_by=lambda job: job.get("name", object()),
    )
)
def test_both_formats_say_the_same_jobs(jobs: list[dict[str, str]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, ["name", "arch", "trace", "memory", "array.blocks", "work.a"])
    writer.writeheader()
    writer.writerows(jobs)
    of_csv = parse_batch(table.getvalue(), "x", "x", True)
    of_lines = parse_batch("\n".join(map(json.dumps, jobs)), "x", "x", False)
    assert [line.point.digest for line in of_csv.lines] == [line.point.digest for line in of_lines.lines]
    assert [line.number for line in of_csv.lines] == [line.number + 1 for line in of_lines.lines]
    assert heads(of_csv) == heads(of_lines)
    assert len(of_csv.points) == len({line.point.digest for line in of_csv.lines})
    assert {head["name"] for head in heads(of_csv)} >= {job["name"] for job in jobs if "name" in job}
    assert len({head["point"] for head in heads(of_csv)}) == len(heads(of_csv))


def heads(made: Batch) -> list[dict[str, object]]:
    return [{**head, "line": 0} for point in made.points for head in made.heads(point)]


GOOD = '{"arch": "escalate", "trace": "digits_cnn"}\n'
BAD = {
    "no arch": ("jobs.csv", "name,trace\na,b\n", "line 1", "no column 'arch'"),
    "misspelt trace": ("jobs.csv", "arch,trce\na,b\n", "line 1", "no column 'trace' (did you mean 'trce'?)"),
    "two columns of one name": ("jobs.csv", "arch,trace,clock,clock\na,b,1,2\n", "line 1", "two columns 'clock'"),
    "a column without name": ("jobs.csv", "arch,trace,\na,b,\n", "line 1", "a column has no name"),
    "a column of results": ("jobs.csv", "arch,trace,cycles\na,b,1\n", "line 1", "'cycles' is a column of the results"),
    "a column of sweeps": ("jobs.csv", "chip,work\na,b\n", "line 1", "did you mean 'arch'?"),
    "more cells than columns": ("jobs.csv", "arch,trace\n\na,b\na,b,c\n", "line 4", "3 cells; expected 2"),
    "fewer cells": ("jobs.csv", "arch,trace,clock\na,b\n", "line 2", "2 cells; expected 3"),
    "an empty arch": ("jobs.csv", "arch,trace\na,b\n,b\n", "line 3", "'arch' is not set"),
    "an open quote": ("jobs.csv", 'arch,trace\na,b\n"a,b\n', "line 3", "not CSV"),
    "no CSV": ("jobs.csv", 'arch,trace\n"a"b,c\n', "line 2", "not CSV"),
    "a cell of two lines": ("jobs.csv", 'arch,trace\n"a\nb",c\n', "line 2", "printable"),
    "names twice": ("jobs.csv", "name,arch,trace\nx,a,b\ny,a,b\nx,a,b\n", "line 4", "'x' stands in line 2 already"),
    "only a header": ("jobs.csv", "arch,trace\n", "holds no jobs"),
    "an empty file": ("jobs.csv", "", "holds no jobs"),
    "broken JSON on line 7": ("jobs.jsonl", GOOD * 6 + '{"arch": "a", "trace": \n' + GOOD, "line 7", "not JSON"),
    "a key twice": ("jobs.jsonl", GOOD + '{"arch": "a", "trace": "b", "arch": "c"}', "line 2", "'arch' stands twice"),
    "a key twice, once null": (
        "jobs.jsonl",
        '{"arch": null, "trace": "b", "arch": "c"}',
        "line 1",
        "'arch' stands twice",
    ),
    "no object": ("jobs.jsonl", GOOD + "[1]\n", "line 2", "expected an object"),
    "a list as a value": ("jobs.jsonl", '{"arch": "a", "trace": ["b"]}', "line 1", "'trace' is no value"),
    "a section": ("jobs.jsonl", '{"arch": "a", "trace": "b", "array": {"blocks": 2}}', "line 1", "'array' is no value"),
    "no number": ("jobs.jsonl", '{"arch": "a", "trace": "b", "clock": NaN}', "line 1", "NaN"),
    "too large a number": (
        "jobs.jsonl",
        f'{{"arch": "a", "trace": "b", "clock": 1{"0" * 400}}}',
        "line 1",
        "too large",
    ),
    "infinite": ("jobs.jsonl", '{"arch": "a", "trace": "b", "clock": 1e999}', "line 1", "too large"),
    "half a character": ("jobs.jsonl", '{"arch": "a", "trace": "\\ud800"}', "line 1", "printable"),
    "no trace": ("jobs.jsonl", GOOD + '{"arch": "a"}', "line 2", "'trace' is not set"),
    "duplicate names": ("jobs.jsonl", '{"arch":"a","trace":"b","name":"x"}\n' * 2, "line 2", "in line 1 already"),
    "a key without a name": ("jobs.jsonl", '{"arch": "a", "trace": "b", " ": 1}', "line 1", "has no name"),
    "nothing": ("jobs.jsonl", "\n\n", "holds no jobs"),
    "another suffix": ("jobs.txt", "arch,trace\na,b\n", ".csv or .jsonl"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_file_is_one_sentence_before_anything_runs(name: str, tmp_path: Path) -> None:
    file, text, *said = BAD[name]
    (tmp_path / file).write_text(text)
    done = skipper("batch", tmp_path / file, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"skipper: {tmp_path / file}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert all(each in done.stderr for each in said), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the jobs: No such file"):
        read_batch(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_batch(tmp_path / "bytes.csv")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbfarch,trace,array.blocks\r\nescalate,digits_cnn,4\r\n")
    (line,) = read_batch(tmp_path / "excel.csv").lines
    assert (line.number, line.point.chip, line.point.of_chip["array.blocks"]) == (2, "escalate", "4")


@pytest.mark.usefixtures("in_process")
def test_what_the_page_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "batch.md").read_text("utf-8")
    shown = {kind: text for kind, text in re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL) if kind}
    command, said = re.findall(r"```\n(.*?)```", re.sub(r"```\w+\n.*?```", "", page, flags=re.DOTALL), re.DOTALL)
    assert shown["csv"] == (ROOT / "sweeps" / "jobs.csv").read_text("utf-8")
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    monkeypatch.chdir(tmp_path)
    done = skipper(*shlex.split(command)[1:], "--plans", "plans")
    assert (done.exit_code, done.stdout) == (0, said)
    exec(compile(shown["python"], "docs/batch.md", "exec"), {})
    assert "ok" in capsys.readouterr().out
