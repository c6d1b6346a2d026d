"""A flexible array like SIGMA (Qin et al., HPCA 2020): only non-zero weights take multipliers, vectors stream past.

Every operator is a product of matrices here: weights (filters × reduction) stay, the windows of the output pixels are
streamed (``simulator.hardware.flex_dpe``), fold after fold. Loading a fold, streaming and the adders' latency follow
each other, as in the paper's own account of cycles.
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
from simulator.hardware.bits import pack
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.flex_dpe import RECORD, FlexDPE, Folds, fold, stream_pixels
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Operator

__all__ = ["DEEPER", "SCALE", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "tile"]

DEEPER: tuple[str, ...] = ()
"""No queues: a vector is streamed in every cycle."""
WIDER = ("engines.stream_words",)
"""Parameters of which twice as much never makes a run slower."""
SCALE = "engines.count"
"""Parameter in proportion to which the chip has multipliers."""
KEYS = ("activation_buffer", "weight_buffer", "output_buffer")


class Tiling(Part):
    """How an operator is cut into tiles."""

    pixels: Annotated[int, Field(ge=1)]
    """Output pixels of a tile at most, in whole rows, each counted for every fold; fewer where the buffers are too
    small."""


class Chip(Part):
    """The configuration of a SIGMA-like chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    engines: FlexDPE
    activation_buffer: Buffer
    weight_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    tiling: Tiling


