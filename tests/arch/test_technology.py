"""Technology tables: rows are met exactly, and what lies between them is log-log."""

from __future__ import annotations

import csv
import importlib.resources
import math

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from simulator.arch import Technology, list_technologies, load_technology
from simulator.arch.technology import parse_technology
from simulator.errors import InputError

HEAD = "kind,size_bytes,width_bits,energy_pj,source,note\n"
HEAD_WITH_AREA = "kind,size_bytes,width_bits,energy_pj,area_mm2,source,note\n"


def table(*rows: str, head: str = HEAD) -> Technology:
    return parse_technology(head + "\n".join(rows) + "\n", "mine", "mine.csv")


def table_with_area(*rows: str) -> Technology:
    return table(*rows, head=HEAD_WITH_AREA)


@pytest.mark.parametrize("name", list_technologies())
def test_shipped_tables_meet_their_own_rows(name: str) -> None:
    technology = load_technology(name)
    text = importlib.resources.files("simulator.arch_configs").joinpath("technology", f"{name}.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        found = technology.energy(row["kind"], int(row["size_bytes"]), int(row["width_bits"]))
        assert found == pytest.approx(float(row["energy_pj"]), rel=1e-12)
        if row["area_mm2"]:
            area = technology.area(row["kind"], int(row["size_bytes"]), int(row["width_bits"]))
            assert area == pytest.approx(float(row["area_mm2"]), rel=1e-12)
        assert row["source"]


SIZES = st.integers(1, 2**30)
ENERGIES = st.floats(1e-3, 1e3)


@given(st.dictionaries(SIZES, ENERGIES, min_size=2, max_size=5), SIZES)
def test_a_memory_between_two_rows_lies_on_their_line_in_log_log(rows: dict[int, float], size: int) -> None:
    technology = table(*(f"sram,{size},64,{energy!r},paper," for size, energy in rows.items()))
    sizes = sorted(rows)
    assume(sizes[0] <= size <= sizes[-1])
    low = max(s for s in sizes if s <= size)
    high = min((s for s in sizes if s > low), default=low)
    at = 0.0 if high == low else (math.log(size) - math.log(low)) / (math.log(high) - math.log(low))
    expected = math.exp((1 - at) * math.log(rows[low]) + at * math.log(rows[high]))
    assert technology.energy("sram", size, 64) == pytest.approx(expected, rel=1e-9)


def test_beyond_the_rows_the_outermost_slope_goes_on() -> None:
    technology = table("sram,1024,64,1,paper,", "sram,4096,64,2,paper,", "sram,8192,64,8,paper,")
    assert technology.energy("sram", 256, 64) == pytest.approx(0.5)
    assert technology.energy("sram", 16384, 64) == pytest.approx(32)


def test_width_is_in_proportion_and_one_row_serves_all_sizes() -> None:
    technology = table("sram,1024,64,6.4,paper,", "add,0,0,0.05,paper,")
    assert technology.energy("sram", 1024, 32) == pytest.approx(3.2)
    assert technology.energy("sram", 9, 128) == pytest.approx(12.8)
    assert technology.energy("add") == 0.05


@given(st.dictionaries(SIZES, ENERGIES, min_size=1, max_size=4), SIZES)
def test_doubled_energies_cost_exactly_the_double(rows: dict[int, float], size: int) -> None:
    once, twice = (table(*(f"sram,{s},64,{factor * e!r},paper," for s, e in rows.items())) for factor in (1, 2))
    try:
        energy = once.energy("sram", size, 64)
    except InputError:
        reject()  # absurdly steep rows, see below
    assert twice.energy("sram", size, 64) == 2 * energy


def test_rows_too_steep_for_a_size_far_off_are_refused() -> None:
    steep = table("sram,777,64,2.0,paper,", "sram,778,64,1.0,paper,")
    with pytest.raises(InputError, match="no finite energy at 1 bytes"):
        steep.energy("sram", 1, 64)


def test_errors_name_table_kind_and_expectation() -> None:
    technology = table("add_16b,0,0,0.05,paper,", "sram,64,8,1,paper,")
    for ask, expected in (
        (("add_16",), r"mine\.csv: no energy for 'add_16' \(did you mean 'add_16b'\?\); known: add_16b, sram"),
        (("sram",), r"mine\.csv: 'sram' is given as memory; expected a row of logic"),
        (("add_16b", 64, 8), r"mine\.csv: 'add_16b' is given as logic; expected a row of memory"),
    ):
        with pytest.raises(InputError, match=expected):
            technology.energy(*ask)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("sram,64,8,1,paper,", "sram,64,8,2,paper,"), "line 3: 'sram' is given before"),
        (("sram,64,8,1,paper,", "sram,0,0,2,paper,"), "line 3: 'sram' is given before"),
        (("sram,64,8,1,paper,", "sram,64,16,2,paper,", "sram,64,16,2,paper,"), "line 4: .* or different .* width_bits"),
        (("sram,64,8,0,paper,",), "line 2: expected a finite energy_pj"),
        (("sram,64,8,inf,paper,",), "line 2: expected a finite energy_pj"),
        (("sram,64 KiB,8,1,paper,",), "line 2: expected numbers"),
        (("sram,64,8,1,,",), "line 2: 'sram' names no source"),
        (('"' + "x" * 200_000 + '",64,8,1,paper,',), "not a CSV file"),
    ],
)
def test_malformed_rows_are_refused(rows: tuple[str, ...], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        table(*rows)


def test_a_table_without_areas_knows_none() -> None:
    technology = table("add,0,0,0.05,paper,", "sram,1024,64,6.4,paper,")
    assert technology.area("add") is None
    assert technology.area("sram", 4096) is None


def test_areas_are_as_written_and_empty_is_unknown() -> None:
    technology = table_with_area("add,0,0,0.05,0.25,paper,", "wire,0,0,0.05,,paper,", "pin,0,0,1,0,paper,")
    assert [technology.area(kind) for kind in ("add", "wire", "pin")] == [0.25, None, 0]
    assert technology.energy("wire") == 0.05


def test_the_area_of_a_memory_is_log_log_over_the_rows_that_give_one() -> None:
    technology = table_with_area(
        "sram,1024,64,1,0.5,paper,",
        "sram,2048,64,2,,paper,",
        "sram,4096,64,3,1,paper,",
        "sram,16384,64,4,8,paper,",
    )
    for size, expected in ((1024, 0.5), (2048, math.sqrt(0.5)), (4096, 1), (256, 0.25), (65536, 64)):
        assert technology.area("sram", size) == pytest.approx(expected, rel=1e-12)


def test_a_single_area_is_in_proportion_to_size() -> None:
    technology = table_with_area("sram,1024,64,1,0.5,paper,", "sram,4096,64,3,,paper,")
    assert [technology.area("sram", size) for size in (512, 1024, 10240)] == [0.25, 0.5, 5]


def test_an_area_that_no_table_has_is_refused() -> None:
    technology = table_with_area(
        "add,0,0,0.05,1,paper,", "sram,777,64,1,2,paper,", "sram,778,64,1,1,paper,", "rom,64,8,1,,paper,"
    )
    for ask, expected in (
        (("ad",), r"mine\.csv: no energy for 'ad' \(did you mean 'add'\?\)"),
        (("sram",), r"mine\.csv: 'sram' is given as memory; expected a row of logic"),
        (("add", 64), r"mine\.csv: 'add' is given as logic; expected a row of memory"),
        (("sram", 1), r"mine\.csv: 'sram' has no finite area at 1 bytes"),
    ):
        with pytest.raises(InputError, match=expected):
            technology.area(*ask)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("add,0,0,1,-0.1,paper,", "line 2: expected a finite area_mm2, not negative"),
        ("add,0,0,1,nan,paper,", "line 2: expected a finite area_mm2"),
        ("add,0,0,1,inf,paper,", "line 2: expected a finite area_mm2"),
        ("sram,64,8,1,0,paper,", "line 2: expected a finite area_mm2, not negative \\(above 0 for a memory\\)"),
        ("add,0,0,1,0.1 mm2,paper,", "line 2: expected a number in area_mm2"),
        ("add,0,0,1,paper,as in a table without areas", "line 2: expected a number in area_mm2"),
        ("add,0,0,1,0.1,,", "line 2: 'add' names no source"),
    ],
)
def test_malformed_areas_are_refused(row: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        table_with_area(row)


def test_the_columns_come_in_their_order() -> None:
    with pytest.raises(InputError, match=r"expected the columns kind, .*, energy_pj, area_mm2, source, note, not kind"):
        table("add,0,0,1,paper,,0.1", head="kind,size_bytes,width_bits,energy_pj,source,note,area_mm2\n")


def test_22_nm_memories_lie_on_the_cacti_figures() -> None:
    """The figures of the table before it had widths and ports, and the writes that it had only by proportion."""
    technology = load_technology("22nm")
    assert technology.area("sram_read", 65536, 64) == 0.0586
    for kind, kibi, expected in (("sram_read", 4, 1.17), ("sram_read", 64, 5.67), ("sram_read", 256, 11.9)):
        assert technology.energy(kind, kibi * 1024, 64) == pytest.approx(expected, rel=5e-3)
    assert technology.energy("sram_write", 65536, 64) == pytest.approx(4.43, rel=1e-3)
    assert technology.energy("sram_write", 4096, 64) > technology.energy("sram_read", 4096, 64)


WIDTHS = st.integers(1, 512)


@given(st.dictionaries(st.tuples(SIZES, WIDTHS), ENERGIES, min_size=1, max_size=8))
def test_rows_of_sizes_and_widths_are_met_exactly(rows: dict[tuple[int, int], float]) -> None:
    technology = table_with_area(*(f"sram,{s},{w},{e!r},{2 * e!r},paper," for (s, w), e in rows.items()))
    several = len({size for size, _ in rows}) < len(rows)
    for (size, width), energy in rows.items():
        try:
            assert technology.energy("sram", size, width) == pytest.approx(energy, rel=1e-9)
        except InputError:
            reject()  # absurdly steep rows, see below
        if several or len({w for _, w in rows}) == 1:
            assert technology.area("sram", size, width) == pytest.approx(2 * energy, rel=1e-9)


GRID_SIZES, GRID_WIDTHS = (1024, 4096, 65536), (32, 64, 256)


@given(
    st.lists(st.floats(1, 2), min_size=9, max_size=9),
    st.integers(1024, 65536),
    st.integers(1024, 65536),
    st.integers(32, 256),
    st.integers(32, 256),
)
def test_between_growing_points_energy_and_area_grow(
    steps: list[float], small: int, large: int, narrow: int, wide: int
) -> None:
    """Points that grow with size and with width: what lies between them grows, too."""
    grid, rows = {}, []
    for i, size in enumerate(GRID_SIZES):
        for j, width in enumerate(GRID_WIDTHS):
            below = max(grid.get((i - 1, j), 0.1), grid.get((i, j - 1), 0.1))
            grid[i, j] = below * steps[3 * i + j]
            rows.append(f"sram,{size},{width},{grid[i, j]!r},{grid[i, j]!r},paper,")
    technology = table_with_area(*rows)
    (small, large), (narrow, wide) = sorted((small, large)), sorted((narrow, wide))
    for read in (technology.energy, technology.area):
        low, high = read("sram", small, narrow), read("sram", large, wide)
        assert low is not None
        assert high is not None
        assert low <= high * (1 + 1e-12)
        assert min(grid.values()) * (1 - 1e-12) <= low
        assert high <= max(grid.values()) * (1 + 1e-12)


def test_the_row_named_as_the_source_is_the_nearest() -> None:
    technology = table("sram,1024,32,1,a,", "sram,1024,64,2,b,", "sram,65536,64,3,c,", "add,0,0,1,d,")
    asked = ((1024, 32, "a"), (2000, 60, "b"), (2**20, 64, "c"), (900, 1, "a"))
    for size, width, source in asked:
        assert technology.row("sram", size, width).source == source
    assert technology.row("add").source == "d"


@pytest.mark.parametrize(
    ("size", "width", "beyond"),
    [
        (1024, 32, False),
        (2000, 60, False),
        (65536, 64, False),
        (448, 32, True),
        (4096, 16, True),
        (4096, 65, True),
        (2**20, 64, True),
        (1024, 64, True),  # only the narrow rows go down to it
        (1024, 33, True),
    ],
)
def test_what_lies_beyond_the_rows(size: int, width: int, beyond: bool) -> None:
    technology = table(*(f"sram,{s},{w},1,a," for s, w in ((1024, 32), (65536, 32), (2000, 64), (65536, 64))))
    assert technology.beyond("sram", size, width) == beyond


def test_beyond_rows_of_one_width_and_of_logic() -> None:
    technology = table("sram,1024,64,1,a,", "sram,65536,64,3,c,", "add,0,0,1,d,")
    assert not technology.beyond("add")
    assert not technology.beyond("sram", 4096, 64)
    assert technology.beyond("sram", 4096, 32)
    assert technology.beyond("sram", 512, 64)


def test_low_precision_products_share_the_energy_of_a_pe() -> None:
    technology = load_technology("22nm")
    for kind, products in (("mac_int8", 4), ("mac_int4", 16), ("mac_int2", 64)):
        assert technology.energy(kind) * products == technology.energy("mac_fx16") == 645.98 / 512
        assert technology.area(kind) is None
