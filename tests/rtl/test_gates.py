"""The shipped counts of gates: what Yosys counts today, and what a network of switches must hold."""

from __future__ import annotations

import math

import pytest

from tests.rtl import gates

needs_yosys = pytest.mark.skipif(
    gates.find_yosys() is None, reason="Yosys is not installed: pip install skipper-simulator[gates]"
)


@needs_yosys
def test_small_designs_are_counted_as_shipped() -> None:
    made = gates.counted(gates.small_designs())
    assert len({row["part"] for row in made}) == 7
    assert gates.differences(made, gates.read_table()) == []


@needs_yosys
@pytest.mark.slow
def test_all_designs_are_counted_as_shipped() -> None:
    made = gates.counted(gates.all_designs())
    assert len(made) == len(gates.read_table())
    assert gates.differences(made, gates.read_table()) == []


def test_every_design_has_a_row() -> None:
    key = ("part", "size", "width", "stages", "parameters")
    assert [tuple(row[name] for name in key) for row in gates.read_table()] == [
        design.key for design in gates.all_designs()
    ]


@pytest.mark.parametrize("part", ["inverse_butterfly_switches", "butterfly_switches"])
def test_switches_are_two_multiplexers_a_lane_pair_and_bit(part: str) -> None:
    """N·log2(N)·W multiplexers, and N·W gates that select lanes; nothing else."""
    rows = [row for row in gates.read_table() if row["part"] == part]
    assert len(rows) >= 10
    for row in rows:
        n, w = int(row["size"]), int(row["width"])
        assert int(row["mux"]) == n * int(math.log2(n)) * w
        assert int(row["and_or"]) == n * w
        assert [row[name] for name in ("not", "xor", "flip_flop")] == ["0"] * 3


def test_three_stages_hold_their_registers() -> None:
    """Of a word: counts of ones, payload and mask; then controls, payload and mask; then the result; its validity."""
    rows = [row for row in gates.read_table() if row["part"] == "inverse_butterfly" and row["stages"] == "3"]
    assert rows
    for row in rows:
        n, w = int(row["size"]), int(row["width"])
        stages = int(math.log2(n))
        # Stage s looks at the lowest s + 1 bits of the count below the middle of each of its n / 2^(s+1) blocks;
        # the count below lane 1 is lane 0 of the mask.
        counts = sum((s + 1) * (n >> (s + 1)) for s in range(stages)) - 1
        controls = stages * n // 2
        assert int(row["flip_flop"]) == counts + controls + 3 * n * w + 2 * n + 3


def test_a_difference_is_found() -> None:
    shipped = gates.read_table()
    assert gates.differences(shipped, shipped) == []
    first, others = shipped[0], shipped[1:]
    assert len(gates.differences(shipped, others)) == 1
    assert len(gates.differences([first | {"mux": str(int(first["mux"]) + 1)}, *others], shipped)) == 1
    elsewhere = [row | {"source": "another version"} for row in shipped]
    assert gates.differences(elsewhere, shipped) == []
    for name, factor in (("gate_equivalents", 1.06), ("flip_flop", 1.01)):
        assert gates.differences([row | {name: f"{factor * int(row[name]):.0f}"} for row in elsewhere], shipped)


def test_equivalents_are_of_a_netlist_in_nand2() -> None:
    for row in gates.read_table():
        weighted = sum(int(row[name]) * weight for name, weight in gates.WEIGHTS.items())
        assert int(row["gate_equivalents"]) == round(weighted)
