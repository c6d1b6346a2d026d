"""Figures of a sweep, interactive ones of Plotly, from its dataset alone: for a notebook and for the page of a report.

    frame = read_frame("runs/space")
    figures.pareto(frame, "cycles", "energy_pj").show()

``units`` of the axes, such as ``{"dram.bandwidth": "B/s"}``, are not in the dataset; `read_study` takes them from the
sweep file. Points carry their row among the finished ones as ``customdata``; the page filters by it.
"""

from simulator.report.bars import one_at_a_time, variance
from simulator.report.parallel import parallel
from simulator.report.scatters import fronts_of_three, pareto, roofline

__all__ = ["fronts_of_three", "one_at_a_time", "parallel", "pareto", "roofline", "variance"]
