"""Programs and channels made by hand."""

from __future__ import annotations

import numpy as np

from simulator.hardware.dram import SimpleChannel
from simulator.program import STATES, Macs, Program, Stage, Stream, Unit


def program(loads: list[int], stages: list[list[int]], stores: list[int], depth: int) -> Program:
    """Make a Program whose transfers and stages take the cycles given (one byte a cycle)."""

    def stage(number: int, cycles: list[int]) -> Stage:
        states = np.zeros((len(cycles), len(STATES)), np.int64)
        states[:, 0] = cycles
        return Stage(f"stage {number}", np.array(cycles), {f"unit {number}": Unit(1, states)})

    def stream(name: str, sizes: list[int]) -> Stream:
        return Stream(name, np.array(sizes), np.cumsum(sizes) - sizes, sum(sizes))

    return Program(
        "operator", "mapping", tuple(stage(*pair) for pair in enumerate(stages)),
        (stream("input", loads),), (stream("output", stores),), depth, (), Macs(0, 0, 0), 1, {},
    )  # fmt: skip


def channel(delay: int) -> SimpleChannel:
    """One byte and one cycle: 1 GB/s at 1 GHz, ``delay`` ns of latency."""
    return SimpleChannel(bandwidth=10**9, latency=delay * 1000, burst=1, energy_pj_per_bit=0)
