"""One run of a sweep or a batch: what its row of the dataset says of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from simulator import __version__
from simulator.accelerators import load_arch
from simulator.errors import InputError, LawViolation
from simulator.plans import PlanCache
from simulator.results.result import Result
from simulator.simulation import simulate
from simulator.sweep.axes import Written
from simulator.sweep.dataset import FAILED, OK
from simulator.sweep.design import design
from simulator.sweep.runs import Run
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


def columns(head: Mapping[str, type], varied: Mapping[str, Iterable[Written]]) -> dict[str, type]:
    """Return the columns of a dataset, and what each holds: a parameter is a number where all its values are.

    Args:
        head: the first columns.
        varied: parameters with the values that they take.

    """
    parameters = {
        key: float if all(value.number is not None for value in values) else str for key, values in varied.items()
    }
    last = dict.fromkeys(("trace_digest", "config_digest", "version", "host", "started"), str)
    return {**head, **parameters, "status": str, "error": str, **RESULTS, **last, "spent_s": float}


def parameter_cells(settings: Mapping[str, Written], kinds: Mapping[str, type]) -> dict[str, str | float | None]:
    """Return what the columns of parameters hold of a point."""
    return {key: value.text if kinds[key] is str else value.number for key, value in settings.items()}


def run_point(run: Run, trace: Trace | Exception, cache: PlanCache) -> dict[str, Any]:
    """Run a point and return all columns from ``status`` on; one that fails says why.

    Args:
        run: what to run.
        trace: its work, or why there is none.
        cache: plans of other points.

    """
    begun, started = time.perf_counter(), datetime.now(timezone.utc)
    row: dict[str, Any] = {"version": __version__}
    try:
        if isinstance(trace, Exception):
            raise trace.with_traceback(None)
        arch = load_arch(run.arch, run.of_chip)
        row["config_digest"] = arch.digest
        result = simulate(trace, arch, cache=cache, memory=run.memory)
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


def lost_point() -> dict[str, Any]:
    """Return the same of a point whose worker was killed while it ran alone."""
    error = "its worker process was killed; memory may be short"
    return {"version": __version__, "status": FAILED, "error": error, "host": platform.node(), "spent_s": 0.0}
