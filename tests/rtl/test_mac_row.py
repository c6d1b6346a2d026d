"""The MAC row in RTL: when each T enters, begins and ends, and all partial sums, as of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from simulator.hardware.mac_row import MacRow, multiply_accumulate
from simulator.hardware.pe_array import _hand_over
from tests.rtl.bench import Builds, Change, Numbers, Playable, Response, Words, join, needs_verilator

pytestmark = needs_verilator

SOURCES = ("mac_row.sv", "bench_mac_row.sv")


@dataclass(frozen=True)
class Setting:
    """A MAC row before images of one size, with one padding on all sides."""

    kernel: tuple[int, int]
    multipliers: int
    stride: int
    padding: int
    image: tuple[int, int]
    queue: int

    @property
    def outputs(self) -> tuple[int, int]:
        rows, columns = (
            (size + 2 * self.padding - taps) // self.stride + 1
            for size, taps in zip(self.image, self.kernel, strict=True)
        )
        return rows, columns

    @property
    def cycles(self) -> int:
        """Cycles that a T keeps the row busy."""
        row = MacRow(multipliers=self.multipliers, line_buffer=4096, line_banks=4, partial_sum_bits=32)
        return row.cycles(self.kernel)

    def parameters(self) -> dict[str, int | str]:
        return {
            "HEIGHT": self.kernel[0], "WIDTH": self.kernel[1], "MULTIPLIERS": self.multipliers,
            "STRIDE": self.stride, "PADDING": self.padding, "QUEUE": self.queue,
            "OUT_ROWS": self.outputs[0], "COLUMNS": self.outputs[1],
        }  # fmt: skip

    def read_after(self, pixel_row: int) -> list[int]:
        """Output rows that are finished with a row of pixels; -1: that no pixel reaches before."""
        ends = np.arange(self.outputs[0]) * self.stride - self.padding + self.kernel[0] - 1
        return np.flatnonzero(np.clip(ends, -1, self.image[0] - 1) == pixel_row).tolist()


SETTINGS = {
    "3x3_w9": Setting((3, 3), 9, 1, 1, (7, 8), 2),
    "3x3_w4_stride_2": Setting((3, 3), 4, 2, 1, (8, 9), 1),
    "5x3_w2": Setting((5, 3), 2, 1, 2, (6, 6), 3),
    "2x1_w1_stride_4": Setting((2, 1), 1, 4, 0, (9, 9), 2),
}


@dataclass(frozen=True)
class Image:
    """An image of T's, many of them absent, and the cycles that the unit before takes for each."""

    basis: Numbers
    plane: Numbers
    cycles: Numbers


def random_images(seed: int, count: int, setting: Setting) -> list[Image]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        plane = rng.integers(-(1 << 20), 1 << 20, setting.image)
        plane[rng.random(setting.image) >= rng.choice([0, 0.3, 0.7, 1])] = 0
        cycles = rng.integers(1, rng.choice([2, 3, 2 * setting.cycles + 2]), setting.image)
        images.append(Image(rng.integers(-128, 128, setting.kernel), plane, cycles))
    return images


Times = list[tuple[int, int, int]]
Results = tuple[list[list[Times]], list[list[list[int]]]]
"""Per image and row of pixels, of each T: the instants at which it enters the queue, begins and ends, from the row's
begin; and per image and output row: its partial sums."""


def stimulus(setting: Setting, images: list[Image]) -> tuple[Words, list[int], list[int]]:
    """All that is offered; where each row of pixels begins; and how many T's it has."""
    table: list[tuple[int, ...]] = []
    bases: list[Numbers] = []
    begins, counts = [], []
    for image in images:
        for row in range(-1, setting.image[0]):
            if row >= 0:
                begins.append(len(table))
                columns = np.flatnonzero(image.plane[row]).tolist()
                counts.append(len(columns))
                for column in columns:
                    table += [(0, 0, 0, 0, 0, row, 0)] * int(image.cycles[row, column] - 1)
                    table.append((1, 0, 0, int(image.plane[row, column]), column, row, 0))
                table.append((0, 1, 0, 0, 0, row, 0))
            table += [(0, 1, 1, 0, 0, max(row, 0), y) for y in setting.read_after(row)]
        bases += [image.basis.reshape(-1)] * (len(table) - len(bases))
    fields = list(zip(np.array(table).T, (1, 1, 1, 32, 16, 16, 16), strict=True))
    return join([*fields, (np.array(bases), 8)]), begins, counts


