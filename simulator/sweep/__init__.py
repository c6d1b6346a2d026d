"""Design-space exploration: many runs from one file, on this machine or a cluster, kept in one dataset."""

from simulator.sweep.dataset import read_frame
from simulator.sweep.execute import Progress, Stop, carry_out, sweep
from simulator.sweep.file import Named, read_sweep

__all__ = ["Named", "Progress", "Stop", "carry_out", "read_frame", "read_sweep", "sweep"]
