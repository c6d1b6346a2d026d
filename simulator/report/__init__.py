"""What a sweep taught: fronts, sensitivity, roofline; as figures for notebooks, and as one page."""

from simulator.report import figures
from simulator.report.page import report_page
from simulator.report.pareto import hypervolume, pareto_front
from simulator.report.roofline import roofline
from simulator.report.sensitivity import correlation_ratio, sensitivity, sobol_indices
from simulator.report.study import Study, read_study

__all__ = [
    "Study",
    "correlation_ratio",
    "figures",
    "hypervolume",
    "pareto_front",
    "read_study",
    "report_page",
    "roofline",
    "sensitivity",
    "sobol_indices",
]
