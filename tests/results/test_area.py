"""Area and power part by part, beside what was published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.arch import list_configs, load_technology
from simulator.arch.published import list_published, load_published
from simulator.cli import main
from simulator.errors import InputError
from simulator.results.area import AreaReport, chip_report
from simulator.results.area_text import PAGE, page

ROOT = Path(__file__).parents[2]
CHIPS = sorted({*list_configs(), *list_published()})


@pytest.fixture(scope="module", params=CHIPS)
def report(request: pytest.FixtureRequest) -> AreaReport:
    return chip_report(request.param)


def test_the_page_is_up_to_date() -> None:
    """Otherwise run: python -m simulator.results.area_text."""
    assert (ROOT / PAGE).read_text("utf-8") == page()


def test_every_number_has_its_rows(report: AreaReport) -> None:
    technology = load_technology(report.technology)
    assert report.lines
    for part in (*report.lines, *report.compared):
        assert part.rows
        for reference in part.rows:
            rows = technology.entries[reference.kind]
            assert (reference.size, reference.width, reference.source) in {(r.size, r.width, r.source) for r in rows}


def test_every_count_of_a_chip_without_a_module_says_where_it_comes_from() -> None:
    for name in set(list_published()) - set(list_configs()):
        report = chip_report(name)
        assert len(report.counts) == len(load_published(name).parts)
        assert all(text in page() for text in report.counts)


def test_totals_are_sums(report: AreaReport) -> None:
    for name, total in report.totals.items():
        assert total == pytest.approx(sum(getattr(line, name) or 0.0 for line in report.lines), rel=1e-12)


def test_every_figure_says_its_source_and_what_may_cause_the_difference(report: AreaReport) -> None:
    for compared in report.compared:
        assert compared.ours is not None, compared.name
        assert compared.source and compared.sure and len(compared.why) > 20, compared.name  # noqa: PT018


def test_figures_name_components_that_are_there() -> None:
    for name in list_published():
        components = {line.component for line in chip_report(name).lines}
        for figure in load_published(name).figures:
            assert set(figure.of) <= components, (name, figure.name)
            assert bool(figure.of) != bool(figure.parts), (name, figure.name)


def test_the_published_totals_of_dota() -> None:
    compared = {c.name: c for c in chip_report("dota").compared}
    for name, figure in (("logic, area", 2.746), ("logic, power", 3017.54), ("SRAM, area", 1.690)):
        assert compared[name].published == figure
        assert compared[name].difference == pytest.approx(0, abs=1e-12)


def test_areas_of_scnn_miss_as_the_page_says() -> None:
    """Nothing is fitted: what is made of rows is too small where wires count, and too large of flip-flops."""
    compared = {c.name: c.difference or 0.0 for c in chip_report("scnn").compared}
    assert -0.5 < compared["chip"] < 0
    assert compared["crossbar"] < -0.5
    assert compared["accumulators"] > 0.5


def test_ratios_are_of_rows() -> None:
    compared = {c.name: c for c in chip_report("eyeriss").compared}
    technology = load_technology("65nm")
    mac = technology.energy("mac_16b")
    assert compared["DRAM : MAC"].ours == pytest.approx(16 * 70 / mac)
    buffer = technology.energy("sram_read", 102400, 64) / 4 / mac
    assert compared["global buffer (100 kB) : MAC"].ours == pytest.approx(buffer)


def test_another_node_is_another_table() -> None:
    assert chip_report("scnn", technology="65nm").technology == "65nm"
    smaller, larger = (chip_report("escalate", technology=node).totals["area_mm2"] for node in ("22nm", "65nm"))
    assert smaller is not None
    assert larger is not None
    assert smaller < larger / 4


def test_settings_change_the_parts() -> None:
    few, many = (chip_report("escalate", {"array.blocks": blocks}) for blocks in ("16", "32"))
    line = {r.chip + str(i): next(x for x in r.lines if x.component == "mac_row") for i, r in enumerate((few, many))}
    assert 2 * line["escalate0"].count == line["escalate1"].count


def test_a_chip_without_a_module_has_no_parameters() -> None:
    with pytest.raises(InputError, match="scnn is known from publications only"):
        chip_report("scnn", {"array.blocks": "16"})


@pytest.mark.parametrize("name", CHIPS)
def test_the_command(name: str) -> None:
    done = CliRunner().invoke(main, ["show", name, "--area"])
    assert done.exit_code == 0, done.output
    assert f"{name} at " in done.output
    done = CliRunner().invoke(main, ["show", name, "--area", "--json"])
    assert json.loads(done.output) == json.loads(json.dumps(chip_report(name).document()))
