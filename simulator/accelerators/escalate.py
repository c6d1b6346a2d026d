"""ESCALATE (Li et al., MICRO 2021): sparse ternary coefficients first, shared basis kernels after.

A convolution whose kernels share M basis kernels, W[k,c] = Σ_m Ce[k,c,m]·B[m], is computed in the reorganised order of
the basis-first dataflow (``simulator.dataflow.basis_first``). Here is the chip: its parts, how tiles fill its buffers,
what each tile moves, what every unit does meanwhile, and what costs energy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.compress.coding import CODINGS
from simulator.dataflow.basis_first import Coding, Geometry, Match, Work, lower, match
from simulator.dataflow.tiles import ORDERS, Order, Span, Tiles, enumerate_tiles, spans_of
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.butterfly import ButterflyNetwork
from simulator.hardware.channel_accumulation import ChannelAccumulation
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.mac_row import MacRow
from simulator.hardware.pe_array import RECORD, PEArray, channels_at_once
from simulator.program import (
    STATES,
    Action,
    Counts,
    Instances,
    Macs,
    Program,
    Stage,
    Stream,
    Unit,
    logic,
    memory,
    unit_of,
)
from simulator.trace import Operator

__all__ = ["DEEPER", "SCALE", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "tile"]

DEEPER = ("array.input_queue", "array.result_queue")
"""Parameters of which more never makes a run slower."""
WIDER = ("array.blocks",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "array.blocks"
"""Parameter in proportion to which the chip has multipliers."""


class Tiling(Part):
    """How an operator is cut into tiles."""

    rows: Annotated[int, Field(ge=1)]
    """Output rows of a tile at most; fewer where the buffers are too small."""
    strip: Annotated[int, Field(ge=1)]
    """Pixels of a tile at most where no window joins them (1×1 convolutions, linear layers); fewer likewise."""
    order: Literal["auto", "channels", "weights", "rows"]
    """Order of the loops, see ``simulator.dataflow.tiles``; ``auto``: whichever moves fewer bytes."""


class Chip(Part):
    """The configuration of an ESCALATE chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    array: PEArray
    channel_accumulation: ChannelAccumulation
    mac_row: MacRow
    activation_buffer: Buffer
    coefficient_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    coding: Coding
    tiling: Tiling


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all MAC rows."""
    return chip.array.units * chip.mac_row.multipliers


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where the configuration says how much of it there is.

    Not among it, for want of a size: what holds a slice's own coefficients, control, clock tree and wires.
    """
    return (*_array_parts(chip), *_buffer_parts(chip))


