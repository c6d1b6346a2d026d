"""Time the DRAM controller, requests per second of several streams, and runs with it over runs with a plain channel.

Run alone: ``python -m tests.benchmarks.memory [MEMORY …]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from simulator import load_arch, load_trace, simulate
from simulator.hardware.dram_requests import Stream
from simulator.hardware.dram_timing import Dram, read_memory
from simulator.memory import DETAILED, SIMPLE
from simulator.trace import Trace
from tests.benchmarks.networks import resnet18
from tests.benchmarks.timing import best
from tests.benchmarks.transformers import bert_large

REQUESTS, PIECE, ROUNDS = 400_000, 50_000, 3
DEFAULT = ("ddr4_2400", "ddr4_3200", "lpddr4_2400_x32", "hbm2_8ch_il64")


def streams(line: int, capacity: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, addresses and writes: no stream is paced, all are as fast as the queues accept."""
    rng, count = np.random.default_rng(0), np.arange(REQUESTS)
    none = np.zeros(REQUESTS, np.bool_)
    yield "sequential reads", count * line, none
    three = (count % 3) * (capacity // 4) + count // 3 * line
    yield "two read streams, one written", three, count % 3 == 2
    yield "random reads", rng.integers(0, capacity // line, REQUESTS) * line, none
    yield "random, 1/3 writes", rng.integers(0, capacity // line, REQUESTS) * line, rng.random(REQUESTS) < 1 / 3


def seconds(memory: Dram, address: np.ndarray, write: np.ndarray) -> tuple[float, int]:
    """Return the time of the fastest round, fed in pieces, and the memory cycles that were simulated."""
    best, cycles, arrival = np.inf, 0, np.zeros(PIECE, np.int64)
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        stream = Stream(memory.rules)
        for first in range(0, REQUESTS, PIECE):
            stream.feed(arrival, address[first : first + PIECE], write[first : first + PIECE])
        cycles = stream.finish().cycles
        best = min(best, time.perf_counter() - begin)
    return best, cycles


def command(arch: str, trace: str, memory: str) -> None:
    """Run the whole command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("run", arch, trace, "--memory", memory, "--out", os.path.join(folder, "run"))
        subprocess.run([sys.executable, "-m", "simulator", *arguments], check=True, capture_output=True)


def runs() -> None:
    """Print what whole runs take with a detailed memory, over what they take with a plain channel."""
    works: list[tuple[str, Trace, bool]] = [
        ("escalate", load_trace("digits_cnn"), True),
        ("dota", load_trace("char_transformer"), True),
        ("escalate", resnet18(), False),
        ("dota", bert_large(512), False),
    ]
    for chip, trace, shipped in works:
        arch, took, cycles = load_arch(chip), {}, {}
        for memory in (SIMPLE, DETAILED):
            cycles[memory] = simulate(trace, arch, memory=memory).cycles  # compiles
        for memory in (SIMPLE, DETAILED):
            took[memory] = best(lambda m=memory, a=arch, t=trace: simulate(t, a, memory=m))
        line = f"{took[DETAILED] / took[SIMPLE]:.2f} in process ({took[SIMPLE]:.2f} → {took[DETAILED]:.2f} s)"
        if shipped:
            whole = {m: best(lambda m=m, c=chip, t=trace.name: command(c, t, m), 3) for m in (SIMPLE, DETAILED)}
            line += f", {whole[DETAILED] / whole[SIMPLE]:.2f} the whole command (aim ≤ 3)"
        print(f"{trace.name} on {chip}, time with a detailed memory over a plain channel: {line}")
        print(f"{'':8}cycles {cycles[SIMPLE]:,} → {cycles[DETAILED]:,}", flush=True)


def main(names: list[str]) -> None:
    """Print a line per memory and stream, and per run."""
    for name in names or list(DEFAULT):
        memory = read_memory(name).chip
        seconds(memory, np.zeros(REQUESTS, np.int64), np.zeros(REQUESTS, np.bool_))  # compiles
        for stream, address, write in streams(memory.burst, memory.capacity):
            took, cycles = seconds(memory, address, write)
            share = memory.at_least(REQUESTS * memory.burst, 10**12 // memory.timing.tCK) / cycles
            print(
                f"{name:16} {stream:30} {REQUESTS / took / 1e6:5.2f} M requests/s, "
                f"{cycles / took / 1e6:6.1f} M cycles/s, {share:4.0%} of the peak bandwidth",
                flush=True,
            )
    runs()


if __name__ == "__main__":
    main(sys.argv[1:])
