"""Comparisons: equal resources, ratios that are those of the runs, the same in every form of writing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.compare import compare, equalise
from simulator.compare.comparison import MEAN
from simulator.compare.figure import comparison_figure
from simulator.compare.text import csv_text, document, latex_text
from simulator.errors import InputError


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return the file of an ESCALATE of half the blocks and a slower channel."""
    text = load_arch("escalate", {"array.blocks": "16", "dram.bandwidth": "6.4 GB/s"}).config.dump()
    path = tmp_path / "small.yaml"
    path.write_text(text.replace("name: escalate", "name: small"), "utf-8")
    return path


def command(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words])


def test_ratios_are_those_of_the_runs(small: Path) -> None:
    traces = [load_trace("digits_cnn"), load_trace("resnet20_cifar10", {"bases": 6, "weight_density": 0.05})]
    chips = [load_arch("escalate"), load_arch(small)]
    found = compare(chips, traces)
    assert [(row["trace"], row["arch"]) for row in found.rows[:4]] == [(t.name, c.name) for t in traces for c in chips]
    alone = simulate(traces[0], chips[1])
    row = found.rows[1]
    assert (row["cycles"], row["energy_pj"]) == (alone.cycles, alone.summary["energy_pj"])
    assert row["speedup"] == found.rows[0]["seconds"] / row["seconds"] < 1
    mean = found.rows[-1]
    assert mean["trace"] == MEAN
    assert mean["speedup"] == pytest.approx((row["speedup"] * found.rows[3]["speedup"]) ** 0.5)
    by_operator = [row for row in found.operator_rows if row["trace"] == traces[0].name and row["arch"] == "small"]
    assert [row["cycles"] for row in by_operator] == alone.table["cycles"]


def test_resources_are_made_equal(small: Path) -> None:
    chips = [load_arch("escalate"), load_arch(small)]
    assert [chip.settings for chip in equalise(chips)] == [{}, {}]
    big, same = equalise(chips, ("macs", "bandwidth"))
    assert big.multipliers == same.multipliers
    assert same.settings == {"array.blocks": "32", "dram.bandwidth": "25600000000 B/s"}
    assert same.arch.digest == big.arch.digest
    by_area = equalise(chips, ("area",))[1]
    assert by_area.settings["array.blocks"] == "32"
    assert by_area.area == pytest.approx(big.area)
    grown = equalise([chips[1], load_arch("dota", {"technology": "22nm"})], ("macs",))[1]
    assert abs(grown.multipliers - 864) <= 512


def test_of_equal_areas_the_column_shows_those_that_were_made_equal() -> None:
    """SCNN's own technology is 16 nm, ESCALATE's 45 nm: equal at 45 nm, not as each is made."""
    first, equal = equalise([load_arch("escalate"), load_arch("scnn")], ("area",))
    assert equal.area == pytest.approx(first.area, rel=0.1)
    as_made = equalise([load_arch("escalate"), load_arch("scnn", equal.settings)])[1]
    assert as_made.area is not None
    assert as_made.area < 0.5 * equal.area


def test_all_of_the_dram_is_made_equal() -> None:
    first, equal = equalise([load_arch("escalate"), load_arch("eyeriss")], ("dram",))
    kept = {"detailed": None}  # what a run command by command takes
    assert equal.arch.chip.dram.model_copy(update=kept) == first.arch.chip.dram.model_copy(update=kept)


def test_what_makes_energies_differ_what_is_left_out_and_what_is_verified_is_said() -> None:
    shown = command("systolic", "eyeriss", "a100", "-t", "digits_cnn", "--without", "rowwise,linear", "--check").output
    assert "different technologies: systolic 45nm, eyeriss 65nm" in shown
    assert "different DRAMs: systolic 8 pJ per bit, eyeriss 70 pJ per bit" in shown
    assert "digits_cnn: left out: 1 operators (rowwise, linear) with" in shown
    assert "digits_cnn verified against NumPy: systolic yes, eyeriss yes, a100 -" in shown
    assert "different DRAMs" not in command("systolic", "eyeriss", "-t", "digits_cnn", "--normalise", "dram").output


