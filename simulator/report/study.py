"""A sweep as its report reads it: the dataset, and what its file says of the axes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import InputError
from simulator.report.quantities import Units, finished, objectives_of
from simulator.sweep.axes import Written
from simulator.sweep.dataset import BATCH, JOURNAL, SWEEP, read_frame
from simulator.sweep.file import Named, read_sweep

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Study:
    """The points of a sweep, finished or not."""

    name: str
    frame: pd.DataFrame
    """As of `simulator.sweep.read_frame`."""
    objectives: tuple[str, ...]
    """Columns that the points are compared in."""
    description: str = ""
    units: Units = field(default_factory=dict)
    """Of the axes, by key."""
    linked: tuple[tuple[str, ...], ...] = ()
    """Axes that go together."""
    searched: bool = False
    """Whether a search chose the points."""
    ended: bool = True
    """Whether all rows are in Parquet files: not while it runs, nor after a kill."""


def read_study(folder: str | Path) -> Study:
    """Read the dataset of a sweep.

    Raises:
        InputError: the folder holds no sweep, or none of its points was finished without failing.

    """
    folder = Path(folder)
    frame = read_frame(folder)
    if len(frame) == 0:
        raise InputError(f"{folder}: holds no points yet; there is nothing to show")
    if len(finished(frame)) == 0:
        why = str(frame["error"].dropna().mode().iloc[0]) if frame["error"].notna().any() else "no reason is kept"
        raise InputError(f"{folder}: all {len(frame):,} points failed, there is nothing to show; most often: {why}")
    named = _file(folder)
    sweep = named.sweep if named is not None else None
    search = sweep.search if sweep is not None else None
    return Study(
        name=folder.resolve().name,
        frame=frame,
        objectives=objectives_of(frame, tuple(search.objectives) if search is not None else ()),
        description=sweep.description if sweep is not None else "",
        units=_units(named.varied if named is not None else _of_jobs(folder / BATCH)),
        linked=tuple(tuple(group) for group in named.linked) if named is not None else (),
        searched=search is not None,
        ended=not (folder / JOURNAL).exists(),
    )


def _file(folder: Path) -> Named | None:
    if not (folder / SWEEP).is_file():
        return None
    return read_sweep(folder / SWEEP)


def _of_jobs(file: Path) -> Mapping[str, list[Written]]:
    """Return what the jobs of a batch set, as they write it."""
    found: dict[str, list[Written]] = {}
    try:
        jobs = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []
    except ValueError:
        raise InputError(f"{file}: is damaged") from None
    for job in jobs:
        for key, text in job.items():
            found.setdefault(key, []).append(Written.of(text))
    return found


def _units(written: Mapping[str, Iterable[Written]]) -> dict[str, str]:
    """Return the unit of each axis that has one; a number without one is in base units."""
    found = {key: {value.unit for value in values} - {""} for key, values in written.items()}
    return {key: next(iter(units)) for key, units in found.items() if len(units) == 1}
