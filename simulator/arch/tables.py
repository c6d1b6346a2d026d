"""The shipped technology tables: how each of their rows is made.

A row is a source's own figure where one of that node is at hand (``arch_configs/sources``), and is otherwise derived:
from the source's figure by a stated factor, from another node by the rule of ``simulator.arch.scaling``. Nothing else
goes in. ``python -m simulator.arch.tables`` writes the tables anew.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from simulator.arch.cacti import NODES as CACTI_NODES
from simulator.arch.cacti import PORTS, read_points
from simulator.arch.scaling import RULE, area_factor, energy_factor
from simulator.arch.technology import COLUMNS

NODES = (65, 45, 40, 32, 28, 22, 16)
"""nm."""


@dataclass(frozen=True)
class Source:
    """A published figure, or one worked out from published figures at the same node."""

    node: int
    """nm; 0 where the figure is not of the chip's node (DRAM) or of none."""
    energy_pj: str
    leakage_mw: str
    area_mm2: str
    source: str
    note: str


@dataclass(frozen=True)
class Made:
    """A kind that is made of sources: (name, factor) each, added up."""

    kind: str
    of: tuple[tuple[str, float], ...]
    """Energy and area."""
    leaks: tuple[tuple[str, float], ...]
    """Leakage; no row of it where empty."""
    note: str
    area: tuple[tuple[str, float], ...] = ()
    """Area, where it has another source."""


def _same(kind: str, name: str, factor: float, note: str) -> Made:
    return Made(kind, ((name, factor),), ((name, factor),), note)


def _gates(kind: str, equivalents: float, note: str) -> Made:
    """Return a kind of so many gate equivalents."""
    work = (("aladdin_bitwise_32b", equivalents / 32),)
    return Made(kind, work, work, f"{note}; {equivalents:.3g} gate equivalents", (("nand2", equivalents),))


ADDER, MULTIPLIER = "aladdin_adder_32b", "aladdin_multiplier_32b"
LOGIC = (
    Made("add_8b", (("horowitz_add_8b", 1),), ((ADDER, 1 / 4),), "8-bit integer addition"),
    Made("add_16b", (("horowitz_add_16b", 1),), ((ADDER, 1 / 2),), "16-bit integer addition"),
    Made("add_24b", (("horowitz_add_32b", 3 / 4),), ((ADDER, 3 / 4),), "24-bit integer addition"),
    Made("add_32b", (("horowitz_add_32b", 1),), ((ADDER, 1),), "32-bit integer addition"),
    Made("multiply_8b", (("horowitz_multiply_8b", 1),), ((MULTIPLIER, 1 / 16),), "8-bit integer multiplication"),
    Made("multiply_16b", (("horowitz_multiply_32b", 1 / 4),), ((MULTIPLIER, 1 / 4),), "16-bit integer multiplication"),
    Made("multiply_32b", (("horowitz_multiply_32b", 1),), ((MULTIPLIER, 1),), "32-bit integer multiplication"),
    Made(
        "mac_8b",
        ((MULTIPLIER, 1 / 16), (ADDER, 1 / 4)),
        ((MULTIPLIER, 1 / 16), (ADDER, 1 / 4)),
        "8-bit multiplication and addition, as hwcomponents makes its MAC",
    ),
    Made(
        "mac_16b",
        ((MULTIPLIER, 1 / 4), (ADDER, 1 / 2)),
        ((MULTIPLIER, 1 / 4), (ADDER, 1 / 2)),
        "16-bit multiplication and addition, as hwcomponents makes its MAC",
    ),
    _same("register_1b", "aladdin_register_1b", 1, "one access of a flip-flop"),
    _same("register_8b", "aladdin_register_1b", 8, "one access of an 8-bit register"),
    _gates("gate_2", 4 / 3, "an AND or OR gate with two inputs"),
    _gates("multiplexer_1b", 7 / 3, "a 2:1 multiplexer of one bit"),
    _same("full_adder_1b", ADDER, 1 / 32, "a full adder"),
    _same("comparator_32b", "aladdin_comparator_32b", 1, "a comparison of 32 bits"),
    _same("shifter_32b", "aladdin_shifter_32b", 1, "a shift of 32 bits"),
)
"""Adders go with the width, multipliers with its square, as hwcomponents-library takes them."""

AS_THEY_ARE = (
    *("mac_fx16", "mac_int8", "mac_int4", "mac_int2"),
    *("filter_cycle", "scheduler_cycle", "mfu_cycle", "accumulate", "sram_leakage", "link_bit"),
    *("dram_lpddr4_bit", "dram_ddr3_bit", "dram_hbm2_bit"),
)
"""Sources that are kinds themselves."""

Row = tuple[str, int, int, str, str, str, str]


