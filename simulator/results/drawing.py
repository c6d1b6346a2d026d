"""What all figures share: their files, and names on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulator.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".pdf", ".png")
LONGEST_NAME = 32
DPI = 200


def require_figure(path: Path) -> None:
    """Refuse a path that does not end as a figure does.

    Raises:
        InputError: another suffix.

    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: expected a figure that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not '{path.suffix}'"
        )


def save_figure(figure: Figure, path: Path, suffix: str) -> None:
    """Write a figure in the format of ``suffix`` to ``path``, which may end otherwise: always as the same bytes."""
    from matplotlib import rc_context

    if suffix.lower() == ".png":
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure)
        for image in (image for axes in figure.axes for image in axes.images):
            image.set_interpolation("antialiased")  # pixels for which there is no room are blended, not left out
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})
        return
    if suffix.lower() == ".pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        with rc_context({"pdf.fonttype": 42}):  # text stays text
            FigureCanvasPdf(figure)
            figure.savefig(path, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skipper"}):  # text stays text; no random identifiers
        FigureCanvasSVG(figure)
        figure.savefig(path, format="svg", metadata={"Date": None})


def shortened(name: str) -> str:
    """Keep the end of a long name, in which operators differ."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
