"""Running CACTI: what it is asked, how its answer is read, how points are kept and compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.arch.cacti import (
    Point,
    Sram,
    by_cacti,
    difference,
    grid,
    main,
    points_file,
    read_points,
    settings,
    write_points,
)

POINT = Point(45, 65536, 64, "1r1w")
FAKE = """#!/bin/sh
grep -q 'size (bytes) 512$' "$2" && echo 'ERROR: no valid data array organizations found' && exit 1
echo 'Technology, Access time (ns), Dynamic read energy (nJ), Dynamic write energy (nJ), Standby leakage per bank(mW), Area (mm2)' > "$2.out"
echo '45, 1.0, 0.0025, 0.0015, 0.125, 0.5' >> "$2.out"
"""  # noqa: E501 - a header as CACTI writes it


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    program = tmp_path / "cacti"
    program.write_text(FAKE, "ascii")
    program.chmod(0o755)
    return program


def test_points_are_kept_as_they_are_read() -> None:
    points = read_points()
    assert list(points) == list(grid())
    assert write_points(points.items()) == points_file().read_text("utf-8")


def test_the_settings_name_the_point() -> None:
    text = settings(POINT)
    for line in ("-size (bytes) 65536", "-block size (bytes) 8", "-technology (u) 0.045", "-exclusive write port 1"):
        assert f"\n{line}\n" in text


def test_an_answer_is_read_in_picojoules(fake: Path) -> None:
    estimate = by_cacti(fake)
    assert estimate(POINT) == Sram(2.5, 1.5, 0.125, 0.5)
    assert estimate(dataclasses.replace(POINT, size=512)) is None


def test_differences_are_told_in_percent() -> None:
    ours = Sram(2.0, 4.0, 0.1, 0.5)
    assert difference(POINT, ours, dataclasses.replace(ours, read_pj=2.001)) is None
    line = difference(POINT, ours, dataclasses.replace(ours, read_pj=2.1))
    assert line is not None
    assert "45 nm, 65536 B x 64 bit, 1r1w: read_pj 2 -> 2.1 (+5.0%)" in line
    assert difference(POINT, None, ours) == "45 nm, 65536 B x 64 bit, 1r1w: not shipped"


def test_the_command_compares(fake: Path) -> None:
    done = CliRunner().invoke(main, ["--cacti", str(fake), "--node", "45"])
    assert done.exit_code == 0, done.output
    asked = [point for point in grid() if point.node == 45]
    known = sum(point.size != 512 for point in asked)
    assert f"{known} of {len(asked)} points compared, {known} differ" in done.output


def test_what_is_found_is_kept_and_the_rest_stays(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, mine = read_points(), tmp_path / "sram.csv"
    mine.write_text(points_file().read_text("utf-8"), "utf-8")
    monkeypatch.setattr("simulator.arch.cacti.points_file", lambda: mine)
    done = CliRunner().invoke(main, ["--cacti", str(fake), "--node", "45", "--write"])
    assert done.exit_code == 0, done.output
    after = read_points()
    assert list(after) == list(before)
    for point, sram in after.items():
        found = point.node == 45 and point.size != 512
        assert sram == (Sram(2.5, 1.5, 0.125, 0.5) if found else before[point])


HEAD, ROW = (line.split("'")[1] for line in FAKE.splitlines()[2:])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/sh\n", "no table of Point(node=45, size=512, width=32, ports='1rw'); exit status 0"),
        ("#!/bin/sh\necho 'no tech_params' >&2; exit 3\n", "exit status 3: no tech_params"),
        (FAKE.replace("grep", "true; grep") + "exit 1\n", "exit status 1"),
        ("no program\n", "cannot be run: Exec format error"),
        (FAKE.replace("Area", "Space"), "has no 'Area (mm2)'; expected one of CACTI 7"),
        (FAKE.replace(ROW, "45, 1.0, 0.0025"), "has no 'Dynamic write energy (nJ)'"),
        (FAKE.replace(f"echo '{ROW}'", ": "), "has no 'Dynamic read energy (nJ)'"),
        (FAKE.replace("0.0025", "none"), "has words where numbers were expected"),
        (FAKE.replace(" 512$", ""), "no organisation was found for any of the 100 points; nothing is compared"),
    ],
)
def test_what_gives_no_points_is_told_in_a_sentence(fake: Path, script: str, expected: str) -> None:
    fake.write_text(script, "ascii")
    done = CliRunner().invoke(main, ["--cacti", str(fake), "--node", "45"])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit), done.output
    assert expected in done.output
    assert done.output.startswith("Error: ")
    assert "compared," not in done.output


def test_a_file_that_is_no_program_is_told(fake: Path) -> None:
    fake.chmod(0o644)
    done = CliRunner().invoke(main, ["--cacti", str(fake), "--node", "45"])
    assert done.exit_code == 2
    assert "cacti: cannot be run: Permission denied" in done.output


def test_a_node_that_cacti_does_not_know_is_refused(fake: Path) -> None:
    done = CliRunner().invoke(main, ["--cacti", str(fake), "--node", "16"])
    assert done.exit_code == 2
    assert "'16' is not one of '65', '45'" in done.output


@pytest.mark.parametrize("arguments", [[], ["--write"], ["--hwcomponents", "--cacti", __file__]])
def test_the_command_wants_one_estimator(arguments: list[str]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "expected either --cacti PATH or --hwcomponents" in done.output


def test_without_hwcomponents_it_says_so() -> None:
    try:
        import hwcomponents_cacti  # noqa: F401
    except ImportError:
        done = CliRunner().invoke(main, ["--hwcomponents"])
        assert done.exit_code == 2
        assert "hwcomponents-cacti is not installed; it needs Python >= 3.12" in done.output
    else:
        pytest.skip("it is installed")


def test_where_more_costs_less() -> None:
    """CACTI arranges subarrays anew for each point: of neighbours in size or width, few larger ones read for less."""
    points = read_points()
    pairs = []
    for point, sram in points.items():
        for field in ("size", "width"):
            like = dataclasses.replace(point, **{field: 0})
            alike = [p for p in points if dataclasses.replace(p, **{field: 0}) == like]
            following = [p for p in alike if getattr(p, field) > getattr(point, field)]
            if following:
                pairs.append((sram, points[min(following, key=lambda p: getattr(p, field))]))
    assert len(pairs) == 936
    assert sum(b.read_pj < a.read_pj for a, b in pairs) == 26
