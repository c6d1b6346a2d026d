"""The tornado figure: how far each assumption moves a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.reproduce.sensitivity import Tornado
from simulator.reproduce.text import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UP, _DOWN = "#117733", "#cc6677"


def tornado_figure(entry: Tornado) -> Figure:
    """Return a bar for each assumed parameter, longest above: from the least to the most that it makes of it."""
    from matplotlib.figure import Figure

    bars = entry.bars
    figure = Figure(figsize=(8.0, 1.3 + 0.24 * max(1, len(bars))), layout="constrained")
    axes = figure.subplots()
    for row, bar in enumerate(bars):
        for _, value in bar.others:
            axes.barh(row, value - entry.base, left=entry.base, color=_UP if value > entry.base else _DOWN, height=0.7)
        text = ", ".join(f"{other}: {number(value)}" for other, value in bar.others)
        axes.annotate(
            text, (max([entry.base, *(v for _, v in bar.others)]), row), xytext=(4, 0), va="center", fontsize=6,
            textcoords="offset points", parse_math=False, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(bars)), [f"{bar.key} = {bar.value}" for bar in bars], fontsize=7, parse_math=False)
    axes.axvline(entry.base, color="#333333", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(f"{entry.asked.figure}; {number(entry.base)} as configured", fontsize=8, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
