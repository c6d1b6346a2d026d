"""Figures: what they show, what their axes are called, how numbers are written."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.report import figures, roofline, sensitivity
from simulator.report.quantities import axes_of, objectives_of, quantity, scaled, shown
from simulator.report.scatters import fronts
from simulator.report.style import hovers
from tests.report.sweeps import AXES, grid, many

UNITS = {"dram.bandwidth": "B/s", "buffer.size": "B"}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return grid(("alpha", "beta"), ("digits", "resnet"))


def points(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == "markers" and trace.customdata is not None]


def test_a_front_is_drawn_through_points_that_none_beats(frame: pd.DataFrame) -> None:
    figure = figures.pareto(frame, "cycles", "area_mm2", UNITS)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == len(points(figure)) == 4
    assert sum(len(trace.x) for trace in points(figure)) == len(frame)
    for line, trace in zip(lines, points(figure), strict=True):
        assert list(line.x) == sorted(line.x)
        assert list(line.y) == sorted(line.y, reverse=True)
        assert set(zip(line.x, line.y, strict=True)) <= set(zip(trace.x, trace.y, strict=True))
        for x, y in zip(trace.x, trace.y, strict=True):
            assert any(a <= x and b <= y for a, b in zip(line.x, line.y, strict=True))
    assert figure.layout.xaxis.title.text == "time (million cycles)"
    assert figure.layout.yaxis.title.text == "area (mm²)"
    colours = {trace.name: trace.marker.color for trace in points(figure)}
    assert colours["alpha · digits"] == colours["alpha · resnet"] != colours["beta · digits"]


def test_a_label_says_parameters_and_results(frame: pd.DataFrame) -> None:
    text = points(figures.pareto(frame, units=UNITS))[0].text[0]
    assert "dram.bandwidth: <b>1 GB/s</b><br>buffer.size: <b>8 KiB</b>" in text
    assert re.search(r"energy: <b>[\d.]+ µJ</b>", text)
    assert "bound by: <b>dram</b>" in text


def test_names_are_no_markup() -> None:
    frame = grid(axes={"mode": ["<b>rows</b>", "columns"]})
    assert "mode: <b>&lt;b&gt;rows&lt;/b&gt;</b>" in hovers(frame)[0]


def test_fewer_points_are_drawn_below_the_front_of_all() -> None:
    frame = many(200)
    whole, few = (figures.pareto(frame, rows=rows) for rows in (None, [3, 5, 8]))
    assert sorted(row for trace in points(few) for row in trace.customdata) == [3, 5, 8]
    assert [list(trace.x) for trace in few.data if trace.mode == "lines"] == [
        list(trace.x) for trace in whole.data if trace.mode == "lines"
    ]


def test_points_on_the_front_of_three_have_the_third_as_colour(frame: pd.DataFrame) -> None:
    figure = figures.fronts_of_three(frame)
    grey, *coloured = points(figure)
    assert sum(len(trace.x) for trace in coloured) == fronts(frame, ["cycles", "energy_pj", "area_mm2"]).sum()
    assert len(grey.x) + sum(len(trace.x) for trace in coloured) == len(frame)
    assert figure.layout.coloraxis.colorbar.title.text == "area (mm²)"


def test_no_point_lies_above_its_roof(frame: pd.DataFrame) -> None:
    found = roofline(frame)
    assert (found["macs_per_s"] <= found["roof"] * (1 + 1e-12)).all()
    assert found["intensity"].to_numpy() == pytest.approx(20)
    figure = figures.roofline(frame)
    assert figure.layout.xaxis.title.text == "operational intensity (performed MACs per DRAM byte)"
    assert figure.layout.yaxis.title.text == "performed work (TMAC/s)"
    labels = {text for trace in figure.data if trace.mode == "lines+text" for text in trace.text} - {""}
    assert {"compute 1.6 TMAC/s", "compute 12.8 TMAC/s", "DRAM 10 GB/s", "DRAM 160 GB/s"} <= labels
    assert len(labels) == 7


def test_of_many_ceilings_the_least_and_the_greatest_are_drawn() -> None:
    figure = figures.roofline(many(300))
    assert sum("compute" in "".join(trace.text) for trace in figure.data if trace.mode == "lines+text") == 2


def test_parallel_coordinates_have_every_axis_that_varies_and_every_objective(frame: pd.DataFrame) -> None:
    (trace,) = figures.parallel(frame, units=UNITS).data
    assert [each.name for each in trace.dimensions] == ["chip", "work", *AXES, "cycles", "energy_pj", "area_mm2"]
    assert list(trace.dimensions[3].ticktext) == ["1 GB/s", "4 GB/s", "16 GB/s"]
    assert {len(each.values) for each in trace.dimensions} == {len(frame)}
    time = trace.dimensions[5]
    np.testing.assert_allclose(10 ** np.array(time.values), frame["cycles"] / 1e6, rtol=1e-4)


def test_points_of_which_something_is_unknown_have_their_place_below() -> None:
    frame = grid(("alpha", "beta"))
    frame.loc[frame["chip"] == "alpha", "area_mm2"] = np.nan
    area = figures.parallel(frame).data[0].dimensions[-1]
    assert area.ticktext[0] == "–"
    below = [value == pytest.approx(area.tickvals[0], rel=1e-4) for value in area.values]
    assert below == (frame["chip"] == "alpha").tolist()
    assert area.range[0] < area.tickvals[0] < min(frame["area_mm2"].dropna())


def test_sensitivity_is_drawn_per_objective(frame: pd.DataFrame) -> None:
    table = sensitivity(frame)
    alone = figures.one_at_a_time(table, "alpha", "digits", UNITS)
    assert [alone.layout[f"xaxis{n}"].title.text for n in ("", 2, 3)] == [
        "time ÷ least (×)", "energy ÷ least (×)", "area ÷ least (×)",
    ]  # fmt: skip
    shares = figures.variance(table, "alpha", "digits")
    assert {trace.name for trace in shares.data} == {"alone (first order)", "with interactions (total)"}
    assert sum(shares.data[-1].x) == pytest.approx(100, abs=1e-3)
    assert "of 4 points" in "".join(alone.data[0].customdata)


def test_points_that_have_no_neighbours_are_not_compared() -> None:
    frame = pd.DataFrame([*grid().iloc[[0, 7, 14]].to_dict("records")])
    figure = figures.one_at_a_time(sensitivity(frame), "alpha", "digits")
    assert sum(note.text == "nothing to compare" for note in figure.layout.annotations) == 9


def test_time_is_seconds_where_clocks_differ() -> None:
    frame = grid(("alpha", "beta"))
    assert objectives_of(frame) == ("cycles", "energy_pj", "area_mm2")
    frame.loc[frame["chip"] == "beta", "seconds"] /= 2
    assert objectives_of(frame, ("seconds", "dram_bytes")) == ("seconds", "energy_pj", "area_mm2", "dram_bytes")
    frame["area_mm2"] = None
    assert objectives_of(frame) == ("seconds", "energy_pj")


def test_axes_are_what_stands_between_the_work_and_the_status() -> None:
    assert axes_of(grid()) == list(AXES)
    assert axes_of(pd.DataFrame({"cycles": [1]})) == []


@pytest.mark.parametrize(
    ("value", "column", "unit", "text"),
    [
        (65536.0, "a", "B", "64 KiB"), (1000.0, "a", "B", "1 kB"), (98304.0, "a", "B", "96 KiB"),
        (16e9, "a", "B/s", "16 GB/s"), (800e6, "a", "Hz", "800 MHz"), (12e-9, "a", "s", "12 ns"), (2.0, "a", "", "2"),
        (0.35, "a", "", "0.35"), ("rows", "a", "", "rows"), (None, "a", "", "–"), (math.nan, "area_mm2", "", "–"),
        (59266, "cycles", "", "59,266 cycles"), (3.28056e7, "energy_pj", "", "32.81 µJ"), (0.0, "seconds", "", "0 s"),
        (2.662022, "area_mm2", "", "2.662 mm²"), (0.288754, "utilization", "", "28.9 %"),
        (999.96, "a", "B/s", "1 kB/s"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_readers_want_them(value: Any, column: str, unit: str, text: str) -> None:
    assert shown(value, quantity(column, {"a": unit})) == text


def test_axes_are_in_a_unit_that_suits_their_values() -> None:
    for column, values, title in (
        ("cycles", [4e6, 1e5], "time (million cycles)"), ("seconds", [2e-5], "time (µs)"),
        ("energy_pj", [3e7], "energy (µJ)"), ("dram_bytes", [65536, 1 << 21], "DRAM traffic (MiB)"),
        ("dram_bytes", [1500], "DRAM traffic (kB)"), ("area_mm2", [2e6], "area (mm²)"),
    ):  # fmt: skip
        scale, found = scaled(np.array(values, float), quantity(column))
        assert found == title
        assert scale[0] / values[0] == pytest.approx(scale[-1] / values[-1])
