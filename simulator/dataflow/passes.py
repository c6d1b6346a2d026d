"""Passes of a layer: blocks of filters whose weights fit a buffer, and the tiles and DRAM streams that follow.

A chip that works on ``simulator.dataflow.layers`` says how many bytes each block of filters, each row of pixels and
each row of outputs takes as stored. Here they become passes, tiles (``simulator.dataflow.tiles``), and streams.
Images are the planes of a frame; a layer of rows of pixels that no window joins (linear, matmul) stands upright, so
that tiles may cut it anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.layers import Layer, Mask
from simulator.dataflow.tiles import Order, Tiles, enumerate_tiles, spans_of
from simulator.dataflow.windows import Axis, Frame, cumulative
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer
from simulator.hardware.dram import whole_bursts
from simulator.program import Counts, Stage, Stream, unit_of
from simulator.trace import Conv2d


@dataclass(frozen=True, eq=False)
class Upright:
    """A layer whose pixels lie along the vertical axis where no window joins them."""

    layer: Layer

    @cached_property
    def _turns(self) -> bool:
        return not isinstance(self.layer.operator, Conv2d)

    @cached_property
    def vertical(self) -> Axis:
        """Axis of rows."""
        return self.layer.horizontal if self._turns else self.layer.vertical

    @cached_property
    def horizontal(self) -> Axis:
        """Axis of columns."""
        return self.layer.vertical if self._turns else self.layer.horizontal

    @cached_property
    def frame(self) -> Frame:
        """All images, a plane each."""
        return Frame(self.layer.images, self.vertical, self.horizontal, self.horizontal.outputs)

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn inputs (…, H, W) or outputs (…, P, Q) of the layer upright, or back."""
        return array.swapaxes(-1, -2) if self._turns else array

    @property
    def window(self) -> tuple[int, ...]:
        """R, S, strides, padding and dilations, vertical and horizontal of each."""
        axes = (self.vertical, self.horizontal)
        return tuple(getattr(axis, name) for name in ("kernel", "stride", "padding", "dilation") for axis in axes)


@dataclass(frozen=True, eq=False)
class Footprint:
    """Bytes of a layer as stored, by the units of which passes and tiles are made.

    A *block* is some filters of one group that the chip works on at once; blocks of a group follow each other.
    """

    upright: Upright
    blocks: int
    """Of a group."""
    inputs: Counts
    """(G, images, rows streamed): of the columns that some window covers."""
    weights: Counts
    """(G · blocks,)."""
    outputs: Counts
    """(G · blocks, images, output rows)."""


@dataclass(frozen=True)
class Room:
    """What tiles have to fit, and the keys of the configuration by which each is made larger."""

    inputs: int
    """Bytes of input rows."""
    weights: int
    """Bytes of a pass's weights."""
    outputs: int
    """Bytes of output rows."""
    pixels: int
    """Output pixels of a tile at most, each counted for every block; but at least a row of one block."""
    keys: tuple[str, str, str]
    """Of the buffers for inputs, weights and outputs."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The tiles of a layer and what each of them moves."""

    passes: tuple[range, ...]
    """Blocks (of G · blocks) of each pass."""
    tiles: Tiles
    inputs: Counts
    """(tiles,): bytes loaded."""
    weights: Counts
    """(tiles,): bytes loaded."""
    outputs: Counts
    """(tiles,): bytes stored."""
    held: Counts
    """(tiles,): bytes of the weights that the tile works with."""
    reads: tuple[Stream, ...]
    writes: tuple[Stream, ...]


