"""The figure of kept connections: the share that each head keeps, and the maps themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.results.drawing import shortened
from simulator.results.kept import Densities, OperatorKept

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MOST_OPERATORS, MOST_HEADS = 12, 12
"""Of which a figure shows maps; of more, these many evenly spread."""
FUTURE = "#e9e6df"
_SHADES = ("#c6d8ea", "#7ba5cf", "#3b6ea5", "#1b3a5f")
_GAP, _ROW = 0.07, 0.27
"""Inches between maps, and of a row of shares."""


def kept_figure(name: str, operators: Sequence[OperatorKept], image: int) -> Figure:
    """Return two panels: (a) the retained share of every head of every operator, (b) maps of one image.

    Args:
        name: of the trace.
        operators: with the maps of that image, see `kept_connections`.
        image: its index, for the title.

    """
    from matplotlib.figure import Figure

    shown = _spread(range(len(operators)), MOST_OPERATORS)
    columns = max(len(operator.heads) for operator in operators)
    heads = _spread(range(columns), MOST_HEADS)
    aspects = [min(2.0, max(0.25, operators[row].queries / operators[row].keys)) for row in shown]
    labels = [shortened(operator.operator) for operator in operators]
    # Margins in inches, not by trial layout, which draws everything twice.
    left, right, top, between, bottom = 0.35 + 0.068 * max(map(len, labels)), 1.0, 0.92, 0.68, 0.2
    cell = min(1.7, (10.5 - left - right) / len(heads), 10 / sum(aspects))
    across = max(cell * len(heads), 4.6 - left)
    heights = [(cell - _GAP) * aspect for aspect in aspects]
    maps = sum(heights) + _GAP * (len(shown) - 1)
    strip = _ROW * len(operators)
    width, height = left + across + right, top + strip + between + maps + bottom
    figure = Figure(figsize=(width, height))

    def place(x: float, y: float, wide: float, high: float) -> Axes:
        """Place axes by inches from the left and from the top."""
        return figure.add_axes((x / width, 1 - (y + high) / height, wide / width, high / height))

    has_room = across / columns > 0.38
    picture = _draw_shares(place(left, top, across, strip), operators, labels, has_room)
    if not has_room:
        _draw_scale(figure, picture, place(left + across + 0.25, top, 0.1, strip), "")

    begin = y = top + strip + between
    drawn = [(row, head) for row in shown for head in heads if head < len(operators[row].heads)]
    densities = np.concatenate([operators[row].maps[head].ravel() for row, head in drawn])
    densities = densities[~np.isnan(densities)]
    # A few blocks may be denser than what is drawn darkest: all others would be pale beside them.
    densest = float(np.quantile(densities, 0.995)) or float(densities.max())
    for row, high in zip(shown, heights, strict=True):
        for column, head in enumerate(heads):
            if head < len(operators[row].heads):
                axes = place(left + column * cell, y, cell - _GAP, high)
                picture = _draw_map(axes, operators[row].maps[head], densest)
                if row == shown[0] or head >= len(operators[shown[0]].heads):
                    axes.set_title(f"head {head}", fontsize=7, pad=3)
        figure.text(
            (left - 0.06) / width, 1 - (y + high / 2) / height, labels[row], ha="right", va="center", fontsize=7.5,
            parse_math=False,
        )  # fmt: skip
        y += high + _GAP
    scale = place(left + len(heads) * cell + 0.05, begin, 0.1, min(maps, 1.6))
    _draw_scale(figure, picture, scale, "kept of a block", has_denser=bool(densities.max() > densest))

    many = "" if (len(shown), len(heads)) == (len(operators), columns) else ", a selection"
    future = "; grey: the future" if any(operator.causal for operator in operators) else ""
    for text, at in (
        ("a   share kept of the connections that a head may look at", top),
        (f"b   connections kept in image {image}{many} (rows: queries; columns: keys{future})", begin),
    ):
        figure.text(0.15 / width, 1 - (at - 0.28) / height, text, fontsize=8.5, va="bottom", parse_math=False)
    title = f"{shortened(name)}: connections kept by each head"
    figure.text(0.15 / width, 1 - 0.18 / height, title, fontsize=11, va="top", parse_math=False)
    return figure


def _draw_shares(
    axes: Axes, operators: Sequence[OperatorKept], labels: Sequence[str], has_room: bool
) -> ScalarMappable:
    """Draw the share of every head as a cell, with its number if there is room for it."""
    columns = max(len(operator.heads) for operator in operators)
    shares = np.full((len(operators), columns), np.nan)
    for row, operator in enumerate(operators):
        shares[row, : len(operator.heads)] = [100 * head.of_allowed for head in operator.heads]
    darkest = min(100.0, 1.15 * float(np.nanmax(shares)))
    picture = axes.pcolormesh(shares, cmap=shades("#edf3f8"), vmin=0, vmax=darkest, edgecolors="white", linewidth=1)
    axes.invert_yaxis()
    for (row, column), share in np.ndenumerate(shares):
        if has_room and not np.isnan(share):
            axes.text(
                column + 0.5, row + 0.5, f"{share:.{1 if share >= 1 else 2}f}%", ha="center", va="center", fontsize=6.5,
                color="white" if share > 0.5 * darkest else "#222222",
            )  # fmt: skip
    axes.set_yticks([row + 0.5 for row in range(len(labels))], labels, fontsize=7.5, parse_math=False)
    heads = range(0, columns, 1 if has_room else -(-columns // 16))
    axes.set_xticks([head + 0.5 for head in heads], [f"head {head}" for head in heads], fontsize=7)
    axes.tick_params(length=0, pad=2, labelbottom=False, labeltop=True)
    axes.spines[:].set_visible(False)
    return picture


def _draw_map(axes: Axes, densities: Densities, densest: float) -> ScalarMappable:
    axes.set_facecolor(FUTURE)
    picture = axes.imshow(
        100 * densities, cmap=shades(), vmin=0, vmax=100 * densest, aspect="auto", interpolation="none"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#888888")
    return picture


def _draw_scale(figure: Figure, picture: ScalarMappable, axes: Axes, title: str, has_denser: bool = False) -> None:
    bar = figure.colorbar(picture, cax=axes, format="{x:.3g}%", extend="max" if has_denser else "neither")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.locator_params(axis="y", nbins=4)
    bar.set_label(title, fontsize=7)


def shades(lightest: str = "#ffffff") -> Colormap:
    """Return the colours from nothing to dark."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("kept", (lightest, *_SHADES))


def _spread(items: Sequence[int], most: int) -> list[int]:
    """Return at most so many items, the first and the last among them, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
