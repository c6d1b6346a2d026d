"""Traces made of other traces: some of the operators, some of the images, several as one, pruned."""

from simulator.edit.convert import Selection, convert_traces
from simulator.edit.merge import merge
from simulator.edit.prune import Pruning, prune
from simulator.edit.samples import image_count, take_samples
from simulator.edit.select import select

__all__ = ["Pruning", "Selection", "convert_traces", "image_count", "merge", "prune", "select", "take_samples"]
