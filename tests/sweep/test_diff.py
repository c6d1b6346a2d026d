"""Two datasets beside each other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.errors import InputError
from simulator.results.folder import write_run
from simulator.sweep import compare_frames, diff
from simulator.sweep.dataset import Dataset
from simulator.sweep.difference import DEFAULT, LESS_IS_BETTER, METRICS, by_metric, changes, document, largest
from simulator.sweep.rows import RESULTS, columns
from tests.sweep.sweeps import tiny_trace

KINDS = columns({"point": str, "chip": str, "work": str}, {}) | {"array.blocks": float}
ORDER = [*list(KINDS)[:3], "array.blocks", *list(KINDS)[3:-1]]


def row(blocks: float | None = 2, error: str | None = None, chip: str = "escalate", **more: Any) -> dict[str, Any]:
    found = {name: 100 if kind is int else 2.5 if kind is float else "x" for name, kind in RESULTS.items()}
    if error is not None:
        found = dict.fromkeys(found)
    first = {"point": f"{chip}{blocks}", "chip": chip, "work": "digits", "array.blocks": blocks}
    said = {**first, "status": "ok" if error is None else "failed", "error": error, **found, **more}
    return {name: said.get(name) for name in ORDER}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def folder(path: Path, *rows: dict[str, Any]) -> Path:
    dataset = Dataset(path, {name: KINDS[name] for name in ORDER}, ("sweep.yaml", "x"), {})
    dataset.add(rows)
    dataset.close()
    return path


def skipper(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_points_are_matched_by_values_whatever_the_digests_and_the_units_say() -> None:
    before = frame(row(65536.0, point="a", version="1"), row(None, point="b"))
    after = frame(row(point="c", version="2") | {"array.blocks": "64 KiB"}, row(point="d") | {"array.blocks": None})
    assert list(compare_frames(before, after).state) == ["both", "both"]
    assert list(compare_frames(before, after.drop(columns="array.blocks")).state.sort_values()) == [
        "both",
        "only before",
    ]


def test_a_value_that_is_text_is_matched_as_text() -> None:
    before, after = (frame(row() | {"array.blocks": "rows"}, row() | {"array.blocks": "true"}) for _ in "12")
    assert list(compare_frames(before, after.iloc[::-1]).state) == ["both", "both"]


def test_a_job_with_the_usual_memory_is_a_point_of_a_sweep() -> None:
    sweep, batch = frame(row(1), row(2)), frame(row(1), row(2))
    batch.insert(3, "memory", ["simple", "detailed"])
    assert list(compare_frames(sweep, batch).state.sort_values()) == ["both", "only after", "only before"]


def test_states() -> None:
    before = frame(row(1), row(2), row(3, "no"), row(4, "no"), row(5))
    after = frame(row(1), row(2, "worn"), row(3), row(4, "no"), row(6))
    found = compare_frames(before, after).set_index("array.blocks")
    assert found.state.to_dict() == {
        1: "both", 2: "newly failing", 3: "newly passing", 4: "failing", 5: "only before", 6: "only after",
    }  # fmt: skip
    assert found.error_after[2] == "worn"
    assert found.error_before[3] == "no"


def test_ratios_and_verdicts() -> None:
    before = frame(row(1), row(2), row(3, cycles=0), row(4, cycles=0), row(5, area_mm2=None))
    after = frame(
        row(1, cycles=150, utilization=5.0),
        row(2, cycles=50, utilization=1.25),
        row(3, cycles=7),
        row(4, cycles=0),
        row(5),
    )
    metrics = ("cycles", "utilization", "area_mm2")
    compared = compare_frames(before, after, metrics)
    assert list(compared.cycles_ratio) == [1.5, 0.5, math.inf, 1.0, 1.0]
    changed = changes(compared, metrics)
    said = {(r["array.blocks"], r["metric"]): (r["verdict"], r["factor"]) for r in changed.to_dict("records")}
    assert said == {
        (3, "cycles"): ("worse", math.inf), (1, "cycles"): ("worse", 1.5), (2, "cycles"): ("better", 2.0),
        (1, "utilization"): ("better", 2.0), (2, "utilization"): ("worse", 2.0),
    }  # fmt: skip
    counts = {each["metric"]: each for each in by_metric(compared, changed, metrics)}
    assert counts["area_mm2"]["compared"] == 4
    assert (counts["cycles"]["worse"], counts["cycles"]["better"]) == (2, 1)
    assert counts["cycles"]["geometric_mean"] == pytest.approx((1.5 * 0.5) ** (1 / 4))
    assert (counts["cycles"]["lowest"], counts["cycles"]["highest"]) == (0.5, math.inf)


def test_each_point_is_listed_once_by_what_changed_most() -> None:
    before = frame(*(row(n) for n in range(1, 9)))
    after = frame(*(row(n, cycles=100 + n, energy_pj=2.5 * (1 + n / 10)) for n in range(1, 9)))
    found = largest(changes(compare_frames(before, after)), "worse", 3)
    assert [(each["metric"], each["settings"]) for each in found] == [
        ("energy_pj", {"array.blocks": float(n)}) for n in (8, 7, 6)
    ]


def test_a_tolerance_leaves_small_changes_out_either_way() -> None:
    before = frame(row(1), row(2))
    after = frame(row(1, cycles=101), row(2, cycles=99))
    compared = compare_frames(before, after)
    assert len(changes(compared)) == 2
    assert list(changes(compared, tolerance=0.01)["array.blocks"]) == [
        2
    ]  # 100 / 99 is more than 1 %, as 99 / 100 is not
    assert not document(compared, tolerance=0.02)["regressed"]
    assert document(compared)["regressed"]


@settings(max_examples=8)
@given(
    cells=st.dictionaries(st.integers(1, 99), st.integers(1, 10**9), min_size=1, max_size=9),
    factor=st.sampled_from([0.25, 0.5, 1, 2, 8]),
    shuffled=st.randoms(use_true_random=False),
)
def test_what_is_scaled_as_a_whole_has_that_factor(cells: dict[int, int], factor: float, shuffled: Any) -> None:
    before = [row(blocks, cycles=cycles * 4) for blocks, cycles in cells.items()]
    after = [row(blocks, cycles=cycles * 4 * factor) for blocks, cycles in cells.items()]
    shuffled.shuffle(after)
    compared = compare_frames(frame(*before), frame(*after), METRICS)
    changed = changes(compared, METRICS)
    assert (compared.state == "both").all()
    for each in by_metric(compared, changed, METRICS):
        of_cycles = each["metric"] == "cycles"
        assert each["changed"] == (len(cells) if of_cycles and factor != 1 else 0)
        assert each["geometric_mean"] == pytest.approx(factor if of_cycles else 1)
    assert document(compared, METRICS)["regressed"] == (factor > 1)


def test_the_command_says_what_regressed_with_status_1(tmp_path: Path) -> None:
    before = folder(tmp_path / "before", row(1), row(2), row(3), row(4), row(5))
    after = folder(tmp_path / "after", row(1, cycles=130), row(2, cycles=80), row(3, "worn out"), row(4), row(6))
    done = skipper("diff", before, after, "--csv", tmp_path / "all.csv")
    assert done.exit_code == 1, done.output
    for said in (
        "4 points in both", "cycles +30.00% (100 → 130): escalate digits array.blocks=1",
        "cycles -20.00% (100 → 80): escalate digits array.blocks=2", "escalate digits array.blocks=3: worn out",
        "only in the first: 1", "only in the second: 1",
    ):  # fmt: skip
        assert said in done.stdout, said
    assert len(pd.read_csv(tmp_path / "all.csv")) == 6
    found = json.loads(skipper("diff", before, after, "--json", "--metric", "cycles").stdout)
    assert [each["metric"] for each in found["metrics"]] == ["cycles"]
    assert found["regressed"]
    assert found["newly_failing"] == {
        "points": 1,
        "first": [{"chip": "escalate", "work": "digits", "settings": {"array.blocks": 3.0}, "error": "worn out"}],
    }


def test_no_regression_is_status_0(tmp_path: Path) -> None:
    before = folder(tmp_path / "before", row(1), row(2), row(3, "no"))
    after = folder(tmp_path / "after", row(1, cycles=80), row(2), row(3), row(4))
    assert skipper("diff", before, after).exit_code == 0
    assert skipper("diff", after, before).exit_code == 1
    assert skipper("diff", before, before).exit_code == 0
    worse = folder(tmp_path / "worse", row(1, cycles=101), row(2), row(3, "no"))
    assert skipper("diff", before, worse).exit_code == 1
    assert skipper("diff", before, worse, "--tolerance", "0.02").exit_code == 0
    assert skipper("diff", before, worse, "--metric", "energy_pj").exit_code == 0


def test_run_folders_are_one_point_each(tmp_path: Path) -> None:
    trace = load_trace(tiny_trace(tmp_path / "tiny.safetensors", 64))
    for rows in ("2", "16"):
        write_run(simulate(trace, load_arch("systolic", {"array.rows": rows})), tmp_path / rows)
    found = diff(tmp_path / "2", tmp_path / "16", METRICS)
    assert (len(found), found.state[0], found.chip[0], found.work[0]) == (1, "both", "systolic", "tiny")
    assert found.area_mm2_before[0] < found.area_mm2_after[0]
    assert found[[f"{metric}_before" for metric in LESS_IS_BETTER if metric != "buffer_bytes"]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (lambda path: path / "none", (), "expected the folder of a sweep, a batch or a run"),
        (lambda path: folder(path / "empty"), (), "holds no points yet"),
        (lambda path: folder(path / "other", row(1, chip="scnn")), (), "no point in common"),
        (lambda path: folder(path / "same", row(1)), ("--metric", "cycle"), "did you mean 'cycles'?"),
        (lambda path: damaged(folder(path / "same", row(1))), (), "is damaged"),
        (lambda path: summary(path / "run", "{"), (), "expected the folder of a finished run"),
        (lambda path: summary(path / "run", '{"arch": []}'), (), "expected the folder of a finished run"),
        (lambda path: folder(path / "same", row(1)), ("--tolerance", "nan"), "--tolerance nan: expected a number"),
        (lambda path: folder(path / "same", row(1)), ("--csv", "nowhere/x.csv"), "a folder that exists"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    spoil: Any, options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    good, bad = folder(tmp_path / "good", row(1)), spoil(tmp_path)
    done = skipper("diff", good, bad, *options)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def damaged(path: Path) -> Path:
    (file,) = (path / "points").glob("*.parquet")
    file.write_bytes(b"nothing")
    return path


def summary(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "summary.json").write_text(text)
    return path


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(InputError, match="'bound_by' is none that can be compared"):
        compare_frames(frame(row()), frame(row()), ("bound_by",))
    assert set(DEFAULT) < set(METRICS) < set(RESULTS)