def _array_parts(chip: Chip) -> Iterator[Instances]:
    units, unit, row = chip.array.units, chip.channel_accumulation, chip.mac_row
    word = unit.network_lanes + unit.network_lanes // 8  # bytes: 8-bit activations and their map
    result = unit.result_bits // 8
    yield from logic("input_queue", "register_8b", units * chip.array.input_queue * word, units * 2 * word)
    networks = {"concentration": unit.concentrator}
    if unit.dilution == "run_time":
        networks["dilution"] = unit.diluter
    for name, network in networks.items():
        # All CAs of a stream share the controls of a word.
        for kind, count in network.actions(units, chip.array.streams).items():
            yield from logic(name, kind, count, size=network.lanes, width=_bits(network, kind))
    yield from logic("channel_accumulation", "register_8b", units * -(-2 * unit.network_lanes // 8))
    yield from logic("channel_accumulation", "add_16b", units * unit.adders)
    if unit.choices:
        yield from logic("channel_accumulation", "look_ahead_tap", units * unit.adders * unit.choices)
    yield from logic("result_queue", "register_8b", units * chip.array.result_queue * result, units * 2 * result)
    yield from logic("mac_row", "multiply_8b", units * row.multipliers * result)
    yield from logic("mac_row", "add_32b", units * row.multipliers)
    yield from memory("line_buffer", units * row.line_banks, row.line_bank, row.partial_sum_bits, ports="_1r1w")


def _bits(network: ButterflyNetwork, kind: str) -> int:
    """Return the width by which a technology table knows a part of a network."""
    return 1 if kind == "butterfly_controls" else network.payload_bits


def _buffer_parts(chip: Chip) -> Iterator[Instances]:
    for name in ("activation_buffer", "coefficient_buffer", "output_buffer"):
        yield from banks_of(name, getattr(chip, name))


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    work = lower(operator)
    weight_bits = work.weight_bits_at_most(chip.coding)
    fit = chip.coefficient_buffer.half * 8 // weight_bits
    if fit < 1:
        raise InputError(
            f"operator '{operator.name}': the weights of one output channel take up to {-(-weight_bits // 8)} bytes, "
            f"but half of coefficient_buffer holds {chip.coefficient_buffer.half}; enlarge coefficient_buffer.size"
        )
    channels = min(fit, channels_at_once(work.bases, chip.array))
    return Geometry(
        chip.array,
        chip.channel_accumulation,
        chip.mac_row,
        chip.coding,
        max(1, chip.activation_buffer.bytes_per_cycle // chip.array.streams),
        channels,
        _strip(work, chip, channels) if work.mapping == "accumulated" else 0,
    )


def _strip(work: Work, chip: Chip, channels: int) -> int:
    """Return the pixels of a strip: as many as are asked for and half of each buffer holds in the worst case."""
    code = CODINGS[chip.coding.activations]
    strip = chip.tiling.strip
    for name, width in (("activation_buffer", work.per_group), ("output_buffer", channels)):
        pixel = -(-int(code(np.ones(width, np.bool_), 8)) // 8)
        half = getattr(chip, name).half
        if pixel > half:
            raise InputError(
                f"operator '{work.name}': one pixel takes up to {pixel} bytes of {name}, but half of it holds {half}; "
                f"enlarge {name}.size"
            )
        strip = min(strip, half // pixel)
    return strip


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the rows of a match up into tiles that fit the buffers, and say what each tile moves and does.

    Raises:
        InputError: not even one output row fits the buffers.

    """
    sizes, planes = match.sizes, len(match.frame.planes)
    spans = _spans(match, chip)
    inputs = [p.inputs for p in match.passes]
    weights_stay = int(sizes.weights.sum()) <= chip.coefficient_buffer.half
    orders: list[Order] = [chip.tiling.order] if chip.tiling.order != "auto" else _orders(len(inputs), planes)
    candidates = []
    for order in orders:
        kept = sizes.inputs[:, :, -1].sum(axis=1) if order == "weights" else sizes.inputs[:, :, -1]
        inputs_stay = int(kept.max()) <= chip.activation_buffer.half
        candidates.append(Tiles.of(enumerate_tiles(spans, planes, inputs, order, inputs_stay, weights_stay)))
    if len(candidates) == 1:
        return _program(match, candidates[0], chip)
    return _program(match, min(candidates, key=lambda tiles: _cost(match, tiles, chip)), chip)


def _orders(passes: int, planes: int) -> list[Order]:
    """Return the orders that differ: one pass has nothing to keep, one plane no batch to keep weights for."""
    if passes == 1:
        return ["channels"]
    return [order for order in ORDERS if planes > 1 or order != "weights"]


def _cost(match: Match, tiles: Tiles, chip: Chip) -> tuple[int, int]:
    """Fewest bytes first, then fewest cycles: no choice depends on a rate, so that a faster channel never costs."""
    moved = _moved(match, tiles)
    crossing = (moved.inputs, moved.weights, moved.basis, moved.outputs)
    size = sum(int(whole_bursts(each, chip.dram.burst).sum()) for each in crossing)
    return size, int(tiles.between(cumulative(match.records[..., RECORD.index("cycles")])).sum())


def _spans(match: Match, chip: Chip) -> list[Span]:
    """Return the output rows of the tiles: as many each as the configuration asks for and half of each buffer holds."""
    frame, sizes = match.frame, match.sizes
    step = min(chip.tiling.rows, frame.vertical.outputs)
    while True:
        spans = spans_of(frame, step)
        low, high, first, last = (
            np.array([getattr(span, field) for span in spans]) for field in ("low", "high", "first", "last")
        )
        needs = {
            "activation_buffer": int((sizes.inputs[..., high] - sizes.inputs[..., low]).max()),
            "output_buffer": int((sizes.outputs[..., last] - sizes.outputs[..., first]).max()),
        }
        halves = {name: getattr(chip, name).half for name in needs}
        short = [name for name in needs if needs[name] > halves[name]]
        if not short:
            return spans
        if step == 1:
            raise InputError(
                f"operator '{match.work.name}': a tile of one output row needs {needs[short[0]]} bytes of {short[0]}, "
                f"but half of it holds {halves[short[0]]}; enlarge {short[0]}.size"
            )
        step //= 2


@dataclass(frozen=True, eq=False)
class Moved:
    """Bytes that move for each tile, shape (tiles,) each."""

    inputs: Counts
    """From DRAM into the activation buffer."""
    weights: Counts
    """From DRAM into the coefficient buffer."""
    basis: Counts
    """From DRAM through the coefficient buffer into the MAC rows."""
    fetched: Counts
    """From the coefficient buffer into the slices."""
    broadcast: Counts
    """From the activation buffer to the array."""
    outputs: Counts
    """From the array through the output buffer to DRAM."""
    inputs_at: Counts
    """Where the inputs begin within the tensor as stored: group by group, plane by plane, row by row."""
    weights_at: Counts
    """Where the weights begin: pass by pass."""
    outputs_at: Counts
    """Where the outputs begin: pass by pass, plane by plane, row by row."""


def _moved(match: Match, tiles: Tiles) -> Moved:
    sizes = match.sizes
    weights = sizes.weights[tiles.of_pass]
    outputs = sizes.outputs[tiles.of_pass, tiles.plane]
    at = np.arange(len(tiles))
    planes = cumulative(sizes.inputs[:, :, -1].reshape(-1))[:-1].reshape(sizes.inputs.shape[:2])
    ranges = [p.inputs for p in match.passes]
    stored = np.array([ranges.index(inputs) for inputs in ranges])[tiles.of_pass]  # passes over the same channels
    blocks = cumulative(sizes.outputs[..., -1].reshape(-1))[:-1].reshape(sizes.outputs.shape[:2])
    loads_from = sizes.inputs[stored, tiles.plane, tiles.loads_from]
    return Moved(
        inputs=sizes.inputs[stored, tiles.plane, tiles.high] - loads_from,
        weights=np.where(tiles.loads_weights, weights, 0),
        basis=np.where(at == 0, sizes.basis, 0),
        fetched=np.where(tiles.changes_pass, weights, 0),
        broadcast=tiles.between(cumulative(match.broadcast)),
        outputs=outputs[at, tiles.last] - outputs[at, tiles.first],
        inputs_at=planes[stored, tiles.plane] + loads_from,
        weights_at=cumulative(sizes.weights)[tiles.of_pass],
        outputs_at=blocks[tiles.of_pass, tiles.plane] + outputs[at, tiles.first],
    )


def _program(match: Match, tiles: Tiles, chip: Chip) -> Program:
    work, sizes = match.work, match.sizes
    moved = _moved(match, tiles)

    def stream(name: str, size: Counts, offset: Counts, compulsory: int) -> Stream:
        return Stream(name, whole_bursts(size, chip.dram.burst), offset, compulsory)

    reads = [
        stream("input", moved.inputs, moved.inputs_at, sizes.input),
        stream(work.role, moved.weights, moved.weights_at, int(sizes.weights.sum())),
    ]
    if sizes.basis:
        reads.append(stream("basis", moved.basis, np.zeros_like(moved.basis), sizes.basis))
    writes = (stream("output", moved.outputs, moved.outputs_at, int(sizes.outputs[..., -1].sum())),)
    array, record = _array_stage(match, tiles, chip)
    return Program(
        operator=work.name,
        mapping=work.mapping,
        stages=(
            _port_stage("coefficient_fetch", "coefficient_buffer", moved.fetched, chip.coefficient_buffer),
            array,
            _port_stage("output_drain", "output_buffer", moved.outputs, chip.output_buffer),
        ),
        reads=tuple(reads),
        writes=writes,
        depth=2,
        actions=(
            *_array_actions(match, tiles, chip, record),
            *_buffer_actions(moved, chip),
        ),
        macs=_macs(match, chip, record),
        peak=_peak(work, chip),
        floors=_floors(match, chip),
    )


def _port_stage(name: str, unit: str, size: Counts, buffer: Buffer) -> Stage:
    """Return the stage in which ``size`` bytes pass a buffer's ports on the array's side."""
    cycles = -(-size // buffer.bytes_per_cycle)
    states = np.zeros((len(cycles), len(STATES)), np.int64)
    states[:, STATES.index("busy")] = cycles
    return Stage(name, cycles, {unit: Unit(1, states)})


def _array_stage(match: Match, tiles: Tiles, chip: Chip) -> tuple[Stage, Counts]:
    """Return the stage, and the sums of the records of each tile (tiles, len(RECORD))."""
    array, dense = chip.array, match.work.mapping == "dense"
    running = np.zeros((*match.records.shape[:2], match.records.shape[2] + 1, len(RECORD)), np.int64)
    np.cumsum(match.records, axis=2, out=running[:, :, 1:])
    record = tiles.between(running)
    if array.streams > 1:
        record[:, RECORD.index("cycles")] = _side_by_side(match, tiles, array.streams)
    # The array drains at the end of each row of pixels, so its pipeline fills again at the next.
    drains = -(-(tiles.high - tiles.low) // array.streams)
    latency = drains * (1 if dense else chip.channel_accumulation.latency)
    cycles = record[:, RECORD.index("cycles")] + latency
    # Where the MAC rows work alone, their states are recorded in the place of the accumulation units'.
    accumulation, mac_row = ("none", "ca") if dense else ("ca", "mac")
    units = {
        "broadcast": _unit(record, "broadcast", array.streams, cycles, latency),
        "channel_accumulation": _unit(record, accumulation, array.units, cycles, latency),
        "mac_row": _unit(record, mac_row, array.units, cycles, latency),
    }
    return Stage("array", cycles, units), record


def _side_by_side(match: Match, tiles: Tiles, streams: int) -> Counts:
    """Cycles of each tile where ``streams`` rows of pixels run side by side: the longest of each handful."""
    cycles = np.zeros(len(tiles), np.int64)
    for i, (p, plane, low, high) in enumerate(zip(tiles.of_pass, tiles.plane, tiles.low, tiles.high, strict=True)):
        spans = match.records[p, plane, low:high, RECORD.index("cycles")]
        if spans.size:
            cycles[i] = np.maximum.reduceat(spans, np.arange(0, len(spans), streams)).sum()
    return cycles


def _unit(record: Counts, prefix: str, instances: int, cycles: Counts, latency: Counts) -> Unit:
    """Collect a unit's states; instances without work wait for their siblings; a unit without any is idle."""
    states = {
        state: record[:, column]
        for column, (unit, _, state) in enumerate(name.partition("_") for name in RECORD)
        if unit == prefix
    }
    if any(count.any() for count in states.values()):
        states["fill_drain"] = states.get("fill_drain", 0) + instances * latency
    return unit_of(states, instances, cycles)


def _results(match: Match, record: Counts, chip: Chip) -> Counts:
    """Return the T's per tile."""
    work = match.work
    if work.mapping == "accumulated":
        return np.zeros(len(record), np.int64)
    busy = record[:, RECORD.index("ca_busy" if work.mapping == "dense" else "mac_busy")]
    return busy // chip.mac_row.cycles(work.kernel)


def _macs(match: Match, chip: Chip, record: Counts) -> Macs:
    work = match.work
    products = int(_results(match, record, chip).sum()) * work.kernel[0] * work.kernel[1]
    return Macs(work.operator.macs, match.effectual, int(record[:, RECORD.index("pairs")].sum()) + products)


def _peak(work: Work, chip: Chip) -> int:
    adders = chip.channel_accumulation.adders if work.mapping != "dense" else 0
    multipliers = chip.mac_row.multipliers if work.mapping != "accumulated" else 0
    return chip.array.units * (adders + multipliers)


def _floors(match: Match, chip: Chip) -> dict[str, int]:
    """Cycles that each unit needs for its work alone, were it spread perfectly and never kept waiting."""
    total = match.records.sum(axis=(0, 1, 2))
    at = {name: int(value) for name, value in zip(RECORD, total, strict=True)}
    units = chip.array.units
    floors = {
        "broadcast": -(-at["broadcast_busy"] // chip.array.streams),
        "coefficient_buffer": -(-int(match.sizes.weights.sum()) // chip.coefficient_buffer.bytes_per_cycle),
        "output_buffer": -(-int(match.sizes.outputs[..., -1].sum()) // chip.output_buffer.bytes_per_cycle),
    }
    if match.work.mapping == "dense":
        floors["mac_row"] = -(-at["ca_busy"] // units)
    else:
        floors["channel_accumulation"] = -(-at["pairs"] // (units * chip.channel_accumulation.adders))
        floors["mac_row"] = -(-at["mac_busy"] // units)
    return floors


def _array_actions(match: Match, tiles: Tiles, chip: Chip, record: Counts) -> Iterator[Action]:
    work, unit = match.work, chip.channel_accumulation
    listeners, vectors = (
        np.array(of_pass)[tiles.of_pass]
        for of_pass in zip(*((p.assignment.listeners, len(p.assignment.order)) for p in match.passes), strict=True)
    )
    heard = tiles.between(cumulative(match.broadcast)) * listeners
    yield Action("input_queue", "write", "register_8b", heard)
    yield Action("input_queue", "read", "register_8b", heard)
    if work.mapping != "dense":
        words = tiles.between(cumulative(match.words))
        passed = words * vectors  # words through each kind of network: those of every T of every pixel
        networks = {"concentration": unit.concentrator}
        if unit.dilution == "run_time":
            networks["dilution"] = unit.diluter
        for name, network in networks.items():
            for kind, count in network.actions(passed, words).items():  # all CAs share the controls of a word
                yield Action(name, kind.removeprefix("butterfly_"), kind, count, network.lanes, _bits(network, kind))
        yield Action("channel_accumulation", "read codes", "register_8b", -(-passed * 2 * unit.network_lanes // 8))
        yield Action("channel_accumulation", "add", "add_16b", record[:, RECORD.index("pairs")])
        if unit.choices:
            chosen = record[:, RECORD.index("ca_busy")] * (unit.adders * unit.choices)
            yield Action("channel_accumulation", "choose", "look_ahead_tap", chosen)
    if work.mapping == "decomposed":
        size = _results(match, record, chip) * (unit.result_bits // 8)
        yield Action("result_queue", "write", "register_8b", size)
        yield Action("result_queue", "read", "register_8b", size)
    if work.mapping != "accumulated":
        yield from _mac_row_actions(match, tiles, chip, record, vectors)


def _mac_row_actions(match: Match, tiles: Tiles, chip: Chip, record: Counts, vectors: Counts) -> Iterator[Action]:
    """Count products, and the line buffers' columns: along a row of pixels each column of sums enters once and leaves
    once for every output row that the pixels' row meets; at the end all slices' columns of an output are added up.
    """
    work, frame, row = match.work, match.frame, chip.mac_row
    products = _results(match, record, chip) * work.kernel[0] * work.kernel[1]
    bytes_of_operand = chip.channel_accumulation.result_bits // 8 if work.mapping == "decomposed" else 1
    met = work.vertical.meetings().sum(axis=0).astype(np.int64)[frame.rows]  # output rows that each row of pixels meets
    pixels = np.diff(frame.starts).reshape(len(frame.planes), len(frame.rows))
    columns = np.broadcast_to(cumulative(pixels * met), (len(match.passes), len(frame.planes), len(frame.rows) + 1))
    updates = tiles.between(columns) * vectors
    shares = min(work.bases, chip.array.slices) if chip.array.slices_own == "bases" else 1
    widths = np.array([len(segment.outputs) for _, segment in frame.planes])[tiles.plane]
    outputs = (tiles.last - tiles.first) * widths * np.array([len(p.outputs) for p in match.passes])[tiles.of_pass]
    line = {"size": row.line_bank, "width": row.partial_sum_bits}
    yield Action("mac_row", "multiply (8-bit parts)", "multiply_8b", products * bytes_of_operand)
    yield Action("mac_row", "add", "add_32b", products)
    yield Action("mac_row", "add up slices", "add_32b", outputs * (shares - 1))
    yield Action("line_buffer", "read", "sram_read_1r1w", updates + outputs * shares, **line)
    yield Action("line_buffer", "write", "sram_write_1r1w", updates, **line)


def _buffer_actions(moved: Moved, chip: Chip) -> Iterator[Action]:
    weights = moved.weights + moved.basis
    for name, buffer, into, out in (
        ("activation_buffer", chip.activation_buffer, moved.inputs, moved.broadcast),
        ("coefficient_buffer", chip.coefficient_buffer, weights, moved.fetched + moved.basis),
        ("output_buffer", chip.output_buffer, moved.outputs, moved.outputs),
    ):
        yield from accesses(name, buffer, 8 * into, 8 * out)
