"""DCNN and DCNN-opt, the dense baselines of SCNN (Parashar et al., ISCA 2017): as many multipliers, no skipping.

DCNN-opt does not multiply where an operand is zero, which saves energy and no time, and moves activations over the DRAM
channel compressed. The dataflow is in ``simulator.dataflow.dense_planar``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, Hertz
from simulator.dataflow.dense_planar import RUN_BITS, VALUE_BITS, Geometry, Match, match
from simulator.dataflow.layers import layer_of
from simulator.dataflow.planar import Waves
from simulator.dataflow.windows import cumulative
from simulator.hardware.dot_product import DensePEs
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.grid import MOST_ROWS, grid
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, Stream, logic, memory, unit_of
from simulator.trace import Operator

__all__ = ["DEEPER", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "resized", "tile"]

DEEPER = ()
WIDER = ()
"""Twice the PEs need not be faster: a plane that they do not share evenly falls on fewer of them."""

SUM_BITS = 24


class Chip(Part):
    """The configuration of a DCNN chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    pes: DensePEs
    input_ram: Bytes
    """Of a PE: activations of 16 bits, zeros included."""
    output_ram: Bytes
    """Of a PE; after a layer the two change their parts."""
    weight_buffer: Bytes
    """Of a PE: weights that the inputs of a vector meet."""
    output_channels: Annotated[int, Field(ge=1)]
    """Output channels of a group, which stationary inputs meet before the next ones come."""
    zero_gating: bool
    """Whether a pair of which one is zero is not multiplied; its cycle passes all the same."""
    compressed: bool
    """Whether activations cross the DRAM channel as non-zeros with the zeros before them."""
    activations: Literal["on_chip", "dram"]
    """Whether inputs and outputs that fit the RAMs stay there between layers, or always cross the DRAM channel."""
    dram: SimpleChannel


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all PEs."""
    return chip.pes.count * chip.pes.multipliers


def resized(chip: Chip, multipliers: int) -> dict[str, str]:
    """Return the grid of PEs, as nearly square as may be, that comes nearest to that many multipliers."""
    rows, columns = grid(round(multipliers / chip.pes.multipliers), MOST_ROWS)
    return {"pes.rows": str(rows), "pes.columns": str(columns)}


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching depends on.

    Raises:
        InputError: it is neither a convolution, nor a linear layer, nor a product of matrices.

    """
    layer_of(operator)
    values = [size * 8 // VALUE_BITS for size in (chip.input_ram, chip.output_ram)]
    return Geometry(chip.pes, chip.output_channels, *values)


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where its sizes are known or assumed; no control and no wires."""
    return tuple(_parts(chip))


def _parts(chip: Chip) -> Iterator[Instances]:
    pes = chip.pes
    for name in ("input_ram", "output_ram", "weight_buffer"):
        yield from memory(name, pes.count, getattr(chip, name), _width(chip))
    yield from logic("multipliers", "multiply_16b", multipliers(chip))
    yield from logic("adders", "add_24b", multipliers(chip))
    sums = chip.output_channels * SUM_BITS // 8
    yield from logic("accumulators", "register_8b", pes.count * sums, 2 * pes.count * SUM_BITS // 8)


def _width(chip: Chip) -> int:
    """Return the bits of a vector of operands."""
    return chip.pes.multipliers * VALUE_BITS


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Make a tile of each group of output channels of each band."""
    layer, bands = match.layer, match.bands
    waves = Waves((layer.images, len(bands), layer.groups), layer.filters, match.channels, match.plane.copies)
    largest, filters = waves.filters
    per_pe = waves.of_bands([band.kept for band in bands]) * largest * match.vectors
    outputs = waves.of_bands([len(band.outputs) * match.plane.outputs[1] for band in bands]) * filters
    busy, width = outputs * layer.reduction, chip.pes.multipliers
    states = {"busy": busy, "starved": outputs * match.vectors * width - busy}
    array = Stage("array", per_pe, {"multipliers": unit_of(states, multipliers(chip), per_pe)})
    reads, writes = _streams(match, waves, chip)
    total = int(busy.sum())
    return Program(
        operator=operator.name,
        mapping="planar" if match.plane.copies == 1 else "copies",
        stages=(array,),
        reads=reads,
        writes=writes,
        depth=2,
        actions=tuple(_actions(match, waves, chip, outputs, reads, writes)),
        macs=Macs(operator.macs, match.effectual, total),
        peak=multipliers(chip),
        floors={"multipliers": -(-total // multipliers(chip))},
    )


def _streams(match: Match, waves: Waves, chip: Chip) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    """Return what crosses the DRAM channel; activations that stay on the chip do not."""

    def stream(name: str, size: Counts, offset: Counts, compulsory: int) -> Stream:
        return Stream(name, whole_bursts(size, chip.dram.burst), offset, compulsory)

    layer, always = match.layer, chip.activations == "dram"
    columns = match.plane.horizontal.size
    dense = [len(band.rows) * columns * layer.channels * VALUE_BITS for band in match.bands]
    stored = match.input_bits if chip.compressed else np.broadcast_to(np.array(dense)[None, :, None], waves.shape[:3])
    inputs = -(-stored // 8)
    each = waves.each(inputs)
    loaded = (each if match.input_returns else each * waves.first) * (always or not match.input_stays)
    places = waves.each(cumulative(inputs.reshape(-1))[:-1].reshape(inputs.shape))
    weights = waves.filters[1] * layer.reduction * VALUE_BITS // 8
    plane = waves.shape[2] * waves.shape[3]
    firsts = np.arange(0, layer.filters, match.channels)
    compressed = waves.grouped(np.add.reduceat(match.output_bits, firsts, axis=3)).sum(axis=1)
    values = waves.of_bands([len(band.outputs) * match.plane.outputs[1] for band in match.bands]) * waves.filters[1]
    written = -(-(compressed if chip.compressed else values * VALUE_BITS) // 8)
    written = written * (always or not match.output_stays)
    return (
        (
            stream("input", loaded, places, _compulsory(match, chip) if loaded.any() else 0),
            stream(
                "weight",
                weights,
                np.tile(cumulative(weights[:plane])[:-1], len(weights) // plane),
                int(weights[:plane].sum()),
            ),
        ),
        (stream("output", written, cumulative(written)[:-1], int(written.sum())),),
    )


def _compulsory(match: Match, chip: Chip) -> int:
    """Return the bytes of the inputs once: of the non-zeros alone where they are compressed."""
    layer, plane = match.layer, match.plane
    if chip.compressed:
        return match.non_zero_inputs * (VALUE_BITS + RUN_BITS) // 8
    pixels = len(plane.touched[0]) * plane.horizontal.size
    return layer.images * layer.groups * layer.channels * pixels * VALUE_BITS // 8


def _actions(
    match: Match, waves: Waves, chip: Chip, outputs: Counts, reads: tuple[Stream, ...], writes: tuple[Stream, ...]
) -> Iterator[Action]:
    layer, width = match.layer, _width(chip)
    operations = outputs * match.vectors
    pairs = operations * chip.pes.multipliers
    if chip.zero_gating:
        # Where the zeros are is known of the whole operator only: its share of all pairs is taken for every tile.
        pairs = np.array([match.effectual])
    pixels = waves.of_bands([len(band.rows) * len(match.plane.touched[1]) for band in match.bands])
    groups = waves.grouped(np.ones((*waves.shape[:3], waves.groups), np.int64)).sum(axis=1)
    vectors = pixels * -(-layer.channels // chip.pes.multipliers)
    values = -(-outputs // chip.pes.multipliers)
    read = np.minimum(vectors * groups, operations)
    yield Action("input_ram", "read", "sram_read", read, chip.input_ram, width)
    if reads[0].size.any():
        entered = vectors * (1 if match.input_returns else waves.first)
        yield Action("input_ram", "write", "sram_write", entered, chip.input_ram, width)
    yield Action("output_ram", "write", "sram_write", values, chip.output_ram, width)
    if writes[0].size.any():
        yield Action("output_ram", "read", "sram_read", values, chip.output_ram, width)
    weights = -(-waves.filters[1] * layer.reduction // chip.pes.multipliers) * waves.of_bands(
        [band.used for band in match.bands]
    )
    yield Action("weight_buffer", "write", "sram_write", weights, chip.weight_buffer, width)
    yield Action("weight_buffer", "read", "sram_read", operations, chip.weight_buffer, width)
    yield Action("multipliers", "multiply", "multiply_16b", pairs)
    yield Action("adders", "add", "add_24b", pairs)
    yield Action("accumulators", "read and write", "register_8b", 2 * operations * SUM_BITS // 8)
