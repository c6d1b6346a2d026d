"""Experiments: the expressions are of the runs, every difference is said, and a bad file is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.reproduce import list_experiments, read_experiment, reproduce
from simulator.reproduce.text import page

EXPERIMENT = """
skipper: 1
title: Half the blocks
source: Nobody, nowhere
note: A test.
chips:
  whole: {arch: escalate}
  half: {arch: escalate, set: {array.blocks: 16}, why: Half of them.}
works:
  digits: {trace: digits_cnn, without: linear, why: No linear layer.}
values:
  ratio: half.digits.cycles / whole.digits.cycles
figures:
  - {name: slower, published: 1.5, unit: ×, ours: ratio, within: 0.2}
  - {name: far off, published: 3, ours: "geomean(half.digits.cycles / whole.digits.cycles, 1)",
     within: 0.1, why: It is.}
  - {name: limit, published: 2, ours: half.digits.conv1.us / whole.digits.conv1.us, bound: at most}
  - {name: multipliers, ours: whole.multipliers}
sensitivity:
  - {chips: [whole, half], figure: slower}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "half.yaml"
    path.write_text(EXPERIMENT, "utf-8")
    return path


def command(*words: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", *words])


def test_values_are_of_the_runs(experiment: Path) -> None:
    found = reproduce(read_experiment(experiment))
    trace = load_trace("digits_cnn")
    runs = [simulate(trace, load_arch("escalate", {"array.blocks": blocks})) for blocks in ("32", "16")]
    without_linear = [run.cycles - run.table["cycles"][-1] for run in runs]
    slower, far, limit, multipliers = found.outcomes
    assert slower.ours == without_linear[1] / without_linear[0]
    assert slower.held is (abs(slower.ours / 1.5 - 1) <= 0.2)
    assert far.ours == pytest.approx(slower.ours**0.5)
    assert far.held is False
    place = runs[0].table["operator"].index("conv1")
    assert limit.ours == pytest.approx(runs[1].table["cycles"][place] / runs[0].table["cycles"][place])
    assert limit.held is True
    assert multipliers.ours == 1728
    assert multipliers.held is None


def test_the_median_error_is_of_the_figures_with_a_bar(experiment: Path) -> None:
    text = "  - {name: median, published: 1, ours: errors.median, bound: at most}\nsensitivity:"
    experiment.write_text(EXPERIMENT.replace("sensitivity:", text), "utf-8")
    slower, far, *_, median = reproduce(read_experiment(experiment)).outcomes
    assert median.ours == pytest.approx((abs(slower.ours / 1.5 - 1) + abs(far.ours / 3 - 1)) / 2)


def test_means_over_layers(experiment: Path) -> None:
    experiment.write_text(EXPERIMENT.replace("ours: whole.multipliers", "ours: layers.half.whole.digits"), "utf-8")
    *_, mean = reproduce(read_experiment(experiment)).outcomes
    trace = load_trace("digits_cnn")
    runs = [simulate(trace, load_arch("escalate", {"array.blocks": blocks})) for blocks in ("16", "32")]
    half, whole = (run.table["cycles"][:-1] for run in runs)  # the last is the linear layer
    assert mean.ours == pytest.approx(sum(a / b for a, b in zip(half, whole, strict=True)) / len(half))


def test_sensitivities_change_one_assumption_of_all_their_chips(experiment: Path) -> None:
    tornado = reproduce(read_experiment(experiment)).tornados[0]
    assumed = {k for k, given in load_arch("escalate").config.provenance.items() if given.source == "assumed"}
    assert {bar.key for bar in tornado.bars} | set(tornado.fixed) == assumed
    spans = [bar.span(tornado.base) for bar in tornado.bars]
    assert spans == sorted(spans, reverse=True)
    bar = next(bar for bar in tornado.bars if bar.key == "dram.bandwidth")
    assert [value for value, _ in bar.others] == ["12.8 GB/s", "51.2 GB/s"]
    trace = load_trace("digits_cnn")
    settings = {"dram.bandwidth": "12.8 GB/s"}
    slow = [simulate(trace, load_arch("escalate", settings | {"array.blocks": blocks})) for blocks in ("32", "16")]
    cycles = [run.cycles - run.table["cycles"][-1] for run in slow]
    assert bar.others[0][1] == cycles[1] / cycles[0]


def test_parameters_of_the_work_are_assumptions_too(tmp_path: Path) -> None:
    path = tmp_path / "work.yaml"
    work = "resnet20_cifar10, set: {bases: 6, weight_density: 0.2}"
    text = EXPERIMENT.replace("digits_cnn, without: linear, why: No linear layer.", work).replace(".conv1", ".linear")
    text = text.replace("[whole, half], figure", "[whole], parameters: [weight_density], figure")
    path.write_text(text, "utf-8")
    tornado = reproduce(read_experiment(path)).tornados[0]
    bar = next(bar for bar in tornado.bars if bar.key == "weight_density")
    assert (bar.value, [value for value, _ in bar.others]) == ("0.2", ["÷ 2", "× 2"])
    path.write_text(text.replace("weight_density: 0.2", "weight_density: 0.4"), "utf-8")
    assert reproduce(read_experiment(path)).outcomes[0].ours == bar.others[1][1]


def test_every_form_of_writing(experiment: Path, tmp_path: Path) -> None:
    shown = command(str(experiment), "--page", str(tmp_path / "page.md"), "--figure", str(tmp_path / "t.pdf"))
    assert shown.exit_code == 0, shown.output
    assert "far off: It is." in shown.output
    text = (tmp_path / "page.md").read_text("utf-8")
    assert text == page([reproduce(read_experiment(experiment))])
    assert "| far off | 3 |" in text
    assert "10%: NO" in text
    assert "- half: Half of them." in text
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")
    document = json.loads(command(str(experiment), "--json").output)["experiments"][0]
    assert document["figures"][1]["held"] is False
    assert document["assumed"]


def test_shipped_experiments_are_read() -> None:
    assert list_experiments()
    listed = command().output
    for name in list_experiments():
        assert f"{name}: {read_experiment(name).experiment.title}" in listed


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("skipper: 1", "skipper: 2", "key 'skipper' is 2"),
        ("note:", "nte:", "key 'nte' is unknown (did you mean 'note'?)"),
        ("published: 3", "published: three", "published"),
        ("half.digits.conv1.us", "half.digits.conv9.us", "has no operator 'conv9'"),
        ("half.digits.conv1.us", "half.digit.conv1.us", "there is no work 'digit'"),
        ("half.digits.conv1.us", "hall.digits.conv1.us", "there is no chip 'hall'"),
        ("half.digits.conv1.us", "half.digits.conv1.uus", "there is no quantity 'uus'"),
        ("half.digits.conv1.us", "half.digits.conv1.us +", "no arithmetic expression"),
        ("arch: escalate}", "arch: escalade}", "'escalade' is no architecture"),
        ("ratio: half", "ratio: ratio + half", "the value 'ratio' is made of itself"),
        ("ours: ratio", "ours: errors.median", "the value 'errors.median' is made of itself"),
        ("ours: ratio", "ours: layers.half.digits", "expected 'layers.CHIP.OTHER.WORK'"),
        ("ours: ratio", "ours: layers.half.hole.digits", "there is no chip 'hole' (did you mean 'whole'?)"),
        ("ours: ratio", "ours: layers.half.whole.digit", "there is no work 'digit' (did you mean 'digits'?)"),
        ("ours: ratio", "ours: ratoi", "unknown name 'ratoi' (did you mean 'ratio'?)"),
        ("name: far off", "name: slower", "two figures are called 'slower'"),
        ("chips: [whole, half]", "chips: [whole, haf]", "there is no chip 'haf'"),
        ("figure: slower}", "figure: slower, parameters: [weight_density]}", "no parameter 'weight_density'"),
        ("trace: digits_cnn", "trace: 'data:nothing.csv'", "it needs 'nothing.csv' of the real data"),
        ("without: linear", "without: lineal", "'lineal' (did you mean 'linear'?)"),
    ],
)
def test_a_bad_file_is_one_sentence(experiment: Path, old: str, new: str, sentence: str, tmp_path: Path) -> None:
    experiment.write_text(EXPERIMENT.replace(old, new, 1), "utf-8")
    refused = command(str(experiment), "--page", str(tmp_path / "page.md"))
    assert refused.exit_code == 2, refused.output
    assert sentence in refused.output
    assert refused.output.count("\n") == 1
    assert not (tmp_path / "page.md").exists()


def test_bad_calls_are_one_sentence(experiment: Path, tmp_path: Path) -> None:
    for words, sentence in (
        (["dota_retentoin"], "'dota_retentoin' is no experiment"),
        ([str(tmp_path / "no.yaml")], "cannot read the experiment"),
        ([str(experiment), "--data", str(tmp_path / "none")], "there is no such folder"),
        (["all", "--figure", str(tmp_path / "t.pdf")], "all has no sensitivities to draw"),
    ):
        refused = command(*words)
        assert refused.exit_code == 2
        assert sentence in refused.output
        assert refused.output.count("\n") == 1
