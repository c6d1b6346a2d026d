"""Area and power part by part, beside what was published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.accelerators import accelerator
from simulator.arch import list_configs, load_technology, read_config
from simulator.arch.published import list_published, load_published
from simulator.arch.tables import COUNTED
from simulator.cli import main
from simulator.errors import InputError
from simulator.results.area import AreaReport, chip_report
from simulator.results.area_text import EXTENTS, PAGE, page
from simulator.results.area_text import main as write_page

ROOT = Path(__file__).parents[2]
MADE = [name for name in list_configs() if hasattr(accelerator(read_config(name).accelerator), "parts")]
CHIPS = sorted({*MADE, *list_published()})


@pytest.fixture(scope="module", params=CHIPS)
def report(request: pytest.FixtureRequest) -> AreaReport:
    return chip_report(request.param)


def test_the_page_is_up_to_date() -> None:
    """Otherwise run: python -m simulator.results.area_text."""
    assert ROOT / "docs" / "area.md" == PAGE
    assert PAGE.read_text("utf-8") == page()


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


@pytest.mark.parametrize(
    ("settings", "technology", "unlike"),
    [
        ({"lanes.count": "8"}, None, ["parts other than those of the shipped dota.yaml"]),
        ({"clock": "500 MHz"}, None, ["a clock of 500 MHz, not 1,000 MHz"]),
        ({}, "65nm", ["the technology table technology/65nm.csv, not that of 22nm"]),
        ({"technology": "65nm"}, None, ["the technology table technology/65nm.csv, not that of 22nm"]),
    ],
)
def test_what_is_not_the_published_chip_is_not_compared_with_it(
    settings: dict[str, str], technology: str | None, unlike: list[str]
) -> None:
    document = chip_report("dota", settings, technology).document()
    assert (document["comparable"], document["unlike"], document["published"]) == (False, unlike, [])
    arguments = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    arguments += ["--technology", technology] if technology else []
    done = CliRunner().invoke(main, ["show", "dota", "--area", *arguments])
    assert f"Not compared with what was published, for this has {unlike[0]}." in done.output
    assert "Module table of the paper, 2.5 MB" not in done.output


def test_settings_that_leave_the_published_chip_as_it_is_are_compared() -> None:
    report = chip_report("dota", {"dram.latency": "1 us", "lanes.count": "4"}, "22nm")
    assert report.document()["comparable"]
    assert report.compared == chip_report("dota").compared


def test_a_table_of_ones_own_is_not_the_published_node(tmp_path: Path) -> None:
    mine = tmp_path / "22nm.csv"
    shipped = (ROOT / "arch_configs" / "technology" / "22nm.csv").read_text("utf-8")
    mine.write_text(shipped, "utf-8")
    assert chip_report("dota", technology=str(mine)).document()["comparable"]
    mine.write_text(shipped.replace("mfu_cycle,0,0,60.73,", "mfu_cycle,0,0,60,"), "utf-8")
    assert chip_report("dota", technology=str(mine)).unlike == (f"the technology table {mine}, not that of 22nm",)


def test_a_measured_chip_draws_more_than_the_sum_of_its_parts() -> None:
    """Full activity is no ceiling, as the page says."""
    compared = {c.name: c for c in chip_report("eyeriss").compared}
    measured, total = compared["chip, AlexNet"], compared["chip, AlexNet"].ours
    assert total is not None
    assert (measured.unit, measured.published) == ("mW", 278)
    assert total < measured.published


def test_names_of_figures_differ() -> None:
    for name in CHIPS:
        names = [c.name for c in chip_report(name).compared]
        assert len(names) == len(set(names)), name


def test_rows_beyond_the_points_are_marked() -> None:
    filters = next(line for line in chip_report("eyeriss").lines if line.component == "filter_spad")
    assert (filters.size, filters.width) == (448, 16)
    assert all(row.beyond and not row.exact for row in filters.rows)
    assert "sram_read 512 B × 32 bit (nearest; beyond the rows): CACTI 7" in page()
    assert "sram_read 4096 B × 64 bit (nearest): CACTI 7" in page()


def test_sizes_of_rows_are_named_by_kind() -> None:
    """Those of logic are no bytes: each kind that is counted in gates with a size has names of its own."""
    for counted in COUNTED:
        if counted.size:
            assert any(counted.kind.startswith(kind) for kind in EXTENTS), counted.kind
    assert "token_scheduler 64 keys × 4 tokens: " in page()
    assert "butterfly_controls 64 lanes × 1 bit: " in page()


def test_the_page_is_written_in_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simulator.results.area_text.PAGE", tmp_path / "docs" / "area.md")
    done = CliRunner().invoke(write_page)
    assert done.exit_code == 2
    assert "area.md: there is no such page; expected Skipper in a checkout" in done.output
    monkeypatch.setattr("simulator.results.area_text.PAGE", tmp_path / "area.md")
    (tmp_path / "area.md").touch()
    assert CliRunner().invoke(write_page).exit_code == 0
    assert (tmp_path / "area.md").read_text("utf-8") == page()


def test_settings_change_the_parts() -> None:
    few, many = (chip_report("escalate", {"array.blocks": blocks}) for blocks in ("16", "32"))
    line = {r.chip + str(i): next(x for x in r.lines if x.component == "mac_row") for i, r in enumerate((few, many))}
    assert 2 * line["escalate0"].count == line["escalate1"].count


def test_a_chip_without_a_module_has_no_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.results.area.list_configs", tuple)
    with pytest.raises(InputError, match="eyeriss is known from publications only"):
        chip_report("eyeriss", {"array.rows": "16"})


@pytest.mark.parametrize("name", CHIPS)
def test_the_command(name: str) -> None:
    done = CliRunner().invoke(main, ["show", name, "--area"])
    assert done.exit_code == 0, done.output
    assert f"{name} at " in done.output
    done = CliRunner().invoke(main, ["show", name, "--area", "--json"])
    assert json.loads(done.output) == {"schema_version": 1, **json.loads(json.dumps(chip_report(name).document()))}
