"""The shipped tables are what their recipe makes, and meet the figures that were known before."""

from __future__ import annotations

import csv
import importlib.resources
import json
from pathlib import Path

import pytest

from simulator.accelerators import accelerator, load_arch, parts_of
from simulator.arch import list_technologies, load_technology
from simulator.arch.tables import NODES, gate_equivalents, read_sources, table
from simulator.results.parts import area_by_component, full_power, total_area
from simulator.results.result import Result, price
from simulator.simulation import simulate
from simulator.trace import DensityTensor, Trace, load_trace
from simulator.trace.attention import Attention

ARCH_CONFIGS = importlib.resources.files("simulator.arch_configs")


@pytest.mark.parametrize("node", NODES)
def test_tables_are_made_of_their_sources(node: int) -> None:
    """Otherwise run: python -m simulator.arch.tables."""
    assert ARCH_CONFIGS.joinpath("technology", f"{node}nm.csv").read_text("utf-8") == table(node)


def test_all_are_shipped() -> None:
    assert set(list_technologies()) == {f"{node}nm" for node in NODES}


def test_what_is_not_called_derived_is_a_sources_own_figure() -> None:
    """Of that node and as it stands there, or of none (DRAM, assumptions)."""
    logic, memories = (
        list(csv.DictReader(ARCH_CONFIGS.joinpath("sources", f"{name}.csv").read_text("utf-8").splitlines()))
        for name in ("logic", "sram")
    )
    for node in NODES:
        figures = {
            (row["source"], float(row[column]))
            for row in logic
            if int(row["node"]) in (0, node)
            for column in ("energy_pj", "leakage_mw")
            if row[column]
        } | {
            (f"CACTI 7, 1 bank, 300 K, ITRS-LSTP, {row['ports']}", float(row[column]))
            for row in memories
            if int(row["node"]) == node
            for column in ("read_pj", "write_pj", "leakage_mw")
        }
        shipped = ARCH_CONFIGS.joinpath("technology", f"{node}nm.csv").read_text("utf-8")
        for row in csv.DictReader(shipped.splitlines()):
            origin = row["source"].partition("; area: ")[0]
            assert origin.startswith("derived: ") or (origin, float(row["energy_pj"])) in figures, row


CACTI = """65 47.05 37.30 0.0108 0.4362
45 25.87 19.65 0.0017 0.2090
32 12.87 10.77 0.0029 0.1244
22 5.67 4.43 0.0098 0.0586"""


@pytest.mark.parametrize("line", CACTI.splitlines())
def test_64_kb_of_known_cacti_runs(line: str) -> None:
    node, read, write, leakage, area = line.split()
    technology = load_technology(f"{node}nm")
    assert technology.energy("sram_read", 65536, 64) == pytest.approx(float(read), rel=1e-3)
    assert technology.energy("sram_write", 65536, 64) == pytest.approx(float(write), rel=1e-3)
    assert technology.energy("sram_bank_leakage", 65536, 64) == pytest.approx(float(leakage), abs=6e-5)
    assert technology.area("sram_read", 65536, 64) == pytest.approx(float(area), rel=1e-3)


def test_28_nm_is_cactis_own_and_near_the_line_between_its_nodes() -> None:
    """A line between 22 and 32 nm, as hwcomponents draws it, gives 9.99 pJ, 0.0981 mm²."""
    technology = load_technology("28nm")
    assert technology.energy("sram_read", 65536, 64) == pytest.approx(9.99, rel=0.06)
    assert technology.area("sram_read", 65536, 64) == pytest.approx(0.0981, rel=0.04)


def test_more_ports_take_more() -> None:
    for node in NODES:
        technology = load_technology(f"{node}nm")
        for size in (4096, 65536):
            energies = [technology.energy(f"sram_read{ports}", size, 64) for ports in ("", "_2rw", "_4rw")]
            areas = [technology.area(f"sram_read{ports}", size, 64) for ports in ("", "_2rw", "_4rw")]
            assert energies == sorted(energies)
            assert areas == sorted(areas, key=lambda area: area or 0.0)


NANGATE = {8: 459, 16: 1322, 32: 3432, 64: 8420, 128: 19808}
"""µm² of an 8-bit inverse butterfly with its controls, mapped to the Nangate 45 nm library by Yosys and ABC."""


