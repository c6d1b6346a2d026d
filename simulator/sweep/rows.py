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
from simulator.sweep.dataset import FAILED, OK
from simulator.sweep.file import Named
from simulator.sweep.points import Point, Space, design
from simulator.trace import Trace

RESULTS: dict[str, type] = {
    "cycles": int,
    "seconds": float,
    "energy_pj": float,
    "area_mm2": float,
    "multipliers": int,
    "buffer_bytes": int,
    "dram_bytes": int,
    "macs_dense": int,
    "macs_effectual": int,
    "macs_performed": int,
    "utilization": float,
    "bound_cycles": int,
    "bound_by": str,
    "bandwidth_gb_s": float,
    "peak_macs_per_s": float,
    "peak_bandwidth_gb_s": float,
}
OF_RUN = ("host", "started", "spent_s")
"""Columns that differ from run to run; all others are the same whoever runs the point."""


def columns(named: Named) -> dict[str, type]:
    """Return the columns of the dataset, and what each holds: a parameter is a number where all its values are."""
    varied = {
        key: float if all(value.number is not None for value in values) else str for key, values in named.varied.items()
    }
    first = {**dict.fromkeys(("point", "chip", "work"), str), **varied, "status": str, "error": str}
    last = dict.fromkeys(("trace_digest", "config_digest", "version", "host", "started"), str)
    return {**first, **RESULTS, **last, "spent_s": float}


def run_point(space: Space, point: Point, trace: Trace | InputError, cache: PlanCache) -> dict[str, Any]:
    """Run a design point; one that fails says why.

    Args:
        space: of the sweep.
        point: what to run.
        trace: its work, or why there is none.
        cache: plans of other points.

    """
    begun, started = time.perf_counter(), datetime.now(UTC)
    kinds = columns(space.named)
    row: dict[str, Any] = dict.fromkeys(kinds)
    row |= {"point": point.digest, "chip": point.chip, "work": point.work, "version": __version__}
    row |= {key: value.text if kinds[key] is str else value.number for key, value in point.settings.items()}
    try:
        if isinstance(trace, InputError):
            raise trace
        arch = space.arch(point)
        row["config_digest"] = arch.digest
        result = simulate(trace, arch, cache=cache, memory=space.sweep.memory)
        row |= {"status": OK, **_found(result)}
        for name in ("multipliers", "buffer_bytes"):
            row[name] = design(arch, name)
    except (InputError, LawViolation) as error:
        row |= {"status": FAILED, "error": str(error)}
    except Exception as error:  # a defect at one point is no reason to stop all others
        row |= {"status": FAILED, "error": f"{type(error).__name__}: {error}"}
    row |= {"host": platform.node(), "started": started.isoformat(timespec="milliseconds")}
    return row | {"spent_s": round(time.perf_counter() - begun, 6)}


def _found(result: Result) -> dict[str, Any]:
    summary = result.summary
    return {
        **{key: summary[key] for key in ("cycles", "seconds", "energy_pj", "area_mm2", "utilization")},
        **{f"macs_{kind}": count for kind, count in summary["macs"].items()},
        "dram_bytes": summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"],
        "bandwidth_gb_s": summary["dram"]["bandwidth_gb_s"],
        "peak_macs_per_s": float(max(o.program.peak for o in result.operators) * result.clock),
        "peak_bandwidth_gb_s": summary["dram"]["peak_gb_s"],
        "bound_cycles": summary["bound"]["cycles"],
        "bound_by": summary["bound"]["by"],
        "trace_digest": result.digests["trace"],
    }


def lost_point(named: Named, point: Point) -> dict[str, Any]:
    """Return the row of a point whose worker was killed while it ran alone."""
    kinds = columns(named)
    row: dict[str, Any] = dict.fromkeys(kinds)
    row |= {"point": point.digest, "chip": point.chip, "work": point.work, "version": __version__}
    row |= {key: value.text if kinds[key] is str else value.number for key, value in point.settings.items()}
    error = "its worker process was killed; memory may be short"
    return row | {"status": FAILED, "error": error, "host": platform.node(), "spent_s": 0.0}
