"""Weight skipping like Bit-Tactical's front end: a tile's filters in tandem, empty places filled from rows ahead.

A filter's weights lie in rows of as many as it has lanes, channels first. Software moves non-zero weights into empty
places of earlier rows: up to ``look_ahead`` rows ahead, some lanes aside, in the order of the offsets; beside each
weight is said from which place it comes, and a multiplexer before each lane picks the activation there. The filters of
a tile hear the same activations, so they step together: a row takes a cycle unless none of them has anything left in
it, and at most ``look_ahead`` such rows in succession are passed over. What activations are does not matter.

Source: Delmas Lascorz et al., "Bit-Tactical", ASPLOS 2019; the greedy order by offset is that of this simulator's
window (``simulator.hardware.channel_accumulation``), not the paper's scheduler's.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from simulator.arch.part import Part
from simulator.hardware.bits import popcount
from simulator.hardware.channel_accumulation import Window, promote
from simulator.hardware.jit import kernel

U64 = np.uint64


class WeightSkipping(Part):
    """Configuration of the tiles and of the window through which their weights are scheduled."""

    tiles: Annotated[int, Field(ge=1, le=4096)]
    """Tiles, each with an output pixel and a block of filters of its own at a time."""
    filters: Annotated[int, Field(ge=1, le=1024)]
    """Filters of a tile, which step together."""
    lanes: Annotated[int, Field(ge=1, le=32)]
    """Weights that a filter multiplies per cycle."""
    look_ahead: Annotated[int, Field(ge=0, le=15)]
    """Rows ahead from which a weight may come, h; 0 with no offsets skips nothing."""
    offsets: tuple[tuple[Annotated[int, Field(ge=1)], int], ...]
    """(rows ahead, lanes aside) in order of preference; the lane wraps around within the row."""

    @model_validator(mode="after")
    def _within_reach(self) -> WeightSkipping:
        for ahead, aside in self.offsets:
            if ahead > self.look_ahead:
                raise ValueError(f"offset ({ahead}, {aside}) reaches beyond look_ahead = {self.look_ahead}")
        return self

    @property
    def multipliers(self) -> int:
        """Of all tiles."""
        return self.tiles * self.filters * self.lanes

    @property
    def choices(self) -> int:
        """Activations among which a lane chooses: its own and one of each offset."""
        return 1 + len(self.offsets)

    @property
    def weight_bits(self) -> int:
        """Bits of a place in the schedule: a weight of 8, and where it comes from."""
        return 8 + (self.choices - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Bits of a row of a tile's schedule: all places, and how many rows to go on by."""
        return self.filters * self.lanes * self.weight_bits + self.look_ahead.bit_length()

    @property
    def fill(self) -> int:
        """Cycles from a row to its sum: choice, product, and the adder tree over the lanes."""
        return 2 + (self.lanes - 1).bit_length()

    def window(self) -> Window:
        """Return the window in the form that the kernels take."""
        width = np.uint16 if self.lanes <= 16 else np.uint32
        ahead = np.array([ahead for ahead, _ in self.offsets], np.int64)
        aside = np.array([aside % self.lanes for _, aside in self.offsets], np.int64)
        return Window(self.lanes, self.look_ahead, ahead, aside, False, np.dtype(width))


@kernel
def schedule(
    rows: Any, total: Any, lanes: Any, look_ahead: Any, ahead: Any, aside: Any, free: Any, issued: Any, step: Any
) -> Any:
    """Schedule a tile's filters F: (cycles, weights issued).

    Args:
        rows: which places hold a weight, (total + look_ahead + 1, F) rows of lanes; consumed.
        total: rows.
        lanes: of a row.
        look_ahead: rows ahead that the window sees.
        ahead: rows ahead of each offset.
        aside: lanes aside of each offset.
        free: room for (F,) rows of lanes.
        issued: places in the order in which they are issued, (weights, 2) filter and place, out; or None.
        step: the cycle of each, (weights,), out; or None.

    """
    filters = rows.shape[1]
    everything = (U64(1) << U64(lanes)) - U64(1)
    before = np.zeros((look_ahead + 1, filters), np.uint64)
    skipped = look_ahead
    cycles, count = 0, 0
    for r in range(total):
        left = U64(0)
        for f in range(filters):
            left |= U64(rows[r, f])
        if left == U64(0) and skipped < look_ahead:
            skipped += 1
            continue
        skipped = 0
        for s in range(look_ahead + 1):
            for f in range(filters):
                before[s, f] = U64(rows[r + s, f])
        for f in range(filters):
            free[f] = ~rows[r, f] & everything
            rows[r, f] = 0
        promote(rows, r, total, lanes, ahead, aside, free, None, None, None)
        for s in range(look_ahead + 1):
            for f in range(filters):
                taken = before[s, f] & ~U64(rows[r + s, f])
                while taken:
                    lowest = taken & (~taken + U64(1))
                    if issued is not None:
                        issued[count, 0] = f
                        issued[count, 1] = (r + s) * lanes + np.int64(popcount(lowest - U64(1)))
                        step[count] = cycles
                    count += 1
                    taken ^= lowest
        cycles += 1
    return cycles, count


@kernel
def multiply_scheduled(
    inputs: Any, weights: Any, window: Any, padded: Any, first: Any, issued: Any, count: Any, output: Any
) -> None:
    """Multiply what a schedule issues with the window of every output pixel of one image and one group.

    Args:
        inputs: values (H, W, C).
        weights: (K, taps, C).
        window: kernel, stride, padding, dilation, vertical and horizontal of each.
        padded: places of a tap, C rounded up to whole rows.
        first: the filter that is number 0 in ``issued``.
        issued: see ``schedule``.
        count: how many there are.
        output: (P, Q, K), added into.

    """
    _, S, down, right, top, left, high, wide = window
    for p in range(output.shape[0]):
        for q in range(output.shape[1]):
            for i in range(count):
                k = first + issued[i, 0]
                tap, channel = issued[i, 1] // padded, issued[i, 1] % padded
                y, x = p * down + tap // S * high - top, q * right + tap % S * wide - left
                if y >= 0 and y < inputs.shape[0] and x >= 0 and x < inputs.shape[1]:
                    output[p, q, k] += inputs[y, x, channel] * weights[k, tap, channel]


def lay_out(kernels: NDArray[np.bool_], part: WeightSkipping) -> NDArray[Any]:
    """Lay filters (F, taps, C) out in rows of lanes, each tap's channels from a new row on: (rows, F)."""
    F, _, C = kernels.shape
    padded = np.pad(kernels, ((0, 0), (0, 0), (0, -C % part.lanes)))
    places = padded.reshape(F, -1, part.lanes)
    width = part.window().row_type
    bits = (places * (np.uint64(1) << np.arange(part.lanes, dtype=np.uint64))).sum(axis=2, dtype=np.uint64)
    return np.ascontiguousarray(bits.T.astype(width))