def test_traces_of_one_ending_stay_apart_in_the_figure_and_shares_are_drawn_to_scale() -> None:
    settings = {"bases": "6", "weight_density": "0.05"}
    traces = [load_trace("digits_cnn"), load_trace("resnet20_cifar10", settings)]
    near, far = load_arch("dcnn"), load_arch("a100")
    for rival, to_scale in ((near, True), (far, False)):
        figure = comparison_figure(compare([load_arch("escalate"), rival], traces))
        labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
        assert labels == ["digits_cnn", "resnet20_cifar10\nbases=6\nweight_density=0.05", MEAN]
        assert any("DRAM" in text.get_text() for text in figure.legends[0].get_texts()) == to_scale
        assert (figure.axes[1].get_yscale() == "linear") == to_scale


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (("macss",), "'macss' is nothing to normalise by .did you mean 'macs'"),
        (("macs", "area"), "normalising by macs and area at once is a contradiction"),
        (("none", "macs"), "normalising by none and macs at once is a contradiction"),
    ],
)
def test_what_cannot_be_made_equal_is_refused(how: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        equalise([load_arch("escalate")], how)


def test_every_form_of_writing_says_the_same(small: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.csv", "a.tex", "a.pdf", "a.png", "a.svg")]
    words = ["escalate", str(small), "-t", "digits_cnn", "--normalise", "bandwidth", "--check"]
    outputs = ["--csv", str(files[0]), "--latex", str(files[1])]
    for file in files[2:]:
        outputs += ["--figure", str(file)]
    shown = command(*words, *outputs)
    assert shown.exit_code == 0, shown.output
    assert "DRAM bandwidth as escalate has" in shown.output
    assert "small: dram.bandwidth = 25600000000 B/s" in shown.output
    found = json.loads(command(*words, "--json", "--by-operator").output)
    assert found["normalised"] == ["bandwidth"]
    table = pd.read_csv(files[0])
    assert table["cycles"].tolist() == [row["cycles"] for row in found["rows"]]
    assert table["verified"].all()
    assert f"{found['rows'][1]['cycles']:,}" in files[1].read_text("utf-8")
    assert [file.read_bytes()[:4] for file in files[2:4]] == [b"%PDF", b"\x89PNG"]
    assert len(found["operators"]) == 2 * len(load_trace("digits_cnn").operators)


def test_writing_is_the_same_again() -> None:
    first, again = (compare([load_arch("escalate")], [load_trace("digits_cnn")]) for _ in range(2))
    assert document(first, True) == document(again, True)
    assert latex_text(first) == latex_text(again)
    assert pd.read_csv(io.StringIO(csv_text(first, True)))["operator"].tolist() == [
        operator.name for operator in load_trace("digits_cnn").operators
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["escalate", "dota", "-t", "digits_cnn"], "digits_cnn on dota: operator 'stem' is of type conv2d"),
        (["escalate", "escalate", "-t", "digits_cnn"], "two chips are called 'escalate'"),
        (["escalate", "-t", "digits_cnn", "-t", "digits_cnn"], "two traces are called 'digits_cnn'"),
        (["escalade", "-t", "digits_cnn"], "'escalade' is no architecture (did you mean 'escalate'"),
        (["escalate", "-t", "digits_cnn", "--normalise", "areas"], "'areas' is nothing to normalise by"),
        (["escalate", "-t", "digits_cnn", "--set", "bases=6"], "--set bases=6: expected KEY=VALUE with a parameter"),
        (["escalate", "-t", "digits_cnn", "--set", "dota:clock=1"], "--set dota:clock=1: expected"),
        (["escalate", "-t", "digits_cnn", "--figure", "x.eps"], "expected a figure that ends in .svg, .pdf or .png"),
        (["escalate", "-t", "digits_cnn", "--without", "conv3d"], "--without conv3d:"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    refused = command(*words, "--csv", str(tmp_path / "a.csv"))
    assert refused.exit_code == 2
    assert sentence in refused.output
    assert refused.output.count("\n") == 1
    assert not list(tmp_path.iterdir())