def played(bench: Playable, setting: Setting, images: list[Image]) -> Results:
    words, begins, counts = stimulus(setting, images)
    response = Response(bench.play(words, 20 * len(words) + 100))
    ready, _, *events, reads = (response.take(1) for _ in range(6))
    sums = response.take(32, setting.outputs[1], signed=True).reshape(len(ready), -1)
    # A word is offered from the cycle after the one before it was taken.
    offered = np.concatenate(([0], np.flatnonzero(ready) + 1))[begins]
    cycles = np.stack([np.flatnonzero(event) + 1 for event in events], axis=1)
    ends = np.cumsum(counts)
    times = [
        [tuple(instants) for instants in (cycles[end - count : end] - start).tolist()]
        for start, end, count in zip(offered, ends, counts, strict=True)
    ]
    height = setting.image[0]
    rows = sums[np.flatnonzero(reads)].reshape(len(images), *setting.outputs)
    return [times[first : first + height] for first in range(0, len(times), height)], rows.tolist()


def times_by_kernel(setting: Setting, cycles: list[int]) -> Times:
    finish, mac_finish = np.zeros(1, np.int32), np.zeros(1, np.int32)
    started = np.zeros((setting.queue, 1), np.int32)
    times = []
    for i, spent in enumerate(cycles):
        finish += spent
        slot = started[i % setting.queue]
        _hand_over(setting.cycles, slot, finish, mac_finish)
        times.append((int(finish[0]), int(slot[0]), int(mac_finish[0])))
    return times


def by_kernels(setting: Setting, images: list[Image]) -> Results:
    times, planes = [], []
    for image in images:
        rows, columns = np.nonzero(image.plane)
        output = np.zeros((1, *setting.outputs), np.int64)
        multiply_accumulate(
            image.plane[rows, columns][None, None], rows, columns, image.basis[None, None],
            (setting.stride,) * 2, (setting.padding,) * 2, (1, 1), output,
        )  # fmt: skip
        planes.append(output[0].tolist())
        times.append([
            times_by_kernel(setting, cycles[values != 0].tolist())
            for values, cycles in zip(image.plane, image.cycles, strict=True)
        ])  # fmt: skip
    return times, planes


@pytest.mark.parametrize("name", SETTINGS)
def test_random_images(name: str, builds: Builds) -> None:
    setting = SETTINGS[name]
    bench = builds.bench(SOURCES, setting.parameters())
    images = random_images(14, 200, setting)
    times, sums = played(bench, setting, images)
    expected_times, expected_sums = by_kernels(setting, images)
    assert times == expected_times
    assert sums == expected_sums


CHANGES = {
    "a turn too few": ("turn == TURN'(TURNS - 1)", "turn == TURN'(TURNS - 2)"),
    "a queue full a result early": ("waiting != WAITING'(QUEUE) || free", "waiting != WAITING'(QUEUE)"),
    "padding forgotten": ("above = (PLACE+1)'(row) + (PLACE+1)'(PADDING)", "above = (PLACE+1)'(row)"),
    "lines not cleared": ("reset || (clear && read_line[line])", "reset"),
    "weights without sign": ("factor * weight", "factor * signed'({1'b0, weight})"),
}
BROKEN: dict[str, Change] = {name: ("mac_row.sv", *change) for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_design_is_caught(name: str, builds: Builds) -> None:
    setting = SETTINGS["3x3_w4_stride_2"]
    images = random_images(15, 20, setting)
    broken = builds.bench(SOURCES, setting.parameters(), BROKEN[name])
    assert played(broken, setting, images) != by_kernels(setting, images)
