"""What a worker does: chunks of design points, with everything that they share opened once."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.plans import PlanCache, PlanStore
from simulator.sweep.axes import Written
from simulator.sweep.file import parse_sweep
from simulator.sweep.points import Point, Space
from simulator.sweep.rows import run_point
from simulator.trace import Trace

Chunk = Sequence[tuple[str, str, Mapping[str, tuple[str, float | None]]]]
"""Points as plain values: chip, work, and each setting as it is written with its number."""
TURN = 1.0
"""Seconds after which a worker hands in what it has."""


def packed(points: Sequence[Point]) -> Chunk:
    """Return points as any worker takes them."""
    return [(p.chip, p.work, {key: (v.text, v.number) for key, v in p.settings.items()}) for p in points]


def run_chunk(text: str, name: str, origin: str, plans: str, chunk: Chunk) -> list[dict[str, Any]]:
    """Run points for a while and return their rows: of the first at least; the others are asked for again.

    So whole groups of points can be given out, of which little is lost when a process is killed.

    Args:
        text: the sweep file's content.
        name: of the sweep.
        origin: of the file, for messages.
        plans: folder of the plans that all workers of a machine share; empty for none.
        chunk: the points.

    """
    until = time.monotonic() + TURN
    space, kept = _space(text, name, origin), _plans(plans, threading.get_ident())
    rows: list[dict[str, Any]] = []
    for chip, work, settings in chunk:
        point = Point(chip, work, {key: Written(*value) for key, value in settings.items()})
        trace = _trace(text, name, origin, work, tuple(sorted(point.of_work.items())))
        rows.append(run_point(space, point, trace, kept))
        if time.monotonic() > until:
            break
    return rows


@lru_cache(maxsize=4)
def _space(text: str, name: str, origin: str) -> Space:
    return Space(parse_sweep(text, name, origin))


@lru_cache(maxsize=16)
def _plans(folder: str, thread: int) -> PlanCache:
    return PlanCache(store=PlanStore(Path(folder)) if folder else None)


@lru_cache(maxsize=8)
def _trace(text: str, name: str, origin: str, work: str, settings: tuple[tuple[str, str], ...]) -> Trace | InputError:
    """Open a work once; its file is mapped into memory, not read."""
    space = _space(text, name, origin)
    written = {f"work.{key}": Written.of(value) for key, value in settings}
    try:
        return space.trace(Point(next(iter(space.archs)), work, written))
    except InputError as error:
        return error
