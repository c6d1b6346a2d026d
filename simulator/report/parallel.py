"""Parallel coordinates: every point a line across all axes and objectives."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.report.pareto import Floats
from simulator.report.quantities import RESULTS, axes_of, finished, objectives_of, quantity, scaled, shown
from simulator.report.style import FAINT, SCALE, drawn_of, layout, logged, numbers

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulator.report.quantities import Units


LEVELS = 12
"""Values of an axis up to which parallel coordinates place them side by side, each with its name."""


def parallel(
    frame: pd.DataFrame,
    objectives: Sequence[str] | None = None,
    units: Units | None = None,
    rows: Sequence[int] | None = None,
) -> go.Figure:
    """Draw each point as a line across all axes that vary and all objectives; drag along an axis to choose lines.

    The colour is the first objective. Axes and objectives of a range of more than ten are on a logarithmic scale.
    """
    import plotly.graph_objects as go

    done = finished(frame)
    chosen = tuple(objectives if objectives is not None else objectives_of(frame))
    drawn = np.flatnonzero(drawn_of(done, rows))
    names = [name for name in ("chip", "work", *axes_of(frame)) if done[name].nunique(dropna=False) > 1]
    dimensions = [_dimension(done, name, units, drawn) for name in (*names, *chosen)]
    first, title = scaled(done[chosen[0]].to_numpy(np.float64), quantity(chosen[0]))
    colour, ticks = logged(first)
    bar = {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0, **ticks}
    line = {"color": numbers(colour[drawn]), "colorscale": SCALE, "showscale": True, "colorbar": bar}
    figure = go.Figure(
        go.Parcoords(
            line=line, dimensions=dimensions, customdata=drawn.tolist(), labelangle=0, labelside="top",
            unselected={"line": {"color": FAINT, "opacity": 0.15}},
            labelfont={"size": 12}, tickfont={"size": 11}, rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        )
    )  # fmt: skip
    figure.update_layout(**layout(height=460), margin={"l": 90, "r": 40, "t": 70, "b": 24})
    return figure


def _dimension(done: pd.DataFrame, name: str, units: Units | None, drawn: Any) -> dict[str, Any]:
    measured, column = quantity(name, units), done[name]
    levels = sorted(column.dropna().unique())
    if isinstance(levels[0] if levels else "", str) or (name not in RESULTS and len(levels) <= LEVELS):
        values, ticks = _side_by_side(column, levels, [shown(level, measured) for level in levels])
        return {"label": _label(measured.label), "name": name, "values": numbers(values[drawn]), **ticks}
    base, title = scaled(column.to_numpy(np.float64), measured)
    values, ticks = logged(base)
    if np.isnan(values).any():
        ticks = _below(values, ticks)
        values = np.where(np.isnan(values), ticks["tickvals"][0], values)
    return {"label": _label(title), "name": name, "values": numbers(values[drawn]), **ticks}


def _side_by_side(column: pd.Series, levels: list[Any], texts: list[str]) -> tuple[Floats, dict[str, Any]]:
    """Return the places of values that each have a name; of what is not set, below them."""
    missing = bool(column.isna().any())
    values = column.map({level: place for place, level in enumerate(levels)}).to_numpy(np.float64)
    ticks = [*([-1] if missing else []), *range(len(levels))]
    named = [*(["–"] if missing else []), *texts]
    reach = [min(ticks) - 0.15, max(ticks) + 0.15]
    return np.nan_to_num(values, nan=-1.0), {"tickvals": ticks, "ticktext": named, "range": reach}


def _below(values: Floats, named: dict[str, Any]) -> dict[str, Any]:
    """Return the ticks of an axis that also has a place, below all others, for points of which nothing is known."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = (high - low or abs(high) or 1.0) / 8
    if not named:
        step = 10.0 ** np.floor(np.log10(8 * room))
        step = next(step / part for part in (1, 2, 5) if 8 * room * part / step >= 4)
        ticks = [tick * step for tick in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
        named = {"tickvals": ticks, "ticktext": [f"{tick:,.6g}" for tick in ticks]}
    placed = {"tickvals": [low - room, *named["tickvals"]], "ticktext": ["–", *named["ticktext"]]}
    return {**placed, "range": [low - 1.3 * room, high]}


def _label(title: str) -> str:
    """Break a long dotted key so that neighbours do not meet."""
    escaped = html.escape(title)
    if len(title) <= 12:
        return escaped
    key, bracket, unit = escaped.partition(" (")
    return f"{key}<br>{bracket[1:]}{unit}" if bracket and len(key) <= 16 else escaped.replace(".", ".<br>", 1)
