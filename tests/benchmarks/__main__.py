"""Time plan, play and the whole command; print ratios against references measured in the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from simulator import load_arch, simulate
from simulator.accelerators.escalate import geometry, match, tile
from simulator.arch import Arch
from simulator.dataflow.basis_first import frame, lower
from simulator.hardware.bits import has_bit_gather, pack, popcount
from simulator.hardware.jit import kernel
from simulator.hardware.token_scheduler import TokenScheduler, schedule
from simulator.trace import Attention, Trace, save_trace
from tests.benchmarks import memory
from tests.benchmarks.networks import resnet18, vgg16
from tests.benchmarks.timing import best
from tests.benchmarks.transformers import bert_large

NO_WINDOW = {"channel_accumulation.look_ahead": "0", "channel_accumulation.offsets": "[]"}


@kernel
def bare(activation: Any, maps: Any) -> Any:
    """AND and count every activation word with every coefficient word: the least that matching can do."""
    total = np.uint64(0)
    for p in range(activation.shape[0]):
        for j in range(maps.shape[0]):
            for w in range(activation.shape[1]):
                total += popcount(activation[p, w] & maps[j, w])
    return total


def matched_words(trace: Trace, arch: Arch[Any]) -> list[tuple[Any, Any]]:
    """Return the words that ESCALATE matches for a trace: (P, W) of activations and (K·M, W) of coefficients."""
    pairs = []
    for operator in trace.operators:
        work = lower(operator)
        if work.mapping != "dense":
            mask = work.input_pixels(operator.tensors["input"].mask())
            pixels = frame(work, geometry(operator, arch.chip)).pixels(mask, range(work.channels))
            pairs.append((pack(pixels), pack(work.by_vector(work.weight.mask()))))
    return pairs


def plan(trace: Trace, arch: Arch[Any]) -> None:
    """Plan every operator from nothing."""
    for operator in trace.operators:
        tile(operator, match(operator, geometry(operator, arch.chip), False), arch.chip)


def command(trace: Path, arch: str = "escalate", **environment: str) -> tuple[float, float]:
    """Run the whole command in a process of its own; return seconds and peak MiB (Linux)."""
    script = (
        "import sys; from simulator.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, "-c", script, "run", arch, str(trace), "--out", f"{folder}/run", "--json"]
        start = time.perf_counter()
        done = subprocess.run(arguments, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        return time.perf_counter() - start, int(done.stderr.split()[-2]) / 1024


def without_bit_gather() -> dict[str, str]:
    """Return the settings under which Numba compiles for this processor less BMI2."""
    features = [f"{'+' if on and name != 'bmi2' else '-'}{name}" for name, on in get_host_cpu_features().items()]
    return {"NUMBA_CPU_NAME": get_host_cpu_name(), "NUMBA_CPU_FEATURES": ",".join(sorted(features))}


def report(what: str, measured: str, aim: str = "") -> None:
    """Print a line."""
    print(f"{what:<66}{measured:>18}   {aim}", flush=True)


@kernel
def visit(kept: Any) -> Any:
    """Visit every connection of a packed mask once: the least that a scheduler can do."""
    total = np.uint64(0)
    for row in range(kept.shape[0]):
        for w in range(kept.shape[1]):
            left = kept[row, w]
            while left:
                lowest = left & (~left + np.uint64(1))
                total += popcount(lowest - np.uint64(1))
                left ^= lowest
    return total


def attention() -> None:
    """Print what a layer of BERT-large costs on DOTA, and how that grows with the sequence."""
    arch, scheduler = load_arch("dota"), TokenScheduler(tokens=4, order="out_of_order")
    simulate(bert_large(512), arch)  # compile, or load what is compiled
    visit(schedule_input(bert_large(512)))
    print("\na layer of BERT-large on DOTA, 16 heads, 10 % of the keys of each row, every connection scheduled")
    for n in (512, 1024, 2048, 4096, 8192):
        trace = bert_large(n)
        kept = schedule_input(trace)
        pairs, words = int(np.bitwise_count(kept).sum(dtype=np.int64)), kept.size
        runs = 5 if n < 4096 else 2
        reference, scheduled = best(lambda k=kept: visit(k), runs), best(lambda k=kept: schedule(k, scheduler), runs)
        alone = Trace("attention", trace.operators[1:2])
        operator, whole = best(lambda t=alone: simulate(t, arch), runs), best(lambda t=trace: simulate(t, arch), runs)
        report(f"n = {n}: the layer, plan + play", f"{whole:.2f} s", "aim ≤ 3 s at 4096" if n == 4096 else "")
        report(
            "  its attention, per kept pair and word of 64 keys", f"{operator / (16 * (pairs + words)) * 1e9:.1f} ns"
        )
        report("  a head's schedule, over a bare visit of its connections", f"{scheduled / reference:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bert_large.safetensors"
        save_trace(bert_large(4096), file)
        times = [command(file, "dota") for _ in range(3)]
        report("whole command, n = 4096, warm (best of 3)", f"{min(t for t, _ in times):.2f} s")
        report("  peak memory", f"{max(m for _, m in times):.0f} MiB", "aim ≤ 1 GB")


def schedule_input(trace: Trace) -> Any:
    """Return the connections of the first head of a trace whose second operator is attention."""
    operator = trace.operators[1]
    assert isinstance(operator, Attention)
    return operator.kept(0, 0)


def main() -> None:
    """Print all benchmarks."""
    for limit in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[limit] = "1"
    convolution()
    attention()
    print()
    memory.main([])


def convolution() -> None:
    """Print what CNNs cost on ESCALATE."""
    window, plain = load_arch("escalate"), load_arch("escalate", NO_WINDOW)
    per_word = {}
    for trace in (resnet18(), vgg16()):
        words = matched_words(trace, window)
        count = sum(len(a) * len(c) * a.shape[1] for a, c in words)
        bare(*words[0])
        simulate(trace, window), plan(trace, plain)  # compile, or load what is compiled
        reference = best(lambda words=words: [bare(a, c) for a, c in words])
        planned, unwindowed = best(lambda t=trace: plan(t, window)), best(lambda t=trace: plan(t, plain))
        whole = best(lambda t=trace: simulate(t, window))
        per_word[trace.name] = planned / count
        print(f"\n{trace.name} at 224×224, {count / 1e6:.1f} M words matched, nothing sampled")
        report("bare AND-popcount pass over the same words", f"{reference * 1e3:.0f} ms")
        report("plan, with the window", f"{planned * 1e3:.0f} ms")
        report("  ratio to the bare pass", f"{planned / reference:.1f}", "aim ≤ 15")
        report("plan, without a window", f"{unwindowed * 1e3:.0f} ms")
        report("  ratio to the bare pass", f"{unwindowed / reference:.1f}", "aim ≤ 6")
        report("plan + play, one core, warm", f"{whole * 1e3:.0f} ms", "aim ≤ 1 s for ResNet-18")
    print()
    report(
        "seconds per matched word, VGG-16 over ResNet-18",
        f"{per_word['vgg16'] / per_word['resnet18']:.2f}",
        "aim ≤ 1.5",
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet18.safetensors"
        save_trace(resnet18(), file)
        command(file)
        times = [command(file) for _ in range(5)]
        report("whole command on ResNet-18, warm (best of 5)", f"{min(t for t, _ in times):.2f} s", "aim ≤ 3 s")
        report("  peak memory", f"{max(m for _, m in times):.0f} MiB", "aim ≤ 500 MB")
        first = command(file, NUMBA_CACHE_DIR=f"{folder}/cache")
        report("whole command, very first start (compilation)", f"{first[0]:.1f} s", "aim ≤ 25 s")
        report("  peak memory", f"{first[1]:.0f} MiB")
        if has_bit_gather():
            settings = {**without_bit_gather(), "NUMBA_CACHE_DIR": f"{folder}/portable"}
            script = (
                "from tests.benchmarks.__main__ import *\n"
                "trace, arch = resnet18(), load_arch('escalate')\n"
                "assert not has_bit_gather()\n"
                "plan(trace, arch); print(best(lambda: plan(trace, arch)))"
            )
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                check=True,
            )
            with_gather = best(lambda: plan(resnet18(), window))
            report("plan of ResNet-18 without BMI2, over with", f"{float(done.stdout) / with_gather:.2f}")


if __name__ == "__main__":
    main()
