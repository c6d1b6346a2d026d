"""SCNN's dataflow, planar-tiled, input-stationary, Cartesian products: the data of a layer walked once.

Loops from outside: images, bands of the plane, groups of the convolution, output-channel groups (at most Kc), input
channels, a PE's vectors of activations, vectors of weights. Source: Parashar et al., ISCA 2017, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.compress.coding import run_length_bits
from simulator.dataflow.layers import Layer, layer_of
from simulator.dataflow.planar import Band, Plane, effectual_pairs, partitions, plane_of
from simulator.errors import InputError, LawViolation
from simulator.hardware.cartesian_product import (
    RECORD,
    Accumulators,
    PEs,
    WeightFifo,
    WeightOrder,
    bank_table,
    gather,
    multiply,
)
from simulator.program import Counts
from simulator.trace import Operator

VALUE_BITS, RUN_BITS = 16, 4
ENTRY_BITS = VALUE_BITS + RUN_BITS
"""What is stored of a non-zero: its value and the zeros before it."""


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    pes: PEs
    weight_fifo: WeightFifo
    accumulators: Accumulators
    channels: int
    """Kc at most."""
    least_channels: int
    """The plane is cut into bands until a PE's accumulators hold so many output channels of its tile."""
    weight_order: WeightOrder
    input_entries: int
    """Activations that a PE's input RAM holds."""
    output_entries: int
    """Activations that a PE's output RAM holds."""


