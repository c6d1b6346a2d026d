"""SCNN (Parashar et al., ISCA 2017): Cartesian products of compressed weights and activations.

The dataflow is in ``simulator.dataflow.cartesian``, the PE in ``simulator.hardware.cartesian_product``. Here is the
chip: what each output-channel group moves, what every unit does meanwhile, and what costs energy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, Hertz
from simulator.dataflow.cartesian import ENTRY_BITS, Geometry, Match, match
from simulator.dataflow.layers import layer_of
from simulator.dataflow.planar import Waves
from simulator.dataflow.windows import cumulative
from simulator.hardware.cartesian_product import RECORD, Accumulators, PEs, WeightFifo, WeightOrder
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.grid import MOST_ROWS, grid
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, Stream, logic, memory, unit_of
from simulator.trace import Operator

__all__ = ["DEEPER", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "resized", "tile"]

DEEPER = ("accumulators.queue",)
"""Parameters of which more never makes a run slower."""
WIDER = ()
"""Twice the PEs need not be faster: a plane that they do not share evenly falls on fewer of them."""


class OutputChannels(Part):
    """How many output channels make a group."""

    most: Annotated[int, Field(ge=1)]
    """Kc at most; fewer where the accumulators do not hold so many of a PE's tile."""
    least: Annotated[int, Field(ge=1)]
    """A plane is cut into bands of rows until the accumulators hold so many."""


class PostProcessing(Part):
    """A PE's unit that exchanges halos with its neighbours, and compresses the outputs of a finished group."""

    outputs: Annotated[int, Field(ge=1)]
    """Outputs compressed and written per cycle."""
    link: Annotated[int, Field(ge=1)]
    """Partial sums of a halo sent to each neighbour per cycle."""


class Chip(Part):
    """The configuration of an SCNN chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    pes: PEs
    input_ram: Bytes
    """IARAM of a PE: non-zero activations of 16 bits, each with 4 bits that count the zeros before it."""
    output_ram: Bytes
    """OARAM of a PE; after a layer the two change their parts."""
    weight_fifo: WeightFifo
    accumulators: Accumulators
    output_channels: OutputChannels
    weight_order: WeightOrder
    """How the weights of a group and a channel are stored: output channels running fastest, or taps."""
    post: PostProcessing
    activations: Literal["on_chip", "dram"]
    """Whether inputs and outputs that fit the RAMs stay there between layers, or always cross the DRAM channel."""
    dram: SimpleChannel


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all PEs."""
    return chip.pes.count * chip.pes.products


def resized(chip: Chip, multipliers: int) -> dict[str, str]:
    """Return the grid of PEs, as nearly square as may be, that comes nearest to that many multipliers."""
    rows, columns = grid(round(multipliers / chip.pes.products), MOST_ROWS)
    return {"pes.rows": str(rows), "pes.columns": str(columns)}


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching depends on.

    Raises:
        InputError: it is neither a convolution, nor a linear layer, nor a product of matrices.

    """
    layer_of(operator)
    return Geometry(
        chip.pes,
        chip.weight_fifo,
        chip.accumulators,
        chip.output_channels.most,
        min(chip.output_channels.least, chip.output_channels.most),
        chip.weight_order,
        chip.input_ram * 8 // ENTRY_BITS,
        chip.output_ram * 8 // ENTRY_BITS,
    )


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where its sizes are known or assumed; no control, no coordinates, no wires."""
    return tuple(_parts(chip))


