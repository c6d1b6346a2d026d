"""Accelerators that lie outside the package, named ``module:NAME`` in their configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import PlanCache, load_arch, load_trace, simulate
from simulator.arch.shipped import read_shipped
from simulator.errors import InputError
from simulator.sweep import sweep

ROOT = Path(__file__).parents[2]
MODULE = """\
from simulator.accelerators.dcnn import Chip, geometry, match, multipliers, parts, resized
from simulator.accelerators import dcnn

__all__ = ["Chip", "geometry", "match", "multipliers", "parts", "resized", "tile"]


def tile(operator, match, chip):
    return dcnn.tile(operator, match, chip)
"""
SWEEP = """\
skipper: 1
chips: {mine: {arch: FOLDER/mine.yaml}}
works: {digits: {trace: digits_cnn}}
axes: {dram.bandwidth: [2 GB/s, 8 GB/s]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path that holds a module and its configuration."""
    (tmp_path / "mine_of_tests.py").write_text(MODULE, "utf-8")
    text = read_shipped("dcnn", "", (".yaml",), "architecture")[0]
    (tmp_path / "mine.yaml").write_text(text.replace("accelerator: dcnn", "accelerator: module:mine_of_tests"), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_of_tests", None)


def test_it_gives_what_the_same_module_of_the_package_gives(folder: Path) -> None:
    ours = simulate(load_trace("digits_cnn"), load_arch(folder / "mine.yaml", {"pes.rows": "4"}), check=True).summary
    theirs = simulate(load_trace("digits_cnn"), load_arch("dcnn", {"pes.rows": "4"}), check=True).summary
    assert ours["verified"] is True
    assert {**ours, "arch": "dcnn", "digests": None} == {**theirs, "digests": None}
    assert "accelerator" not in theirs["digests"]


def test_its_results_say_which_source_they_were_made_with(folder: Path) -> None:
    trace, arch = load_trace("digits_cnn"), load_arch(folder / "mine.yaml")
    before = simulate(trace, arch).digests
    (folder / "mine_of_tests.py").write_text(f"{MODULE}\n# Changed.\n", "utf-8")
    after = simulate(trace, arch).digests
    assert before["accelerator"] != after["accelerator"]
    assert {**before, "accelerator": ""} == {**after, "accelerator": ""}


def test_no_program_of_it_is_kept(folder: Path) -> None:
    """A kept program is known by the version of Skipper, which says nothing of a module of the user's."""
    kept = PlanCache()
    simulate(load_trace("digits_cnn"), load_arch(folder / "mine.yaml"), cache=kept)
    assert len(kept._matches) == 8
    assert not kept._programs


def test_a_sweep_runs_it_in_its_workers_and_goes_on_with_the_same_source_only(folder: Path) -> None:
    file = folder / "sweep.yaml"
    file.write_text(SWEEP.replace("FOLDER", str(folder)), "utf-8")
    frame = sweep(file, folder / "out", workers=1, plans=folder / "plans")
    assert list(frame.status) == ["ok", "ok"], list(frame.error)
    assert frame.cycles.nunique() == 2
    assert not list(folder.glob("plans/*/*"))
    assert sweep(file, folder / "out", workers=1).equals(frame)
    (folder / "mine_of_tests.py").write_text(f"{MODULE}\n# Changed.\n", "utf-8")
    with pytest.raises(InputError, match=r"made_with\.json"):
        sweep(file, folder / "out", workers=1)


def test_the_command_finds_it_on_the_import_path(folder: Path) -> None:
    command = [sys.executable, "-m", "simulator", "run", "mine.yaml", "digits_cnn", "--out", "out", "--json"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arch"] == "mine"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("module:no_such_module_of_tests", "", "ModuleNotFoundError: No module named 'no_such_module_of_tests'"),
        ("module:", "", "cannot be imported"),
        ("module:broken_of_tests", "from simulator import nothing_like_this", "AttributeError|ImportError"),
        ("module:broken_of_tests", "x = (", "SyntaxError"),
        ("module:broken_of_tests", "Chip = geometry = match = None", "defines no multipliers, tile"),
        ("module:broken_of_tests", MODULE.replace("resized", "parts"), "neither SCALE nor resized"),
    ],
)
def test_what_is_no_accelerator_is_refused_in_one_sentence(
    folder: Path, name: str, content: str, expected: str
) -> None:
    (folder / "broken_of_tests.py").write_text(content, "utf-8")
    text = (folder / "mine.yaml").read_text("utf-8").replace("module:mine_of_tests", f"'{name}'")
    (folder / "bad.yaml").write_text(text, "utf-8")
    sys.modules.pop("broken_of_tests", None)
    with pytest.raises(InputError, match=expected) as refused:
        load_arch(folder / "bad.yaml")
    assert str(refused.value).startswith(f"{folder / 'bad.yaml'}: key 'accelerator': ")
    assert "\n" not in str(refused.value)