def plan(footprint: Footprint, room: Room, burst: int) -> Plan:
    """Cut a layer into tiles: fewest bytes across the DRAM channel, whatever its rate.

    Raises:
        InputError: not even one row of outputs, or one block of weights, fits.

    """
    passes = _passes(footprint, room)
    groups = [range(p.start // footprint.blocks, (p.stop - 1) // footprint.blocks + 1) for p in passes]
    inputs = _running([footprint.inputs[g.start : g.stop].sum(axis=0) for g in groups])
    outputs = _running([footprint.outputs[p.start : p.stop].sum(axis=0) for p in passes])
    weights = np.array([footprint.weights[p.start : p.stop].sum() for p in passes])
    frame = footprint.upright.frame
    spans = _spans(footprint, inputs, outputs, room)
    weights_stay = int(weights.sum()) <= room.weights
    candidates = []
    orders: tuple[Order, ...] = ("channels",) if len(passes) == 1 else ("channels", "rows", "weights")
    for order in orders:
        whole = inputs[:, :, -1].sum(axis=1) if order == "weights" else inputs[:, :, -1]
        stay = int(whole.max()) <= room.inputs
        tiles = Tiles.of(enumerate_tiles(spans, len(frame.planes), groups, order, stay, weights_stay))
        candidates.append(_moved(footprint, passes, groups, tiles, (inputs, weights, outputs), burst))
    return min(candidates, key=lambda each: sum(int(stream.size.sum()) for stream in (*each.reads, *each.writes)))


def _passes(footprint: Footprint, room: Room) -> tuple[range, ...]:
    """Gather blocks as long as their weights, a row of outputs and the input rows that it needs fit.

    A pass is several whole groups, or some blocks of one.
    """
    blocks, frame, layer = footprint.blocks, footprint.upright.frame, footprint.upright.layer
    largest = int(footprint.weights.max())
    if largest > room.weights:
        raise InputError(
            f"operator '{layer.name}': the weights of {-(-layer.filters // blocks)} filters take {largest} bytes of "
            f"{room.keys[1]}, but half of it holds {room.weights}; enlarge {room.keys[1]}.size"
        )
    reach = [frame.reach(row, row + 1) for row in range(frame.vertical.outputs)]
    height = max(high - low for low, high in reach)
    weights = cumulative(footprint.weights)
    rows = cumulative(footprint.inputs.max(axis=(1, 2), initial=0) * height)
    outputs = cumulative(footprint.outputs.max(axis=(1, 2)))

    pixels = frame.vertical.outputs * frame.horizontal.outputs

    def fits(of: range) -> bool:
        first, last = of.start // blocks, -(-of.stop // blocks)
        whole = of.start % blocks == of.stop % blocks == 0
        return bool(
            (whole or last == first + 1)
            and len(of) * pixels <= room.pixels
            and weights[of.stop] - weights[of.start] <= room.weights
            and outputs[of.stop] - outputs[of.start] <= room.outputs
            and rows[last] - rows[first] <= room.inputs
        )

    passes: list[range] = []
    for group in range(layer.groups):
        own = range(group * blocks, (group + 1) * blocks)
        for unit in [own] if fits(own) else [range(block, block + 1) for block in own]:
            joined = range(passes[-1].start, unit.stop) if passes else unit
            if passes and fits(joined):
                passes[-1] = joined
            else:
                passes.append(unit)
    return tuple(passes)


def _running(sizes: Sequence[Counts]) -> Counts:
    return cumulative(np.array(sizes))


def _spans(footprint: Footprint, inputs: Counts, outputs: Counts, room: Room) -> list[Any]:
    frame = footprint.upright.frame
    step = max(1, min(frame.vertical.outputs, room.pixels // frame.horizontal.outputs))
    while True:
        spans = spans_of(frame, step)
        low, high, first, last = (
            np.array([getattr(s, name) for s in spans]) for name in ("low", "high", "first", "last")
        )
        needs = (
            int((inputs[..., high] - inputs[..., low]).max()),
            int((outputs[..., last] - outputs[..., first]).max()),
        )
        short = [
            (need, half, key)
            for need, half, key in zip(needs, (room.inputs, room.outputs), (room.keys[0], room.keys[2]), strict=True)
            if need > half
        ]
        if not short:
            return spans
        if step == 1:
            need, half, key = short[0]
            raise InputError(
                f"operator '{footprint.upright.layer.name}': a tile of one output row needs {need} bytes of {key}, "
                f"but half of it holds {half}; enlarge {key}.size"
            )
        step //= 2


def _moved(
    footprint: Footprint,
    passes: tuple[range, ...],
    groups: list[range],
    tiles: Tiles,
    running: tuple[Counts, Counts, Counts],
    burst: int,
) -> Plan:
    inputs, weights, outputs = running
    of, plane, at = tiles.of_pass, tiles.plane, np.arange(len(tiles))
    loaded = inputs[of, plane, tiles.high] - inputs[of, plane, tiles.loads_from]
    held = weights[of]
    fetched = np.where(tiles.loads_weights, held, 0)
    written = outputs[of, plane]
    stored = written[at, tiles.last] - written[at, tiles.first]
    # Stored group by group, image by image, row by row; a pass over several groups begins where its first one does.
    by_group = cumulative(footprint.inputs.sum(axis=(1, 2)))
    images = cumulative(inputs[:, :, -1])
    input_at = (
        by_group[np.array([g.start for g in groups])][of] + images[of, plane] + inputs[of, plane, tiles.loads_from]
    )
    out_images = cumulative(outputs[:, :, -1])
    out_passes = cumulative(out_images[:, -1])
    output_at = out_passes[of] + out_images[of, plane] + written[at, tiles.first]

    def stream(name: str, size: Counts, offset: Counts, compulsory: int) -> Stream:
        return Stream(name, whole_bursts(size, burst), offset, compulsory)

    return Plan(
        passes,
        tiles,
        loaded,
        fetched,
        stored,
        held,
        (
            stream("input", loaded, input_at, int(footprint.inputs.sum())),
            stream("weight", fetched, cumulative(weights)[of], int(weights.sum())),
        ),
        (stream("output", stored, output_at, int(footprint.outputs.sum())),),
    )


def effectual_pairs(layer: Layer, inputs: Mask, weights: Mask) -> int:
    """Count the multiply-accumulates of two non-zeros: inputs (N, G, C, H, W), weights (G, K, C, R, S)."""
    met = layer.vertical.meetings() @ inputs.sum(axis=0, dtype=np.float64) @ layer.horizontal.meetings().T
    return int((met * weights.sum(axis=1)).sum())


def values_by_tap(upright: Upright) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return inputs (N, G, H, W, C) and weights (G, K, taps, C), or None where they are not known."""
    layer = upright.layer
    inputs, weights = layer.input_values(), layer.weight_values()
    if inputs is None or weights is None:
        return None
    pixels = upright.turned(inputs).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(pixels, np.int64), np.ascontiguousarray(by_tap(weights), np.int64)


def by_tap(weights: NDArray[Any]) -> NDArray[Any]:
    """Lay kernels (…, C, R, S) out channels first: (…, taps, C)."""
    return weights.reshape(*weights.shape[:-2], -1).swapaxes(-1, -2)


def port_stage(name: str, unit: str, size: Counts, buffer: Buffer) -> Stage:
    """Return the stage in which ``size`` bytes pass a buffer's ports on the side of the multipliers."""
    cycles = -(-size // buffer.bytes_per_cycle)
    return Stage(name, cycles, {unit: unit_of({"busy": cycles}, 1, cycles)})
