"""Design-space exploration: many runs from one file, on this machine or a cluster, kept in one dataset."""

from simulator.sweep.dataset import read_frame
from simulator.sweep.difference import compare_frames, diff
from simulator.sweep.execute import Progress, Stop, batch, carry_out, sweep
from simulator.sweep.file import Named, read_sweep
from simulator.sweep.jobs import Batch, read_batch

__all__ = [
    "Batch",
    "Named",
    "Progress",
    "Stop",
    "batch",
    "carry_out",
    "compare_frames",
    "diff",
    "read_batch",
    "read_frame",
    "read_sweep",
    "sweep",
]
