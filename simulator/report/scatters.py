"""Figures of points: fronts of two and of three objectives, the roofline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.report.pareto import Floats, Mask, pareto_front
from simulator.report.quantities import finished, quantity, scaled, shown
from simulator.report.roofline import ceilings
from simulator.report.roofline import roofline as place_points
from simulator.report.style import (
    FAINT,
    GREY,
    INK,
    SCALE,
    SYMBOLS,
    drawn_of,
    groups,
    labels,
    lay_out,
    markers,
    numbers,
    styles,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulator.report.quantities import Units


CEILINGS = 6
"""Peaks of a kind that a roofline draws; of more the least and the greatest."""


def fronts(frame: pd.DataFrame, columns: Sequence[str]) -> Mask:
    """Tell which finished points lie on the front of their own chip and work in ``columns`` (finished points,)."""
    done = finished(frame)
    front = np.zeros(len(done), np.bool_)
    for rows in done.groupby(["chip", "work"]).indices.values():
        front[rows] = pareto_front(done.iloc[rows][list(columns)])
    return front


def pareto(
    frame: pd.DataFrame,
    x: str = "cycles",
    y: str = "energy_pj",
    units: Units | None = None,
    rows: Sequence[int] | None = None,
) -> go.Figure:
    """Draw two objectives of all points and the front of each chip and work; colours are chips, symbols works.

    Args:
        frame: the dataset.
        x: a column, the smaller the better.
        y: another.
        units: of axes, for the labels of points.
        rows: of the finished points that are drawn; all if not given. Fronts are those of all.

    """
    import plotly.graph_objects as go

    done, figure = finished(frame), go.Figure()
    along, title_x = scaled(done[x].to_numpy(np.float64), quantity(x))
    up, title_y = scaled(done[y].to_numpy(np.float64), quantity(y))
    front = fronts(frame, (x, y))
    drawn = drawn_of(done, rows)
    text = labels(done, drawn, units)
    for chip, work, colour, symbol in styles(done):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        order = np.flatnonzero(mine & front)
        order = order[np.lexsort((up[order], along[order]))]
        figure.add_trace(
            go.Scatter(
                x=numbers(along[order]), y=numbers(up[order]), mode="lines",
                line={"color": colour, "width": 2, "shape": "hv"}, name="front", legendgroup=f"{chip} {work}",
                showlegend=False, hoverinfo="skip", meta={"chip": chip, "work": work},
            )
        )  # fmt: skip
        figure.add_trace(
            markers(along, up, np.flatnonzero(mine & drawn), text, f"{chip} · {work}", colour, symbol, front)
        )
    lay_out(figure, along, title_x, up, title_y)
    return figure


def fronts_of_three(
    frame: pd.DataFrame,
    objectives: Sequence[str] = ("cycles", "energy_pj", "area_mm2"),
    units: Units | None = None,
    rows: Sequence[int] | None = None,
) -> go.Figure:
    """Draw the points that no other of their chip and work beats in all of three objectives; the third is the colour.

    All other points are small and grey. Symbols are chips and works.
    """
    import plotly.graph_objects as go

    first, second, third = objectives
    done, figure = finished(frame), go.Figure()
    along, title_x = scaled(done[first].to_numpy(np.float64), quantity(first))
    up, title_y = scaled(done[second].to_numpy(np.float64), quantity(second))
    depth, title = scaled(done[third].to_numpy(np.float64), quantity(third))
    front, drawn = fronts(frame, objectives), drawn_of(done, rows)
    text = labels(done, drawn, units)
    rest = markers(along, up, np.flatnonzero(drawn & ~front), text, "not on a front", FAINT, "circle")
    rest.marker.update(size=5, line={"width": 0})
    figure.add_trace(rest)
    for (chip, work), symbol in zip(groups(done), itertools.cycle(SYMBOLS), strict=False):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        which = np.flatnonzero(mine & drawn & front)
        name = f"{chip} · {work}"
        trace = markers(along, up, which, text, name, GREY, symbol)
        edge = {"color": INK, "width": 0.8}
        trace.marker.update(size=10, color=numbers(depth[which]), coloraxis="coloraxis", opacity=1, line=edge)
        trace.showlegend = False
        legend = {"color": "white", "symbol": symbol, "size": 9, "line": edge}
        figure.add_traces([trace, go.Scatter(x=[None], y=[None], mode="markers", marker=legend, name=name)])
    bar = {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0}
    lay_out(figure, along, title_x, up, title_y, coloraxis={"colorscale": SCALE, "colorbar": bar, **_reach(depth)})
    return figure


def roofline(frame: pd.DataFrame, units: Units | None = None, rows: Sequence[int] | None = None) -> go.Figure:
    """Draw all points below their ceilings: performed MACs per second against performed MACs per byte of DRAM.

    Slopes are peaks of DRAM channels, levels those of the units that compute: all that the designs have, or the least
    and the greatest of many.
    """
    import plotly.graph_objects as go

    done, figure = finished(frame), go.Figure()
    placed, drawn = place_points(frame), drawn_of(done, rows)
    text = labels(done, drawn, units)
    intensity, rate = placed["intensity"].to_numpy(np.float64), placed["macs_per_s"].to_numpy(np.float64)
    peaks, channels = ceilings(frame, CEILINGS)
    factor, title = _of_rates(rate, peaks)
    known = intensity[np.isfinite(intensity)]
    ridges = peaks[-1] / channels if len(channels) else np.ones(1)
    low = min([*known, *ridges]) / 2
    high = max([*known, *ridges]) * 2
    for level in peaks:
        begin = level / channels[-1]
        name = shown(float(level), quantity("peak_macs_per_s"))
        _ceiling(figure, [begin, high], [level * factor, level * factor], f"compute {name}", "top left", at_end=True)
    for channel in channels:
        end = peaks[-1] / channel
        name = shown(float(channel) / 1e9, quantity("peak_bandwidth_gb_s"))
        _ceiling(
            figure, [low, end], [low * channel * factor, end * channel * factor], f"DRAM {name}", "bottom right",
            at_end=False,
        )  # fmt: skip
    for chip, work, colour, symbol in styles(done):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        which = np.flatnonzero(mine & drawn & np.isfinite(intensity))
        figure.add_trace(markers(intensity, rate * factor, which, text, f"{chip} · {work}", colour, symbol))
    bottom = min([*rate, *(low * channels[:1])])
    wide = np.array([low, high])
    tall = np.array([max(bottom, rate.min() / 30) / 1.5, max(rate.max(), peaks.max()) * 2.2]) * factor
    lay_out(figure, wide, "operational intensity (performed MACs per DRAM byte)", tall, title)
    for axis, ends in (("xaxis", wide), ("yaxis", tall)):
        figure.layout[axis].update(type="log", range=[float(end) for end in np.log10(ends)])
    return figure


def _reach(values: Floats) -> dict[str, float]:
    """Return the ends of a scale of colours, which stay when points are filtered."""
    known = values[np.isfinite(values)]
    return {"cmin": float(known.min()), "cmax": float(known.max())} if len(known) else {}


def _ceiling(figure: go.Figure, x: list[float], y: list[float], name: str, position: str, at_end: bool) -> None:
    import plotly.graph_objects as go

    text = ["", name] if at_end else [name, ""]
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines+text", text=text, textposition=position, line={"color": GREY, "width": 1.2},
            textfont={"size": 11, "color": "#4b5563"}, hoverinfo="skip", showlegend=False, cliponaxis=True,
        )
    )  # fmt: skip


def _of_rates(rate: Floats, peaks: Floats) -> tuple[float, str]:
    """Return by what rates are multiplied, and the axis' title."""
    values, title = scaled(np.array([max(rate.max(), peaks.max())]), quantity("peak_macs_per_s"))
    return float(values[0] / max(rate.max(), peaks.max())), title.replace("peak of the units", "performed work")
