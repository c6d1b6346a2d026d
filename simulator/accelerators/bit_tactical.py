"""A chip that skips zero weights like Bit-Tactical's front end (ASPLOS 2019): scheduled by software, activations dense.

Tiles of filters (``simulator.hardware.weight_skipping``) take output pixels and blocks of filters in turn. What a block
takes for a pixel depends on its weights alone. The paper's back ends, which skip bits of activations, are not here: the
multipliers are whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.dataflow.layers import Mask, layer_of
from simulator.dataflow.passes import (
    Footprint,
    Plan,
    Room,
    Upright,
    by_tap,
    effectual_pairs,
    plan,
    port_stage,
    values_by_tap,
)
from simulator.dataflow.windows import cumulative
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.weight_skipping import WeightSkipping, lay_out, multiply_scheduled, schedule
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Operator

__all__ = ["DEEPER", "SCALE", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "tile"]

DEEPER: tuple[str, ...] = ()
"""No queues: the schedule is static."""
WIDER = ("array.tiles",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "array.tiles"
"""Parameter in proportion to which the chip has multipliers."""
KEYS = ("activation_buffer", "weight_buffer", "output_buffer")


class Tiling(Part):
    """How an operator is cut into tiles."""

    pixels: Annotated[int, Field(ge=1)]
    """Output pixels of a tile at most, in whole rows, each counted for every block of filters; fewer where the buffers
    are too small."""


class Chip(Part):
    """The configuration of a weight-skipping chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    array: WeightSkipping
    activation_buffer: Buffer
    weight_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    tiling: Tiling


