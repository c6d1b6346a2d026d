"""The figure stays readable and within its edges."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from simulator.accelerators import load_arch
from simulator.results.figure import cycles_figure, draw_cycles
from simulator.results.result import Result
from simulator.simulation import simulate
from simulator.trace import load_trace


@pytest.fixture(scope="module")
def result(small_trace: Path) -> Result:
    return simulate(load_trace(small_trace), load_arch("escalate"))


@pytest.mark.parametrize("operators", [1, 5, 60])
def test_nothing_overlaps_or_leaves_the_page(result: Result, operators: int) -> None:
    many = dataclasses.replace(result, operators=(result.operators * 12)[:operators])
    figure = cycles_figure(many)
    FigureCanvasAgg(figure).draw()
    cycles, shares = figure.axes
    page, legend, panels = figure.bbox, figure.legends[0].get_window_extent(), (cycles, shares)
    assert page.x0 <= legend.x0 < legend.x1 <= page.x1
    assert 0 <= legend.y0 < legend.y1 < min(axes.xaxis.get_tightbbox().y0 for axes in panels)
    title = figure.texts[0].get_window_extent()
    assert max(axes.bbox.y1 for axes in panels) < title.y0 < title.y1 <= page.y1
    assert cycles.get_tightbbox().x0 >= 0
    assert shares.get_tightbbox().x1 <= page.x1
    labels = [axes.xaxis.get_tightbbox() for axes in panels]
    assert labels[0].x1 < labels[1].x0
    names = [label.get_window_extent() for label in cycles.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(names))
    assert [label.get_text() for label in cycles.get_yticklabels()] == [o.name for o in many.operators]


def test_bars_are_the_stalls_of_the_critical_unit(result: Result) -> None:
    shares = cycles_figure(result).axes[1]
    for row, operator in enumerate(result.operators):
        widths = [bars[row].get_width() for bars in shares.containers]
        assert widths == pytest.approx([100 * cycles / operator.cycles for cycles in operator.stalls.values()])
    bound = shares.collections[0].get_segments()
    assert [segment[0][0] for segment in bound] == pytest.approx(
        [100 * operator.bound[0] / operator.cycles for operator in result.operators]
    )


def test_long_and_odd_names_keep_their_end(result: Result, tmp_path: Path) -> None:
    program = dataclasses.replace(
        result.operators[0].program, operator=r"model.encoder.stage.$\x{" + "block." * 9 + "conv"
    )
    odd = dataclasses.replace(result, operators=(dataclasses.replace(result.operators[0], program=program),))
    draw_cycles(odd, tmp_path / "cycles.svg")
    drawn = (tmp_path / "cycles.svg").read_text("utf-8")
    assert f"…{program.operator[-31:]}<" in drawn


def test_the_same_run_gives_the_same_bytes(result: Result, tmp_path: Path) -> None:
    for name in "ab":
        draw_cycles(result, tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
