"""SparTen (Gondimalla et al., MICRO 2019): both operands sparse, matched by an inner join of bit maps.

Clusters of compute units (``simulator.hardware.inner_join``) each work on an output pixel and a block of filters at a
time; pixels and blocks of a tile are dealt out to the clusters in turn, which wait for each other at its end only. The
same units with less to join are the designs that the paper compares with: one-sided, where only one operand's zeros are
skipped, and dense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
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
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.inner_join import RECORD, Cluster, balance, join_pixels, pack_chunks
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Operator

__all__ = ["DEEPER", "SCALE", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "tile"]

DEEPER = ("cluster.input_chunks",)
"""Parameters of which more never makes a run slower."""
WIDER = ("cluster.count",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "cluster.count"
"""Parameter in proportion to which the chip has multipliers."""

Skips = Literal["both", "weights", "activations", "none"]
KEYS = ("activation_buffer", "weight_buffer", "output_buffer")


class Tiling(Part):
    """How an operator is cut into tiles."""

    pixels: Annotated[int, Field(ge=1)]
    """Output pixels of a tile at most, in whole rows, each counted for every block of filters; fewer where the buffers
    are too small."""


class Chip(Part):
    """The configuration of a SparTen chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    skips: Skips
    """Whose zeros are skipped; an operand whose zeros are not is stored and moved dense."""
    cluster: Cluster
    activation_buffer: Buffer
    weight_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    tiling: Tiling


@dataclass(frozen=True)
class Geometry:
    """What matching depends on, beside the operator."""

    cluster: Cluster
    skips: Skips
    filters: int
    """Of a block at most."""


@dataclass(frozen=True, eq=False)
class Match:
    """An operator matched, for each block of filters of each group."""

    operator: Operator
    footprint: Footprint
    records: NDArray[np.int32]
    """(images, G · blocks, P, Q, len(RECORD))."""
    filters: Counts
    """(G · blocks,): filters of each block."""
    units: Counts
    """(G · blocks,): compute units that have a filter."""
    dense: int
    """Multiply-accumulates."""
    effectual: int
    """Those of two non-zeros."""
    output: Any
    """What was computed, in the operator's shape; None without values."""


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all compute units."""
    return chip.cluster.multipliers


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    layer = layer_of(operator)
    filter_bytes = layer.reduction + _map_bytes(layer.reduction, chip.skips in ("both", "weights"))
    fit = chip.weight_buffer.half // filter_bytes
    if fit < 1:
        raise InputError(
            f"operator '{layer.name}': the weights of one filter take up to {filter_bytes} bytes of weight_buffer, "
            f"but half of it holds {chip.weight_buffer.half}; enlarge weight_buffer.size"
        )
    return Geometry(chip.cluster, chip.skips, min(fit, 2 * chip.cluster.units))


def _map_bytes(elements: int, sparse: bool) -> int:
    return -(-elements // 8) if sparse else 0


@dataclass(frozen=True, eq=False)
class Block:
    """Some filters of a group, one or two to each unit of a cluster."""

    filters: NDArray[np.int64]
    """(taps, J, 2, units): which each unit has for each chunk, -1 for none."""
    maps: NDArray[np.uint64]
    """(taps, J, 2, units, words): their chunks."""
    members: NDArray[np.int64]
    """All of them."""
    size: int
    """Bytes as stored."""
    least: int
    """Cycles between chunks at least."""


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Join every chunk of every output pixel's window with those of every filter.

    With ``check`` the pairs are multiplied and added up, too, where their values are known.
    """
    layer, cluster = layer_of(operator), geometry.cluster
    upright = Upright(layer)
    inputs, weights = layer.input_mask(), layer.weight_mask()
    effectual = effectual_pairs(layer, inputs, weights)
    values = values_by_tap(upright) if check else None
    inputs = upright.turned(inputs if geometry.skips in ("both", "activations") else np.ones_like(inputs))
    groups = [_blocks(each, geometry) for each in weights]
    blocks = [block for group in groups for block in group]
    P, Q = upright.vertical.outputs, upright.horizontal.outputs
    rows, columns = upright.frame.rows, upright.horizontal.touched(range(Q))
    chunk = min(cluster.chunk, layer.channels)
    records = np.zeros((layer.images, len(blocks), P, Q, len(RECORD)), np.int32)
    stored = np.zeros((layer.groups, layer.images, len(rows)), np.int64)
    output = None if values is None else np.zeros((layer.images, layer.groups, P, Q, layer.filters), np.int64)
    for n, g in np.ndindex(layer.images, layer.groups):
        maps, sizes = _chunks(inputs[n, g], chunk, geometry.skips)
        stored[g, n] = sizes[np.ix_(rows, columns)].sum(axis=(1, 2))
        for b, block in enumerate(groups[g]):
            join_pixels(
                maps, sizes, block.maps, block.filters, upright.window, chunk, cluster.input_chunks,
                cluster.broadcast_bytes, block.least, records[n, g * len(groups[g]) + b],
                None if values is None else values[0][n, g],
                None if values is None else values[1][g],
                None if output is None else output[n, g],
            )  # fmt: skip
    result = None if output is None else layer.as_output(upright.turned(output.transpose(0, 1, 4, 2, 3)))
    outputs = _output_bytes(upright, [[block.members for block in group] for group in groups], geometry.skips)
    footprint = Footprint(upright, len(groups[0]), stored, np.array([block.size for block in blocks]), outputs)
    return Match(
        operator,
        footprint,
        records,
        np.array([len(block.members) for block in blocks]),
        np.array([(block.filters[0, 0, 0] >= 0).sum() for block in blocks]),
        layer.macs,
        effectual,
        result,
    )


