"""The report: a page that holds everything, from any dataset, or one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.report import read_study, report_page
from simulator.report.page import best_points, drawn_rows, front_ranks
from tests.report.sweeps import AXES, FILE, grid, kept, many


def report(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def data_of(page: str) -> Any:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def body_of(page: str) -> str:
    """What is read on the page."""
    return page[page.index("<body>") : page.index("<script")]


def test_one_page_of_a_sweep(tmp_path: Path) -> None:
    folder = kept(grid(("alpha", "beta")), tmp_path / "space")
    assert report(folder, "-o", tmp_path / "r.html") == (
        f"space: 48 points, 0 failed; report in {tmp_path / 'r.html'}\n"
    )
    page = (tmp_path / "r.html").read_text("utf-8")
    body = body_of(page)
    assert "Blocks, &lt;channel&gt; &amp; buffer of chips that are none." in body
    for sentence in ("alpha, beta", "digits", "time, energy, area", "1 GB/s, 4 GB/s, 16 GB/s", "exact Sobol"):
        assert sentence in body
    assert "has not ended" not in body
    assert "Why points failed" not in body
    assert not re.findall(r'(?:src|href)="(?!data:)', page.replace(page[page.index("<script") :], ""))
    data = data_of(page)
    assert data["rows"] == list(range(48))
    assert [column["label"] for column in data["columns"]] == [
        *AXES, "time", "energy", "area", "utilisation", "bound by",
    ]  # fmt: skip
    assert set(data["figures"]) == {
        "pareto-cycles-energy_pj", "pareto-cycles-area_mm2", "pareto-energy_pj-area_mm2",
        "front-cycles-energy_pj-area_mm2", "roofline", "parallel",
        *(f"{kind}-{place}" for kind in ("alone", "variance") for place in range(2)),
    }  # fmt: skip
    assert report_page(read_study(folder)) == page


def test_the_page_is_in_the_folder_if_nothing_is_said(tmp_path: Path) -> None:
    folder = kept(grid(), tmp_path / "space")
    said = json.loads(report(folder, "--json"))
    assert said == {
        "schema_version": 1, "sweep": "space", "points": 24, "failed": 0, "out": str(folder / "report.html"),
    }  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["points", "report.html", "sweep.yaml"]


def test_an_unfinished_sweep_shows_what_there_is(tmp_path: Path) -> None:
    frame = grid()
    folder = kept(frame.iloc[:10], tmp_path / "space")
    lines = [json.dumps(row) for row in frame.iloc[10:14].to_dict("records")]
    (folder / "journal.jsonl").write_text("\n".join(lines) + '\n{"point": "cut sh', "utf-8")
    page = report_page(read_study(folder))
    assert "The sweep has not ended" in body_of(page)
    assert "The points are not a full grid" in body_of(page)
    assert len(data_of(page)["rows"]) == 14


def test_failed_points_are_counted_by_their_reasons(tmp_path: Path) -> None:
    frame = grid()
    frame.loc[[3, 4, 9], "status"] = "failed"
    frame.loc[[3, 4, 9], "error"] = ["no <chip>", "no <chip>", "lost"]
    frame.loc[[3, 4, 9], ["cycles", "seconds", "energy_pj", "area_mm2", "macs_performed"]] = np.nan
    page = report_page(read_study(kept(frame, tmp_path / "space")))
    assert re.search(r'<td class="number">2</td><td>no &lt;chip&gt;</td>', body_of(page))
    assert len(data_of(page)["rows"]) == 21


def none_ok(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(status="failed", error="bad\nluck", cycles=np.nan)


def search(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(12, random_state=3)


CASES: dict[str, tuple[Callable[[], pd.DataFrame], str | None, list[str]]] = {
    "one point": (lambda: grid().iloc[:1], None, ["Best points"]),
    "axes of one value, of text, of none": (
        lambda: grid(axes={"array.blocks": [2.0, 4.0], "idle": [3.0], "mode": ["rows", "columns"], "unset": [None]}),
        None, ["exact Sobol", "columns, rows"],
    ),
    "no area": (lambda: grid().assign(area_mm2=None), None, ["The area of any point is not known"]),
    "areas of one chip": (
        lambda: (both := grid(("alpha", "beta"))).assign(area_mm2=both["area_mm2"].where(both["chip"] == "alpha")),
        None, ["The area of 24 of 48 points is not known"],
    ),
    "jobs without axes": (
        lambda: grid(("alpha", "beta"), axes={}),
        "skipper: 1\nchips: {alpha: {arch: a}, beta: {arch: b}}\nworks: {digits: {trace: d}}\n"
        "jobs: [{chip: alpha, work: digits}, {chip: beta, work: digits}]\n", ["Best points"],
    ),
    "a search": (
        lambda: search(grid()),
        FILE % {"chips": "alpha: {arch: a}", "works": "digits: {trace: d}"}
        + "search: {method: random, objectives: [cycles, dram_bytes], trials: 12}\n",
        ["A search chose the points", "correlation ratio", "time, energy, area, DRAM traffic"],
    ),
    "a dataset of an earlier version, without its file": (
        lambda: grid().drop(columns=["peak_macs_per_s", "peak_bandwidth_gb_s"]), "", ["made by an earlier version"],
    ),
    "nothing varies, no bytes": (
        lambda: grid().assign(cycles=7, energy_pj=1.0, area_mm2=2.0, bandwidth_gb_s=0.0), None, ["Roofline"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_any_dataset_has_a_page(case: str, tmp_path: Path) -> None:
    make, text, sentences = CASES[case]
    folder = kept(make(), tmp_path / "space", text)
    if text == "":
        (folder / "sweep.yaml").unlink()
    page = report_page(read_study(folder))
    for sentence in sentences:
        assert sentence in body_of(page)
    data = data_of(page)
    assert all(len(column["texts"]) == len(data["rows"]) for column in data["columns"])
    assert any(data["front"])


def test_the_axes_of_a_batch_have_the_units_that_its_lines_write(tmp_path: Path) -> None:
    folder = kept(grid(), tmp_path / "batch")
    (folder / "sweep.yaml").unlink()
    lines = [
        {"line": 1, "name": None, "arch": "alpha", "dram.bandwidth": "1 GB/s", "buffer.size": "8192"},
        {"line": 2, "name": "small", "arch": "alpha", "dram.bandwidth": "4000000000", "array.blocks": "4"},
    ]
    (folder / "batch.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert read_study(folder).units == {"dram.bandwidth": "B/s"}
    (folder / "batch.jsonl").write_bytes(b"\xff\xfe")
    assert report(folder, status=2) == f"skipper: {folder / 'batch.jsonl'}: is damaged\n"


def test_a_chip_whose_area_is_never_known_has_a_front_of_the_other_objectives() -> None:
    frame = grid(("alpha", "beta"))
    frame["area_mm2"] = frame["area_mm2"].where(frame["chip"] == "alpha")
    ranks = front_ranks(frame, ("cycles", "energy_pj", "area_mm2"))
    assert set(ranks[frame["chip"] == "beta"]) == {0, 1}
    assert 2 in ranks[frame["chip"] == "alpha"]


def test_of_many_points_fronts_and_best_are_drawn_and_the_page_says_so(tmp_path: Path) -> None:
    frame = many(400)
    study = read_study(kept(frame, tmp_path / "space"))
    page = report_page(study, most=150)
    assert re.search(r"150 of 400 points are drawn and listed", body_of(page))
    data = data_of(page)
    ranks = front_ranks(study.frame, study.objectives)
    assert len(data["rows"]) == 150
    assert set(np.flatnonzero(ranks)) <= set(data["rows"])
    assert set(best_points(study.frame, study.objectives)["row"]) <= set(data["rows"])
    drawn = [row for trace in data["figures"]["roofline"]["data"] for row in trace.get("customdata", [])]
    assert sorted(drawn) == data["rows"]


def test_a_front_of_too_many_points_is_thinned_but_for_the_best() -> None:
    rows = drawn_rows(np.ones(100, np.bool_), [7, 99], 10)
    assert len(rows) == 10
    assert {7, 99} <= set(rows.tolist())


def test_a_page_of_a_thousand_points_is_small(tmp_path: Path) -> None:
    assert len(report_page(read_study(kept(many(1000), tmp_path / "space"))).encode()) < 8e6


def test_what_has_no_report_is_refused_in_a_sentence(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", kept(grid(), tmp_path / "full")
    failed = kept(none_ok(grid()), tmp_path / "failed")
    (empty / "points").mkdir(parents=True)
    other = kept(grid(), tmp_path / "other")
    (other / "sweep.yaml").write_bytes(b"\xff\xfe")
    for arguments, sentence in (
        ((tmp_path / "none",), f"{tmp_path / 'none'}: holds no sweep; expected the folder of one"),
        ((full / "sweep.yaml",), f"{full / 'sweep.yaml'}: holds no sweep; expected the folder of one"),
        ((empty,), f"{empty}: holds no points yet; there is nothing to show"),
        ((failed,), f"{failed}: all 24 points failed, there is nothing to show; most often: bad luck"),
        (
            (full, "-o", full / "sweep.yaml"),
            f"{full / 'sweep.yaml'}: is a file of the sweep; expected another name for the page",
        ),
        (
            (full, "-o", full / "points" / "all.parquet"),
            f"{full / 'points' / 'all.parquet'}: expected a file outside the folder for the results, {full / 'points'}",
        ),
        ((other,), f"{other / 'sweep.yaml'}: cannot read the sweep: not UTF-8 text"),
        ((full, "-o", tmp_path), f"{tmp_path}: expected the name of a file, found a folder"),
        (
            (full, "-o", tmp_path / "no" / "r.html"),
            f"{tmp_path / 'no' / 'r.html'}: expected a file in a folder that exists; there is no {tmp_path / 'no'}",
        ),
    ):
        assert report(*arguments, status=2) == f"skipper: {sentence}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "failed", "full", "other"]
    assert sorted(path.name for path in full.iterdir()) == ["points", "sweep.yaml"]
