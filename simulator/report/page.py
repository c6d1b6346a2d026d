"""The report of a sweep: one page that holds all it needs, figures, data and scripts, and works offline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.report import figures
from simulator.report.pareto import pareto_front
from simulator.report.quantities import axes_of, finished, quantity, shown
from simulator.report.roofline import has_roofline
from simulator.report.sensitivity import CONSTANT, FULL_GRID, sensitivity
from simulator.report.study import Study
from simulator.report.style import groups, hovers

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MOST = 3000
"""Points drawn at most; of more, all fronts and best points, and others drawn by lot."""
SEED = 0
REASONS = 20
"""Reasons of failures that are listed."""
OF_TABLE = ("utilization", "bound_by")
Rows = np.ndarray[Any, np.dtype[np.int64]]


def report_page(study: Study, most: int = MOST) -> str:
    """Return the report of a sweep as HTML that asks for nothing else.

    Args:
        study: the sweep.
        most: points that are drawn; fronts, best points, sensitivity and ranges are always those of all.

    """
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    frame, objectives, units = study.frame, study.objectives, study.units
    done = finished(frame)
    ranks = front_ranks(done, objectives)
    best = best_points(done, objectives)
    rows = drawn_rows(ranks > 0, [int(row) for row in best["row"]], most)
    table = sensitivity(frame, objectives, study.linked)
    scatters, others = _figures(study, rows, table)
    data = {
        "rows": rows.tolist(),
        "hover": hovers(done.iloc[rows], units),
        "chip": done["chip"].iloc[rows].tolist(),
        "work": done["work"].iloc[rows].tolist(),
        "front": ranks[rows].tolist(),
        "sorted": quantity(objectives[0]).label,
        "columns": _columns(done.iloc[rows], [*axes_of(done), *objectives, *OF_TABLE], study),
        "figures": {figure["id"]: _plain(figure["figure"]) for figure in (*scatters, *others)},
    }
    failed = frame[frame["status"] != "ok"]
    text = files(__package__).joinpath("page.html.j2").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text).render(
        study=study,
        points=len(frame),
        finished=len(done),
        failed=len(failed),
        reasons=_reasons(failed),
        more_reasons=max(0, failed["error"].nunique() - REASONS),
        drawn=len(rows),
        chips=sorted(map(str, done["chip"].unique())),
        works=sorted(map(str, done["work"].unique())),
        versions=sorted(map(str, frame["version"].dropna().unique())) if "version" in frame else [],
        axes=_axes(frame, study),
        objectives=[quantity(name).label for name in objectives],
        unknown=_unknown(done, objectives),
        on_front=int((ranks > 0).sum()),
        best=_best(done, best, study),
        scatters=scatters,
        sensitivities=[figure for figure in others if figure["kind"] == "sensitivity"],
        methods=set(table["method"]) - {CONSTANT},
        full_grid=FULL_GRID,
        roofline=has_roofline(frame),
        style=files(__package__).joinpath("page.css").read_text("utf-8"),
        script=files(__package__).joinpath("page.js").read_text("utf-8"),
        plotly=get_plotlyjs(),
        data=_embedded(data),
    )  # fmt: skip


def front_ranks(done: pd.DataFrame, objectives: Sequence[str]) -> Rows:
    """Tell of each finished point: 0, beaten; 1, on the front of its chip and work; 2, no chip beats it on its work.

    A chip and work of which an objective is never known is judged by the others.
    """
    ranks = np.zeros(len(done), np.int64)
    for rows in done.groupby(["chip", "work"]).indices.values():
        ranks[rows] = pareto_front(done.iloc[rows][list(objectives)].dropna(axis=1, how="all"))
    for rows in done.groupby("work").indices.values():
        ranks[rows] += ranks[rows] * pareto_front(done.iloc[rows][list(objectives)])
    return ranks


def best_points(done: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """Return the best finished point of each chip, work and objective: chip, work, objective, row."""
    import pandas as pd

    found = []
    for chip, work in groups(done):
        rows = np.flatnonzero((done["chip"] == chip) & (done["work"] == work))
        for objective in objectives:
            values = done[objective].to_numpy(np.float64)[rows]
            if np.isfinite(values).any():
                found.append((chip, work, objective, int(rows[int(np.nanargmin(values))])))
    return pd.DataFrame(found, columns=["chip", "work", "objective", "row"])


def drawn_rows(front: np.ndarray[Any, np.dtype[np.bool_]], best: Sequence[int], most: int) -> Rows:
    """Choose the rows that are drawn: all, or the front, the best and, by lot, as many others as there is room for.

    A front of more than ``most`` points is thinned by lot as well.
    """
    if len(front) <= most:
        return np.arange(len(front))
    lot = np.random.default_rng(SEED).permutation(len(front))
    wanted = np.zeros(len(front), np.int64)
    wanted[front] = 1
    wanted[list(best)] = 2
    return np.sort(lot[np.argsort(-wanted[lot], kind="stable")][:most])


def _figures(study: Study, rows: Rows, table: pd.DataFrame) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the figures of points, and all others, with what stands above each."""
    frame, objectives, units = study.frame, study.objectives, study.units
    chosen = rows.tolist()
    scatters = [
        _named(f"pareto-{x}-{y}", f"{quantity(x).label} and {quantity(y).label}",
               figures.pareto(frame, x, y, units, chosen), "pair")
        for x, y in combinations(objectives, 2)
    ]  # fmt: skip
    for three in combinations(objectives, 3):
        names = [quantity(name).label for name in three]
        figure = figures.fronts_of_three(frame, three, units, chosen)
        scatters.append(_named(f"front-{'-'.join(three)}", f"{names[0]}, {names[1]} and {names[2]}", figure, "three"))
    if has_roofline(frame):
        scatters.append(_named("roofline", "Roofline", figures.roofline(frame, units, chosen), "roofline"))
    lines = figures.parallel(frame, objectives, units, chosen)
    others = [_named("parallel", "Parallel coordinates", lines, "parallel")]
    for place, (chip, work) in enumerate(groups(finished(frame))):
        if len(table[(table["chip"] == chip) & (table["work"] == work)]):
            pair = {"chip": chip, "work": work}
            alone = figures.one_at_a_time(table, chip, work, units)
            shares = figures.variance(table, chip, work)
            others.append(_named(f"alone-{place}", "One at a time", alone, "sensitivity") | pair)
            others.append(_named(f"variance-{place}", "Variance", shares, "sensitivity") | pair)
    return scatters, others