def _parts(chip: Chip) -> Iterator[Instances]:
    pes, sums = chip.pes, chip.accumulators
    yield from memory("input_ram", pes.count, chip.input_ram, pes.activations * ENTRY_BITS)
    yield from memory("output_ram", pes.count, chip.output_ram, pes.activations * ENTRY_BITS)
    width = pes.weights * ENTRY_BITS
    yield from memory("weight_fifo", pes.count, _fifo(chip), width, ports="_1r1w")
    if chip.weight_fifo.rate > 1:
        more = pes.count * (chip.weight_fifo.rate - 1)
        yield Instances("weight_fifo", "sram_write_1r1w", more, _fifo(chip), width, overlaps=True)
    yield from logic("multipliers", "multiply_16b", multipliers(chip))
    ways = _ways(chip)
    yield from logic(
        "crossbar",
        "multiplexer_1b",
        pes.count * sums.banks * sums.bits * ways,
        pes.count * pes.products * sums.bits * ways,
    )
    size = sums.bits // 8
    yield from logic(
        "accumulators", "register_8b", pes.count * sums.copies * sums.size * size, pes.count * 4 * sums.banks * size
    )
    yield from logic("accumulators", _adder(chip), pes.count * sums.banks)
    yield from logic("post_processing", _adder(chip), pes.count * 8 * chip.post.link)