@dataclass(frozen=True, eq=False)
class Match:
    """An operator matched, fold by fold; groups with fewer folds than others have empty ones."""

    operator: Operator
    footprint: Footprint
    records: Counts
    """(images, G · folds, P, len(RECORD))."""
    nonzeros: Counts
    """(G · folds,)."""
    dense: int
    effectual: int
    output: Any
    """What was computed, in the operator's shape; None without values."""


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all engines."""
    return chip.engines.multipliers


def geometry(operator: Operator, chip: Chip) -> FlexDPE:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    layer_of(operator)
    return chip.engines


def match(operator: Operator, geometry: FlexDPE, check: bool) -> Match:
    """Stream every output pixel's window past every fold of the weights.

    With ``check`` the pairs are multiplied and added up, too, where their values are known.
    """
    layer = layer_of(operator)
    upright = Upright(layer)
    inputs, weights = layer.input_mask(), layer.weight_mask()
    effectual = effectual_pairs(layer, inputs, weights)
    inputs = upright.turned(inputs)
    values = values_by_tap(upright) if check else None
    groups = [fold(np.ascontiguousarray(by_tap(each)), geometry.multipliers) for each in weights]
    count = max(len(group.nonzeros) for group in groups)
    N, G, P, Q = layer.images, layer.groups, upright.vertical.outputs, upright.horizontal.outputs
    records = np.zeros((N, G, count, P, len(RECORD)), np.int64)
    output = None if values is None else np.zeros((N, G, P, Q, layer.filters), np.int64)
    for n, g in np.ndindex(N, G):
        own = groups[g]
        if not own.nonzeros.any():
            continue
        stream_pixels(
            pack(np.ascontiguousarray(inputs[n, g].transpose(1, 2, 0))), upright.window, own.filters, own.maps,
            own.spans, own.pieces, own.unions, geometry.stream_words, records[n, g, : len(own.nonzeros)],
            None if values is None else values[0][n, g],
            None if values is None else values[1][g],
            None if output is None else output[n, g],
        )  # fmt: skip
    nonzeros = np.array([np.pad(own.nonzeros, (0, count - len(own.nonzeros))) for own in groups])
    return Match(
        operator,
        Footprint(
            upright,
            count,
            _input_bytes(upright, inputs),
            _weight_bytes(groups, count),
            _output_bytes(upright, groups, count),
        ),
        records.reshape(N, G * count, P, len(RECORD)),
        nonzeros.ravel(),
        layer.macs,
        effectual,
        None if output is None else layer.as_output(upright.turned(output.transpose(0, 1, 4, 2, 3))),
    )


def _input_bytes(upright: Upright, inputs: Mask) -> Counts:
    """Return the bytes of the rows streamed, map and non-zeros of each pixel: (G, images, rows)."""
    rows, columns = upright.frame.rows, upright.horizontal.touched(range(upright.horizontal.outputs))
    counts = inputs[..., rows, :][..., columns].sum(axis=(2, 4), dtype=np.int64)
    sizes: Counts = (counts + -(-inputs.shape[2] // 8) * len(columns)).swapaxes(0, 1)
    return sizes


def _weight_bytes(groups: list[Folds], count: int) -> Counts:
    """Return the bytes of each fold, its part of the map and its non-zeros: (G · folds,)."""
    sizes = np.zeros((len(groups), count), np.int64)
    for own, each in zip(sizes, groups, strict=True):
        own[: len(each.nonzeros)] = each.nonzeros + -(-np.diff(each.starts) // 8)
    return sizes.ravel()


def _output_bytes(upright: Upright, groups: list[Folds], count: int) -> Counts:
    """Return the bytes of the rows of the outputs that each fold completes: (G · folds, images, P)."""
    layer, Q = upright.layer, upright.horizontal.outputs
    mask = layer.output_mask()
    sizes = np.zeros((layer.groups, count, layer.images, upright.vertical.outputs), np.int64)
    counts = None if mask is None else upright.turned(mask).sum(axis=4, dtype=np.int64)  # (N, G, K, P)
    ends = layer.reduction * np.arange(1, layer.filters + 1)
    for g, own in enumerate(groups):
        done = np.searchsorted(own.starts, ends, "left") - 1
        for f in np.unique(done):
            filters = np.flatnonzero(done == f)
            values = len(filters) * Q if counts is None else counts[:, g, filters].sum(axis=1)
            sizes[g, f] = values + -(-len(filters) // 8) * Q
    return sizes.reshape(-1, *sizes.shape[2:])


@dataclass(frozen=True, eq=False)
class Work:
    """What the engines do in each tile, (tiles,) each."""

    streamed: Counts
    """Cycles in which vectors are streamed."""
    pairs: Counts
    elements: Counts
    loaded: Counts
    """Weights written into multipliers."""
    loading: Counts
    """Cycles of that."""
    folds: Counts
    engines: Counts
    """Sum over streaming cycles of the engines that hold weights."""


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the rows of a match up into tiles that fit the buffers, and say what each tile moves and does.

    Raises:
        InputError: not even one output row, or one fold, fits the buffers.

    """
    halves = (chip.activation_buffer.half, chip.weight_buffer.half, chip.output_buffer.half)
    steps = plan(match.footprint, Room(*halves, chip.tiling.pixels, KEYS), chip.dram.burst)
    work = _work(match, steps, chip.engines)
    performed = int(work.pairs.sum())
    return Program(
        operator=operator.name,
        mapping="weight-stationary",
        stages=(
            _engines_stage(work, chip.engines),
            port_stage("output_drain", "output_buffer", steps.outputs, chip.output_buffer),
        ),
        reads=steps.reads,
        writes=steps.writes,
        depth=2,
        actions=(*_engine_actions(work, chip), *_buffer_actions(steps, work, chip)),
        macs=Macs(match.dense, match.effectual, performed),
        peak=chip.engines.multipliers,
        floors={
            "multipliers": -(-performed // chip.engines.multipliers),
            "loading": -(-int(match.nonzeros.sum()) // chip.engines.load_words),
            "output_buffer": -(-int(match.footprint.outputs.sum()) // chip.output_buffer.bytes_per_cycle),
        },
    )


def _work(match: Match, steps: Plan, engines: FlexDPE) -> Work:
    """Add up the rows and folds of each tile."""
    tiles = steps.tiles
    held = -(-match.nonzeros // engines.width)
    records = np.concatenate((match.records, match.records[..., :1] * held[:, None, None]), axis=-1)
    N, folds_of_all, P, fields = records.shape
    running = np.zeros((N, folds_of_all + 1, P + 1, fields), np.int64)
    running[:, 1:, 1:] = records.cumsum(axis=1).cumsum(axis=2)
    first, last = (np.array([getattr(p, end) for p in steps.passes])[tiles.of_pass] for end in ("start", "stop"))
    n, low, high = tiles.plane, tiles.first, tiles.last
    totals = running[n, last, high] - running[n, first, high] - running[n, last, low] + running[n, first, low]
    used = match.nonzeros > 0
    loading = cumulative(-(-match.nonzeros // engines.load_words))
    weights, folds = cumulative(match.nonzeros), cumulative(used.astype(np.int64))
    # A fold that is the only one of its pass stays while the pass goes on.
    fresh = tiles.changes_pass | (folds[last] - folds[first] > 1)
    return Work(
        totals[:, 0],
        totals[:, 1],
        totals[:, 2],
        (weights[last] - weights[first]) * fresh,
        (loading[last] - loading[first]) * fresh,
        folds[last] - folds[first],
        totals[:, 3],
    )


def _engines_stage(work: Work, engines: FlexDPE) -> Stage:
    """Load, stream and add up, one after the other."""
    fill = work.folds * engines.latency
    cycles = work.loading + work.streamed + fill
    states = {
        "busy": work.pairs,
        "starved": work.loading * engines.multipliers,
        "fill_drain": fill * engines.multipliers,
    }
    return Stage("engines", cycles, {"multipliers": unit_of(states, engines.multipliers, cycles)})


def _lanes(engines: FlexDPE) -> int:
    """Lanes of a Beneš network: a power of two."""
    return max(2, 1 << engines.levels)


def _engine_actions(work: Work, chip: Chip) -> Iterator[Action]:
    network = {"size": _lanes(chip.engines), "width": 8}
    yield Action("engine", "multiply", "multiply_8b", work.pairs)
    yield Action("engine", "add", "add_32b", work.pairs)
    yield Action("engine", "read weight", "register_8b", work.pairs)
    yield Action("engine", "write weight", "register_8b", work.loaded)
    yield Action("distribution", "switch", "butterfly_switches", 2 * work.engines, **network)


def _buffer_actions(steps: Plan, work: Work, chip: Chip) -> Iterator[Action]:
    for name, into, out in (
        ("activation_buffer", steps.inputs, work.elements),
        ("weight_buffer", steps.weights, work.loaded),
        ("output_buffer", steps.outputs, steps.outputs),
    ):
        yield from accesses(name, getattr(chip, name), 8 * into, 8 * out)


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where the configuration says how much of it there is.

    Not among it, for want of a size: the FAN's forwarding links, accumulators, the controller that compares bit maps,
    control, clock tree and wires.
    """
    return (*_engine_parts(chip), *_buffer_parts(chip))


def _engine_parts(chip: Chip) -> Iterator[Instances]:
    engines = chip.engines
    yield from logic("engine", "multiply_8b", engines.multipliers)
    yield from logic("engine", "add_32b", engines.multipliers)
    yield from logic("engine", "register_8b", engines.multipliers, engines.multipliers + engines.load_words)
    yield from logic("distribution", "butterfly_switches", 2 * engines.count, size=_lanes(engines), width=8)


def _buffer_parts(chip: Chip) -> Iterator[Instances]:
    for name in KEYS:
        yield from banks_of(name, getattr(chip, name))
