"""Two datasets beside each other: which points changed, by how much, for the better or for the worse.

Points are matched by chip, work and parameters, as values: 64 KiB is 65536, and a parameter that one of the two does
not have is one that is not set. Digests take no part, so that other versions of Skipper, or of a chip's configuration,
can be compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError, nearest
from simulator.memory import SIMPLE
from simulator.results.folder import SUMMARY
from simulator.sweep.axes import Written
from simulator.sweep.dataset import FAILED, OK, POINTS, read_frame
from simulator.sweep.jobs import MEMORY

if TYPE_CHECKING:
    import pandas as pd

LESS_IS_BETTER = (
    "cycles", "seconds", "energy_pj", "area_mm2", "dram_bytes", "buffer_bytes", "bound_cycles", "macs_performed",
)  # fmt: skip
MORE_IS_BETTER = ("utilization",)
METRICS = (*LESS_IS_BETTER, *MORE_IS_BETTER)
DEFAULT = ("cycles", "seconds", "energy_pj", "area_mm2", "dram_bytes")
"""Metrics that are compared if none are named."""
BOTH, ONLY_BEFORE, ONLY_AFTER = "both", "only before", "only after"
NEWLY_FAILING, NEWLY_PASSING, FAILING = "newly failing", "newly passing", "failing"
BETTER, WORSE = "better", "worse"


def diff(before: str | Path, after: str | Path, metrics: Sequence[str] = DEFAULT) -> pd.DataFrame:
    """Set two folders beside each other, each of a sweep, a batch or a run: see `compare_frames`.

    Raises:
        InputError: a folder holds none of these, or as `compare_frames`.

    """
    return compare_frames(read_points(before), read_points(after), metrics)


def read_points(folder: str | Path) -> pd.DataFrame:
    """Return the dataset of a sweep or a batch, or a run folder as a dataset of one point without parameters.

    Raises:
        InputError: the folder holds none of these, or no point yet.

    """
    folder = Path(folder)
    if not (folder / POINTS).is_dir() and (folder / SUMMARY).is_file():
        return _of_run(folder)
    if not (folder / POINTS).is_dir():
        raise InputError(f"{folder}: expected the folder of a sweep, a batch or a run")
    frame = read_frame(folder)
    if missing := [key for key in ("chip", "work", "status", "error") if key not in frame]:
        what = "no points yet" if frame.empty else f"a dataset without the column '{missing[0]}'"
        raise InputError(f"{folder}: holds {what}; expected the points of a sweep or a batch")
    return frame


def _of_run(folder: Path) -> pd.DataFrame:
    import pandas as pd

    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text("utf-8"))
        row = {"chip": summary["arch"], "work": summary["trace"], "status": OK, "error": None}
        row |= {key: summary[key] for key in ("cycles", "seconds", "energy_pj", "area_mm2", "utilization")}
        row |= {"dram_bytes": summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"]}
        row |= {"bound_cycles": summary["bound"]["cycles"], "macs_performed": summary["macs"]["performed"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: cannot be read; expected the folder of a finished run") from None
    return pd.DataFrame([row])


def parameters(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a dataset that are parameters: those between ``work`` and ``status``."""
    names = list(frame.columns)
    return names[names.index("work") + 1 : names.index("status")]


def compare_frames(before: pd.DataFrame, after: pd.DataFrame, metrics: Sequence[str] = DEFAULT) -> pd.DataFrame:
    """Set two datasets beside each other, one row for each point of either.

    Args:
        before: as `read_frame` gives it.
        after: the same, of another version or configuration.
        metrics: columns of results.

    Returns:
        ``chip``, ``work``, the parameters (and ``name`` of batches); ``state``: both, only before, only after, newly
        failing, newly passing or failing; ``error_before`` and ``error_after``; and for each metric its value
        ``_before``, its value ``_after``, and ``_ratio``, after to before.

    Raises:
        InputError: a metric that there is not, or no point in common.

    """
    for metric in metrics:
        if metric not in METRICS:
            raise InputError(f"metric '{metric}' is none that can be compared{nearest(metric, METRICS)}")
    names = list(dict.fromkeys(["chip", "work", *parameters(before), *parameters(after)]))
    sides = [_side(frame, names, other, metrics) for frame, other in ((before, after), (after, before))]
    merged = sides[0].merge(sides[1], on=names, how="outer", suffixes=("_before", "_after"), indicator="state")
    merged["state"] = _states(merged)
    if "name_before" in merged:
        merged.insert(2, "name", merged.pop("name_after").fillna(merged.pop("name_before")))
    for metric in metrics:
        merged[f"{metric}_ratio"] = _ratio(merged[f"{metric}_before"], merged[f"{metric}_after"])
    if merged.state.isin([ONLY_BEFORE, ONLY_AFTER]).all():
        raise InputError("the two have no point in common, of the same chip, work and parameters")
    ordered = [f"{metric}_{which}" for metric in metrics for which in ("before", "after", "ratio")]
    first = [name for name in (*names[:2], "name", *names[2:]) if name in merged]
    return merged[[*first, "state", "error_before", "error_after", *ordered]]


