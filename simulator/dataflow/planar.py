"""Planar tiling (SCNN, section 3): the plane is cut into tiles, one for each PE; all channels of a tile stay with it.

Where a plane's activations do not fit the PEs together, or its partial sums their accumulators, it is cut into bands of
input rows first, one after the other on the whole chip; an output that two bands have a part in is complete after the
second. A plane of a single row (a linear layer) is turned upright, and
where it has fewer pixels than there are PEs, copies of it take output-channel groups in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.layers import Layer
from simulator.dataflow.windows import Axis
from simulator.program import Counts


@dataclass(frozen=True)
class Extent:
    """What the largest tile of a band takes along an axis."""

    pixels: int
    """Input pixels."""
    sums: int
    """Outputs that its pixels have a part in, those of its neighbours and beyond the edge included."""
    outputs: int
    """Outputs that the PE keeps."""

    @property
    def halo(self) -> int:
        """Outputs on the larger side of which the sums go to a neighbour."""
        return -(-max(0, self.sums - self.outputs) // 2)


def extent(axis: Axis, touched: Counts, outputs: int, parts: int) -> Extent:
    """Return what the largest of ``parts`` tiles of the positions ``touched`` takes along an axis."""
    step = -(-len(touched) // parts)
    reach = axis.dilation * (axis.kernel - 1)
    sums = 0
    for start in range(0, len(touched), max(1, step)):
        low, high = touched[start], touched[min(start + step, len(touched)) - 1]
        sums = max(sums, int((high + axis.padding) // axis.stride + (reach - low - axis.padding) // axis.stride + 1))
    return Extent(step, sums, -(-outputs // parts))


@dataclass(frozen=True, eq=False)
class Band:
    """Some input rows of a plane, and how their pixels lie on the PEs."""

    plane: Plane
    rows: Counts
    """Input rows, all of them needed by some output."""
    outputs: range
    """Output rows that are complete after this band."""

    @cached_property
    def vertical(self) -> Extent:
        """The largest tile's extent from top to bottom."""
        return extent(self.plane.vertical, self.rows, len(self.outputs), self.plane.rows)

    @cached_property
    def horizontal(self) -> Extent:
        """The largest tile's extent from left to right."""
        plane = self.plane
        return extent(plane.horizontal, plane.touched[1], plane.outputs[1], plane.columns)

    @property
    def sums(self) -> int:
        """Partial sums of an output channel that a PE has to hold."""
        return self.vertical.sums * self.horizontal.sums

    @property
    def used(self) -> int:
        """PEs of a copy that have pixels."""
        plane, columns = self.plane, len(self.plane.touched[1])
        down, right = (
            -(-n // max(1, e.pixels)) for n, e in ((len(self.rows), self.vertical), (columns, self.horizontal))
        )
        return min(down, plane.rows) * min(right, plane.columns)

    @property
    def pixels_of_a_pe(self) -> int:
        """Input pixels of the largest tile."""
        return self.vertical.pixels * self.horizontal.pixels

    @property
    def kept(self) -> int:
        """Outputs of a channel that a PE keeps at most."""
        return self.vertical.outputs * self.horizontal.outputs

    @property
    def halo(self) -> int:
        """Partial sums of a channel that go from a PE to the neighbour that receives most."""
        vertical, horizontal = self.vertical, self.horizontal
        return max(vertical.halo * horizontal.outputs, horizontal.halo * vertical.outputs)

    @property
    def open(self) -> int:
        """Partial sums of a channel that the next band goes on with: of outputs that are begun, but not complete."""
        begun = (self.rows.max(initial=-1) + self.plane.vertical.padding) // self.plane.vertical.stride + 1
        return int(min(begun, self.plane.outputs[0]) - self.outputs.stop) * self.plane.outputs[1]

    @cached_property
    def _placed(self) -> tuple[Counts, Counts, Counts, Counts]:
        """Order of the pixels by PE and phase, beginnings, and each pixel's place within its phase."""
        (y, x), v, h = (self.rows, self.plane.touched[1]), self.plane.vertical, self.plane.horizontal
        grid = (np.arange(len(y)) // max(1, self.vertical.pixels) * self.plane.columns)[:, None]
        pe = grid + np.arange(len(x)) // max(1, self.horizontal.pixels)
        phase = ((y + v.padding) % v.stride * h.stride)[:, None] + (x + h.padding) % h.stride
        piece = (pe * self.plane.phases + phase).reshape(-1)
        order = np.argsort(piece, kind="stable")
        starts = np.searchsorted(piece[order], np.arange(self.plane.tiles * self.plane.phases + 1))
        up, left = np.broadcast_arrays(((y + v.padding) // v.stride)[:, None], (x + h.padding) // h.stride)
        return order, starts, up.reshape(-1)[order], left.reshape(-1)[order]

    @property
    def starts(self) -> Counts:
        """Where the pixels of each PE and phase begin: (PEs · phases + 1,)."""
        return self._placed[1]

    @property
    def up(self) -> Counts:
        """Row of each pixel within its phase: (pixels,)."""
        return self._placed[2]

    @property
    def left(self) -> Counts:
        """Column of each pixel within its phase: (pixels,)."""
        return self._placed[3]

    def pixels(self, array: NDArray[Any]) -> NDArray[Any]:
        """Pick the band's pixels in the order of PEs and phases: (C, H, W) → (C, pixels)."""
        columns = self.plane.touched[1]
        picked = array if len(self.rows) == array.shape[1] else array[:, self.rows]
        picked = picked if len(columns) == array.shape[2] else picked[:, :, columns]
        return np.ascontiguousarray(np.take(picked.reshape(len(array), -1), self._placed[0], axis=1))


@dataclass(frozen=True, eq=False)
class Plane:
    """A layer's plane upon the PEs."""

    layer: Layer
    upright: bool
    """Whether rows and columns are exchanged."""
    rows: int
    """PEs from top to bottom, of one copy."""
    columns: int
    """PEs from left to right."""
    copies: int
    """How many times the plane lies on the PEs; each copy works on output-channel groups of its own."""

    @property
    def vertical(self) -> Axis:
        """The axis from top to bottom."""
        return self.layer.horizontal if self.upright else self.layer.vertical

    @property
    def horizontal(self) -> Axis:
        """The axis from left to right."""
        return self.layer.vertical if self.upright else self.layer.horizontal

    @property
    def tiles(self) -> int:
        """PEs of one copy."""
        return self.rows * self.columns

    @property
    def phases(self) -> int:
        """Pixels and taps meet only where they agree in what the strides leave of them: so many parts of a plane."""
        return self.vertical.stride * self.horizontal.stride

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return self.vertical.outputs, self.horizontal.outputs

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """Exchange the last two axes where the plane is upright."""
        return np.ascontiguousarray(array.swapaxes(-1, -2)) if self.upright else array

    @cached_property
    def touched(self) -> tuple[Counts, Counts]:
        """Input rows and columns that some output needs."""
        axes = self.vertical, self.horizontal
        return axes[0].touched(range(axes[0].outputs)), axes[1].touched(range(axes[1].outputs))

    def bands(self, rows: int) -> tuple[Band, ...]:
        """Cut the plane into bands of so many input rows on each PE."""
        axis, touched = self.vertical, self.touched[0]
        starts = range(0, max(1, len(touched)), max(1, rows * self.rows))
        bands, done = [], 0
        for start in starts:
            last = start == starts[-1]
            own = touched[start:] if last else touched[start : start + rows * self.rows]
            # An output is complete when the next row that is still to come lies beyond its last tap.
            stop = axis.outputs if last else self._complete(int(touched[start + len(own)]))
            bands.append(Band(self, own, range(done, stop)))
            done = stop
        return tuple(bands)

    def _complete(self, next_row: int) -> int:
        """Return the outputs of which no tap meets ``next_row`` or a row after it."""
        axis = self.vertical
        taps = np.arange(axis.outputs)[:, None] * axis.stride - axis.padding + np.arange(axis.kernel) * axis.dilation
        waits = ((taps >= next_row) & (taps < axis.size)).any(axis=1)
        return int(np.argmax(waits)) if waits.any() else axis.outputs

    def weights(self, channels: int, order: str) -> tuple[Counts, Counts, Counts, Counts, Counts]:
        """Return the weights of a group of output channels in the order in which they are stored.

        Filter within the group, tap, what is added to a pixel's row and column within its phase to give the output's,
        and where each phase begins.
        """
        v, h = self.vertical, self.horizontal
        taps = np.arange(v.kernel * h.kernel)
        down, right = taps // h.kernel * v.dilation, taps % h.kernel * h.dilation
        phase = down % v.stride * h.stride + right % h.stride
        k, tap = np.divmod(np.arange(channels * len(taps)), len(taps))
        sorted_by = (k, tap, phase[tap]) if order == "channels" else (tap, k, phase[tap])
        at = np.lexsort(sorted_by)
        k, tap = k[at], tap[at]
        starts = np.searchsorted(phase[tap], np.arange(self.phases + 1))
        return k, tap, -(down // v.stride)[tap], -(right // h.stride)[tap], starts


def plane_of(layer: Layer, rows: int, columns: int) -> Plane:
    """Lay a layer's plane upon ``rows`` × ``columns`` PEs."""
    if layer.vertical.outputs > 1:
        return Plane(layer, False, rows, columns, 1)
    count = rows * columns
    copies = max(1, count // max(1, len(layer.horizontal.touched(range(layer.horizontal.outputs)))))
    return Plane(layer, True, count // copies, 1, copies)


def partitions(plane: Plane) -> Iterator[tuple[Band, ...]]:
    """Yield ways to cut a plane into bands, from one to one for each row of the PEs."""
    for rows in range(max(1, -(-len(plane.touched[0]) // plane.rows)), 0, -1):
        yield plane.bands(rows)


def effectual_pairs(plane: Plane, inputs: NDArray[np.bool_], weights: NDArray[np.bool_]) -> int:
    """Count the pairs of a non-zero input (N, G, C, H, W) and weight (G, K, C, …) that meet in some output."""
    exact = np.float32 if plane.vertical.size * plane.horizontal.size < 2**24 else np.float64
    down, right = plane.vertical.meetings().astype(exact), plane.horizontal.meetings().T.astype(exact)
    of_weights = weights.sum(axis=1, dtype=np.int64)
    total = 0
    for image in inputs:
        met = down @ image.astype(exact) @ right
        total += int((met.reshape(of_weights.shape).astype(np.int64) * of_weights).sum())
    return total


@dataclass(frozen=True)
class Waves:
    """Output-channel groups as tiles, in the order of the loops, as many side by side as the plane has copies."""

    passes: tuple[int, int, int]
    """Images, bands, groups of the convolution."""
    of_group: int
    """K: filters of a group of the convolution."""
    channels: int
    """Kc: filters of an output-channel group."""
    copies: int

    @property
    def groups(self) -> int:
        """Output-channel groups of a group of the convolution."""
        return -(-self.of_group // self.channels)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, bands, groups, tiles of each)."""
        return *self.passes, -(-self.groups // self.copies)

    def grouped(self, of_groups: Counts) -> Counts:
        """Put groups side by side: (images, bands, groups, output-channel groups) → (tiles, copies)."""
        missing = self.shape[3] * self.copies - self.groups
        padded: Counts = np.pad(of_groups, ((0, 0), (0, 0), (0, 0), (0, missing)))
        return padded.reshape(-1, self.copies)

    def each(self, of_passes: Counts) -> Counts:
        """Repeat a quantity for each of the tiles that share it: (images, bands, groups) → (tiles,)."""
        return np.broadcast_to(of_passes[..., None], self.shape).reshape(-1)

    def of_bands(self, quantity: Sequence[int]) -> Counts:
        """Repeat a quantity of each band for its tiles: (tiles,)."""
        return self.each(np.broadcast_to(np.array(quantity, np.int64)[None, :, None], self.passes))

    @property
    def first(self) -> Counts:
        """Return 1 for the first tile of each pass, else 0: (tiles,)."""
        return np.broadcast_to(np.arange(self.shape[3]) == 0, self.shape).reshape(-1).astype(np.int64)

    @cached_property
    def filters(self) -> tuple[Counts, Counts]:
        """Output channels of each tile: of its largest group, and of all, (tiles,) each."""
        ends = np.minimum(np.arange(self.groups + 1) * self.channels, self.of_group)
        grouped = self.grouped(np.broadcast_to(np.diff(ends), (*self.passes, self.groups)))
        return grouped.max(axis=1), grouped.sum(axis=1)