def _fifo(chip: Chip) -> int:
    """Return the bytes of a PE's weight FIFO."""
    return -(-chip.weight_fifo.depth * chip.pes.weights * ENTRY_BITS // 8)


def _ways(chip: Chip) -> int:
    """Return the two-way multiplexers of a bit of a port of the crossbar."""
    return max(1, chip.pes.products - 1)


def _adder(chip: Chip) -> str:
    return f"add_{next(bits for bits in (8, 16, 24, 32) if bits >= chip.accumulators.bits)}b"


def _waves(match: Match) -> Waves:
    return Waves(match.records.shape[:3], match.layer.filters, match.channels, match.plane.copies)


def _sums(match: Match, waves: Waves, field: str) -> Counts:
    """Return a field of the records, added up: (tiles,)."""
    total: Counts = waves.grouped(match.records[..., RECORD.index(field)]).sum(axis=1)
    return total


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Make a tile of each output-channel group: its weights are loaded, it is multiplied, its sums are drained."""
    waves = _waves(match)
    draining = _draining(match, waves, chip)
    cycles = waves.grouped(match.records[..., RECORD.index("cycles")]).max(axis=1)
    array, post = _stages(match, waves, chip, cycles, draining)
    reads, writes = _streams(match, waves, chip)
    pairs = _sums(match, waves, "pairs")
    return Program(
        operator=operator.name,
        mapping="planar" if match.plane.copies == 1 else "copies",
        stages=(array, post),
        reads=reads,
        writes=writes,
        depth=3,
        actions=tuple(_actions(match, waves, chip, reads, writes)),
        macs=Macs(operator.macs, match.effectual, int(pairs.sum())),
        peak=multipliers(chip),
        floors={
            "multipliers": -(-int(pairs.sum()) // multipliers(chip)),
            "accumulators": -(-int(pairs.sum()) // (chip.pes.count * chip.accumulators.banks)),
        },
    )


def _draining(match: Match, waves: Waves, chip: Chip) -> Counts:
    """Return the cycles in which each tile's sums leave the accumulators: halos first, then a PE's own outputs."""
    per_channel = [-(-band.halo // chip.post.link) + -(-band.kept // chip.post.outputs) for band in match.bands]
    return waves.of_bands(per_channel) * waves.filters[0]


def _side_by_side(match: Match, waves: Waves) -> Counts:
    """Return the output-channel groups of each tile: (tiles,)."""
    groups: Counts = waves.grouped(np.ones(match.records.shape[:4], np.int64)).sum(axis=1)
    return groups


def _stages(match: Match, waves: Waves, chip: Chip, cycles: Counts, draining: Counts) -> tuple[Stage, Stage]:
    products = chip.pes.products
    pairs, operations, blocked = (_sums(match, waves, field) for field in ("pairs", "operations", "blocked"))
    active = waves.of_bands([band.used for band in match.bands]) * _side_by_side(match, waves)
    held = np.zeros_like(draining) if chip.accumulators.copies > 1 else draining
    states = {
        "busy": pairs,
        "starved": operations * products - pairs,
        "blocked": (blocked + active * held) * products,
        "idle": (chip.pes.count - active) * (cycles + held) * products,
    }
    array = Stage("array", cycles + held, {"multipliers": unit_of(states, multipliers(chip), cycles + held)})
    left = draining - held
    return array, Stage("post", left, {"post_processing": unit_of({"busy": left}, 1, left)})


def _size(entries: Counts) -> Counts:
    """Return the bytes of so many non-zeros as stored."""
    return -(-entries * ENTRY_BITS // 8)


def _streams(match: Match, waves: Waves, chip: Chip) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    """Return what crosses the DRAM channel; activations that stay on the chip do not."""

    def stream(name: str, size: Counts, offset: Counts, compulsory: int) -> Stream:
        return Stream(name, whole_bursts(size, chip.dram.burst), offset, compulsory)

    always = chip.activations == "dram"
    stored = _size(match.inputs)
    inputs = waves.each(stored)
    moved = always or not match.input_stays
    loaded = inputs if match.input_returns else inputs * waves.first
    weights = _size(waves.grouped(match.records[..., RECORD.index("weight_entries")]).sum(axis=1))
    of_plane = int(np.prod(waves.shape[2:]))
    written = _size(waves.grouped(match.outputs).sum(axis=1))
    stores = always or not match.output_stays
    none = np.zeros(len(inputs), np.int64)
    return (
        (
            stream(
                "input",
                loaded if moved else none,
                waves.each(cumulative(stored.reshape(-1))[:-1].reshape(stored.shape)) if moved else none,
                match.non_zero_inputs * ENTRY_BITS // 8 if moved else 0,
            ),
            stream(
                "weight",
                weights,
                np.tile(cumulative(weights[:of_plane])[:-1], len(weights) // of_plane),
                int(weights[:of_plane].sum()),
            ),
        ),
        (
            stream(
                "output",
                written if stores else none,
                cumulative(written)[:-1] if stores else none,
                int(match.outputs.sum()) * ENTRY_BITS // 8 if stores else 0,
            ),
        ),
    )


def _actions(
    match: Match, waves: Waves, chip: Chip, reads: tuple[Stream, ...], writes: tuple[Stream, ...]
) -> Iterator[Action]:
    pes, sums = chip.pes, chip.accumulators
    vector = {"size": chip.input_ram, "width": pes.activations * ENTRY_BITS}
    out = {"size": chip.output_ram, "width": pes.activations * ENTRY_BITS}
    groups = _side_by_side(match, waves)
    outputs = -(-waves.grouped(match.outputs).sum(axis=1) // pes.activations)
    yield Action("input_ram", "read", "sram_read", waves.each(match.vectors) * groups, **vector)
    if reads[0].size.any():
        entries = waves.each(match.inputs) * (1 if match.input_returns else waves.first)
        yield Action("input_ram", "write", "sram_write", -(-entries // pes.activations), **vector)
    yield Action("output_ram", "write", "sram_write", outputs, **out)
    if writes[0].size.any():
        yield Action("output_ram", "read", "sram_read", outputs, **out)
    fifo = {"size": _fifo(chip), "width": pes.weights * ENTRY_BITS}
    listening = waves.of_bands([band.used for band in match.bands])
    pairs = _sums(match, waves, "pairs")
    yield Action("weight_fifo", "write", "sram_write_1r1w", _sums(match, waves, "weight_vectors") * listening, **fifo)
    yield Action("weight_fifo", "read", "sram_read_1r1w", _sums(match, waves, "operations"), **fifo)
    yield Action("multipliers", "multiply", "multiply_16b", pairs)
    yield Action("crossbar", "route", "multiplexer_1b", pairs * sums.bits * _ways(chip))
    size = sums.bits // 8
    filters = waves.filters[1]
    drained = waves.of_bands([band.sums * band.used for band in match.bands]) * filters
    halo = waves.of_bands([max(0, band.sums - band.kept) * band.used for band in match.bands]) * filters
    yield Action("accumulators", "add", _adder(chip), pairs)
    yield Action("accumulators", "read and write", "register_8b", 2 * pairs * size)
    yield Action("accumulators", "drain", "register_8b", drained * size)
    yield Action("post_processing", "add halos", _adder(chip), halo)
    yield Action("halo_links", "send", "link_bit", halo * sums.bits)
