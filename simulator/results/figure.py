"""The figure of a run: cycles per operator, split by cause, with the bound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulator.results.drawing import save_figure, shortened
from simulator.results.result import STALLS, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "busy": "#3b6ea5",
    "starved": "#e6b450",
    "blocked": "#c0504d",
    "imbalance": "#8064a2",
    "fill_drain": "#b8b8b8",
}
LABELS = {
    "busy": "busy",
    "starved": "starved (waits for input)",
    "blocked": "blocked (waits for room)",
    "imbalance": "imbalance (waits for a sibling)",
    "fill_drain": "fill and drain",
}


def draw_cycles(result: Result, path: Path) -> None:
    """Draw ``cycles_figure`` as SVG, the same bytes for the same run."""
    save_figure(cycles_figure(result), path, ".svg")


def cycles_figure(result: Result) -> Figure:
    """Return two panels of bars, one bar per operator: its cycles, and how its critical unit spent them.

    Two, because one operator often takes most of the cycles: on a common scale nothing could be read of the others.
    """
    from matplotlib.figure import Figure

    operators = result.operators
    names = [shortened(operator.name) for operator in operators]
    rows = range(len(operators))
    # Margins in inches, not by trial layout, which draws everything twice.
    width, top, bottom = 10.5, 0.62, 0.95
    height = top + 0.23 * len(operators) + 0.1 + bottom
    left = 0.35 + 0.068 * max(map(len, names))
    figure = Figure(figsize=(width, height))
    cycles, shares = figure.subplots(
        1, 2, sharey=True, width_ratios=(1, 1.7),
        gridspec_kw={
            "left": left / width, "right": 1 - 1.6 / width, "wspace": 0.1,
            "top": 1 - top / height, "bottom": bottom / height,
        },
    )  # fmt: skip

    longest = max(operator.cycles for operator in operators)
    cycles.barh(rows, [operator.cycles for operator in operators], color="#5a6b7b", height=0.72)
    for row, operator in zip(rows, operators, strict=True):
        share_of_run = operator.cycles / result.cycles
        text = f"{operator.cycles:,} ({'<1%' if share_of_run < 0.005 else f'{share_of_run:.0%}'})"
        inside = operator.cycles > longest / 2
        cycles.annotate(
            text, (operator.cycles, row), xytext=(-3 if inside else 3, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=7, color="white" if inside else "#333333",
        )  # fmt: skip
    cycles.set_yticks(rows, names, fontsize=8, parse_math=False)
    cycles.set_ylim(len(operators) - 0.45, -0.55)
    cycles.set_xlim(0, longest * 1.02)
    cycles.set_xlabel("cycles (share of the run)", fontsize=8)
    cycles.ticklabel_format(axis="x", style="plain")
    cycles.locator_params(axis="x", nbins=4)
    cycles.xaxis.set_major_formatter("{x:,.0f}")

    begin = [0.0] * len(operators)
    for state in STALLS:
        share = [100 * operator.stalls[state] / operator.cycles for operator in operators]
        shares.barh(rows, share, left=begin, color=COLOURS[state], label=LABELS[state], height=0.72)
        begin = [a + b for a, b in zip(begin, share, strict=True)]
    bounds = [100 * operator.bound[0] / operator.cycles for operator in operators]
    at = ([row - 0.46 for row in rows], [row + 0.46 for row in rows])
    shares.vlines(bounds, *at, color="black", linewidth=1.6, label="bound: no schedule beats it")
    for row, operator in zip(rows, operators, strict=True):
        shares.annotate(
            operator.critical, (100, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7,
            color="#333333", annotation_clip=False, parse_math=False,
        )  # fmt: skip
    shares.set_xlim(0, 100)
    shares.set_xlabel("what the critical unit (right) does, % of the operator's cycles", fontsize=8)
    for axes in (cycles, shares):
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    title = f"{result.trace} on {result.arch}: {result.cycles:,} cycles at {result.clock / 1e6:,.0f} MHz"
    figure.text(0.15 / width, 1 - 0.18 / height, title, fontsize=11, va="top", parse_math=False)
    handles, labels = shares.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i].startswith("bound"))
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], ncols=3, fontsize=7.5, frameon=False,
        loc="lower center", bbox_to_anchor=(0.5, 0.04 / height),
    )  # fmt: skip
    return figure
