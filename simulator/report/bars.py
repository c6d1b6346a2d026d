"""Figures of sensitivity: one axis at a time, and shares of the variance."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.report.pareto import Floats
from simulator.report.quantities import quantity, shown
from simulator.report.sensitivity import CONSTANT, FULL_GRID
from simulator.report.style import COLOURS, layout, numbers

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulator.report.quantities import Units


def one_at_a_time(table: pd.DataFrame, chip: str, work: str, units: Units | None = None) -> go.Figure:
    """Draw by how much each objective grows along one axis, all others staying as at the best point of the objective.

    Args:
        table: of `simulator.report.sensitivity`.
        chip: of which it is drawn.
        work: of which it is drawn.
        units: of the axes.

    """
    own, objectives, axes = _own(table, chip, work)
    figure, panels = _panels([quantity(name).label for name in objectives]), []
    for place, objective in enumerate(objectives, 1):
        mine = own[own["objective"] == objective].set_index("axis").reindex(axes)
        measured, grown = quantity(objective), (mine["high"] / mine["best"]).to_numpy(np.float64)
        grown = np.where(mine["compared"] > 1, grown, np.nan)
        hover = [
            f"<b>{html.escape(axis)}</b><br>least {shown(low, measured)} at {_at(axis, at_low, units)}"
            f"<br>greatest {shown(high, measured)} at {_at(axis, at_high, units)}<br>of {compared:.0f} points"
            for axis, low, at_low, high, at_high, compared in zip(
                axes, mine["low"], mine["at_low"], mine["high"], mine["at_high"], mine["compared"], strict=True
            )
        ]
        _bars(figure, place, axes, grown - 1, hover, COLOURS[0], "one at a time", base=1.0)
        for axis in (axis for axis, ratio in zip(axes, grown, strict=True) if not np.isfinite(ratio)):
            note = {"showarrow": False, "xanchor": "left", "font": {"size": 11, "color": "#5b6472"}}
            figure.add_annotation(text="nothing to compare", x=1, y=axis, **note, row=1, col=place)
        most = float(np.nanmax(grown)) if np.isfinite(grown).any() else 1.0
        room = [1 - 0.02 * (most - 1), 1 + 1.2 * (most - 1 or 1.0)]
        panels.append({"title": {"text": f"{measured.label} ÷ least (×)"}, "range": room, "nticks": 6})
    return _sized(figure, axes, 1, panels)


def variance(table: pd.DataFrame, chip: str, work: str) -> go.Figure:
    """Draw each axis' share of the variance of each objective: alone, and with all its interactions (Sobol indices).

    Where the points are no full grid, the correlation ratio of each axis alone.

    Args:
        table: of `simulator.report.sensitivity`.
        chip: of which it is drawn.
        work: of which it is drawn.

    """
    own, objectives, axes = _own(table, chip, work)
    figure = _panels([quantity(name).label for name in objectives])
    for place, objective in enumerate(objectives, 1):
        mine = own[own["objective"] == objective].set_index("axis").reindex(axes)
        method = mine["method"].dropna().iloc[0] if mine["method"].notna().any() else CONSTANT
        first, total = (100 * mine[name].to_numpy(np.float64) for name in ("first_order", "total"))
        if method == FULL_GRID:
            _bars(
                figure, place, axes, total, _shares(axes, total, "with interactions"), COLOURS[5],
                "with interactions (total)",
            )  # fmt: skip
            _bars(figure, place, axes, first, _shares(axes, first, "alone"), COLOURS[0], "alone (first order)")
        elif method == CONSTANT:
            figure.add_annotation(text="does not vary", x=50, y=0.5, yref="y domain", showarrow=False, row=1, col=place)
        else:
            chance = 100 * mine["chance"].to_numpy(np.float64)
            hover = [
                f"{text}<br>about {by_chance:.0f} % by chance alone"
                for text, by_chance in zip(_shares(axes, first, "correlation ratio"), chance, strict=True)
            ]
            _bars(figure, place, axes, first, hover, COLOURS[4], "correlation ratio (no full grid)")
    panel = {"title": {"text": "share of variance (%)"}, "range": [0, 118], "tickvals": [0, 25, 50, 75, 100]}
    return _sized(figure, axes, 2, [panel] * len(objectives))


def _own(table: pd.DataFrame, chip: str, work: str) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return the rows of a chip and work, their objectives, and their axes, of which the last matters most."""
    own = table[(table["chip"] == chip) & (table["work"] == work)]
    objectives = list(dict.fromkeys(own["objective"]))
    weight = own.fillna({"first_order": 0.0}).groupby("axis", sort=False)["first_order"].max()
    return own, objectives, list(weight.sort_values(kind="stable").index)


def _panels(titles: list[str]) -> go.Figure:
    from plotly.subplots import make_subplots

    return make_subplots(1, max(1, len(titles)), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)


def _bars(
    figure: go.Figure, place: int, axes: list[str], values: Floats, hover: list[str], colour: str, name: str,
    base: float = 0.0,
) -> None:  # fmt: skip
    import plotly.graph_objects as go

    texts = [_short(base + value) for value in values]
    new = name not in {trace.name for trace in figure.data}
    figure.add_trace(
        go.Bar(
            x=numbers(values), y=axes, base=base, orientation="h", marker={"color": colour}, name=name,
            legendgroup=name, showlegend=new and base == 0, customdata=hover,
            hovertemplate="%{customdata}<extra></extra>", text=texts, textposition="outside", cliponaxis=False,
            textfont={"size": 11},
        ),
        row=1, col=place,
    )  # fmt: skip


def _short(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.1g}" if abs(value) >= 1e-9 else "0"


def _shares(axes: list[str], shares: Floats, what: str) -> list[str]:
    return [f"<b>{html.escape(axis)}</b><br>{what}: {share:.2f} %" for axis, share in zip(axes, shares, strict=True)]


def _at(axis: str, values: Any, units: Units | None) -> str:
    keys = axis.split(" + ")
    if not isinstance(values, list):
        return "–"
    return html.escape(", ".join(shown(v, quantity(k, units)) for k, v in zip(keys, values, strict=True)))


def _sized(figure: go.Figure, axes: list[str], bars: int, panels: Sequence[dict[str, Any]]) -> go.Figure:
    """Lay panels out, each bar with its room; ``bars`` is how many an axis has, ``panels`` their horizontal axes."""
    inner, above = (16 + 18 * bars) * max(1, len(axes)), 30 if bars == 1 else 64
    horizontal = {f"xaxis{place if place > 1 else ''}": panel for place, panel in enumerate(panels, 1)}
    figure.update_layout(
        **layout(height=inner + above + 56), **horizontal, yaxis={"title": {"text": "axis"}},
        margin={"l": 40, "r": 24, "t": above, "b": 56}, barmode="group", bargap=0.3, showlegend=bars > 1,
        legend={"yanchor": "bottom", "y": 1 + 26 / inner, "traceorder": "reversed"},
    )  # fmt: skip
    return figure
