"""What the parts of a chip take: area, power at full activity, leakage."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from simulator.accelerators import accelerator, load_arch, parts_of
from simulator.arch import Arch, load_technology
from simulator.arch.technology import parse_technology
from simulator.cli import main
from simulator.errors import InputError
from simulator.program import Instances
from simulator.results.parts import area_by_component, full_power, leakage, nanoseconds, total_area
from simulator.results.pricing import reprice
from simulator.simulation import simulate
from simulator.trace import load_trace

DOTA = parts_of(accelerator("dota"), load_arch("dota").chip)
"""A DOTA chip of four lanes, each of 32 × 16 PEs, and 2560 KiB."""
LOGIC = tuple(part for part in DOTA if part.component != "sram")
GIGAHERTZ = 10**9
MINE = """kind,size_bytes,width_bits,energy_pj,area_mm2,source,note
add,0,0,2,0.5,paper,
wire,0,0,1,,paper,
leak,0,0,0.25,0.125,paper,
sram,1024,64,8,0.5,paper,
"""


def test_the_module_table_of_dota_comes_out() -> None:
    technology = load_technology("22nm")
    assert full_power(LOGIC, technology, GIGAHERTZ) == pytest.approx(3017.54, rel=1e-12)
    lanes = tuple(part for part in LOGIC if part.component != "accumulator")
    assert full_power(lanes, technology, GIGAHERTZ) == pytest.approx(2878.33, rel=1e-12)
    assert full_power(DOTA, technology, GIGAHERTZ) == pytest.approx(3017.54 + 510, rel=1e-12)
    areas = area_by_component(DOTA, technology)
    assert areas == pytest.approx(
        {"rmmu": 4 * 0.609, "filter": 0.012, "scheduler": 0.013, "mfu": 0.24, "accumulator": 0.045, "sram": 1.690},
        rel=1e-12,
    )
    assert total_area(area_by_component(LOGIC, technology)) == pytest.approx(2.746, rel=1e-12)
    assert total_area(areas) == pytest.approx(2.746 + 1.690, rel=1e-12)


def test_an_area_is_unknown_where_one_part_is() -> None:
    technology = parse_technology(MINE, "mine", "mine.csv")
    parts = [Instances("a", "add", 3), Instances("b", "wire", 1), Instances("a", "sram", 2, 4096, 64)]
    assert area_by_component(parts, technology) == {"a": 3 * 0.5 + 2 * 2.0, "b": None}
    assert area_by_component([*parts, Instances("b", "add", 1)], technology)["b"] is None
    assert area_by_component(reversed(parts), technology)["b"] is None
    assert total_area({"a": 1.0, "b": None}) is None
    assert total_area({}) is None
    assert total_area({"a": 1.0, "b": 0.5}) == 1.5


def test_power_goes_with_the_clock_and_leakage_does_not() -> None:
    technology = parse_technology(MINE, "mine", "mine.csv")
    parts = (Instances("a", "add", 3), Instances("m", "sram", 2, 1024, 32), Instances("m", "leak", 8, static=True))
    assert full_power(parts, technology, GIGAHERTZ) == 3 * 2 + 2 * 4 + 8 * 0.25
    assert full_power(parts, technology, GIGAHERTZ // 2) == (3 * 2 + 2 * 4) / 2 + 8 * 0.25


def test_time_is_whole_nanoseconds_rounded_up() -> None:
    assert nanoseconds(1000, GIGAHERTZ) == 1000
    assert [nanoseconds(cycles, 800 * 10**6) for cycles in (0, 1, 4, 5)] == [0, 2, 5, 7]
    assert leakage(DOTA, 5, 800 * 10**6) == [(DOTA[-1], 2560 * 7)]


def test_a_kind_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="no energy for 'mac_fx16'"):
        area_by_component(DOTA, parse_technology(MINE, "mine", "mine.csv"))


PARTS = (
    Instances("array", "add_16b", 1024),
    Instances("sram", "sram_leakage", 96, static=True),
    Instances("pads", "pad_leakage", 10, static=True),
)


@pytest.fixture
def machine(tmp_path: Path) -> Arch[Any]:
    """ESCALATE with a table that also knows areas and leakage."""
    shipped = importlib.resources.files("simulator.arch_configs").joinpath("technology", "45nm.csv").read_text("utf-8")
    own = ("add_16b,", "sram_leakage,")
    text = "".join(line for line in shipped.splitlines(keepends=True) if not line.startswith(own))
    text += "add_16b,0,0,0.05,0.25,paper,\n"
    text += "sram_leakage,0,0,0.2,0.5,paper,\npad_leakage,0,0,0.5,0,paper,\n"
    (tmp_path / "mine.csv").write_text(text, "utf-8")
    return load_arch("escalate", {"technology": str(tmp_path / "mine.csv")})


@pytest.fixture
def with_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator("escalate"), "parts", lambda chip: list(PARTS), raising=False)


@pytest.fixture
def without_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(accelerator("escalate"), "parts")


@pytest.mark.usefixtures("without_parts")
def test_a_module_without_parts_has_no_area_and_no_leakage(small_trace: Path) -> None:
    arch = load_arch("escalate")
    assert parts_of(accelerator("escalate"), arch.chip) == ()
    result = simulate(load_trace(small_trace), arch)
    assert result.parts == ()
    assert result.summary["area_mm2"] is None
    assert result.summary["area_by_component_mm2"] == {}
    assert "leak" not in result.actions["action"]


@pytest.mark.usefixtures("with_parts")
def test_leakage_is_an_action_of_every_operator(small_trace: Path, machine: Arch[Any]) -> None:
    result = simulate(load_trace(small_trace), machine)
    assert result.parts == parts_of(accelerator("escalate"), machine.chip) == PARTS
    columns = zip(
        *(result.actions[name] for name in ("operator", "component", "action", "kind", "own_pj", "count")), strict=True
    )
    expected = [
        (operator.name, component, "leak", kind, None, count * -(-operator.cycles * 10**9 // result.clock))
        for operator in result.operators
        for component, kind, count in (("sram", "sram_leakage", 96), ("pads", "pad_leakage", 10))
    ]
    assert [row for row in columns if row[2] == "leak"] == expected
    summary = result.summary
    assert summary["energy_by_component_pj"]["pads"] == 0.5 * sum(row[-1] for row in expected if row[1] == "pads")
    assert summary["area_by_component_mm2"] == {"array": 256, "sram": 48, "pads": 0}
    assert summary["area_mm2"] == 304


def test_parts_change_nothing_but_leakage_and_area(
    small_trace: Path, machine: Arch[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator("escalate"), "parts", lambda chip: ())
    without = simulate(load_trace(small_trace), machine)
    monkeypatch.setattr(accelerator("escalate"), "parts", lambda chip: PARTS)
    result = simulate(load_trace(small_trace), machine)
    assert dataclasses.replace(result, parts=()).summary == without.summary
    assert result.units == without.units
    leaked = sum(result.energies) - sum(without.energies)
    assert leaked == pytest.approx(
        sum((96 * 0.2 + 10 * 0.5) * -(-o.cycles * 10**9 // result.clock) for o in result.operators)
    )


@pytest.mark.usefixtures("with_parts")
def test_leakage_is_priced_again_and_area_printed(small_trace: Path, machine: Arch[Any], tmp_path: Path) -> None:
    table, folder = tmp_path / "mine.csv", tmp_path / "run"
    command = ["run", "escalate", str(small_trace), "--out", str(folder), "--set", f"technology={table}"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "area (mine): 304.000 mm²: array 84.2%, sram 15.8%, pads 0.0%" in done.output
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert reprice(folder, load_technology(table)) == summary["energy_by_component_pj"]
    assert str(pq.read_schema(folder / "actions.parquet").field("count").type) == "int64"
    leaky = table.read_text("utf-8").replace("pad_leakage,0,0,0.5,", "pad_leakage,0,0,1.0,")
    priced = reprice(folder, parse_technology(leaky, "leaky", "leaky.csv"))
    assert priced["pads"] == 2 * summary["energy_by_component_pj"]["pads"]


@pytest.mark.usefixtures("without_parts")
def test_no_area_no_line(small_trace: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", "escalate", str(small_trace), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "area (" not in done.output


@pytest.mark.usefixtures("with_parts")
def test_a_part_without_a_price_is_refused_before_anything_is_matched(
    small_trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator("escalate"), "match", None)
    with pytest.raises(InputError, match=r"45nm.*no energy for 'pad_leakage'"):
        simulate(load_trace(small_trace), load_arch("escalate"))


@pytest.mark.usefixtures("with_parts")
def test_more_leakage_than_can_be_counted_is_refused(
    small_trace: Path, machine: Arch[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = (Instances("sram", "sram_leakage", 2**60, static=True),)
    monkeypatch.setattr(accelerator("escalate"), "parts", lambda chip: many)
    with pytest.raises(InputError, match=r"operator 'first': .* more nanoseconds than can be counted"):
        simulate(load_trace(small_trace), machine)
