"""Which parameter matters: one at a time, and by its share of the variance.

On a full grid, every combination of the axes' values being there once, the Sobol indices are exact: they are ratios of
variances of conditional means over the grid, each value as likely as the others. Where combinations are missing (by
constraints, a search, failures) there is no such decomposition, and each axis alone is given its correlation ratio.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.report.pareto import Floats
from simulator.report.quantities import axes_of, objectives_of

if TYPE_CHECKING:
    import pandas as pd

FULL_GRID, RATIO, CONSTANT = "full grid", "correlation ratio", "does not vary"
GROUPS = 10
"""Groups of equal size into which an axis of numbers is cut for its correlation ratio if it has more values."""
Codes = NDArray[np.int64]


def sobol_indices(values: ArrayLike) -> tuple[Floats, Floats]:
    """Return the first-order and total Sobol indices of a function given on a full grid, exactly.

    The first-order index of an axis is Var(E[y|x]) ÷ Var(y), what it explains alone; the total one
    E[Var(y|all others)] ÷ Var(y), what would be left if all others were fixed (Saltelli et al., Global Sensitivity
    Analysis, 2008, chapter 4). Axes are independent and uniform over their values.

    Args:
        values: the function, one dimension per axis.

    Returns:
        First-order and total indices (axes,); NaN where the function does not vary.

    """
    grid = np.asarray(values, np.float64)
    if grid.size == 0 or grid.max() == grid.min():
        return np.full(grid.ndim, np.nan), np.full(grid.ndim, np.nan)
    grid = (grid - grid.mean()) / (grid.max() - grid.min())
    axes = range(grid.ndim)
    first = [grid.mean(axis=tuple(other for other in axes if other != axis)).var() for axis in axes]
    total = [grid.var(axis=axis).mean() for axis in axes]
    return np.array(first) / grid.var(), np.array(total) / grid.var()


def correlation_ratio(values: ArrayLike, groups: ArrayLike) -> float:
    """Return Var(E[y|group]) ÷ Var(y) of a sample, η²; NaN where it does not vary.

    By chance alone it is about (groups - 1) ÷ (points - 1), not 0.

    Args:
        values: y (points,).
        groups: of each point, any labels (points,).

    """
    y = np.asarray(values, np.float64)
    if len(y) == 0 or y.max() == y.min():
        return float("nan")
    y = (y - y.mean()) / (y.max() - y.min())
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=y) / counts
    return float((counts * means**2).sum() / len(y) / y.var())


def sensitivity(
    frame: pd.DataFrame, objectives: Sequence[str] | None = None, linked: Sequence[Sequence[str]] = ()
) -> pd.DataFrame:
    """Return which axis matters, per chip, work and objective.

    Args:
        frame: the dataset of a sweep.
        objectives: columns; time, energy and area if not given.
        linked: axes that go together; each group counts as one axis, ``a + b``.

    Returns:
        One row per chip, work, objective and axis that has more than one value: ``best`` of the objective, ``low`` and
        ``high`` of it along the axis alone, all others as at the best point, ``at_low`` and ``at_high``, where on the
        axis, and ``compared``, of how many points; then ``method``, how the share of the variance was found:
        ``full grid`` with ``first_order`` and ``total``, ``correlation ratio`` with ``first_order`` and ``chance``,
        what it is about by chance alone, or ``does not vary``; ``values`` of the axis and ``points``.

    """
    import pandas as pd

    chosen = tuple(objectives if objectives is not None else objectives_of(frame))
    keys = axes_of(frame)
    alone = [[key] for key in keys if not any(key in group for group in linked)]
    factors = [*alone, *(list(group) for group in linked)]
    rows: list[dict[str, Any]] = []
    for (chip, work), own in frame.groupby(["chip", "work"], sort=False):
        coded = {" + ".join(factor): _codes(own, factor) for factor in factors}
        varied = {name: codes for name, codes in coded.items() if codes.max() > 0}
        done = (own["status"] == "ok").to_numpy() if "status" in own else np.ones(len(own), np.bool_)
        for objective in chosen:
            y = own[objective].to_numpy(np.float64)
            there = done & np.isfinite(y)
            if there.any():
                here = {name: codes[there] for name, codes in varied.items()}
                sizes = {name: int(codes.max()) + 1 for name, codes in varied.items()}
                which = {"chip": chip, "work": work, "objective": objective}
                rows += [{**which, **row} for row in _of_objective(own[there], y[there], here, sizes)]
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "chip", "work", "objective", "axis", "best", "low", "high", "at_low", "at_high", "compared",
    "method", "first_order", "total", "chance", "values", "points",
]  # fmt: skip


def _codes(own: pd.DataFrame, factor: Sequence[str]) -> Codes:
    """Number the values of an axis, or of a group of linked ones; a value that is not set is one."""
    import pandas as pd

    index = pd.MultiIndex.from_frame(own[list(factor)]) if len(factor) > 1 else own[factor[0]]
    return np.asarray(pd.factorize(index, use_na_sentinel=False)[0], np.int64)


def _of_objective(
    own: pd.DataFrame, y: Floats, coded: dict[str, Codes], sizes: dict[str, int]
) -> Iterator[dict[str, Any]]:
    names = list(coded)
    table = np.stack([coded[name] for name in names], axis=1) if names else np.zeros((len(y), 0), np.int64)
    best = int(y.argmin())
    shape = tuple(sizes.values())
    places = np.ravel_multi_index(tuple(table.T), shape) if names else np.zeros(len(y), np.int64)
    full = len(y) == np.prod(shape, dtype=np.float64) and len(np.unique(places)) == len(y)
    first = total = np.full(len(names), np.nan)
    if full:
        grid = np.empty(len(y))
        grid[places] = y
        first, total = sobol_indices(grid.reshape(shape))
    same = table == table[best]
    for place, name in enumerate(names):
        along = np.flatnonzero(np.delete(same, place, axis=1).all(axis=1))
        low, high = along[y[along].argmin()], along[y[along].argmax()]
        groups = table[:, place] if full else _grouped(own, name, table[:, place])
        ratio = float(first[place]) if full else correlation_ratio(y, groups)
        kinds = len(np.unique(groups))
        yield {
            "axis": name,
            "best": y[best],
            "low": y[low],
            "high": y[high],
            "at_low": _written(own, name, low),
            "at_high": _written(own, name, high),
            "compared": len(along),
            "method": CONSTANT if y.max() == y.min() else FULL_GRID if full else RATIO,
            "first_order": ratio,
            "total": float(total[place]),
            "chance": float("nan") if full or len(y) == 1 else (kinds - 1) / (len(y) - 1),
            "values": sizes[name],
            "points": len(y),
        }


def _grouped(own: pd.DataFrame, name: str, codes: Codes) -> Codes:
    """Cut an axis of many numbers into groups of about equal size."""
    import pandas as pd

    if len(np.unique(codes)) <= GROUPS or name not in own or not pd.api.types.is_numeric_dtype(own[name]):
        return codes
    cut = pd.qcut(own[name].rank(method="average"), GROUPS, labels=False, duplicates="drop")
    return np.asarray(cut.fillna(-1), np.int64)


def _written(own: pd.DataFrame, name: str, row: Any) -> list[Any]:
    """Return the values of an axis at a row: of each of linked ones."""
    return list(itertools.chain(own.iloc[int(row)][name.split(" + ")]))
