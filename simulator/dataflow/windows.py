"""The windows of a convolution: which input pixels they cover, and where the products of a pixel land."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.program import Counts
from simulator.trace import Conv2d


@dataclass(frozen=True)
class Axis:
    """A convolution along one axis: ``outputs`` windows of ``kernel`` taps over ``size`` positions."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def outputs(self) -> int:
        """Number of windows."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def touched(self, outputs: range) -> Counts:
        """Return the positions that the windows ``outputs`` cover, ascending, padding left out."""
        starts = np.arange(outputs.start, outputs.stop) * self.stride - self.padding
        positions = np.add.outer(starts, np.arange(self.kernel) * self.dilation)
        covered = np.zeros(self.size, np.bool_)
        covered[positions[(positions >= 0) & (positions < self.size)]] = True
        return np.flatnonzero(covered)

    def inside(self) -> Counts:
        """Return the windows of which some tap lies inside, padding left out."""
        starts = np.arange(self.outputs) * self.stride - self.padding
        positions = np.add.outer(starts, np.arange(self.kernel) * self.dilation)
        return np.flatnonzero(((positions >= 0) & (positions < self.size)).any(axis=1))

    def meetings(self) -> NDArray[np.float64]:
        """Return which positions each tap meets in some window: ones in (kernel, size), padding left out."""
        starts = np.arange(self.outputs) * self.stride - self.padding
        positions = np.add.outer(np.arange(self.kernel) * self.dilation, starts)
        inside = (positions >= 0) & (positions < self.size)
        meetings = np.zeros((self.kernel, self.size))
        meetings[np.nonzero(inside)[0], positions[inside]] = 1
        return meetings

    @property
    def open_windows(self) -> int:
        """Windows at most that one position lies in or between the taps of: ⌈((kernel − 1)·dilation + 1) ÷ stride⌉."""
        return -(-((self.kernel - 1) * self.dilation + 1) // self.stride)

    @property
    def landing(self) -> int:
        """Pairs of a tap and a window that meet inside the image."""
        return int(self.meetings().sum())


def axes_of(operator: Conv2d) -> tuple[Axis, Axis]:
    """Return the vertical and the horizontal axis of a convolution."""
    vertical, horizontal = (
        Axis(*along)
        for along in zip(
            operator.input.shape[2:],
            operator.kernel_size,
            operator.stride,
            operator.padding,
            operator.dilation,
            strict=True,
        )
    )
    return vertical, horizontal


@dataclass(frozen=True, eq=False)
class Segment:
    """A span of output columns that is worked on at once, and the input columns that it needs."""

    outputs: range
    columns: Counts


@dataclass(frozen=True, eq=False)
class Frame:
    """The input pixels that are streamed, image by image, segment by segment, row by row.

    A *plane* is one segment of one image. Rows and columns that no window covers are left out.
    """

    images: int
    vertical: Axis
    horizontal: Axis
    columns_at_once: int
    """Output columns of a segment at most."""

    @cached_property
    def rows(self) -> Counts:
        """Input rows that are streamed."""
        return self.vertical.touched(range(self.vertical.outputs))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Spans of columns, left to right."""
        width, step = self.horizontal.outputs, self.columns_at_once
        spans = [range(q, min(q + step, width)) for q in range(0, width, step)]
        return tuple(Segment(span, self.horizontal.touched(span)) for span in spans)

    @cached_property
    def planes(self) -> tuple[tuple[int, Segment], ...]:
        """(image, segment) of each plane, in order."""
        return tuple((image, segment) for image in range(self.images) for segment in self.segments)

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the half-open range of ``rows`` that output rows first … last - 1 need."""
        needed = self.vertical.touched(range(first, last))
        if not needed.size:
            return 0, 0
        low, high = np.searchsorted(self.rows, (needed[0], needed[-1]))
        return int(low), int(high) + 1

    def pixels(self, array: NDArray[Any], channels: range) -> NDArray[Any]:
        """Pick the pixels that are streamed, in order: (N, H, W, C) → (P, channels)."""
        parts = [
            array[image][np.ix_(self.rows, segment.columns)][..., channels.start : channels.stop]
            for image, segment in self.planes
        ]
        return np.concatenate([part.reshape(-1, len(channels)) for part in parts])

    @cached_property
    def starts(self) -> Counts:
        """Where each row of each plane begins among the pixels: (planes · rows + 1,)."""
        widths = [len(segment.columns) for _, segment in self.planes]
        return cumulative(np.repeat(np.array(widths, np.int64), len(self.rows)))

    def per_row(self, of_pixels: Counts) -> Counts:
        """Add a quantity of each pixel up over rows: (P,) → (planes, rows)."""
        total = cumulative(of_pixels)
        starts = self.starts
        return (total[starts[1:]] - total[starts[:-1]]).reshape(len(self.planes), len(self.rows))


def cumulative(sizes: Counts) -> Counts:
    """Return running sums along the last axis, from 0: (…, n) → (…, n + 1)."""
    return np.concatenate((np.zeros((*sizes.shape[:-1], 1), np.int64), np.cumsum(sizes, axis=-1)), axis=-1)