def table(node: int) -> str:
    """Return the table of ``node`` (nm) as CSV text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(node))
    return stream.getvalue()


def rows(node: int) -> Iterator[Row]:
    """Yield the rows of ``node`` in the order of the columns."""
    sources = read_sources()
    for name in AS_THEY_ARE:
        yield _as_it_is(name, sources[name], node)
    for made in LOGIC:
        yield from _made(made, sources, node)
    yield from _networks(sources, node)
    for counted in COUNTED:
        yield from _counted(counted, sources, node)
    yield from _sram(node)


def read_sources() -> dict[str, Source]:
    """Return the sources of logic by name."""
    text = files("simulator.arch_configs").joinpath("sources/logic.csv").read_text("utf-8")
    return {row.pop("name"): Source(int(row.pop("node")), **row) for row in csv.DictReader(io.StringIO(text))}


def _as_it_is(name: str, source: Source, node: int) -> Row:
    if source.node in (0, node):
        return (name, 0, 0, source.energy_pj, source.area_mm2, source.source, source.note)
    energy = _number(float(source.energy_pj) * energy_factor(source.node, node))
    area = _number(float(source.area_mm2) * area_factor(source.node, node)) if source.area_mm2 else ""
    return (name, 0, 0, energy, area, f"derived: the row of {source.node} nm × {RULE}", source.note)


def _made(made: Made, sources: dict[str, Source], node: int) -> Iterator[Row]:
    of = [(sources[name], factor) for name, factor in made.of]
    energy = sum(float(s.energy_pj) * factor * energy_factor(s.node, node) for s, factor in of)
    space = [(sources[name], factor) for name, factor in made.area or made.of]
    area = _number(sum(float(s.area_mm2) * factor * area_factor(s.node, node) for s, factor in space))
    where = f"; area: {_origin(made.area, sources, node)}" if made.area else ""
    yield (made.kind, 0, 0, _number(energy), area, _origin(made.of, sources, node) + where, made.note)
    leaks = [(sources[name], factor) for name, factor in made.leaks]
    leakage = sum(float(s.leakage_mw) * factor * energy_factor(s.node, node) for s, factor in leaks)
    origin = _origin(made.leaks, sources, node) + where
    note = f"one nanosecond of it (pJ per ns = mW); the area is that of {made.kind}"
    yield (f"{made.kind}_leakage", 0, 0, _number(leakage), area, origin, note)


def _origin(of: tuple[tuple[str, float], ...], sources: dict[str, Source], node: int) -> str:
    (name, factor), *others = of
    source = sources[name]
    if not others and factor == 1 and source.node == node:
        return source.source
    terms = " + ".join(f"{name} × {factor:.5g}" if factor != 1 else name for name, factor in of)
    scaled = f", {source.node} nm × {RULE}" if source.node != node else ""
    return f"derived: {terms}{scaled} (sources/logic.csv)"


def gate_equivalents() -> dict[tuple[str, int, int], int]:
    """Return NAND2 equivalents of combinational circuits by (kind, size, width): lanes and bits of a network.

    A butterfly and an inverse butterfly have the same gates, so one kind stands for both; its controls are what the
    switches leave of the whole.
    """
    counted = {
        (row["part"], int(row["size"]), int(row["width"])): int(row["gate_equivalents"])
        for row in _gate_counts()
        if row["stages"] == "0" and "butterfly" in row["part"]
    }  # without flip-flops: what is clocked beside a network is counted with its unit
    found: dict[tuple[str, int, int], int] = {}
    for kind in ("butterfly", "butterfly_switches"):
        found |= {key: gates for key, gates in counted.items() if key[0] == kind}
    for (kind, lanes, width), gates in counted.items():
        if kind == "butterfly_switches" and width == 1:
            found["butterfly_controls", lanes, 1] = counted["butterfly", lanes, 1] - gates
    return found


def _gate_counts() -> Iterator[dict[str, str]]:
    text = files("simulator.arch_configs").joinpath("gate_counts.csv").read_text("utf-8")
    yield from csv.DictReader(io.StringIO(text))


@dataclass(frozen=True)
class Counted:
    """A kind that is a part of Skipper's RTL as counted in gates, or a share of one."""

    kind: str
    part: str
    size: str
    """Which of the part's parameters a row's ``size_bytes`` is; empty: rows have no size."""
    width: str
    given: tuple[str, ...]
    """Parameters of the designs that are taken."""
    note: str
    shares: int = 1
    """Equal ones, of which the kind is one."""


WINDOW = "ADDERS=16;LOOK_AHEAD=2;OFFSETS=7"
COUNTED = (
    Counted(
        "token_scheduler", "token_scheduler", "KEYS", "TOKENS", (),
        "a cycle of all of it; size_bytes is keys, width_bits tokens",
    ),
    Counted(
        "channel_accumulation_unit", "channel_accumulation", "LANES", "ADDERS",
        ("WORDS=2", "LOOK_AHEAD=2", "QUEUE=2", "DILUTE=1"),
        "a cycle of all of it, its queue of 2 pixels of 2 words in flip-flops; size_bytes is lanes, width_bits adders",
    ),
    Counted(
        "mac_row_unit", "mac_row", "MULTIPLIERS", "INPUT", ("HEIGHT=3", "WIDTH=3"),
        "a cycle of all of it, its line of 8 columns in flip-flops; size_bytes is multipliers, width_bits their input",
    ),
    Counted(
        "look_ahead_tap", "look_ahead_window", "", "", tuple(WINDOW.split(";")),
        "one adder's choice of an 8-bit activation among one code more: a share of the window of 16 adders, 7 offsets",
        shares=16 * 8,
    ),
)  # fmt: skip
"""Energy and area rows that come from ``gate_counts.csv``, with the flip-flops clocked in every cycle."""


