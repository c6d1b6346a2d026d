"""Energy, leakage and area of SRAM by CACTI 7, run where it is installed.

The shipped points (``arch_configs/sources/sram.csv``) come from here::

    python -m simulator.arch.cacti --cacti PATH/TO/cacti             # compare the shipped points with a CACTI
    python -m simulator.arch.cacti --cacti PATH/TO/cacti --write     # and keep what it says
    python -m simulator.arch.cacti --hwcomponents                    # compare with hwcomponents-cacti (Python 3.12)

Settings: one bank, 300 K, ITRS-LSTP cells and periphery, least leakage first, as hwcomponents-cacti sets them.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from importlib.resources import files
from pathlib import Path

import click

from simulator.errors import InputError

NODES = (65, 45, 40, 32, 28, 22)
"""What CACTI 7 knows of the nodes shipped (it interpolates 40 and 28 nm itself; 16 nm it refuses)."""
SIZES = (512, 1024, 4096, 16384, 65536, 262144, 1048576)
"""Bytes."""
WIDTHS = (32, 64, 128, 256)
"""Bits per access."""
PORTS = {"1rw": (1, 0, 0), "1r1w": (0, 1, 1), "2rw": (2, 0, 0), "4rw": (4, 0, 0)}
"""Read-write, read and write ports by name."""
SHALLOWEST = 64
"""Words below which CACTI finds no organisation, or an odd one."""

SETTINGS = """-Array Power Gating - "false"
-WL Power Gating - "false"
-CL Power Gating - "false"
-Bitline floating - "false"
-Interconnect Power Gating - "false"
-Power Gating Performance Loss 0.01
-single ended read ports 0
-page size (bits) 0
-burst length 8
-internal prefetch width 8
-Data array cell type - "itrs-lstp"
-Data array peripheral type - "itrs-lstp"
-Tag array cell type - "itrs-lstp"
-Tag array peripheral type - "itrs-lstp"
-operating temperature (K) 300
-access mode (normal, sequential, fast) - "fast"
-design objective (weight delay, dynamic power, leakage power, cycle time, area) 0:0:1000000:0:0
-deviate (delay, dynamic power, leakage power, cycle time, area) 20:10:100000:100:100
-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:100
-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area) 10:10000:10000:10000:10000
-Optimize ED or ED^2 (ED, ED^2, NONE): "ED^2"
-Cache model (NUCA, UCA)  - "UCA"
-NUCA bank count 0
-Wire signaling (fullswing, lowswing, default) - "Global_30"
-Wire inside mat - "semi-global"
-Wire outside mat - "semi-global"
-Interconnect projection - "normal"
-Core count 1
-Add ECC - "false"
-Print level (DETAILED, CONCISE) - "DETAILED"
-Print input parameters - "true"
-Force cache config - "false"
-dram_type "DDR3"
-io state "WRITE"
-num_clk  2
-mem_data_width 8
-UCA bank count 1
-cache type "ram"
-tag size (b) 0
-associativity 1
"""


@dataclass(frozen=True)
class Point:
    """One bank of SRAM."""

    node: int
    """nm."""
    size: int
    """Bytes."""
    width: int
    """Bits per access."""
    ports: str


@dataclass(frozen=True)
class Sram:
    """What CACTI says of a point."""

    read_pj: float
    write_pj: float
    leakage_mw: float
    area_mm2: float


ANSWERS = (
    ("Dynamic read energy (nJ)", 1e3),
    ("Dynamic write energy (nJ)", 1e3),
    ("Standby leakage per bank(mW)", 1.0),
    ("Area (mm2)", 1.0),
)
"""Columns of CACTI's table and what makes the units of ``Sram`` of theirs, in its order."""
NOTHING_FOUND = re.compile("ERROR: no .*organization")
"""What CACTI says where it knows no way to build a point; it exits with 0 or 1 then."""

Estimator = Callable[[Point], Sram | None]


def grid() -> Iterator[Point]:
    """Yield the points shipped."""
    for node in NODES:
        for ports in PORTS:
            for width in WIDTHS:
                for size in SIZES:
                    if size * 8 // width >= SHALLOWEST:
                        yield Point(node, size, width, ports)


def settings(point: Point) -> str:
    """Return the configuration file of CACTI for ``point``."""
    both, read, write = PORTS[point.ports]
    return SETTINGS + (
        f"-size (bytes) {point.size}\n-block size (bytes) {point.width // 8}\n"
        f"-output/input bus width {point.width}\n-technology (u) {point.node / 1000}\n"
        f"-read-write port {both}\n-exclusive read port {read}\n-exclusive write port {write}\n"
    )


def by_cacti(binary: Path) -> Estimator:
    """Return an estimator that runs ``binary``; it gives None where CACTI finds no organisation.

    The estimator raises ``InputError`` where the program does not run to its end or writes no table of CACTI's.
    """

    def estimate(point: Point) -> Sram | None:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "point.cfg")
            config.write_text(settings(point), "ascii")
            # CACTI reads tech_params/ from where it is run, and writes its table beside its configuration.
            command = [str(binary.resolve()), "-infile", str(config)]
            try:
                done = subprocess.run(command, cwd=binary.parent, capture_output=True, text=True, errors="replace")
            except OSError as error:
                raise InputError(f"{binary}: cannot be run: {error.strerror}") from None
            table = Path(folder, "point.cfg.out")
            said = f"{done.stdout}\n{done.stderr}".split("\n")
            if not table.exists() and any(NOTHING_FOUND.search(line) for line in said):
                return None
            if done.returncode or not table.exists():
                last = next((f": {line.strip()}" for line in reversed(said) if line.strip()), "")
                raise InputError(f"{binary}: no table of {point}; exit status {done.returncode}{last}")
            return _read(table.read_text("utf-8", errors="replace"), f"{binary}: the table of {point}")

    return estimate


