"""What a worker does: chunks of runs, with everything that they share opened once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from simulator.jobs import Work, open_work
from simulator.plans import PlanCache, PlanStore
from simulator.sweep.rows import run_point
from simulator.sweep.runs import Run
from simulator.trace import Trace

TURN = 1.0
"""Seconds after which a worker hands in what it has."""


def run_chunk(plans: str, chunk: Sequence[Run]) -> list[dict[str, Any]]:
    """Run points for a while and return what their rows say from ``status`` on.

    That is of the first at least; the others are asked for again. So whole groups of points can be given out, of which
    little is lost when a process is killed.

    Args:
        plans: folder of the plans that all workers of a machine share; empty for none.
        chunk: what to run.

    """
    until = time.monotonic() + TURN
    kept = _plans(plans, threading.get_ident())
    rows: list[dict[str, Any]] = []
    for run in chunk:
        rows.append(run_point(run, _trace(run.trace, tuple(sorted(run.of_work.items())), run.without), kept))
        if time.monotonic() > until:
            break
    return rows


@lru_cache(maxsize=16)
def _plans(folder: str, thread: int) -> PlanCache:
    return PlanCache(store=PlanStore(Path(folder)) if folder else None)


@lru_cache(maxsize=8)
def _trace(name: str, settings: tuple[tuple[str, str | int | float], ...], without: str | None) -> Trace | Exception:
    """Open a work once; its file is mapped into memory, not read."""
    try:
        return open_work(Work(trace=name, set=dict(settings), without=without))
    except Exception as error:  # of this work alone: its points say it, all others go on
        return error