def _named(name: str, title: str, figure: go.Figure, kind: str) -> dict[str, Any]:
    return {"id": name, "title": title[0].upper() + title[1:], "figure": figure, "kind": kind}


def _plain(figure: go.Figure) -> dict[str, Any]:
    """Return a figure without the labels of its points, which all figures share."""
    document: dict[str, Any] = json.loads(figure.to_json())
    for trace in document["data"]:
        if trace.get("mode") == "markers":
            trace.pop("text", None)
    return {"data": document["data"], "layout": document["layout"]}


def _columns(drawn: pd.DataFrame, names: Sequence[str], study: Study) -> list[dict[str, Any]]:
    """Return the columns of the table: what they are called, their values to sort by, and as text."""
    found = []
    for name in dict.fromkeys(names):
        if name in drawn:
            measured = quantity(name, study.units)
            values = [None if value is None or value != value else value for value in drawn[name].tolist()]
            label = {"bound_by": "bound by"}.get(name, measured.label)
            found.append({"label": label, "values": values, "texts": [shown(value, measured) for value in values]})
    return found


def _axes(frame: pd.DataFrame, study: Study) -> list[dict[str, Any]]:
    found = []
    for name in axes_of(frame):
        measured, column = quantity(name, study.units), frame[name]
        levels = sorted(column.dropna().unique())
        texts = [shown(level, measured) for level in levels]
        if len(texts) > 8:
            texts = [*texts[:3], "…", *texts[-2:]]
        partner = next((group for group in study.linked if name in group), ())
        linked = ", ".join(other for other in partner if other != name)
        found.append({"name": name, "count": len(levels), "values": ", ".join(texts), "linked": linked})
    return found


def _best(done: pd.DataFrame, best: pd.DataFrame, study: Study) -> list[dict[str, Any]]:
    axes = [name for name in axes_of(done) if done[name].nunique(dropna=False) > 1]
    return [
        {
            "chip": chip,
            "work": work,
            "objective": quantity(objective).label,
            "results": [shown(done[name].iloc[row], quantity(name)) for name in study.objectives],
            "settings": ", ".join(
                f"{each} {shown(done[each].iloc[row], quantity(each, study.units))}" for each in axes
            ),
        }
        for chip, work, objective, row in best.itertuples(index=False)
    ]


def _reasons(failed: pd.DataFrame) -> list[tuple[str, int]]:
    counts = failed["error"].fillna("no reason is kept").value_counts().head(REASONS)
    return [(str(reason), int(count)) for reason, count in counts.items()]


def _unknown(done: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    """Say which results are not known of some points."""
    found = []
    for name in dict.fromkeys((*objectives, "area_mm2")):
        missing = int(done[name].isna().sum()) if name in done else len(done)
        if missing:
            who = "any point" if missing == len(done) else f"{missing:,} of {len(done):,} points"
            found.append(f"The {quantity(name).label} of {who} is not known; no front that asks for it shows them.")
    return found


def _embedded(data: Any) -> str:
    """Return JSON that ends no script."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