def _counted(made: Counted, sources: dict[str, Source], node: int) -> Iterator[Row]:
    gate, nand2, flip_flop = (sources[name] for name in ("aladdin_bitwise_32b", "nand2", "aladdin_register_1b"))
    for row in _gate_counts():
        parameters = row["parameters"].split(";")
        if row["part"] != made.part or not set(made.given) <= set(parameters):
            continue
        value = dict(parameter.split("=") for parameter in parameters)
        size, width = (int(value[name]) if name else 0 for name in (made.size, made.width))
        gates, bits = int(row["gate_equivalents"]) / made.shares, int(row["flip_flop"]) / made.shares
        energy = gates * float(gate.energy_pj) / 32 + bits * float(flip_flop.energy_pj)
        area = gates * float(nand2.area_mm2) * area_factor(nand2.node, node)
        area += bits * float(flip_flop.area_mm2) * area_factor(flip_flop.node, node)
        clocked = f" and {bits:g} flip-flops" if bits else ""
        origin = (
            f"derived: {gates:.5g} gate equivalents{clocked} (gate_counts.csv) × aladdin_bitwise_32b ÷ 32 "
            f"(area × nand2){' and aladdin_register_1b' if bits else ''}; {RULE} (sources/logic.csv)"
        )
        pj, mm2 = _number(energy * energy_factor(gate.node, node)), _number(area)
        yield (made.kind, size, width, pj, mm2, origin, f"{made.note}; each gate as active as Aladdin's (assumed)")
        leak = gates * float(gate.leakage_mw) / 32 + bits * float(flip_flop.leakage_mw)
        mw = _number(leak * energy_factor(gate.node, node))
        yield (f"{made.kind}_leakage", size, width, mw, mm2, origin, "one nanosecond of it")


def _networks(sources: dict[str, Source], node: int) -> Iterator[Row]:
    gate, nand2 = sources["aladdin_bitwise_32b"], sources["nand2"]
    for (kind, lanes, width), gates in gate_equivalents().items():
        area = _number(gates * float(nand2.area_mm2) * area_factor(nand2.node, node))
        for suffix, value, note in (
            ("", gate.energy_pj, f"a word through all of it, each gate as active as Aladdin's (assumed); {LANES}"),
            ("_leakage", gate.leakage_mw, f"one nanosecond of it; {LANES}"),
        ):
            number = _number(gates * float(value) / 32 * energy_factor(gate.node, node))
            origin = (
                f"derived: {gates} gate equivalents (gate_counts.csv) × aladdin_bitwise_32b ÷ 32; area × nand2; "
                f"{RULE} (sources/logic.csv)"
            )
            yield (f"{kind}{suffix}", lanes, width, number, area, origin, note)


LANES = "size_bytes is lanes, width_bits the bits of each"


def _sram(node: int) -> Iterator[Row]:
    base = node if node in CACTI_NODES else min(CACTI_NODES)
    energy, area = energy_factor(base, node), area_factor(base, node)
    points = {point: sram for point, sram in read_points().items() if point.node == base}
    for ports in PORTS:
        suffix = "" if ports == "1rw" else f"_{ports}"
        origin = f"CACTI 7, 1 bank, 300 K, ITRS-LSTP, {ports}"
        if base != node:
            origin = f"derived: {origin}, {base} nm × {RULE}"
        for kind, field, note in (
            ("sram_read", "read_pj", ""),
            ("sram_write", "write_pj", ""),
            ("sram_bank_leakage", "leakage_mw", "a bank for one nanosecond (pJ per ns = mW)"),
        ):
            for point, sram in points.items():
                if point.ports == ports:
                    value, mm2 = _number(getattr(sram, field) * energy), _number(sram.area_mm2 * area)
                    yield (f"{kind}{suffix}", point.size, point.width, value, mm2, origin, note)


def _number(value: float) -> str:
    """Return four significant digits, the precision of the sources at best, without an exponent where readable."""
    return f"{value:.4g}"


@click.command(help="Write the shipped technology tables anew from their sources.")
def main() -> None:
    """Write every table."""
    folder = Path(str(files("simulator.arch_configs"))) / "technology"
    for node in NODES:
        (folder / f"{node}nm.csv").write_text(table(node), "utf-8")
        click.echo(f"{node}nm.csv")


if __name__ == "__main__":
    main()
