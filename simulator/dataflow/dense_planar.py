"""SCNN's dense baseline, PT-IS-DP-dense: planar tiles, stationary inputs, dot products.

A PE computes the outputs of its tile for one group of output channels after the other. Source: Parashar et al.,
ISCA 2017, section 5 (recalled); what it leaves open is said in ``arch_configs/dcnn.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.compress.coding import run_length_bits
from simulator.dataflow.layers import Layer, layer_of
from simulator.dataflow.planar import Band, Plane, effectual_pairs, plane_of
from simulator.errors import LawViolation
from simulator.hardware.dot_product import DensePEs, dot_products
from simulator.program import Counts
from simulator.trace import Operator

VALUE_BITS, RUN_BITS = 16, 4


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    pes: DensePEs
    channels: int
    """Output channels of a group at most."""
    input_values: int
    """Activations that a PE holds as inputs."""
    output_values: int
    """Activations that a PE holds as outputs."""


@dataclass(frozen=True, eq=False)
class Match:
    """How a layer lies on the PEs, and what its zeros would save."""

    layer: Layer
    plane: Plane
    bands: tuple[Band, ...]
    channels: int
    input_stays: bool
    """Whether all inputs fit the PEs at once."""
    input_returns: bool
    """Whether not even a band's inputs do, so that they are streamed for each output-channel group again."""
    output_stays: bool
    """Whether all outputs fit the PEs at once."""
    vectors: int
    """Pairs of vectors in a dot product: of one output."""
    input_bits: Counts
    """Inputs as stored compressed, by image, band and group: (images, bands, groups)."""
    output_bits: Counts
    """Outputs as stored compressed, by image, band, group and filter: (images, bands, groups, K)."""
    non_zero_inputs: int
    """Of the rows that some output needs."""
    effectual: int
    output: NDArray[np.int64] | None

    @property
    def operator(self) -> Operator:
        """What was computed."""
        return self.layer.operator


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Lay an operator upon the PEs; with ``check``, compute it as they do."""
    layer = layer_of(operator)
    plane = plane_of(layer, geometry.pes.rows, geometry.pes.columns)
    inputs, weights = plane.turned(layer.input_mask()), plane.turned(layer.weight_mask())
    held = layer.channels * layer.groups
    for bands in _partitions(plane):  # the last one, of a row on each PE, is taken where none fits
        fits = max(band.pixels_of_a_pe for band in bands) * held <= geometry.input_values
        if fits:
            break
    whole = next(_partitions(plane))[0]
    vectors = -(-layer.reduction // geometry.pes.multipliers)
    rows = [_flat(inputs[..., band.rows, :]) for band in bands]
    input_bits = np.stack([run_length_bits(each, VALUE_BITS, RUN_BITS).sum(-1) for each in rows], 1)
    return Match(
        layer,
        plane,
        bands,
        min(geometry.channels, layer.filters),
        whole.pixels_of_a_pe * held <= geometry.input_values,
        not fits,
        whole.kept * layer.filters * layer.groups <= geometry.output_values,
        vectors,
        input_bits,
        _output_bits(plane, bands),
        int(np.count_nonzero(inputs[..., plane.touched[0], :])),
        effectual_pairs(plane, inputs, weights),
        _computed(plane, bands, geometry, vectors) if check else None,
    )


def _partitions(plane: Plane) -> Iterator[tuple[Band, ...]]:
    """Yield ways to cut a plane into bands of output rows with the input rows they need, from one to a row on each PE.

    Rows that two bands need are loaded twice.
    """
    total = plane.outputs[0]
    for rows in range(-(-total // plane.rows), 0, -1):
        step = rows * plane.rows
        spans = [range(y, min(y + step, total)) for y in range(0, total, step)]
        yield tuple(Band(plane, plane.vertical.touched(span), span) for span in spans)


def _flat(array: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return array.reshape(*array.shape[:-2], -1)


def _output_bits(plane: Plane, bands: tuple[Band, ...]) -> Counts:
    layer, mask = plane.layer, plane.layer.output_mask()
    if mask is None:
        size = VALUE_BITS + RUN_BITS
        of_band = [np.full(layer.output_shape[:3], len(b.outputs) * plane.outputs[1] * size) for b in bands]
        return np.stack(of_band, 1)
    turned = plane.turned(mask)
    rows = [_flat(turned[..., b.outputs.start : b.outputs.stop, :]) for b in bands]
    return np.stack([run_length_bits(each, VALUE_BITS, RUN_BITS) for each in rows], 1)


def _computed(plane: Plane, bands: tuple[Band, ...], geometry: Geometry, vectors: int) -> NDArray[np.int64]:
    layer = plane.layer
    inputs, weights = layer.input_values(), layer.weight_values()
    assert inputs is not None
    assert weights is not None
    data, kernels = plane.turned(inputs.astype(np.int64)), plane.turned(weights.astype(np.int64))
    output = np.zeros((layer.images, layer.groups, layer.filters, *plane.outputs), np.int64)
    axes = plane.vertical, plane.horizontal
    stride, padding, dilation = (
        np.array([getattr(axis, of) for axis in axes]) for of in ("stride", "padding", "dilation")
    )
    multiplied = 0
    for n, g in np.ndindex(layer.images, layer.groups):
        for band in bands:
            multiplied += dot_products(
                data[n, g], kernels[g], band.outputs.start, band.outputs.stop, stride, padding, dilation,
                geometry.pes.multipliers, output[n, g],
            )  # fmt: skip
    if multiplied != vectors * output.size:
        raise LawViolation(f"{layer.name}: {multiplied} vectors were multiplied, not {vectors * output.size}")
    return layer.as_output(plane.turned(output))
