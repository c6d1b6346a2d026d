"""Sweeps that were never run: datasets of known functions, quickly made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

AXES: Mapping[str, Sequence[Any]] = {
    "array.blocks": [2.0, 4.0, 8.0, 16.0],
    "dram.bandwidth": [1e9, 4e9, 16e9],
    "buffer.size": [8192.0, 65536.0],
}
CLOCK = 800e6
FILE = """\
skipper: 1
description: Blocks, <channel> & buffer of chips that are none.
chips: {%(chips)s}
works: {%(works)s}
axes:
  array.blocks: [2, 4, 8, 16]
  dram.bandwidth: [1 GB/s, 4 GB/s, 16 GB/s]
  buffer.size: [8 KiB, 64 KiB]
"""


def costs(setting: Mapping[str, Any], scale: float = 1.0) -> dict[str, float]:
    """Cycles, energy and area that pull in different directions."""
    plain = zip(AXES, (4, 4e9, 8192), strict=True)
    blocks, rate, size = (setting.get(key, default) or default for key, default in plain)
    compute, channel = 4e6 * scale / blocks, 4e6 * scale * CLOCK / rate / (1 + size / 1e5)
    return {
        "cycles": round(max(compute, channel) + 0.1 * min(compute, channel)),
        "energy_pj": 1e7 * scale * (1 + 0.02 * blocks + 0.1 * size / 65536) + 2e6 * scale / (1 + size / 65536),
        "area_mm2": 1 + 0.3 * blocks + size / 65536 + rate / 16e9,
    }  # fmt: skip


def row(chip: str, work: str, setting: Mapping[str, Any], cost: Mapping[str, float]) -> dict[str, Any]:
    macs, moved, cycles = 8_000_000, 400_000, cost["cycles"]
    seconds = cycles / CLOCK
    return {
        "point": f"{chip} {work} {sorted(setting.items())}", "chip": chip, "work": work, **setting,
        "status": "ok", "error": None, "cycles": cycles, "seconds": seconds, "energy_pj": cost["energy_pj"],
        "area_mm2": cost["area_mm2"], "multipliers": 100, "buffer_bytes": 8192, "dram_bytes": moved,
        "macs_dense": 3 * macs, "macs_effectual": macs // 2, "macs_performed": macs,
        "utilization": macs / (1000 * cycles), "bound_cycles": cycles // 2, "bound_by": "dram",
        "bandwidth_gb_s": moved / seconds / 1e9, "peak_macs_per_s": 1000 * CLOCK * setting.get("array.blocks", 4),
        "peak_bandwidth_gb_s": setting.get("dram.bandwidth", 16e9) / 1e9 * 10, "trace_digest": "t",
        "config_digest": "c", "version": "0.1.0", "host": "h", "started": "2026-01-01T00:00:00.000+00:00",
        "spent_s": 0.01,
    }  # fmt: skip


def grid(
    chips: Sequence[str] = ("alpha",), works: Sequence[str] = ("digits",), axes: Mapping[str, Sequence[Any]] = AXES,
    cost: Callable[..., Mapping[str, float]] = costs,
) -> pd.DataFrame:  # fmt: skip
    """A full grid."""
    rows = []
    for (place, chip), (other, work) in product(enumerate(chips), enumerate(works)):
        for values in product(*axes.values()):
            setting = dict(zip(axes, values, strict=True))
            rows.append(row(chip, work, setting, cost(setting, (1 + 0.3 * place) * (1 + 3 * other))))
    return pd.DataFrame(rows)


def many(points: int, seed: int = 1) -> pd.DataFrame:
    """Points of two chips drawn by lot, as many as asked for."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(points):
        setting = {
            "array.blocks": float(rng.integers(1, 65)),
            "dram.bandwidth": float(rng.choice([1e9, 2e9, 4e9, 8e9, 16e9])),
            "buffer.size": float(rng.integers(1, 65) * 4096),
        }
        found.append(row(("alpha", "beta")[place % 2], "digits", setting, costs(setting, 1 + 0.2 * rng.random())))
        found[-1]["point"] = f"{place:06}"
    return pd.DataFrame(found)


def kept(frame: pd.DataFrame, folder: Path, text: str | None = None) -> Path:
    """Write a dataset as `skipper sweep` leaves it."""
    (folder / "points").mkdir(parents=True)
    frame.to_parquet(folder / "points" / "all.parquet")
    named = {
        key: ", ".join(f"{name}: {{{what}: {name}}}" for name in frame[column].unique())
        for key, column, what in (("chips", "chip", "arch"), ("works", "work", "trace"))
    }
    (folder / "sweep.yaml").write_text(FILE % named if text is None else text, "utf-8")
    return folder
