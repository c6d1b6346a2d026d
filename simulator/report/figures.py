"""Figures of a sweep, interactive ones of Plotly, from its dataset alone: for a notebook and for the page of a report.

    frame = read_frame("runs/space")
    figures.pareto(frame, "cycles", "energy_pj").show()

``units`` of the axes, such as ``{"dram.bandwidth": "B/s"}``, are not in the dataset; `read_study` takes them from the
sweep file. Points carry their row among the finished ones as ``customdata``; the page filters by it.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.report.pareto import Floats, pareto_front
from simulator.report.quantities import axes_of, finished, objectives_of, quantity, scaled, shown
from simulator.report.roofline import ceilings
from simulator.report.roofline import roofline as place_points
from simulator.report.sensitivity import CONSTANT, FULL_GRID

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulator.report.quantities import Units

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart, but for their yellow, which is faint on white."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x")
GREY, FAINT, INK = "#8a8f98", "#c9cdd3", "#1f2937"
SCALE = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#dcc64f"]
"""Cividis without its end, which is faint on white; readers of all kinds of sight see the same order."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
LOG_FROM = 10.0
"""Greatest ÷ least from which an axis is logarithmic."""
LEVELS = 12
"""Values of an axis up to which parallel coordinates place them side by side, each with its name."""
FEW_DECADES = 1000.0
"""Greatest ÷ least up to which a logarithmic axis has ticks between powers of ten."""
CEILINGS = 6
"""Peaks of a kind that a roofline draws; of more the least and the greatest."""
OF_HOVER = ("cycles", "seconds", "energy_pj", "area_mm2", "utilization", "dram_bytes", "bandwidth_gb_s", "bound_by")


