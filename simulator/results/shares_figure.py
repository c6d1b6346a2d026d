"""The figure of shares: cycles and energy of one run or several, stacked by families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.results.drawing import shortened
from simulator.results.shares import Shares, all_families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's "muted" scheme, which colour-blind readers tell apart, in an order in which neighbours differ in lightness.
COLOURS = ("#332288", "#88ccee", "#117733", "#ddcc77", "#cc6677", "#44aa99", "#882255", "#999933", "#aa4499")
OTHERS, OTHERS_COLOUR = "all others", "#c8c8c8"
PANELS = {"cycles": ("cycles", 1.0), "energy_pj": ("energy, µJ", 1e6)}
_BAR, _LETTER = 0.42, 0.062
"""Inches: from bar to bar, and of a letter in a bar."""


def shares_figure(runs: Sequence[Shares]) -> Figure:
    """Return two panels, cycles and energy, with one bar per run on a common scale, stacked by families.

    The families of most weight have a colour each, the rest share one: more colours could not be told apart.
    """
    from matplotlib.figure import Figure

    groups = _groups(runs)
    labels = [shortened(run.run) for run in runs]
    legend_columns = 3 if max(map(len, groups)) > 16 else 4
    # Margins in inches, not by trial layout, which draws everything twice.
    width, top, between = 10.5, 0.55, 0.62
    panel = _BAR * len(runs) + 0.14
    bottom = 0.62 + 0.19 * -(-len(groups) // legend_columns)
    height = top + 2 * panel + between + bottom
    left, right = 0.35 + 0.075 * max(map(len, labels)), 1.45
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(
        2, 1,
        gridspec_kw={
            "left": left / width, "right": 1 - right / width, "hspace": between / panel,
            "top": 1 - top / height, "bottom": bottom / height,
        },
    )  # fmt: skip
    for axes, quantity in zip(panels, PANELS, strict=True):
        _draw_bars(axes, runs, quantity, groups, width - left - right)
        axes.set_yticks(range(len(runs)), labels, fontsize=8, parse_math=False)

    work = dict.fromkeys(f"{run.trace} on {run.arch}" for run in runs)
    title = f"{shortened(next(iter(work)))}: " if len(work) == 1 else ""
    title += (
        ("where" if title else "Where")
        + " cycles and energy go"
        + (", and how they compare with the first run" if len(runs) > 1 else "")
    )
    figure.text(0.15 / width, 1 - 0.18 / height, title, fontsize=11, va="top", parse_math=False)
    handles, _ = panels[0].get_legend_handles_labels()
    legend = figure.legend(
        handles, [shortened(name) for name in groups], ncols=legend_columns, fontsize=7.5, frameon=False,
        handlelength=1.2, handleheight=1.0, loc="lower center", bbox_to_anchor=(0.5, 0.04 / height),
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_bars(axes: Axes, runs: Sequence[Shares], quantity: str, groups: dict[str, list[str]], inches: float) -> None:
    """Draw one panel: a bar per run, a segment per group of families, and what the run takes in all."""
    title, unit = PANELS[quantity]
    longest = max(run.taken(quantity) for run in runs) or 1
    begin = [0.0] * len(runs)
    for name, colour in zip(groups, _colours(groups), strict=True):
        taken = [sum(run.taken(quantity, family) for family in groups[name]) for run in runs]
        axes.barh(
            range(len(runs)), [amount / unit for amount in taken], left=begin, height=0.74, color=colour,
            edgecolor="white", linewidth=0.6, label="family",
        )  # fmt: skip
        for row, (run, amount) in enumerate(zip(runs, taken, strict=True)):
            text = _fitting(name, amount / (run.taken(quantity) or 1), inches * amount / longest)
            axes.text(
                begin[row] + amount / unit / 2, row, text, ha="center", va="center", fontsize=7, linespacing=1.05,
                color="white" if _is_dark(colour) else "#222222", parse_math=False,
            )  # fmt: skip
        begin = [start + amount / unit for start, amount in zip(begin, taken, strict=True)]
    for row, run in enumerate(runs):
        ratio = run.ratio(runs[0], quantity) if row else None
        total = run.taken(quantity) / unit
        text = f"{total:,.0f}" if quantity == "cycles" else f"{total:,.4g}" if total < 1e4 else f"{total:,.0f}"
        axes.annotate(
            text if ratio is None else f"{text}  ({ratio:.3g}×)", (total, row), xytext=(4, 0), va="center",
            textcoords="offset points", fontsize=7.5, color="#333333", annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(len(runs) - 0.45, -0.55)
    axes.set_xlim(0, longest / unit)
    axes.set_xlabel(title, fontsize=8)
    axes.ticklabel_format(axis="x", style="plain")
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}" if longest / unit >= 10 else "{x:,.4g}")
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _groups(runs: Sequence[Shares]) -> dict[str, list[str]]:
    """Return the families by what stands for them in the figure: themselves, or `OTHERS` for those of least weight."""
    names = all_families(runs)
    weight = {name: max(run.share(quantity, name) for run in runs for quantity in PANELS) for name in names}
    most = set(sorted(names, key=lambda name: -weight[name])[: len(COLOURS)])
    groups = {name: [name] for name in names if name in most}
    if len(names) > len(most):
        groups[OTHERS] = [name for name in names if name not in most]
    return groups


def _colours(groups: dict[str, list[str]]) -> list[str]:
    own = len(groups) - (len(groups) > len(COLOURS))
    return [*COLOURS[:own], *[OTHERS_COLOUR] * (len(groups) - own)]


def _fitting(name: str, share: float, inches: float) -> str:
    """Return name and share, the last parts of the name and the share, the share alone, or nothing: what fits."""
    percent = f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"
    parts = name.split(".")
    for text in (*(f"{'.'.join(parts[first:])}\n{percent}" for first in range(len(parts))), percent):
        if _LETTER * (max(map(len, text.splitlines())) + 1) <= inches:
            return text
    return ""


def _is_dark(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 125
