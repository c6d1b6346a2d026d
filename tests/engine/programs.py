"""Programs and channels made by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

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


@st.composite
def programs(draw: st.DrawFn, largest: int, tiles: int = 6) -> Program:
    """A Program of two input tensors and one output, whose pieces begin anywhere and may be loaded again."""
    tiles = draw(st.integers(1, tiles))

    def counts(most: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(0, most), min_size=tiles, max_size=tiles)), np.int64)

    def stage(number: int) -> Stage:
        cycles = counts(draw(st.sampled_from((3, 40, 400))))
        states = np.zeros((tiles, len(STATES)), np.int64)
        states[:, 0] = cycles
        return Stage(f"stage {number}", cycles, {f"unit {number}": Unit(1, states)})

    def stream(name: str) -> Stream:
        return Stream(name, counts(6) * 64, counts(largest), 0)

    return Program(
        "operator", "mapping", tuple(stage(n) for n in range(draw(st.integers(1, 3)))),
        (stream("input"), stream("weight")), (stream("output"),), draw(st.integers(1, 3)), (), Macs(0, 0, 0), 1, {},
    )  # fmt: skip
