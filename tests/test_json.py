"""Every command prints one JSON document where it is asked for, and nothing else on stdout."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from click.testing import CliRunner

from simulator import load_arch, load_trace, simulate
from simulator.arch.shipped import read_shipped
from simulator.cli import main
from simulator.commands.common import print_json
from simulator.extract import Extraction, NotCaptured, Rounding
from simulator.extract.report import extraction_document
from simulator.results.folder import write_run
from simulator.trace import Attention, DensityTensor, MaskTensor, Trace, save_trace
from tests.report.sweeps import grid, kept
from tests.sweep.sweeps import tiny_trace

EXPERIMENT = """\
skipper: 1
title: Half the rows
source: Nobody, nowhere
chips: {whole: {arch: systolic}, half: {arch: systolic, set: {array.rows: 16}, why: Half of them.}}
works: {tiny: {trace: tiny.safetensors}}
figures: [{name: slower, published: 2, unit: ×, ours: half.tiny.cycles / whole.tiny.cycles}]
"""
SWEEP = (
    "skipper: 1\nchips: {s: {arch: systolic}}\nworks: {t: {trace: tiny.safetensors}}\naxes: {array.rows: [4, many]}\n"
)
MODEL = "import torch\n\ndef net():\n    print('loud')\n    return torch.nn.Linear(4, 2)\n"
CASES: dict[str, list[tuple[int, str]]] = {
    "run": [(0, "systolic tiny.safetensors --out made --timeline timeline.json")],
    "compare": [(0, "systolic scnn -t tiny.safetensors --by-operator --figure c.svg --csv c.csv --latex c.tex")],
    "reproduce": [(0, "half.yaml --page page.md"), (0, "")],
    "sweep": [(1, "small.yaml --out space --plans plans"), (0, "--schema schema.json")],
    "report": [(0, "studied -o report.html")],
    "batch": [(1, "jobs.csv --out batch --plans plans")],
    "diff": [(1, "runs/4 runs/8 --csv d.csv"), (0, "runs/8 runs/8")],
    "extract": [(0, "loud:net --input 1x4 -o extracted.safetensors")],
    "inspect": [(0, "tiny.safetensors --figure masks.svg")],
    "convert": [(0, "tiny.safetensors --prune weight=0.5 -o sparser.safetensors")],
    "profile": [(0, "tiny.safetensors -o profile.yaml")],
    "kept": [(0, "heads.safetensors --figure kept.svg")],
    "workloads": [(0, "--schema workloads.json"), (0, "")],
    "show": [(0, "escalate --set array.blocks=4"), (0, "escalate --memory detailed"), (0, "scnn --area")],
    "list": [(0, "")],
    "price": [(0, "runs/8 --technology 45nm")],
    "shares": [(0, "runs/8 runs/4 --figure shares.svg")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    trace = load_trace(tiny_trace(folder / "tiny.safetensors"))
    unknown = DensityTensor((1, 2, 8, 4), density=1, seed=1)
    mask = MaskTensor.of(np.random.default_rng(1).random((1, 2, 8, 8)) < 0.4)
    save_trace(Trace("heads", (Attention("a", unknown, unknown, unknown, mask=mask),)), folder / "heads.safetensors")
    for rows in ("8", "4"):
        write_run(simulate(trace, load_arch("systolic", {"array.rows": rows})), folder / "runs" / rows)
    kept(grid(), folder / "studied")
    for name, text in {
        "half.yaml": EXPERIMENT,
        "small.yaml": SWEEP,
        "jobs.csv": "name,arch,trace\na,systolic,tiny.safetensors\nb,systolic,none\n",
        "loud.py": MODEL,
    }.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def test_every_command_has_the_option_and_a_case_here() -> None:
    assert set(CASES) == set(main.commands)
    for name, command in main.commands.items():
        assert any("--json" in option.opts for option in command.params), name


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("name", "status", "words"), [(n, *case) for n, cases in CASES.items() for case in cases])
def test_stdout_is_one_document(
    name: str, status: int, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "extract":
        pytest.importorskip("torch", reason="needs PyTorch: pip install 'skipper-simulator[torch]'")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("simulator.library.page.list_workloads", lambda: ("alexnet",))  # all take seconds
    done = CliRunner().invoke(main, [name, *words.split(), "--json"])
    assert done.exit_code == status, done.output
    document = json.loads(done.stdout, parse_constant=refuse)
    assert isinstance(document["schema_version"], int)
    assert next(iter(document)) == "schema_version"
    assert len(document) > 1
    for word in words.split():
        if Path(word).suffix in (".svg", ".csv", ".tex", ".md", ".json"):
            assert (folder / word).stat().st_size, word


def test_what_a_users_own_module_prints_is_not_on_stdout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "Chip, geometry, match, multipliers, parts, resized, tile"
    (folder / "loud_chip.py").write_text(f"from simulator.accelerators.dcnn import {names}\n\nprint('loud')\n", "utf-8")
    text = read_shipped("dcnn", "", (".yaml",), "architecture")[0]
    (folder / "loud.yaml").write_text(text.replace("accelerator: dcnn", "accelerator: module:loud_chip"), "utf-8")
    monkeypatch.syspath_prepend(folder)
    done = CliRunner().invoke(main, ["show", str(folder / "loud.yaml"), "--json"])
    assert json.loads(done.stdout)["accelerator"] == "module:loud_chip"
    assert done.stderr == "loud\n"


def printed(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Any:
    print_json(document)
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_what_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed({"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf, "d": "NaN"}}, capsys)
    assert found == {"schema_version": 1, "a": [None, 1.5, [None]], "b": {"c": None, "d": "NaN"}}


def test_a_document_of_another_version_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed({"schema_version": 7}, capsys) == {"schema_version": 7}


def test_an_extraction_is_a_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = load_trace(folder / "tiny.safetensors")
    lacks = (
        NotCaptured("aten::fft", "a", "elements", 1, None, 8, 32),
        NotCaptured("aten::mm", "b", "products", 2, 24, 8, 32),
    )
    found = printed(extraction_document(Extraction(trace, lacks, (), Rounding(1, 4), Rounding(0, 0))), capsys)
    assert (found["trace"], found["macs"], found["captured"]) == ("tiny", 24, 0.5)
    assert found["captured_at_most"]
    assert found["rounded_to_zero"] == {"weights": 0.25, "activations": 0.0}
    assert [each["macs"] for each in found["not_captured"]] == [None, 24]


def test_what_is_shown_in_json_is_what_the_chip_has(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(CliRunner().invoke(main, ["show", "escalate", "--set", "array.blocks=4", "--json"]).stdout)
    arch = load_arch("escalate", {"array.blocks": "4"})
    assert document["digest"] == arch.digest
    values = {each["key"]: (each["value"], each["source"]) for each in document["parameters"]}
    assert values["array.blocks"] == (4, "user")
    assert set(values) == set(arch.config.provenance)


def test_a_refusal_prints_nothing_on_stdout() -> None:
    done = CliRunner().invoke(main, ["show", "nothing", "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