def _read(table: str, where: str) -> Sram:
    """Read the last row of a table that CACTI writes."""
    rows = list(csv.DictReader(io.StringIO(table)))
    row = {key.strip(): value for key, value in rows[-1].items() if key} if rows else {}
    missing = [name for name, _ in ANSWERS if not row.get(name)]
    if missing:
        raise InputError(f"{where} has no '{missing[0]}'; expected one of CACTI 7")
    try:
        return Sram(*(factor * float(row[name]) for name, factor in ANSWERS))
    except ValueError:
        raise InputError(f"{where} has words where numbers were expected") from None


def by_hwcomponents() -> Estimator:
    """Return an estimator that asks hwcomponents-cacti, which knows ports that read and write only.

    Raises:
        InputError: the package is not installed.

    """
    try:
        from hwcomponents_cacti import SRAM
    except ImportError:
        raise InputError(
            "hwcomponents-cacti is not installed; it needs Python >= 3.12: pip install hwcomponents hwcomponents-cacti"
        ) from None

    def estimate(point: Point) -> Sram | None:
        both, read, write = PORTS[point.ports]
        if read or write:
            return None
        try:
            sram = SRAM(tech_node=point.node * 1e-9, width=point.width, size=point.size * 8, n_rw_ports=both)
        except Exception as error:
            raise InputError(f"hwcomponents-cacti fails on {point}: {error}") from None
        # Its area is in m² by its documentation; CACTI's table has mm².
        return Sram(1e12 * sram.read().energy, 1e12 * sram.write().energy, 1e3 * sram.leak_power, 1e6 * sram.area)

    return estimate


COLUMNS = (*(f.name for f in fields(Point)), *(f.name for f in fields(Sram)))


def points_file() -> Path:
    """Return where the shipped points lie."""
    return Path(str(files("simulator.arch_configs"))) / "sources" / "sram.csv"


def read_points() -> dict[Point, Sram]:
    """Return the shipped points, in their order."""
    points = {}
    for row in csv.DictReader(io.StringIO(points_file().read_text("utf-8"))):
        point = Point(int(row["node"]), int(row["size"]), int(row["width"]), row["ports"])
        points[point] = Sram(*(float(row[f.name]) for f in fields(Sram)))
    return points


def write_points(points: Iterable[tuple[Point, Sram]]) -> str:
    """Return points as CSV text, to four significant digits."""
    lines = [",".join(COLUMNS)]
    lines += [",".join((*map(str, astuple(point)), *(f"{x:.4g}" for x in astuple(sram)))) for point, sram in points]
    return "\n".join(lines) + "\n"


def difference(point: Point, ours: Sram | None, theirs: Sram) -> str | None:
    """Return in a line how an estimate differs from the shipped one; None where by no more than 0.1 %."""
    where = f"{point.node} nm, {point.size} B x {point.width} bit, {point.ports}"
    if ours is None:
        return f"{where}: not shipped"
    changes = [new / old - 1 for old, new in zip(astuple(ours), astuple(theirs), strict=True)]
    if max(map(abs, changes)) <= 1e-3:
        return None
    return f"{where}: " + ", ".join(
        f"{f.name} {old:.4g} -> {new:.4g} ({change:+.1%})"
        for f, old, new, change in zip(fields(Sram), astuple(ours), astuple(theirs), changes, strict=True)
    )


@click.command(help="Compare the shipped SRAM points with CACTI's, and with --write keep those.")
@click.option("--cacti", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The program.")
@click.option("--hwcomponents", is_flag=True, help="Ask hwcomponents-cacti instead.")
@click.option("--write", is_flag=True, help="Keep what is found; points that are not known there stay as they are.")
@click.option(
    "--node", "nodes", type=click.Choice([str(node) for node in NODES]), multiple=True, help="Only of this node (nm)."
)
def main(cacti: Path | None, hwcomponents: bool, write: bool, nodes: tuple[str, ...]) -> None:
    """Compare or make the shipped points."""
    if (cacti is None) != hwcomponents:
        raise click.UsageError("expected either --cacti PATH or --hwcomponents")
    try:
        estimate = by_hwcomponents() if cacti is None else by_cacti(cacti)
        asked = [point for point in grid() if not nodes or str(point.node) in nodes]
        found = {point: sram for point in asked if (sram := estimate(point)) is not None}
        if not found:
            raise InputError(f"no organisation was found for any of the {len(asked)} points; nothing is compared")
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None
    shipped = read_points()
    lines = [line for point, sram in found.items() if (line := difference(point, shipped.get(point), sram))]
    lines.append(f"{len(found)} of {len(asked)} points compared, {len(lines)} differ by more than 0.1 %")
    click.echo("\n".join(lines))
    if write:
        kept = shipped | found
        points_file().write_text(write_points((point, kept[point]) for point in grid() if point in kept), "utf-8")
        click.echo(f"written to {points_file()}; python -m simulator.arch.tables makes the tables of them")


if __name__ == "__main__":
    main()