def groups(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of chip and work of a dataset, in the order of their names."""
    pairs = frame[["chip", "work"]].drop_duplicates().itertuples(index=False)
    return sorted((str(chip), str(work)) for chip, work in pairs)


def fronts(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which finished points lie on the front of their own chip and work in ``columns`` (finished points,)."""
    done = finished(frame)
    front = np.zeros(len(done), np.bool_)
    for rows in done.groupby(["chip", "work"]).indices.values():
        front[rows] = pareto_front(done.iloc[rows][list(columns)])
    return front


def hovers(done: pd.DataFrame, units: Units | None = None) -> list[str]:
    """Return what a label of each finished point says: chip, work, parameters, results."""
    names = ["chip", "work", *axes_of(done), *(name for name in OF_HOVER if name in done)]
    lines = []
    for name in names:
        measured = quantity(name, units)
        label = html.escape({"bound_by": "bound by"}.get(name, measured.label))
        texts = {value: f"{label}: <b>{html.escape(shown(value, measured))}</b>" for value in done[name].unique()}
        lines.append([texts.get(value) or f"{label}: –" for value in done[name]])
    return ["<br>".join(line) for line in zip(*lines, strict=True)]


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
    drawn = _drawn(done, rows)
    text = _labels(done, drawn, units)
    for chip, work, colour, symbol in _styles(done):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        order = np.flatnonzero(mine & front)
        order = order[np.lexsort((up[order], along[order]))]
        figure.add_trace(
            go.Scatter(
                x=_numbers(along[order]), y=_numbers(up[order]), mode="lines",
                line={"color": colour, "width": 2, "shape": "hv"}, name="front", legendgroup=f"{chip} {work}",
                showlegend=False, hoverinfo="skip", meta={"chip": chip, "work": work},
            )
        )  # fmt: skip
        figure.add_trace(
            _points(along, up, np.flatnonzero(mine & drawn), text, f"{chip} · {work}", colour, symbol, front)
        )
    _axes(figure, along, title_x, up, title_y)
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
    front, drawn = fronts(frame, objectives), _drawn(done, rows)
    text = _labels(done, drawn, units)
    rest = _points(along, up, np.flatnonzero(drawn & ~front), text, "not on a front", FAINT, "circle")
    rest.marker.update(size=5, line={"width": 0})
    figure.add_trace(rest)
    for (chip, work), symbol in zip(groups(done), itertools.cycle(SYMBOLS), strict=False):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        which = np.flatnonzero(mine & drawn & front)
        name = f"{chip} · {work}"
        trace = _points(along, up, which, text, name, GREY, symbol)
        edge = {"color": INK, "width": 0.8}
        trace.marker.update(size=10, color=_numbers(depth[which]), coloraxis="coloraxis", opacity=1, line=edge)
        trace.showlegend = False
        legend = {"color": "white", "symbol": symbol, "size": 9, "line": edge}
        figure.add_traces([trace, go.Scatter(x=[None], y=[None], mode="markers", marker=legend, name=name)])
    bar = {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0}
    figure.update_layout(coloraxis={"colorscale": SCALE, "colorbar": bar})
    _axes(figure, along, title_x, up, title_y)
    return figure


def roofline(frame: pd.DataFrame, units: Units | None = None, rows: Sequence[int] | None = None) -> go.Figure:
    """Draw all points below their ceilings: performed MACs per second against performed MACs per byte of DRAM.

    Slopes are peaks of DRAM channels, levels those of the units that compute: all that the designs have, or the least
    and the greatest of many.
    """
    import plotly.graph_objects as go

    done, figure = finished(frame), go.Figure()
    placed, drawn = place_points(frame), _drawn(done, rows)
    text = _labels(done, drawn, units)
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
    for chip, work, colour, symbol in _styles(done):
        mine = ((done["chip"] == chip) & (done["work"] == work)).to_numpy()
        which = np.flatnonzero(mine & drawn & np.isfinite(intensity))
        figure.add_trace(_points(intensity, rate * factor, which, text, f"{chip} · {work}", colour, symbol))
    _axes(figure, np.array([low, high]), "operational intensity (performed MACs per DRAM byte)", rate * factor, title)
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))])
    bottom = min(rate.min(), low * channels[0] if len(channels) else rate.min()) * factor
    figure.update_yaxes(
        type="log", range=[float(np.log10(max(bottom, rate.min() * factor / 30) / 1.5)),
                           float(np.log10(max(rate.max(), peaks.max()) * factor * 2.2))],
    )  # fmt: skip
    return figure


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
    drawn = np.flatnonzero(_drawn(done, rows))
    names = [name for name in ("chip", "work", *axes_of(frame)) if done[name].nunique(dropna=False) > 1]
    dimensions = [_dimension(done, name, units, drawn) for name in (*names, *chosen)]
    first, title = scaled(done[chosen[0]].to_numpy(np.float64), quantity(chosen[0]))
    colour, ticks = _logged(first)
    bar = {"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0, **ticks}
    line = {"color": _numbers(colour[drawn]), "colorscale": SCALE, "showscale": True, "colorbar": bar}
    figure = go.Figure(
        go.Parcoords(
            line=line, dimensions=dimensions, customdata=drawn.tolist(), labelangle=0, labelside="top",
            unselected={"line": {"color": FAINT, "opacity": 0.15}},
            labelfont={"size": 12}, tickfont={"size": 11}, rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        )
    )  # fmt: skip
    figure.update_layout(**_layout(height=460), margin={"l": 90, "r": 40, "t": 70, "b": 24})
    return figure


def one_at_a_time(table: pd.DataFrame, chip: str, work: str, units: Units | None = None) -> go.Figure:
    """Draw by how much each objective grows along one axis, all others staying as at the best point of the objective.

    Args:
        table: of `simulator.report.sensitivity`.
        chip: of which it is drawn.
        work: of which it is drawn.
        units: of the axes.

    """
    own, objectives, axes = _own(table, chip, work)
    figure = _panels([quantity(name).label for name in objectives])
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
        figure.update_xaxes(title_text=f"{measured.label} ÷ least (×)", range=room, nticks=6, row=1, col=place)
        figure.add_vline(x=1, line={"color": INK, "width": 1}, row=1, col=place)
    return _sized(figure, axes, 1)


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
            figure.add_annotation(
                text="does not vary", x=50, y=0.5, yref="y domain", showarrow=False, row=1, col=place
            )
        else:
            chance = 100 * mine["chance"].to_numpy(np.float64)
            hover = [
                f"{text}<br>about {by_chance:.0f} % by chance alone"
                for text, by_chance in zip(_shares(axes, first, "correlation ratio"), chance, strict=True)
            ]
            _bars(figure, place, axes, first, hover, COLOURS[4], "correlation ratio (no full grid)")
        figure.update_xaxes(title_text="share of variance (%)", range=[0, 118], tickvals=[0, 25, 50, 75, 100], row=1, col=place)
    return _sized(figure, axes, 2)


def _points(
    x: Floats, y: Floats, which: Any, text: dict[int, str], name: str, colour: str, symbol: str, front: Any = None
) -> go.Scatter:
    import plotly.graph_objects as go

    marker: dict[str, Any] = {"color": colour, "symbol": symbol, "size": 7, "line": {"color": "white", "width": 0.5}}
    marker["opacity"] = 0.75 if front is None else [1.0 if front[row] else 0.45 for row in which]
    return go.Scatter(
        x=_numbers(x[which]), y=_numbers(y[which]), mode="markers", marker=marker, name=name, legendgroup=name,
        customdata=which.tolist(), text=[text[row] for row in which], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


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


def _styles(done: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Return chip, work, colour and symbol of each pair."""
    pairs = groups(done)
    chips, works = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    return [
        (chip, work, COLOURS[chips.index(chip) % len(COLOURS)], SYMBOLS[works.index(work) % len(SYMBOLS)])
        for chip, work in pairs
    ]


def _labels(done: pd.DataFrame, drawn: Any, units: Units | None) -> dict[int, str]:
    """Return the labels of the rows that are drawn."""
    rows = np.flatnonzero(drawn)
    return dict(zip(rows.tolist(), hovers(done.iloc[rows], units), strict=True))


def _drawn(done: pd.DataFrame, rows: Sequence[int] | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if rows is None:
        return np.ones(len(done), np.bool_)
    drawn = np.zeros(len(done), np.bool_)
    drawn[list(rows)] = True
    return drawn


def _numbers(values: Floats) -> list[float | None]:
    """Return plain numbers of six digits, which is what a screen shows of them."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _is_log(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 0 and known.min() > 0 and known.max() / known.min() > LOG_FROM


def _logged(values: Floats) -> tuple[Floats, dict[str, Any]]:
    """Return logarithms and what stands at their ticks, or the values where these are near each other."""
    if not _is_log(values):
        return values, {}
    known = values[np.isfinite(values)]
    low, high = np.log10(known.min()), np.log10(known.max())
    steps = (1, 2, 5) if high - low < 4 else (1,)
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    ticks = [tick for tick in ticks if low - 1e-9 <= np.log10(tick) <= high + 1e-9]
    return np.log10(values), {"tickvals": [float(np.log10(t)) for t in ticks], "ticktext": [f"{t:,.6g}" for t in ticks]}


def _dimension(done: pd.DataFrame, name: str, units: Units | None, drawn: Any) -> dict[str, Any]:
    measured, column = quantity(name, units), done[name]
    levels = sorted(column.dropna().unique())
    if isinstance(levels[0] if levels else "", str) or (name not in _of_results() and len(levels) <= LEVELS):
        places = {level: place for place, level in enumerate(levels)}
        values = column.map(places).fillna(-1 if column.isna().any() else 0).to_numpy(np.float64)
        texts = [shown(level, measured) for level in levels]
        ticks = list(range(len(levels)))
        if column.isna().any():
            ticks, texts = [-1, *ticks], ["–", *texts]
        padded = [min(ticks) - 0.15, max(ticks) + 0.15]
        named = {"tickvals": ticks, "ticktext": texts, "range": padded}
        return {"label": _label(measured.label), "name": name, "values": _numbers(values[drawn]), **named}
    base, title = scaled(column.to_numpy(np.float64), measured)
    values, named = _logged(base)
    if missing := bool(np.isnan(values).any()):
        named = _below(values, named)
    values = np.where(np.isnan(values), named["tickvals"][0], values) if missing else values
    return {"label": _label(title), "name": name, "values": _numbers(values[drawn]), **named}


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


def _of_results() -> tuple[str, ...]:
    from simulator.report.quantities import RESULTS

    return tuple(RESULTS)


def _label(title: str) -> str:
    """Break a long dotted key so that neighbours do not meet."""
    escaped = html.escape(title)
    if len(title) <= 12:
        return escaped
    key, bracket, unit = escaped.partition(" (")
    return f"{key}<br>{bracket[1:]}{unit}" if bracket and len(key) <= 16 else escaped.replace(".", ".<br>", 1)


def _axes(figure: go.Figure, x: Floats, title_x: str, y: Floats, title_y: str) -> None:
    figure.update_layout(**_layout(), margin={"l": 70, "r": 24, "t": 24, "b": 56}, dragmode="select")
    figure.update_layout(showlegend=sum(trace.showlegend is not False for trace in figure.data) > 1)
    for update, values, title in ((figure.update_xaxes, x, title_x), (figure.update_yaxes, y, title_y)):
        update(title_text=title, exponentformat="none", separatethousands=True)
        if _is_log(values):
            known = values[np.isfinite(values)]
            steps = (1, 2, 5) if known.max() / known.min() < FEW_DECADES else (1,)
            decades = range(int(np.log10(known.min())) - 3, int(np.log10(known.max())) + 4)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
            update(type="log", tickvals=ticks, ticktext=[f"{tick:,.6g}" for tick in ticks])


def _layout(height: int = 400) -> dict[str, Any]:
    axis = {
        "showline": True, "linecolor": GREY, "gridcolor": "#eceef1", "ticks": "outside", "tickcolor": GREY,
        "zeroline": False, "automargin": True, "title": {"standoff": 10},
    }  # fmt: skip
    font = {"family": FONT, "size": 13, "color": INK}
    label = {"bgcolor": "white", "bordercolor": GREY, "font": {"family": FONT, "size": 12, "color": INK}, "align": "left"}
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    template = {"layout": {
        "font": font, "paper_bgcolor": "white", "plot_bgcolor": "white", "hoverlabel": label, "legend": legend,
        "hovermode": "closest", "xaxis": axis, "yaxis": axis, "colorway": list(COLOURS),
    }}  # fmt: skip
    return {"template": template, "height": height}


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
    figure.add_trace(
        go.Bar(
            x=_numbers(values), y=axes, base=base, orientation="h", marker={"color": colour}, name=name,
            legendgroup=name, showlegend=place == 1 and base == 0, customdata=hover,
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


def _sized(figure: go.Figure, axes: list[str], bars: int) -> go.Figure:
    """Give each bar its room; ``bars`` is how many an axis has."""
    inner, above = (16 + 18 * bars) * max(1, len(axes)), 30 if bars == 1 else 64
    figure.update_layout(
        **_layout(height=inner + above + 56), margin={"l": 40, "r": 24, "t": above, "b": 56}, barmode="group", bargap=0.3,
    )  # fmt: skip
    figure.update_layout(
        legend={"yanchor": "bottom", "y": 1 + 26 / inner, "traceorder": "reversed"}, showlegend=bars > 1
    )
    figure.update_yaxes(title_text="axis", col=1)
    return figure
