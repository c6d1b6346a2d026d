"""Each bad sweep file ends in one sentence and status 2 before anything runs, and nothing is made on disk."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from simulator.arch.config import parse_yaml
from simulator.cli import main
from simulator.sweep.cluster import CLUSTERS
from tests.sweep.sweeps import ROOT, written

HEAD = "skipper: 1\nchips: {escalate: {arch: escalate}}\nworks: {digits: {trace: digits_cnn}}\n"
BAD = {
    "unknown axis": (HEAD + "axes: {array.block: [1]}", "axis 'array.block'", "did you mean 'array.blocks'?"),
    "unknown axis of the work": (HEAD + "axes: {work.sparsity: [1]}", "axis 'work.sparsity'", "'digits'"),
    "empty range": (HEAD + "axes: {array.blocks: {from: 8, to: 4, step: 1}}", "empty range, from 8 to 4"),
    "empty list": (HEAD + "axes: {array.blocks: []}", "axis 'array.blocks'", "a list of values"),
    "range without steps": (HEAD + "axes: {array.blocks: {from: 8, to: 9}}", "either 'step' or 'points'"),
    "unknown key of a range": (
        HEAD + "axes: {array.blocks: {from: 8, to: 9, stepp: 1}}",
        "axis 'array.blocks'",
        "'stepp' is unknown",
        "'step'",
    ),
    "constraint that is no expression": (HEAD + "constraints: ['array.blocks <']", "constraint", "no arithmetic"),
    "constraint that calls": (HEAD + "constraints: ['__import__(1)']", "constraint", "only numbers, names"),
    "constraint of what there is not": (HEAD + "constraints: ['array.block < 4']", "unknown name 'array.block'"),
    "constraint without a value": (
        HEAD + "axes: {array.blocks: [2, 4]}\nconstraints: ['1 / (array.blocks - 4) < 1']",
        "constraint",
        "divides by zero",
    ),
    "budget nothing satisfies": (HEAD + "budget: {area_mm2: 0.001}", "not one of 1 points", "area_mm2 <= 0.001"),
    "budget in no unit": (HEAD + "budget: {buffer_bytes: much}", "buffer_bytes is 'much'"),
    "budget below nothing": (HEAD + "budget: {area_mm2: -1}", "budget.area_mm2"),
    "two axes on one parameter": (
        HEAD + "axes: {array.blocks: [1]}\nlinked: [{array.blocks: [2], array.slices: [3]}]",
        "two axes are on one parameter, 'array.blocks'",
    ),
    "an axis twice": (HEAD + "axes: {array.blocks: [1], array.blocks: [2]}", "not valid YAML", "array.blocks"),
    "an axis on what is set": (
        HEAD.replace("arch: escalate", "arch: escalate, set: {array.blocks: 4}") + "axes: {array.blocks: [1]}",
        "'array.blocks', which the chip 'escalate' sets already",
    ),
    "linked of two lengths": (
        HEAD + "linked: [{array.blocks: [1, 2], array.slices: [3]}]",
        "'array.blocks' has 2, 'array.slices' has 1",
    ),
    "linked of none": (HEAD + "linked: [{}]", "linked axes is empty"),
    "unknown chip": (HEAD.replace("arch: escalate", "arch: escalat"), "chip 'escalate'", "'escalat'"),
    "unknown work": (HEAD.replace("digits_cnn", "digits_cn"), "work 'digits'", "'digits_cn'"),
    "unknown parameter set of a chip": (
        HEAD.replace("arch: escalate", "arch: escalate, set: {array.block: 4}"),
        "array.block",
    ),
    "unknown parameter of a work": (HEAD.replace("digits_cnn", "digits_cnn, set: {seq: 4}"), "'seq'"),
    "unknown memory": (HEAD + "memory: ddr9", "ddr9"),
    "unknown key": (HEAD + "axis: {array.blocks: [1]}", "'axis' is unknown", "did you mean 'axes'?"),
    "no chips": ("skipper: 1\nchips: {}\nworks: {digits: {trace: digits_cnn}}", "chips"),
    "no works": ("skipper: 1\nchips: {escalate: {arch: escalate}}", "'works' is missing"),
    "no version": (HEAD.replace("skipper: 1\n", ""), "'skipper' is missing"),
    "newer version": (HEAD.replace("skipper: 1", "skipper: 2"), "'skipper' is 2"),
    "many points before those of the last chip": (
        HEAD.replace("{escalate: {arch: escalate}}", "{escalate: {arch: escalate}, other: {arch: escalate}}")
        + "axes: {array.blocks: {from: 1, to: 20000, step: 1}, array.slices: {from: 1, to: 20000, step: 1}}\n"
        + "constraints: [array.blocks < 0]",
        "800,000,000 points",
    ),
    "more values than an axis has": (
        HEAD + "axes: {array.blocks: {from: 1, to: 1000000000, points: 1000000000}}",
        "axis 'array.blocks': 1e+09 values, expected at most 1,000,000",
    ),
    "no value": (HEAD + "axes: {array.blocks: [null, 2]}", "axis 'array.blocks': a value is nothing"),
    "a list of lists": (HEAD + "axes: {array.blocks: [[1], 2]}", "axis 'array.blocks': a value is a list"),
    "an end that is no number": (HEAD + "axes: {array.blocks: {from: .nan, to: 3, step: 1}}", "a value is nan"),
    "unknown type left out": (
        HEAD.replace("digits_cnn", "digits_cnn, without: liner"),
        "work 'digits': unknown type of operators 'liner' (did you mean 'linear'?)",
    ),
    "nothing left": (HEAD.replace("digits_cnn", "digits_cnn, without: 'linear,conv2d'"), "work 'digits': trace"),
    "an axis of a trace's": (HEAD + "axes: {work.seq: [1]}", "a trace has no parameters, only a workload has"),
    "seed that no sampler takes": (
        HEAD + "search: {method: random, objectives: [cycles], trials: 1, seed: 99999999999}",
        "search.seed",
    ),
    "bad YAML": (HEAD + "axes: {array.blocks: [1}", "not valid YAML"),
    "no mapping": ("- 1", "expected a sweep"),
    "too many points": (
        HEAD + "axes: {array.blocks: {from: 1, to: 2000, step: 1}, array.slices: {from: 1, to: 2000, step: 1}}",
        "4,000,000 points",
    ),
    "jobs beside axes": (HEAD + "axes: {array.blocks: [1]}\njobs: [{chip: escalate, work: digits}]", "'jobs'"),
    "job of no chip": (HEAD + "jobs: [{chip: escalat, work: digits}]", "no chip 'escalat' (did you mean 'escalate'?)"),
    "job of no parameter": (
        HEAD + "jobs: [{chip: escalate, work: digits, set: {array.block: 1}}]",
        "job 1: 'array.block'",
    ),
    "unknown method": (HEAD + "search: {method: magic, objectives: [cycles], trials: 4}", "search.method"),
    "no objectives": (HEAD + "search: {method: tpe, objectives: [], trials: 4}", "search.objectives"),
    "no trials": (HEAD + "search: {method: tpe, objectives: [cycles], trials: 0}", "search.trials"),
    "search that nothing satisfies": (
        HEAD + "budget: {area_mm2: 0.001}\nsearch: {method: tpe, objectives: [cycles], trials: 4}",
        "not one of 1 points",
    ),
}


def refused(file: Path, *options: str) -> str:
    before = sorted(file.parent.rglob("*"))
    found = CliRunner().invoke(main, ["sweep", str(file), "--out", str(file.parent / "out"), *options])
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith("skipper: ")
    assert found.stderr.count("\n") == 1
    assert sorted(file.parent.rglob("*")) == before
    return found.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(name: str, tmp_path: Path) -> None:
    text, *said = BAD[name]
    sentence = refused(written(tmp_path, text))
    assert all(each in sentence for each in said), sentence
    assert "small.yaml" in sentence


def test_the_schema_is_up_to_date_and_admits_what_is_shipped(tmp_path: Path) -> None:
    kept = (ROOT / "sweeps" / "schema.json").read_text("utf-8")
    assert CliRunner().invoke(main, ["sweep", "--schema", str(tmp_path / "schema.json")]).exit_code == 0
    assert kept == (tmp_path / "schema.json").read_text("utf-8"), "skipper sweep --schema sweeps/schema.json"
    check = Draft202012Validator(json.loads(kept))
    for file in (ROOT / "sweeps").glob("*.yaml"):
        check.validate(parse_yaml(file.read_text("utf-8"), str(file)))
    for name in ("unknown key", "empty list", "unknown key of a range", "no works", "newer version", "no trials"):
        assert not check.is_valid(parse_yaml(BAD[name][0], name)), name


def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.yaml")


def test_a_search_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("simulator.sweep.search.find_spec", lambda name: None if name == "optuna" else found(name))
    file = written(tmp_path, HEAD + "search: {method: tpe, objectives: [cycles], trials: 4}")
    assert "needs Optuna" in refused(file)


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    assert "--cluster" in refused(written(tmp_path, HEAD), "--cluster", "nonsense://x")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    assert "holds something that is no sweep" in refused(written(tmp_path, HEAD), "--workers", "1")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    assert "expected a folder" in refused(written(tmp_path, HEAD), "--workers", "1")


def test_a_file_in_the_place_of_the_plans(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("x")
    assert "expected a folder" in refused(written(tmp_path, HEAD), "--plans", str(tmp_path / "plans"))


def test_another_sweep_or_another_version(tmp_path: Path) -> None:
    file = written(tmp_path, HEAD)
    arguments = ["sweep", str(file), "--out", str(tmp_path / "out"), "--workers", "1", "--plans", str(tmp_path / "p")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    file.write_text(HEAD + "axes: {array.blocks: [2]}")
    assert "already holds another sweep" in refused(file, "--workers", "1")
    file.write_text(HEAD)
    kept = tmp_path / "out" / "made_with.json"
    said = json.loads(kept.read_text())
    for other in ({"version": "0.0.0"}, {"columns": said["columns"][:-1]}):
        kept.write_text(json.dumps({**said, **other}))
        assert "another version" in refused(file, "--workers", "1")


def test_another_trace_in_the_file_of_that_name(tmp_path: Path) -> None:
    work = tmp_path / "work.safetensors"
    shutil.copy(ROOT / "traces" / "digits_cnn.safetensors", work)
    file = written(tmp_path, HEAD.replace("digits_cnn", str(work)))
    arguments = ["sweep", str(file), "--out", str(tmp_path / "out"), "--workers", "1", "--plans", str(tmp_path / "p")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    shutil.copy(ROOT / "traces" / "char_transformer.safetensors", work)
    assert "other chips or files" in refused(file, "--workers", "1")


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed")
def test_a_cluster_whose_class_finds_its_configuration_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLUSTERS, "slurm", ("fractions", "Fraction"))  # which cannot be scaled
    assert "--cluster slurm: cannot be started" in refused(written(tmp_path, HEAD), "--cluster", "slurm")
