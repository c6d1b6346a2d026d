"""The figure of masks: where the zeros of a trace's tensors lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simulator.results.drawing import shortened
from simulator.results.kept_figure import FUTURE, shades
from simulator.results.masks import MaskMap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4
_CELL, _HIGH, _TEXT, _MARGIN, _TOP = 2.3, 1.9, 0.62, 0.15, 0.42
"""Inches: width of a column with its gap, height of a map, of the text above it, of the margin, of the title."""


def masks_figure(name: str, maps: Sequence[MaskMap]) -> Figure:
    """Return a panel for each map, white where all is zero, darkest where the most of a block is not.

    Args:
        name: of the trace.
        maps: one or more, see `mask_maps`.

    """
    from matplotlib.figure import Figure

    columns = max(min(ACROSS, len(maps)), 2)
    lines = -(-len(maps) // columns)
    width = 2 * _MARGIN + columns * _CELL
    height = _TOP + lines * (_HIGH + _TEXT) + _MARGIN
    figure = Figure(figsize=(width, height))
    for place, drawn in enumerate(maps):
        line, column = divmod(place, columns)
        x, y = _MARGIN + column * _CELL, _TOP + line * (_HIGH + _TEXT) + _TEXT - 0.1
        axes = figure.add_axes(
            (x / width, 1 - (y + _HIGH) / height, (_CELL - 2 * _MARGIN) / width, _HIGH / height), facecolor=FUTURE
        )
        densest = float(np.nanmax(drawn.blocks))
        axes.imshow(
            drawn.blocks, cmap=shades(), vmin=0, vmax=densest or 1.0, aspect="auto", interpolation="none"
        )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(linewidth=0.5, color="#888888")
        lines_of_text = (
            (shortened(drawn.tensor), 7.5, 0.33),
            (f"{drawn.rows:,} × {drawn.columns:,} ({drawn.axes})", 6.5, 0.19),
            (f"{drawn.density:.1%} non-zero{_darkest(drawn, densest)}", 6.5, 0.05),
        )
        for text, size, above in lines_of_text:
            figure.text(x / width, 1 - (y - above) / height, text, fontsize=size, va="bottom", parse_math=False)
    title = f"{shortened(name)}: where the non-zeros lie"
    figure.text(_MARGIN / width, 1 - 0.18 / height, title, fontsize=11, va="top", parse_math=False)
    return figure


def _darkest(drawn: MaskMap, densest: float) -> str:
    is_of_blocks = drawn.blocks.size < drawn.rows * drawn.columns
    return f"; darkest: {densest:.0%} of a block" if is_of_blocks else ""