def _blocks(weights: Mask, geometry: Geometry) -> list[Block]:
    """Deal the filters (K, C, R, S) of a group out to blocks."""
    cluster, sparse = geometry.cluster, geometry.skips in ("both", "weights")
    kernels = by_tap(weights if sparse else np.ones_like(weights))
    K, taps, C = kernels.shape
    chunks = pack_chunks(kernels, min(cluster.chunk, C))
    density = np.bitwise_count(chunks).sum(axis=3, dtype=np.int64)
    padded = np.concatenate((chunks, np.zeros((1, *chunks.shape[1:]), np.uint64)))
    places = np.ix_(range(taps), range(chunks.shape[2]))
    blocks = []
    for dealt in balance(density.reshape(K, -1), geometry.filters, cluster.units, cluster.balancing):
        filters = dealt.reshape(taps, -1, *dealt.shape[1:])
        members = np.unique(dealt[0][dealt[0] >= 0])
        pairs = cluster.balancing == "GB-H" and bool((dealt[0, 1] >= 0).any())
        blocks.append(
            Block(
                np.ascontiguousarray(filters),
                padded[filters, places[0][..., None, None], places[1][..., None, None]],
                members,
                len(members) * _map_bytes(taps * C, sparse) + int(density[members].sum()),
                -(-len(members) // cluster.permuted_per_cycle) if pairs else 1,
            )
        )
    return blocks


def _chunks(mask: Mask, chunk: int, skips: Skips) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the chunks of an image (C, H, W), as maps (H, W, J, words), and the bytes of each as sent (H, W, J)."""
    maps = pack_chunks(np.ascontiguousarray(mask.transpose(1, 2, 0)), chunk)
    sizes = np.bitwise_count(maps).sum(axis=3, dtype=np.int64)
    if skips in ("both", "activations"):
        lengths = np.minimum(chunk, len(mask) - chunk * np.arange(sizes.shape[2]))
        sizes += -(-lengths // 8)
    return maps, sizes


def _output_bytes(upright: Upright, members: list[list[NDArray[np.int64]]], skips: Skips) -> Counts:
    """Return the bytes of each block's rows of outputs, map and non-zeros: (G · blocks, images, P)."""
    layer, Q = upright.layer, upright.horizontal.outputs
    mask = layer.output_mask() if skips in ("both", "activations") else None
    sizes = np.zeros((layer.groups, len(members[0]), layer.images, upright.vertical.outputs), np.int64)
    counts = None if mask is None else upright.turned(mask).sum(axis=4, dtype=np.int64)  # (N, G, K, P)
    for (g, b), own in ((at, members[at[0]][at[1]]) for at in np.ndindex(*sizes.shape[:2])):
        sizes[g, b] = len(own) * Q if counts is None else counts[:, g, own].sum(axis=1)
        if skips in ("both", "activations"):
            sizes[g, b] += -(-len(own) // 8) * Q
    return sizes.reshape(-1, *sizes.shape[2:])


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the pixels of a match up into tiles that fit the buffers, and say what each tile moves and does.

    Raises:
        InputError: not even one output row fits the buffers.

    """
    halves = (chip.activation_buffer.half, chip.weight_buffer.half, chip.output_buffer.half)
    steps = plan(match.footprint, Room(*halves, chip.tiling.pixels, KEYS), chip.dram.burst)
    join, work = _join_stage(match, steps, chip)
    performed = int(work.pairs.sum())
    return Program(
        operator=operator.name,
        mapping={"both": "two-sided", "none": "dense"}.get(chip.skips, f"one-sided ({chip.skips})"),
        stages=(
            port_stage("weight_fetch", "weight_buffer", steps.held * work.fresh, chip.weight_buffer),
            join,
            port_stage("output_drain", "output_buffer", steps.outputs, chip.output_buffer),
        ),
        reads=steps.reads,
        writes=steps.writes,
        depth=2,
        actions=(*_cluster_actions(work, chip), *_buffer_actions(steps, work, chip)),
        macs=Macs(match.dense, match.effectual, performed),
        peak=chip.cluster.multipliers,
        floors={
            "units": -(-performed // chip.cluster.multipliers),
            "weight_buffer": -(-int(match.footprint.weights.sum()) // chip.weight_buffer.bytes_per_cycle),
            "output_buffer": -(-int(match.footprint.outputs.sum()) // chip.output_buffer.bytes_per_cycle),
        },
    )


@dataclass(frozen=True, eq=False)
class Work:
    """What the clusters do in each tile, (tiles,) each."""

    pairs: Counts
    joins: Counts
    """Chunks of filters met by chunks of inputs."""
    sent: Counts
    """Bytes of input chunks sent to clusters."""
    heard: Counts
    """Bytes of them that units receive."""
    copies: Counts
    """Bytes of weights that units receive."""
    sums: Counts
    """Partial sums that leave the units, one for each join."""
    fresh: Counts
    """1 where the weights of the tile were not in the units already."""


def _join_stage(match: Match, steps: Plan, chip: Chip) -> tuple[Stage, Work]:
    """Deal the pixels of each tile, block by block, out to the clusters in turn."""
    tiles, cluster = steps.tiles, chip.cluster
    cycles = np.zeros(len(tiles), np.int64)
    totals = np.zeros((len(tiles), len(RECORD)), np.int64)
    joins, heard, copies = (np.zeros(len(tiles), np.int64) for _ in range(3))
    Q = match.records.shape[3]
    rows = cumulative(np.moveaxis(match.records.sum(axis=3, dtype=np.int64), 2, -1))  # (N, blocks, RECORD, P + 1)
    spent, sent, size = (RECORD.index(name) for name in ("cycles", "chunks", "bytes"))
    for t, (p, n, first, last) in enumerate(zip(tiles.of_pass, tiles.plane, tiles.first, tiles.last, strict=True)):
        of = steps.passes[p]
        blocks = slice(of.start, of.stop)
        each = match.records[n, blocks, first:last, :, spent].ravel()
        cycles[t] = _slowest(each, cluster.count)
        sums = rows[n, blocks, :, last] - rows[n, blocks, :, first]
        totals[t] = sums.sum(axis=0)
        units = match.units[blocks]
        joins[t] = (match.filters[blocks] * sums[:, sent]).sum()
        heard[t] = (units * sums[:, size]).sum()
        copies[t] = match.footprint.weights[blocks].sum() * min(cluster.count, (last - first) * Q)
    at = {name: totals[:, column] for column, name in enumerate(RECORD)}
    fill = np.full(len(tiles), cluster.fill)
    cycles += fill
    states = {
        "busy": at["busy"],
        "starved": at["starved"],
        "fill_drain": fill * cluster.multipliers,
    }
    stage = Stage("join", cycles, {"compute_units": unit_of(states, cluster.multipliers, cycles)})
    work = Work(at["pairs"], joins, at["bytes"], heard, copies, joins, tiles.changes_pass.astype(np.int64))
    return stage, work


def _slowest(cycles: NDArray[np.int32], clusters: int) -> int:
    """Return the cycles of the cluster with most to do, where work is dealt out in turn."""
    padded = np.pad(cycles, (0, -len(cycles) % clusters))
    return int(padded.reshape(-1, clusters).sum(axis=0, dtype=np.int64).max(initial=0))


def _adders(chunk: int) -> int:
    """Full adders of a prefix sum over the map of a chunk: in each level half as many sums as bits, wider by a bit."""
    levels = (chunk - 1).bit_length()
    return chunk // 2 * levels * (levels + 1) // 2


def _gates(chunk: int) -> int:
    """Gates of a priority encoder over the map of a chunk: to find the first one, to pick it, to encode it."""
    return (chunk - 1).bit_length() * chunk + chunk


def _cluster_actions(work: Work, chip: Chip) -> Iterator[Action]:
    maps = {"both": 2, "none": 0}.get(chip.skips, 1)
    chunk = chip.cluster.chunk
    yield Action("compute_unit", "multiply", "multiply_8b", work.pairs)
    yield Action("compute_unit", "add", "add_32b", work.pairs)
    yield Action("compute_unit", "read operands", "register_8b", 2 * work.pairs)
    yield Action("compute_unit", "write inputs", "register_8b", work.heard)
    yield Action("compute_unit", "write weights", "register_8b", work.copies)
    yield Action("prefix_sum", "add", "full_adder_1b", maps * _adders(chunk) * work.joins)
    if maps:
        yield Action("priority_encoder", "pick", "gate_2", _gates(chunk) * work.pairs)
    if chip.cluster.balancing == "GB-H":
        yield Action("permute_network", "switch", "multiplexer_1b", _switches(chip.cluster) * work.sums)


def _switches(cluster: Cluster) -> int:
    """Multiplexers that a 32-bit sum passes on its way among the sums of a cluster's filters."""
    return 32 * (2 * cluster.units - 1).bit_length()


def _buffer_actions(steps: Plan, work: Work, chip: Chip) -> Iterator[Action]:
    for name, into, out in (
        ("activation_buffer", steps.inputs, work.sent),
        ("weight_buffer", steps.weights, steps.held * work.fresh),
        ("output_buffer", steps.outputs, steps.outputs),
    ):
        yield from accesses(name, getattr(chip, name), 8 * into, 8 * out)


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, where the configuration says how much of it there is.

    Not among it, for want of a size: partial sums that wait, the output collector, control, clock tree and wires.
    """
    return (*_cluster_parts(chip), *_buffer_parts(chip))


def _cluster_parts(chip: Chip) -> Iterator[Instances]:
    cluster = chip.cluster
    units, chunk = cluster.multipliers, cluster.chunk
    maps = {"both": 2, "none": 0}.get(chip.skips, 1)
    kept = (cluster.input_chunks + 2) * (chunk + -(-chunk // 8))  # input chunks, and one of each of two filters
    yield from logic("compute_unit", "multiply_8b", units)
    yield from logic("compute_unit", "add_32b", units)
    written = units * cluster.broadcast_bytes + cluster.count * chip.weight_buffer.bytes_per_cycle
    yield from logic("compute_unit", "register_8b", units * kept, 2 * units + written)
    if maps:
        yield from logic("prefix_sum", "full_adder_1b", maps * units * _adders(chunk))
        yield from logic("priority_encoder", "gate_2", units * _gates(chunk))
    if cluster.balancing == "GB-H":
        lanes = max(cluster.permuted_per_cycle, cluster.units)  # unpaired sums need no network: one from each unit
        yield from logic("permute_network", "multiplexer_1b", cluster.count * lanes * _switches(cluster))


def _buffer_parts(chip: Chip) -> Iterator[Instances]:
    for name in KEYS:
        yield from banks_of(name, getattr(chip, name))