def _side(frame: pd.DataFrame, names: Sequence[str], other: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return what is compared of one of the two: each point once, its parameters written as those of the other."""
    import pandas as pd

    named = ("name",) if "name" in frame and "name" in other else ()
    side = pd.DataFrame({name: _key(name, frame, other) for name in names}, index=frame.index)
    for column in ("status", "error", *named):
        side[column] = frame[column].astype(object)
    for metric in metrics:
        side[metric] = pd.to_numeric(frame[metric]).astype(float) if metric in frame else math.nan
    return side.drop_duplicates(list(names))


def _key(name: str, frame: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """Return a parameter as numbers where both have numbers, as text otherwise; none where it is not set."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if name not in frame:
        frame = frame.assign(**{name: None})
    elif name == MEMORY:  # sweeps have one for all, batches one for each job: the usual one is none that is set
        frame = frame.assign(**{name: frame[name].where(frame[name] != SIMPLE, None)})
    if all(is_numeric_dtype(each[name]) or each[name].isna().all() for each in (frame, other) if name in each):
        return pd.to_numeric(frame[name]).astype(float)
    texts = {value: _text(value) for value in frame[name].unique()}
    return frame[name].map(texts).astype(object)


def _text(value: Any) -> str | None:
    """Return a value as text that is the same however it is written."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    number = Written.of(value).number
    return str(value) if number is None else f"{number:.17g}"


def _states(merged: pd.DataFrame) -> pd.Series:
    state = merged.state.astype(object).map({"left_only": ONLY_BEFORE, "right_only": ONLY_AFTER, "both": BOTH})
    failed = {which: (merged[f"status_{which}"] == FAILED) & (state == BOTH) for which in ("before", "after")}
    state = state.mask(failed["after"] & ~failed["before"], NEWLY_FAILING)
    state = state.mask(failed["before"] & ~failed["after"], NEWLY_PASSING)
    return state.mask(failed["before"] & failed["after"], FAILING)


def _ratio(before: pd.Series, after: pd.Series) -> pd.Series:
    return (after / before).mask((before == 0) & (after == 0), 1.0)


def changes(compared: pd.DataFrame, metrics: Sequence[str] = DEFAULT, tolerance: float = 0.0) -> pd.DataFrame:
    """Return what changed by more than a tolerance, one row for each point and metric, the largest changes first.

    Args:
        compared: as `compare_frames` gives it.
        metrics: those to look at.
        tolerance: 0.01 leaves out what is within 1 % either way.

    Returns:
        Chip, work, name and parameters, ``metric``, ``before``, ``after``, ``ratio``, ``verdict`` (better or worse) and
        ``factor``, by how much it is: at least 1, whichever way is the better one.

    """
    import pandas as pd

    both = compared[compared.state == BOTH]
    keys = list(compared.columns[: list(compared.columns).index("state")])
    found = []
    for metric in metrics:
        before, after, ratio = (both[f"{metric}_{which}"] for which in ("before", "after", "ratio"))
        toward_worse = 1 / ratio if metric in MORE_IS_BETTER else ratio
        factor = toward_worse.where(toward_worse >= 1, 1 / toward_worse)
        rows = both[keys].assign(metric=metric, before=before, after=after, ratio=ratio)
        rows["verdict"] = (toward_worse > 1).map({True: WORSE, False: BETTER})
        rows["factor"] = factor
        found.append(rows[factor > 1 + tolerance])
    return pd.concat(found).sort_values("factor", ascending=False, kind="stable", ignore_index=True)


def by_metric(compared: pd.DataFrame, changed: pd.DataFrame, metrics: Sequence[str] = DEFAULT) -> list[dict[str, Any]]:
    """Return of each metric how many points were compared and changed, and by how much.

    Args:
        compared: as `compare_frames` gives it.
        changed: as `changes` gives it.
        metrics: those to look at.

    Returns:
        ``metric``, ``compared``, ``changed``, ``worse``, ``better``; ``lowest``, ``highest`` and ``geometric_mean`` of
        the ratios of after to before, of all that were compared: none where there are none.

    """
    import numpy as np

    found = []
    for metric in metrics:
        ratio = compared.loc[compared.state == BOTH, f"{metric}_ratio"].dropna()
        positive = ratio[(ratio > 0) & np.isfinite(ratio)]
        verdicts = changed.verdict[changed.metric == metric].value_counts()
        found.append(
            {
                "metric": metric,
                "compared": len(ratio),
                "changed": int(verdicts.sum()),
                WORSE: int(verdicts.get(WORSE, 0)),
                BETTER: int(verdicts.get(BETTER, 0)),
                "lowest": float(ratio.min()) if len(ratio) else None,
                "highest": float(ratio.max()) if len(ratio) else None,
                "geometric_mean": float(np.exp(np.log(positive).mean())) if len(positive) else None,
            }
        )
    return found


def largest(changed: pd.DataFrame, verdict: str, count: int) -> list[dict[str, Any]]:
    """Return the points that changed most to the better or to the worse, each by the metric that did most.

    Args:
        changed: as `changes` gives it.
        verdict: ``better`` or ``worse``.
        count: how many at most.

    Returns:
        ``chip``, ``work``, ``name``, ``settings`` (those that are set), ``metric``, ``before``, ``after``, ``ratio``.

    """
    keys = list(changed.columns[: list(changed.columns).index("metric")])
    rows = changed[changed.verdict == verdict].drop_duplicates(keys).head(count)
    return [
        {**point_of(row, keys), **{key: row[key] for key in ("metric", "before", "after", "ratio")}}
        for row in rows.to_dict("records")
    ]


def point_of(row: Mapping[Any, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return what a row says of its point: ``chip``, ``work``, ``name`` of batches, and ``settings`` that are set."""
    said = {key: row[key] for key in keys if not _unset(row[key])}
    first: dict[str, Any] = {key: said.pop(key) for key in ("chip", "work", "name") if key in said}
    return first | {"settings": said}


def _unset(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def document(
    compared: pd.DataFrame, metrics: Sequence[str] = DEFAULT, tolerance: float = 0.0, count: int = 5
) -> dict[str, Any]:
    """Return all that `skipper diff` says of two datasets.

    Args:
        compared: as `compare_frames` gives it.
        metrics: those to look at.
        tolerance: see `changes`.
        count: points that are listed of each kind at most.

    """
    changed = changes(compared, metrics, tolerance)
    keys = list(compared.columns[: list(compared.columns).index("state")])
    states = {state: compared[compared.state == state] for state in compared.state.unique()}
    lists = {}
    for state in (NEWLY_FAILING, NEWLY_PASSING, ONLY_BEFORE, ONLY_AFTER):
        errors = {NEWLY_FAILING: "error_after", NEWLY_PASSING: "error_before"}.get(state)
        rows = states[state].head(count).to_dict("records") if state in states else []
        lists[state.replace(" ", "_")] = {
            "points": len(states.get(state, ())),
            "first": [point_of(row, keys) | ({} if errors is None else {"error": row[errors]}) for row in rows],
        }
    in_common = ~compared.state.isin([ONLY_BEFORE, ONLY_AFTER])
    return {
        "tolerance": tolerance,
        "matched": int(in_common.sum()),
        "failing": len(states.get(FAILING, ())),
        "metrics": by_metric(compared, changed, metrics),
        "regressions": largest(changed, WORSE, count),
        "improvements": largest(changed, BETTER, count),
        **lists,
        "regressed": bool((changed.verdict == WORSE).any() or NEWLY_FAILING in states),
    }