@dataclass(frozen=True, eq=False)
class Match:
    """An operator's weights scheduled, for each block of filters of each group."""

    operator: Operator
    footprint: Footprint
    cycles: Counts
    """(G · blocks,): of an output pixel."""
    issued: Counts
    """(G · blocks,): weights that are not zero."""
    filters: Counts
    """(G · blocks,)."""
    dense: int
    effectual: int
    output: Any
    """What was computed, in the operator's shape; None without values."""


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all tiles."""
    return chip.array.multipliers


def geometry(operator: Operator, chip: Chip) -> WeightSkipping:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    layer_of(operator)
    return chip.array


def match(operator: Operator, geometry: WeightSkipping, check: bool) -> Match:
    """Schedule the weights of every block; with ``check``, multiply what is issued with every output pixel's window."""
    layer, array = layer_of(operator), geometry
    upright = Upright(layer)
    weights = layer.weight_mask()
    values = values_by_tap(upright) if check else None
    P, Q = upright.vertical.outputs, upright.horizontal.outputs
    starts = range(0, layer.filters, array.filters)
    output = None if values is None else np.zeros((layer.images, layer.groups, P, Q, layer.filters), np.int64)
    cycles, issued = (np.zeros((layer.groups, len(starts)), np.int64) for _ in range(2))
    for g, b in np.ndindex(layer.groups, len(starts)):
        own = by_tap(weights[g, starts[b] : starts[b] + array.filters])
        order = None if values is None else np.zeros((int(own.sum()), 2), np.int64)
        cycles[g, b], issued[g, b] = _schedule(own, array, order)
        if values is None or output is None:
            continue
        padded = -(-layer.channels // array.lanes) * array.lanes
        for n in range(layer.images):
            multiply_scheduled(
                values[0][n, g], values[1][g], upright.window, padded, starts[b], order, issued[g, b], output[n, g]
            )
    filters = np.minimum(array.filters, layer.filters - np.array(starts))
    return Match(
        operator,
        _footprint(upright, cycles, filters, array),
        cycles.ravel(),
        issued.ravel(),
        np.tile(filters, layer.groups),
        layer.macs,
        effectual_pairs(layer, layer.input_mask(), weights),
        None if output is None else layer.as_output(upright.turned(output.transpose(0, 1, 4, 2, 3))),
    )


def _schedule(filters: Mask, array: WeightSkipping, order: Any) -> tuple[int, int]:
    """Schedule filters (F, taps, C): (cycles, weights issued); ``order`` is filled where it is given."""
    window = array.window()
    rows = lay_out(filters, array)
    room = np.concatenate((rows, np.zeros((array.look_ahead + 1, rows.shape[1]), rows.dtype)))
    free = np.zeros(rows.shape[1], rows.dtype)
    step = None if order is None else np.zeros(len(order), np.int64)
    done: tuple[int, int] = schedule(
        room, len(rows), array.lanes, array.look_ahead, window.ahead, window.aside, free, order, step
    )
    return done


def _footprint(upright: Upright, cycles: Counts, filters: Counts, array: WeightSkipping) -> Footprint:
    """Return what is stored: activations dense, the weights as scheduled."""
    layer = upright.layer
    columns = len(upright.horizontal.touched(range(upright.horizontal.outputs)))
    inputs = np.full((layer.groups, layer.images, len(upright.frame.rows)), layer.channels * columns)
    rows = np.tile(filters * upright.horizontal.outputs, layer.groups)
    outputs = np.broadcast_to(rows[:, None, None], (len(rows), layer.images, upright.vertical.outputs))
    return Footprint(upright, len(filters), inputs, -(-cycles.ravel() * array.row_bits // 8), outputs)


@dataclass(frozen=True, eq=False)
class Work:
    """What the chip's tiles do in each tile of the operator, (tiles,) each."""

    cycles: Counts
    """Of the busiest."""
    rows: Counts
    """Rows of all of them."""
    products: Counts
    heard: Counts
    """Bytes of activations that they receive."""


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Cut the operator into tiles that fit the buffers, and say what each moves and does.

    Raises:
        InputError: not even one output row, or one block of filters, fits the buffers.

    """
    halves = (chip.activation_buffer.half, chip.weight_buffer.half, chip.output_buffer.half)
    steps = plan(match.footprint, Room(*halves, chip.tiling.pixels, KEYS), chip.dram.burst)
    work = _work(match, steps, chip.array)
    performed = int(work.products.sum())
    return Program(
        operator=operator.name,
        mapping="scheduled",
        stages=(
            _stage(work, chip.array),
            port_stage("output_drain", "output_buffer", steps.outputs, chip.output_buffer),
        ),
        reads=steps.reads,
        writes=steps.writes,
        depth=2,
        actions=(*_array_actions(work, chip), *_buffer_actions(steps, work, chip)),
        macs=Macs(match.dense, match.effectual, performed),
        peak=chip.array.multipliers,
        floors={
            "multipliers": -(-performed // chip.array.multipliers),
            "rows": -(-int(work.rows.sum()) // chip.array.tiles),
            "output_buffer": -(-int(match.footprint.outputs.sum()) // chip.output_buffer.bytes_per_cycle),
        },
    )


def _work(match: Match, steps: Plan, array: WeightSkipping) -> Work:
    """Deal the pixels of each tile, block by block, out to the chip's tiles in turn."""
    tiles, layer = steps.tiles, match.footprint.upright.layer
    pixels = (tiles.last - tiles.first) * match.footprint.upright.horizontal.outputs
    cycles = np.zeros(len(tiles), np.int64)
    each = np.arange(array.tiles)
    for t, (p, n) in enumerate(zip(tiles.of_pass, pixels, strict=True)):
        own = match.cycles[steps.passes[p].start : steps.passes[p].stop]
        begins = np.arange(len(own)) * n % array.tiles
        dealt = n // array.tiles + ((each - begins[:, None]) % array.tiles < n % array.tiles)
        cycles[t] = (own @ dealt).max()
    rows, products = _between(match.cycles, steps), _between(match.issued, steps)
    brick = array.lanes * -(-layer.channels // array.lanes) * layer.taps
    blocks = _between(np.ones_like(match.cycles), steps)
    return Work(cycles, rows * pixels, products * pixels, blocks * pixels * brick)


def _between(of_blocks: Counts, steps: Plan) -> Counts:
    """Add a quantity of each block up over the pass of each tile."""
    running = cumulative(of_blocks)
    sums = np.array([running[p.stop] - running[p.start] for p in steps.passes])
    added: Counts = sums[steps.tiles.of_pass]
    return added


def _stage(work: Work, array: WeightSkipping) -> Stage:
    cycles = work.cycles + array.fill
    states = {"busy": work.products, "fill_drain": np.full(len(cycles), array.fill * array.multipliers)}
    return Stage("tiles", cycles, {"multipliers": unit_of(states, array.multipliers, cycles)})


def _array_actions(work: Work, chip: Chip) -> Iterator[Action]:
    array = chip.array
    lanes = work.rows * array.filters * array.lanes
    yield Action("tile", "multiply", "multiply_8b", work.products)
    yield Action("tile", "add", "add_32b", work.products)
    yield Action("tile", "choose", "look_ahead_tap", lanes * array.choices)
    yield Action("tile", "keep activations", "register_8b", work.heard)


def _buffer_actions(steps: Plan, work: Work, chip: Chip) -> Iterator[Action]:
    for name, into, out in (
        ("activation_buffer", steps.inputs, work.heard),
        ("weight_buffer", steps.weights, -(-work.rows * chip.array.row_bits // 8)),
        ("output_buffer", steps.outputs, steps.outputs),
    ):
        yield from accesses(name, getattr(chip, name), 8 * into, 8 * out)


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where the configuration says how much of it there is.

    Not among it, for want of a size: accumulators, control, clock tree and wires.
    """
    return (*_array_parts(chip), *_buffer_parts(chip))


def _array_parts(chip: Chip) -> Iterator[Instances]:
    array = chip.array
    window = array.tiles * array.lanes * (array.look_ahead + 1)
    yield from logic("tile", "multiply_8b", array.multipliers)
    yield from logic("tile", "add_32b", array.multipliers)
    yield from logic("tile", "look_ahead_tap", array.multipliers * array.choices)
    yield from logic("tile", "register_8b", window)


def _buffer_parts(chip: Chip) -> Iterator[Instances]:
    for name in KEYS:
        yield from banks_of(name, getattr(chip, name))
