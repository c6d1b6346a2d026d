"""Tensors go to a file as they come: extraction needs hardly more memory than the model's own run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.extract.spool import Spool
from simulator.trace import Linear, Trace, ValueTensor

pytest.importorskip("torch", reason="needs PyTorch: pip install 'skipper-simulator[torch]'")

PEAK = r"""
import re, sys
import numpy, torch
from pathlib import Path
from torch import nn
import simulator.extract.run
from simulator.extract import capture
from simulator.trace import save_trace

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

torch.set_num_threads(1)
torch.manual_seed(0)
capture(nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 8, 8))  # what PyTorch imports at first, SymPy too, is no tensor
before = peak()
layers = [nn.Conv2d(3, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU()]
for _ in range(8):
    layers += [nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()]
layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(768, 2000), nn.Linear(2000, 2000)]
model = nn.Sequential(*layers).eval()
data = torch.randn(4, 3, 224, 224)
if sys.argv[1] == "run":
    with torch.no_grad():
        model(data)
else:
    found = capture(model, data, folder=Path(sys.argv[2]))
    save_trace(found.trace, Path(sys.argv[2]) / "trace.safetensors")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which tells a process' peak memory")
def test_peak_memory(tmp_path):
    def peak(what: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, what, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True
        )
        return float(done.stdout)

    model, extraction = peak("run"), peak("extract")
    held = (tmp_path / "trace.safetensors").stat().st_size / 2**20
    assert held > 0.4 * model  # so much would not go unnoticed
    assert extraction <= 1.25 * model, f"{extraction:.0f} MiB for a run that takes {model:.0f}"


def test_a_spool_gives_back_what_it_was_given(tmp_path):
    spool = Spool(tmp_path)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-100, 100, shape).astype(dtype) for shape, dtype in (((3, 4), "i1"), ((5,), "<i2"))]
    stored = [spool.write([a[:2], a[2:]], a.shape, a.dtype) for a in arrays]
    taken_back = spool.write([arrays[0]], (3, 4), np.dtype("i1"))
    spool.drop_last(taken_back)
    last = spool.write([arrays[1] * 2], (5,), np.dtype("<i2"))
    for array, back in zip([*arrays, arrays[1] * 2], [*stored, last], strict=True):
        assert back.read().dtype == array.dtype
        assert np.array_equal(back.read(), array)
    assert np.array_equal(spool.reshaped(stored[0], (2, 6)).read(), arrays[0].reshape(2, 6))
    assert list(tmp_path.iterdir()) == []


def test_a_trace_in_a_spool_is_not_handed_to_another_process():
    spool = Spool()
    stored = spool.write([np.ones((2, 2), "i1")], (2, 2), np.dtype("i1"))
    trace = Trace("spooled", (Linear("linear", ValueTensor(stored), ValueTensor(stored)),))
    with pytest.raises(InputError, match="save_trace it"):
        pickle.dumps(trace)
