"""What the figures of a sweep share: colours, labels of points, axes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.report.pareto import Floats, Mask
from simulator.report.quantities import axes_of, quantity, shown

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from simulator.report.quantities import Units


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart, but for their yellow, which is faint on white."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "x")
GREY = "#8a8f98"
FAINT = "#c9cdd3"
INK = "#1f2937"
SCALE = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#dcc64f"]
"""Cividis without its end, which is faint on white; readers of all kinds of sight see the same order."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
LOG_FROM = 10.0
"""Greatest ÷ least from which an axis is logarithmic."""
FEW_DECADES = 1000.0
"""Greatest ÷ least up to which a logarithmic axis has ticks between powers of ten."""
OF_HOVER = ("cycles", "seconds", "energy_pj", "area_mm2", "utilization", "dram_bytes", "bandwidth_gb_s", "bound_by")


def groups(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of chip and work of a dataset, in the order of their names."""
    pairs = frame[["chip", "work"]].drop_duplicates().itertuples(index=False)
    return sorted((str(chip), str(work)) for chip, work in pairs)


def styles(done: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Return chip, work, colour and symbol of each pair."""
    pairs = groups(done)
    chips, works = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    return [
        (chip, work, COLOURS[chips.index(chip) % len(COLOURS)], SYMBOLS[works.index(work) % len(SYMBOLS)])
        for chip, work in pairs
    ]


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


def labels(done: pd.DataFrame, drawn: Any, units: Units | None) -> dict[int, str]:
    """Return the labels of the rows that are drawn."""
    rows = np.flatnonzero(drawn)
    return dict(zip(rows.tolist(), hovers(done.iloc[rows], units), strict=True))


def drawn_of(done: pd.DataFrame, rows: Sequence[int] | None) -> Mask:
    """Tell which finished points are drawn, all if ``rows`` is not given."""
    if rows is None:
        return np.ones(len(done), np.bool_)
    drawn = np.zeros(len(done), np.bool_)
    drawn[list(rows)] = True
    return drawn


def markers(
    x: Floats, y: Floats, which: Any, text: dict[int, str], name: str, colour: str, symbol: str, front: Any = None
) -> go.Scatter:
    """Return the points of one chip and work that ``which`` numbers; fainter where they are not on ``front``."""
    import plotly.graph_objects as go

    marker: dict[str, Any] = {"color": colour, "symbol": symbol, "size": 7, "line": {"color": "white", "width": 0.5}}
    marker["opacity"] = 0.75 if front is None else [1.0 if front[row] else 0.45 for row in which]
    return go.Scatter(
        x=numbers(x[which]), y=numbers(y[which]), mode="markers", marker=marker, name=name, legendgroup=name,
        customdata=which.tolist(), text=[text[row] for row in which], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def numbers(values: Floats) -> list[float | None]:
    """Return plain numbers of six digits, which is what a screen shows of them."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def is_log(values: Floats) -> bool:
    """Tell whether values are so far apart that their axis is logarithmic."""
    known = values[np.isfinite(values)]
    return len(known) > 0 and known.min() > 0 and known.max() / known.min() > LOG_FROM


def logged(values: Floats) -> tuple[Floats, dict[str, Any]]:
    """Return logarithms and what stands at their ticks, or the values where these are near each other."""
    if not is_log(values):
        return values, {}
    known = values[np.isfinite(values)]
    low, high = np.log10(known.min()), np.log10(known.max())
    steps = (1, 2, 5) if high - low < 4 else (1,)
    decades = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    ticks = [tick for tick in ticks if low - 1e-9 <= np.log10(tick) <= high + 1e-9]
    return np.log10(values), {"tickvals": [float(np.log10(t)) for t in ticks], "ticktext": [f"{t:,.6g}" for t in ticks]}


def lay_out(figure: go.Figure, x: Floats, title_x: str, y: Floats, title_y: str, **more: Any) -> None:
    """Lay a figure of points out, ``more`` being of the layout as well."""
    plain = {"exponentformat": "none", "separatethousands": True}
    axes = {
        name: {"title": {"text": title, "standoff": 10}, **plain, **log_axis(values)}
        for name, values, title in (("xaxis", x, title_x), ("yaxis", y, title_y))
    }
    legend = sum(trace.showlegend is not False for trace in figure.data) > 1
    margin = {"l": 70, "r": 24, "t": 64 if legend else 32, "b": 56}  # buttons stand above the legend
    figure.update_layout(**layout(), **axes, margin=margin, dragmode="select", showlegend=legend, **more)


def log_axis(values: Floats) -> dict[str, Any]:
    """Return a logarithmic axis where values differ by much."""
    if not is_log(values):
        return {}
    known = values[np.isfinite(values)]
    steps = (1, 2, 5) if known.max() / known.min() < FEW_DECADES else (1,)
    decades = range(int(np.log10(known.min())) - 3, int(np.log10(known.max())) + 4)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,.6g}" for tick in ticks]}


@cache
def template() -> go.layout.Template:
    """Return fonts, colours and axes of all figures."""
    import plotly.graph_objects as go

    axis = {
        "showline": True, "linecolor": GREY, "gridcolor": "#eceef1", "ticks": "outside", "tickcolor": GREY,
        "zeroline": False, "automargin": True,
    }  # fmt: skip
    font = {"family": FONT, "size": 13, "color": INK}
    label = {"bgcolor": "white", "bordercolor": GREY, "font": {**font, "size": 12}, "align": "left"}
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return go.layout.Template(
        layout={
            "font": font, "paper_bgcolor": "white", "plot_bgcolor": "white", "hoverlabel": label, "legend": legend,
            "hovermode": "closest", "xaxis": axis, "yaxis": axis, "colorway": list(COLOURS),
        }
    )  # fmt: skip


def layout(height: int = 400) -> dict[str, Any]:
    """Return what the layouts of all figures share; the height is in pixels."""
    return {"template": template(), "height": height}
