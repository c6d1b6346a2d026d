"""Tests run side by side, a process for each core: a library that multiplies matrices takes one thread in each."""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # read when NumPy or PyTorch is first imported
