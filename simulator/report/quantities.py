"""What a column measures, its unit, and numbers as readers want them: 64 KiB, 32.8 µJ, 59,266."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from simulator.report.pareto import Floats

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
BINARY = {40: "Ti", 30: "Gi", 20: "Mi", 10: "Ki", 0: ""}
COUNTS = {0: "", 3: "thousand ", 6: "million ", 9: "billion ", 12: "trillion "}
PREFIXED = ("s", "J", "B", "B/s", "Hz", "MAC", "MAC/s")
CYCLES = "cycles"
FIRST, LAST = "work", "status"
"""The columns of a dataset between which its axes stand."""
Units = Mapping[str, str]
"""The units of axes, by key; see `simulator.report.study.Study`."""


@dataclass(frozen=True)
class Quantity:
    """What a column measures."""

    label: str
    unit: str = ""
    factor: float = 1.0
    """Of the column's own unit, in ``unit``."""

    @property
    def title(self) -> str:
        """What an axis in the unit itself is called."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


RESULTS = {
    "cycles": Quantity("time", CYCLES),
    "seconds": Quantity("time", "s"),
    "energy_pj": Quantity("energy", "J", 1e-12),
    "area_mm2": Quantity("area", "mm²"),
    "multipliers": Quantity("multipliers"),
    "buffer_bytes": Quantity("all buffers", "B"),
    "dram_bytes": Quantity("DRAM traffic", "B"),
    "bandwidth_gb_s": Quantity("DRAM bandwidth used", "B/s", 1e9),
    "macs_dense": Quantity("dense MACs", "MAC"),
    "macs_effectual": Quantity("effectual MACs", "MAC"),
    "macs_performed": Quantity("performed MACs", "MAC"),
    "utilization": Quantity("utilisation", "%", 100.0),
    "bound_cycles": Quantity("bound", CYCLES),
    "peak_macs_per_s": Quantity("peak of the units", "MAC/s"),
    "peak_bandwidth_gb_s": Quantity("peak of the DRAM channel", "B/s", 1e9),
}


def quantity(column: str, units: Units | None = None) -> Quantity:
    """Return what a column measures; an axis is called by its key."""
    return RESULTS.get(column) or Quantity(column, (units or {}).get(column, ""))


def axes_of(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a dataset that are axes."""
    columns = [str(name) for name in frame.columns]
    if FIRST not in columns or LAST not in columns:
        return []
    return columns[columns.index(FIRST) + 1 : columns.index(LAST)]


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points that did not fail."""
    return frame[frame["status"] == "ok"].reset_index(drop=True) if "status" in frame else frame


def objectives_of(frame: pd.DataFrame, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return what the points of a dataset are compared in: time, energy and area as far as they are known.

    Time is cycles where all points have one clock, else seconds.

    Args:
        frame: the dataset.
        more: other columns to compare in.

    """
    done = finished(frame)
    rate = (done["cycles"] / done["seconds"]).to_numpy(np.float64)
    one_clock = len(rate) == 0 or np.nanmax(rate) <= np.nanmin(rate) * (1 + 1e-9)
    wanted = dict.fromkeys(("cycles" if one_clock else "seconds", "energy_pj", "area_mm2", *more))
    if one_clock:
        wanted.pop("seconds", None)
    return tuple(name for name in wanted if name in done and done[name].notna().any())


def scaled(values: Floats, measured: Quantity) -> tuple[Floats, str]:
    """Return values in a unit of which the largest are some ones, tens or hundreds, and what their axis is called."""
    base = np.asarray(values, np.float64) * measured.factor
    known = np.abs(base[np.isfinite(base)])
    largest = float(known.max()) if len(known) else 0.0
    if measured.unit == "B" and largest >= 1024 and bool((known % 1024 == 0).all()):
        power = max(power for power in BINARY if largest >= 2**power)
        return base / 2**power, f"{measured.label} ({BINARY[power]}B)"
    if largest == 0 or measured.unit not in (*PREFIXED, CYCLES):
        return base, measured.title
    names = COUNTS if measured.unit == CYCLES else PREFIXES
    power = min(max(3 * math.floor(math.log10(largest) / 3 + 1e-12), min(names)), max(names))
    return base / 10.0**power, f"{measured.label} ({names[power]}{measured.unit})"


def shown(value: Any, measured: Quantity) -> str:
    """Return a value as text with its unit: ``64 KiB``, ``32.8 µJ``, ``59,266 cycles``; a dash where there is none."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(float(value)):
        return "–"
    base = float(value) * measured.factor
    if measured.unit == "B" and base >= 1024:
        power = next((power for power in BINARY if base >= 2**power and base * 8 % 2**power == 0), 0)
        if power:
            return f"{base / 2**power:,.6g} {BINARY[power]}B"
    if measured.unit in PREFIXED and base:
        base = float(f"{base:.4g}")
        power = min(max(3 * math.floor(math.log10(abs(base)) / 3 + 1e-12), min(PREFIXES)), max(PREFIXES))
        return f"{_digits(base / 10.0**power)} {PREFIXES[power]}{measured.unit}"
    if measured.unit == "%":
        return f"{base:.3g} %"
    return f"{_digits(base)} {measured.unit}".rstrip()


def _digits(number: float) -> str:
    return f"{number:,.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:,.4g}"
