"""Searches: which points to run next, by Optuna's samplers; the same points again when a sweep is resumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.sweep.axes import Written
from simulator.sweep.design import design
from simulator.sweep.file import Search
from simulator.sweep.points import Space
from simulator.sweep.runs import Point

if TYPE_CHECKING:
    from simulator.sweep.dataset import Dataset

CHIP, WORK = "chip", "work"
LINKED = "linked "
ASKED = 5
"""Points drawn for each that may run: those drawn again are not run again, those not admitted not at all."""


def require_search(space: Space) -> None:
    """Refuse a search that cannot be carried out.

    Raises:
        InputError: Optuna is not installed, the area of a chip is not known, or no point satisfies the constraints.

    """
    if find_spec("optuna") is None:
        raise InputError("search: needs Optuna: pip install 'skipper-simulator[search]'")
    if space.sweep.search is not None and "area_mm2" in space.sweep.search.objectives:
        for arch in space.archs.values():
            design(arch, "area_mm2")
    space.require_some()


def batches(space: Space, dataset: Dataset) -> Iterator[list[Point]]:
    """Yield points to run, generation by generation; their rows are in the dataset when the next is asked for.

    Points are drawn from the axes' values. What constraints do not admit, and points that fail, count as infeasible.

    Raises:
        InputError: no point that was drawn is admitted.

    """
    import optuna

    search = space.sweep.search
    if search is None:
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samplers that are experimental, or fall back to random ones
        sampler = _sampler(optuna, search)
        study = optuna.create_study(directions=["minimize"] * len(search.objectives), sampler=sampler)
        ran: set[str] = set()
        asked = 0
        while (left := search.trials - len(ran)) > 0 and asked < ASKED * search.trials:
            trials = [study.ask() for _ in range(min(left, search.population))]
            asked += len(trials)
            points = [_point(space, trial) for trial in trials]
            admitted = [space.admits(point) for point in points]
            drawn = {p.digest: p for p, good in zip(points, admitted, strict=True) if good}
            yield list(drawn.values())
            ran |= drawn.keys()
            _tell(study, trials, points, admitted, dataset, search)
    if not ran:
        raise InputError(f"{space.named.origin}: none of {asked} points drawn satisfies the constraints")


def _sampler(optuna: Any, search: Search) -> Any:
    samplers = optuna.samplers
    if search.method == "random":
        return samplers.RandomSampler(seed=search.seed)
    if search.method == "tpe":
        return samplers.TPESampler(seed=search.seed, constraints_func=_violation, multivariate=True)
    kind = samplers.NSGAIISampler if search.method == "nsga2" else samplers.NSGAIIISampler
    return kind(population_size=search.population, seed=search.seed, constraints_func=_violation)


def _violation(trial: Any) -> tuple[float]:
    return (trial.user_attrs.get("violation", 0.0),)


def _point(space: Space, trial: Any) -> Point:
    named = space.named
    chip = trial.suggest_categorical(CHIP, list(named.sweep.chips))
    work = trial.suggest_categorical(WORK, list(named.sweep.works))
    settings: dict[str, Written] = {}
    for key, values in named.axes.items():
        settings[key] = values[trial.suggest_int(key, 0, len(values) - 1)]
    for place, group in enumerate(named.linked):
        chosen = trial.suggest_int(f"{LINKED}{place}", 0, len(next(iter(group.values()))) - 1)
        settings |= {key: values[chosen] for key, values in group.items()}
    return Point(chip, work, settings)


def _tell(
    study: Any, trials: list[Any], points: list[Point], admitted: list[bool], dataset: Dataset, search: Search
) -> None:
    rows = dataset.rows_of({point.digest for point in points})
    for trial, point, good in zip(trials, points, admitted, strict=True):
        row = rows.get(point.digest) if good else None
        values = None if row is None else [row[objective] for objective in search.objectives]
        if values is None or any(value is None for value in values):
            trial.set_user_attr("violation", 1.0)
            values = [1e30] * len(search.objectives)
        study.tell(trial, values)