@pytest.mark.parametrize("lanes", NANGATE)
def test_networks_by_gate_count_are_near_a_cell_library(lanes: int) -> None:
    """Gates counted before mapping, times a NAND2: within a tenth of the mapped cells."""
    area = load_technology("45nm").area("butterfly", lanes, 8)
    assert area is not None
    assert area * 1e6 == pytest.approx(NANGATE[lanes], rel=0.1)


def test_both_directions_of_a_network_have_the_same_gates() -> None:
    text = ARCH_CONFIGS.joinpath("gate_counts.csv").read_text("utf-8")
    rows = {
        (row["part"], row["size"], row["width"], row["stages"]): row["gate_equivalents"]
        for row in csv.DictReader(text.splitlines())
    }
    for (part, *where), gates in rows.items():
        if part.startswith("butterfly"):
            assert rows[(f"inverse_{part}", *where)] == gates


def test_switches_and_controls_make_the_whole() -> None:
    gates = gate_equivalents()
    for kind, lanes, width in gates:
        if kind == "butterfly":
            controls = gates["butterfly_controls", lanes, 1]
            switches = gates["butterfly_switches", lanes, width]
            assert gates[kind, lanes, width] == pytest.approx(controls + switches, abs=2)
    technology = load_technology("45nm")
    one, two = (technology.energy("butterfly_switches", 64, bits) for bits in (1, 2))
    assert two == pytest.approx(2 * one, rel=2e-3)


def test_units_by_gate_count_beside_the_rows() -> None:
    """Adders and multipliers of Skipper's RTL, in gates, are larger than the recalled 45 nm figures, by up to 2."""
    text = ARCH_CONFIGS.joinpath("gate_counts.csv").read_text("utf-8")
    gates = {(row["part"], row["size"]): int(row["gate_equivalents"]) for row in csv.DictReader(text.splitlines())}
    technology, nand2 = load_technology("45nm"), float(read_sources()["nand2"].area_mm2)
    add, multiply, accumulate = (technology.area(kind) for kind in ("add_16b", "multiply_8b", "add_32b"))
    assert add is not None and multiply is not None and accumulate is not None  # noqa: PT018
    assert 1 < gates["signed_adders", "16"] * nand2 / (16 * add) < 2
    assert 1 < gates["multiply_adders", "9"] * nand2 / (9 * (2 * multiply + accumulate)) < 2


@pytest.fixture(scope="module")
def runs(small_trace: Path) -> dict[str, Result]:
    maps = [DensityTensor((1, 2, 32, 8), 1.0, 0, bits=16) for _ in range(3)]
    traces = {"escalate": load_trace(small_trace), "dota": Trace("heads", (Attention("heads", *maps),))}
    return {name: simulate(trace, load_arch(name)) for name, trace in traces.items()}


@pytest.mark.parametrize("ports", ["1", "2", "3"])
@pytest.mark.parametrize("name", ["escalate", "dota"])
def test_every_node_prices_both_chips(name: str, ports: str, runs: dict[str, Result]) -> None:
    buffers = {"escalate": "activation_buffer", "dota": "sram"}
    arch = load_arch(name, {f"{buffers[name]}.ports": ports})
    parts = parts_of(accelerator(name), arch.chip)
    energies, areas, powers = [], [], []
    for node in NODES:
        technology = load_technology(f"{node}nm")
        energies.append(sum(price(runs[name].actions, technology)))
        areas.append(total_area(area_by_component(parts, technology)))
        powers.append(full_power(parts, technology, arch.chip.clock))
    assert None not in areas
    for values in (energies, areas, powers):
        assert values == sorted(values, key=lambda value: -(value or 0.0)), "a smaller node takes less"


def test_a_part_of_escalate_leaks_and_is_counted_once(runs: dict[str, Result]) -> None:
    result = runs["escalate"]
    leaks = {
        row for row, action in zip(result.actions["kind"], result.actions["action"], strict=True) if action == "leak"
    }
    assert leaks == {part.kind for part in result.parts if part.static}
    assert json.dumps(result.summary["area_mm2"]) == json.dumps(sum(result.summary["area_by_component_mm2"].values()))
    for part in result.parts:
        assert part.static != part.overlaps, "what leaks gives the area, what works overlaps it"
