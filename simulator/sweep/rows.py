"""One design point run: its row of the dataset."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from typing import Any

from simulator import __version__
from simulator.errors import InputError, LawViolation
from simulator.plans import PlanCache
from simulator.results.result import Result
from simulator.simulation import simulate
from simulator.sweep.points import Point, Space, design
from simulator.trace import Trace

RESULTS = (
    "cycles", "seconds", "energy_pj", "area_mm2", "multipliers", "buffer_bytes", "dram_bytes", "macs_dense",
    "macs_effectual", "macs_performed", "utilization", "bound_cycles", "bound_by", "bandwidth_gb_s",
)  # fmt: skip
OF_RUN = ("host", "started", "spent_s")
"""Columns that differ from run to run; all others are the same whoever runs the point."""


def columns(space: Space) -> list[str]:
    """Return the columns of the dataset."""
    first = ["point", "chip", "work", *space.named.keys, "status", "error"]
    return [*first, *RESULTS, "trace_digest", "config_digest", "version", *OF_RUN]


def run_point(space: Space, point: Point, trace: Trace | InputError, cache: PlanCache) -> dict[str, Any]:
    """Run a design point; one that fails says why.

    Args:
        space: of the sweep.
        point: what to run.
        trace: its work, or why there is none.
        cache: plans of other points.

    """
    begun, started = time.perf_counter(), datetime.now(UTC)
    row: dict[str, Any] = dict.fromkeys(columns(space))
    row |= {"point": point.digest, "chip": point.chip, "work": point.work, "version": __version__}
    row |= {key: value.text if value.number is None else value.number for key, value in point.settings.items()}
    try:
        if isinstance(trace, InputError):
            raise trace
        arch = space.arch(point)
        row["config_digest"], row["trace_digest"] = arch.digest, trace.digest
        result = simulate(trace, arch, cache=cache, memory=space.sweep.memory)
        row |= {"status": "ok", **_found(result)}
        for name in ("multipliers", "buffer_bytes"):
            row[name] = design(arch, name)
    except (InputError, LawViolation) as error:
        row |= {"status": "failed", "error": str(error)}
    except MemoryError:
        row |= {"status": "failed", "error": "not enough memory"}
    row |= {"host": platform.node(), "started": started.isoformat(timespec="milliseconds")}
    return row | {"spent_s": round(time.perf_counter() - begun, 6)}


def _found(result: Result) -> dict[str, Any]:
    summary = result.summary
    return {
        **{key: summary[key] for key in ("cycles", "seconds", "energy_pj", "area_mm2", "utilization")},
        **{f"macs_{kind}": count for kind, count in summary["macs"].items()},
        "dram_bytes": summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"],
        "bandwidth_gb_s": summary["dram"]["bandwidth_gb_s"],
        "bound_cycles": summary["bound"]["cycles"],
        "bound_by": summary["bound"]["by"],
    }
