"""The comparison as a figure for a paper: speed-up, and energy with the DRAM's share, chip by chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.compare.comparison import MEAN, Comparison, geometric_mean
from simulator.compare.text import sentence
from simulator.results.drawing import shortened
from simulator.results.shares_figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADES = 20
"""From how many times the least on, ratios are drawn on a logarithmic axis."""


def comparison_figure(comparison: Comparison) -> Figure:
    """Return two panels: speed-up over the first chip, and energy relative to it, the DRAM's share hatched.

    The share is left out where energies lie so far apart that their axis is logarithmic.
    """
    from matplotlib.figure import Figure

    groups = [*comparison.traces, *([MEAN] if len(comparison.traces) > 1 else [])]
    chips = [chip.arch.name for chip in comparison.chips]
    bars = len(groups) * (len(chips) + 1)
    figure = Figure(figsize=(max(5.0, min(14.0, 1.6 + 0.3 * bars)), 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    speed = {(row["trace"], row["arch"]): row["speedup"] for row in comparison.rows}
    _bars(above, speed, groups, chips)
    above.set_ylabel(f"speed-up over\n{shortened(chips[0])}", fontsize=8, parse_math=False)
    energy, dram = _energies(comparison)
    _bars(below, energy, groups, chips)
    shares = below.get_yscale() == "linear" and any(dram.values())
    if shares:  # on a logarithmic axis the part of a bar is not the part of the energy
        _bars(below, dram, groups, chips, hatch=True)
    below.set_ylabel(f"energy relative to\n{shortened(chips[0])}", fontsize=8, parse_math=False)
    places = [(len(chips) + 1) * group + (len(chips) - 1) / 2 for group in range(len(groups))]
    below.set_xticks(places, [_wrapped(group) for group in groups], fontsize=8, parse_math=False)
    handles, labels = above.get_legend_handles_labels()
    if shares:
        from matplotlib.patches import Patch

        handles.append(Patch(facecolor="white", edgecolor="#222222", hatch="////"))
        labels.append("of it DRAM")
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(labels)), fontsize=8,
                           frameon=False, title=sentence(comparison), title_fontsize=8)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _wrapped(name: str) -> str:
    """Return a trace's name, its parameters below it: traces that differ in their beginning alone stay apart."""
    return "\n".join(shortened(word) for word in name.split(" ")) if name != MEAN else name


def _energies(comparison: Comparison) -> tuple[dict[Any, float], dict[Any, float]]:
    """Return energy relative to the first chip's, all and the DRAM's; the latter is not known of the mean."""
    energy, dram = {}, {}
    for entry in comparison.entries:
        first = comparison.first[entry.trace].summary["energy_pj"]
        key = (entry.trace, entry.chip.arch.name)
        energy[key] = entry.summary["energy_pj"] / first if first else 0.0
        dram[key] = entry.dram_pj / first if first else 0.0
    if len(comparison.traces) > 1:
        for chip in comparison.chips:
            own = [energy[trace, chip.arch.name] for trace in comparison.traces]
            energy[MEAN, chip.arch.name] = geometric_mean(own) if all(own) else 0.0
    return energy, dram


def _bars(axes: Axes, heights: dict[Any, float], groups: list[str], chips: list[str], hatch: bool = False) -> None:
    least = min((height for height in heights.values() if height > 0), default=1.0)
    if not hatch and max(heights.values()) > _DECADES * least:
        axes.set_yscale("log")
    for place, chip in enumerate(chips):
        at = [(len(chips) + 1) * group + place for group in range(len(groups))]
        values = [heights.get((group, chip), 0.0) for group in groups]
        if hatch:
            axes.bar(at, values, width=0.9, fill=False, hatch="////", linewidth=0, edgecolor="white")
            continue
        drawn = axes.bar(at, values, width=0.9, color=COLOURS[place % len(COLOURS)], label=shortened(chip))
        axes.bar_label(drawn, [f"{value:.3g}" for value in values], fontsize=6.5, rotation=90, padding=2)
    axes.margins(y=0.25)
    axes.axhline(1, color="#888888", linewidth=0.6, zorder=0)
    axes.tick_params(axis="y", labelsize=7)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