@dataclass(frozen=True, eq=False)
class Match:
    """A layer's cycles and counts by image, band, group and output-channel group."""

    layer: Layer
    plane: Plane
    bands: tuple[Band, ...]
    channels: int
    """Kc, output channels of a group."""
    input_stays: bool
    """Whether all inputs fit the PEs' input RAMs at once."""
    input_returns: bool
    """Whether not even a band's inputs do, so that they are streamed for each output-channel group again."""
    output_stays: bool
    """Whether all outputs fit the PEs' output RAMs at once."""
    records: Counts
    """(images, bands, groups, output-channel groups, len(RECORD))."""
    vectors: Counts
    """Vectors of activations that the PEs read in a pass of an output-channel group: (images, bands, groups)."""
    inputs: Counts
    """Inputs as stored: (images, bands, groups)."""
    outputs: Counts
    """Outputs as stored: (images, bands, groups, output-channel groups)."""
    non_zero_inputs: int
    effectual: int
    output: NDArray[np.int64] | None

    @property
    def operator(self) -> Operator:
        """What was computed."""
        return self.layer.operator


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk an operator's data.

    Raises:
        InputError: a PE's accumulators are too small.

    """
    layer = layer_of(operator)
    plane = plane_of(layer, geometry.pes.rows, geometry.pes.columns)
    inputs = plane.turned(layer.input_mask())
    weights = plane.turned(layer.weight_mask())
    weights = np.ascontiguousarray(weights.reshape(*weights.shape[:3], -1))
    bands, input_stays, input_returns = _partition(plane, inputs, geometry)
    channels = min(geometry.channels, layer.filters, geometry.accumulators.size // max(1, bands[0].sums))
    values = _values(layer, plane) if check else None
    output = np.zeros((layer.images, layer.groups, layer.filters, *plane.outputs), np.int64) if check else None
    groups = -(-layer.filters // channels)
    shape = (layer.images, len(bands), layer.groups)
    records, vectors = np.zeros((*shape, groups, len(RECORD)), np.int64), np.zeros(shape, np.int64)
    stored = np.zeros(shape, np.int64)
    order = plane.weights(channels, geometry.weight_order)
    table = bank_table(geometry.accumulators.banks)
    for n, b, g in np.ndindex(shape):
        band = bands[b]
        places, bounds, entries = _gathered(band.pixels(inputs[n, g]), band.starts)
        stored[n, b, g] = entries.sum()
        vectors[n, b, g] = (-(-np.diff(bounds, axis=1) // geometry.pes.activations)).sum()
        multiply(
            weights[g], *order, channels, 1 << RUN_BITS, places, bounds, band.up, band.left, table,
            geometry.pes.weights, geometry.pes.activations, geometry.accumulators.queue,
            geometry.weight_fifo.depth, geometry.weight_fifo.rate,
            values[1][g] if values else _NONE, band.pixels(values[0][n, g]) if values else _NO_PIXELS,
            _NONE if output is None else output[n, g], records[n, b, g],
        )  # fmt: skip
    effectual = effectual_pairs(plane, inputs, weights)
    if check and (landed := int(records[..., RECORD.index("landed")].sum())) != effectual:
        raise LawViolation(f"{layer.name}: {landed} products of non-zeros were added up, not {effectual}")
    records[..., RECORD.index("landed")] = 0
    written, output_stays = _outputs(plane, bands, channels, geometry)
    needed = inputs[..., plane.touched[0], :][..., plane.touched[1]]
    return Match(
        layer, plane, bands, channels, input_stays, input_returns, output_stays, records, vectors, stored, written,
        int(np.count_nonzero(needed)), effectual, None if output is None else layer.as_output(plane.turned(output)),
    )  # fmt: skip


_NONE = np.zeros((0, 0, 0), np.int64)
_NO_PIXELS = np.zeros((0, 0), np.int64)


def _values(layer: Layer, plane: Plane) -> tuple[Any, Any]:
    """Return the inputs (N, G, C, H, W) and weights (G, K, C, taps) in 64 bits."""
    inputs, weights = layer.input_values(), layer.weight_values()
    assert inputs is not None
    assert weights is not None
    weights = plane.turned(weights.astype(np.int64))
    return plane.turned(inputs.astype(np.int64)), np.ascontiguousarray(weights.reshape(*weights.shape[:3], -1))


def _gathered(mask: NDArray[np.bool_], starts: Counts) -> tuple[Any, Counts, Counts]:
    places = np.zeros(int(np.count_nonzero(mask)), np.int32)
    bounds, entries = np.zeros((len(mask), len(starts)), np.int64), np.zeros(len(starts) - 1, np.int64)
    gather(mask, starts, 1 << RUN_BITS, places, bounds, entries)
    return places, bounds, entries


def _partition(plane: Plane, inputs: NDArray[np.bool_], geometry: Geometry) -> tuple[tuple[Band, ...], bool, bool]:
    """Return the fewest bands that fit, whether the inputs fit all at once, and whether not even a band's do."""
    size = geometry.accumulators.size
    least = min(geometry.least_channels, plane.layer.filters)
    stays = _fullest(next(partitions(plane)), inputs) <= geometry.input_entries
    per_image = np.count_nonzero(inputs) / (len(inputs) * plane.tiles)
    candidates = []
    for bands in partitions(plane):
        room = min(least, size // max(1, bands[0].sums))
        if room == 0:
            continue
        possible = per_image <= geometry.input_entries * len(bands)
        fits = stays or (possible and _fullest(bands, inputs) <= geometry.input_entries)
        if fits and room == least:
            return bands, stays, False
        candidates.append((fits, room, bands))
    if not candidates:
        raise InputError(
            f"operator '{plane.layer.name}': a PE's tile of one output row has {bands[0].sums} partial sums, but its "
            f"accumulators hold {size}; enlarge accumulators.entries"
        )
    fits, _, bands = max(candidates, key=lambda candidate: candidate[:2])
    return bands, stays, not fits


def _fullest(bands: tuple[Band, ...], inputs: NDArray[np.bool_]) -> int:
    """Return the most inputs, as stored, that a PE has of a band, all groups of the convolution together."""
    most = 0
    for band in bands:
        for image in inputs:
            pixels = band.pixels(image.reshape(-1, *image.shape[2:]))
            entries = _gathered(pixels, band.starts)[2]
            most = max(most, int(entries.reshape(-1, band.plane.phases).sum(axis=1).max()))
    return most


def _outputs(plane: Plane, bands: tuple[Band, ...], channels: int, geometry: Geometry) -> tuple[Counts, bool]:
    """Return the outputs as stored by image, band, group and output-channel group, and whether they fit all at once."""
    layer = plane.layer
    mask = layer.output_mask()
    firsts = np.arange(0, layer.filters, channels)
    parts = []
    for band in bands:
        if mask is None:
            of_filters = np.full(layer.output_shape[:3], len(band.outputs) * plane.outputs[1])
        else:
            rows = plane.turned(mask)[..., band.outputs.start : band.outputs.stop, :]
            of_filters = run_length_bits(rows.reshape(*rows.shape[:3], -1), VALUE_BITS, RUN_BITS) // ENTRY_BITS
        parts.append(np.add.reduceat(of_filters, firsts, axis=2))
    high, wide = (-(-size // pes) for size, pes in zip(plane.outputs, (plane.rows, plane.columns), strict=True))
    fullest = high * wide * layer.filters * layer.groups
    if mask is not None:
        turned = plane.turned(mask).reshape(layer.images, -1, *plane.outputs)
        sums = np.add.reduceat(turned.sum(axis=1, dtype=np.int64), np.arange(0, plane.outputs[0], high), axis=1)
        fullest = int(np.add.reduceat(sums, np.arange(0, plane.outputs[1], wide), axis=2).max())
    return np.stack(parts, axis=1), fullest <= geometry.output_entries
