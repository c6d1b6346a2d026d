"""The same work through several chips, at resources made equal."""

from simulator.compare.comparison import Comparison, Entry, compare
from simulator.compare.resources import NORMALISATIONS, Equalised, equalise

__all__ = ["NORMALISATIONS", "Comparison", "Entry", "Equalised", "compare", "equalise"]
