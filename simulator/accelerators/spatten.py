"""SpAtten (Wang, Zhang, Han; HPCA 2021): cascade pruning of tokens and heads, top-k engines, progressive quantisation.

A query passes Q·Kᵀ, softmax, top-k and A·V, each step working on another query; the slowest sets the pace. A tile is a
block of queries of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.dataflow.cascade_pruning import RECORD, Cascade, Progressive, Pruning, prune_heads
from simulator.dataflow.omitted_attention import (
    DECIDING,
    HeadMatch,
    HeadTiles,
    Units,
    match_heads,
    require_attention,
    softmax_actions,
    stream,
    streams,
    tiles_of,
)
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.quick_select import TopK
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, Stream, Unit, logic, unit_of
from simulator.trace import Attended, Attention, Operator

DECIDES = (*DECIDING, "value")
"""Tensors whose values decide what is kept."""
DEEPER = ()
"""Parameters of which more never makes a run slower."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "units.count"
"""Parameter in proportion to which the chip has multipliers."""
_STEPS: Final = ("qk", "softmax", "top_k", "av")


class Pipeline(Part):
    """The steps that a query passes."""

    multipliers: Annotated[int, Field(ge=1)]
    """Of Q·Kᵀ, and as many of A·V; shared out to as many keys or values per cycle as they have features for."""
    softmax: Annotated[int, Field(ge=1)]
    """Weights per cycle."""
    drain: Annotated[int, Field(ge=0)]
    """Cycles that the last query takes beyond those of a step."""

    def cycles(self, vectors: Counts, features: int) -> Counts:
        """Return the cycles of a step for so many keys or values."""
        rows = self.multipliers // features
        return -(-vectors // rows) if rows else vectors * -(-features // self.multipliers)


class Chip(Part):
    """The configuration of SpAtten."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    units: Units
    pruning: Pruning
    quantisation: Progressive
    pipeline: Pipeline
    top_k: TopK
    operand_bits: Annotated[int, Field(ge=1, le=16)]
    """Of queries, outputs, and of keys and values on chip."""
    block: Annotated[int, Field(ge=1)]
    """Queries of a tile at most."""
    sram: Buffer
    """Of each unit: keys, values, queries and outputs."""
    dram: SimpleChannel

    @property
    def multipliers(self) -> int:
        """Of all steps and units."""
        return 2 * self.units.count * self.pipeline.multipliers


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    pruning: Pruning
    quantisation: Progressive
    top_k: TopK


@dataclass(frozen=True, eq=False)
class Match:
    """What the chip keeps of an attention operator."""

    heads: HeadMatch
    """Records by ``cascade_pruning.RECORD``."""
    tokens: Counts
    """(N,): tokens left of each image."""
    values: Counts
    """(N · H,): values that some query of a head takes."""

    @property
    def operator(self) -> Attention:
        """What was computed, without the heads that were pruned."""
        return self.heads.operator

    @property
    def output(self) -> Attended | None:
        """What the chip's own loops computed."""
        return self.heads.output


def multipliers(chip: Chip) -> int:
    """Return the multipliers of Q·Kᵀ and of A·V."""
    return chip.multipliers


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, as far as it is known: multipliers, comparators and SRAM."""
    n = chip.units.count
    return (
        *logic("multipliers", "mac_16b", chip.multipliers),
        *logic("top_k", "comparator_32b", n * chip.top_k.comparators),
        *banks_of("sram", chip.sram, n),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: it is no attention, or does not fit the SRAM.

    """
    _tiles(require_attention(operator, "spatten"), chip)
    return Geometry(chip.pruning, chip.quantisation, chip.top_k)


def match(operator: Attention, geometry: Geometry, check: bool) -> Match:
    """Prune heads, tokens and values, and list what is left query by query."""
    left = prune_heads(operator, geometry.pruning)
    cascade = Cascade(left, geometry.pruning, geometry.quantisation, geometry.top_k)
    heads = match_heads(left, cascade.select, geometry.pruning.connections, cascade.walk, check)
    return Match(heads, cascade.staying, cascade.values.ravel())


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Time the blocks of queries."""
    attention, tiles = match.operator, _tiles(match.operator, chip)
    D, E = attention.head_size, attention.value_size
    looked, kept, again, engine, compared = np.moveaxis(match.heads.records, -1, 0)
    assert len(RECORD) == 5
    scored = looked * (1 + again)
    steps = {
        "qk": chip.pipeline.cycles(looked, D) * (1 + again),
        "softmax": -(-scored // chip.pipeline.softmax),
        "top_k": engine,
        "av": chip.pipeline.cycles(kept, E),
    }
    pace = np.max(list(steps.values()), axis=0)
    blocks = tiles.of_blocks(pace)
    drain = np.zeros_like(blocks)
    drain[-1, -1] = chip.pipeline.drain + int(pace[-1, -1])  # the last query passes the other steps
    cycles = tiles.longest(blocks + drain)
    busy = {step: tiles.add(tiles.of_blocks(steps[step])) for step in _STEPS}
    sums = {name: tiles.add(tiles.of_blocks(count)) for name, count in (("scored", scored), ("kept", kept))}
    draining = tiles.add(drain)
    macs = int(scored.sum()) * D + int(kept.sum()) * E
    reads, output = _streams(match, tiles, chip)
    n, own = chip.units.count, chip.pipeline.multipliers
    return Program(
        operator=operator.name,
        mapping="pruned",
        stages=(Stage("attention", cycles, _units(chip, busy, sums, draining, cycles, D, E)),),
        reads=reads,
        writes=(output,),
        depth=tiles.depth,
        actions=tuple(_actions(match, tiles, chip, sums, tiles.add(tiles.of_blocks(compared)))),
        macs=Macs(operator.macs, int(kept.sum()) * (D + E), macs),
        peak=chip.multipliers,
        floors={
            "qk": -(-int(sums["scored"].sum()) * D // (n * own)),
            "av": -(-int(sums["kept"].sum()) * E // (n * own)),
            "softmax": -(-int(busy["softmax"].sum()) // n),
            "top_k": -(-int(busy["top_k"].sum()) // n),
        },
    )


def _units(
    chip: Chip, busy: dict[str, Counts], sums: dict[str, Counts], draining: Counts, cycles: Counts, D: int, E: int
) -> dict[str, Unit]:
    n, own = chip.units.count, chip.pipeline.multipliers
    units = {}
    for step, work in (("qk", sums["scored"] * D), ("av", sums["kept"] * E)):
        starved = own * (n * cycles - busy[step] - draining)
        units[step] = unit_of(
            {"busy": work, "starved": starved, "fill_drain": own * draining}, n * own, cycles
        )  # what is left, multipliers without a feature or a key, is imbalance
    for step in ("softmax", "top_k"):
        if busy[step].any():
            starved = n * cycles - busy[step] - draining
            units[step] = unit_of({"busy": busy[step], "starved": starved, "fill_drain": draining}, n, cycles)
        else:
            units[step] = unit_of({}, n, cycles)
    return units


def _tiles(operator: Attention, chip: Chip) -> HeadTiles:
    return tiles_of(operator, chip.units.count, chip.sram, chip.operand_bits, chip.block)


def _streams(match: Match, tiles: HeadTiles, chip: Chip) -> tuple[tuple[Stream, ...], Stream]:
    operator, high = match.operator, chip.quantisation.high
    tokens = np.repeat(match.tokens, operator.heads)
    bits = {"query": chip.operand_bits, "key": high, "value": high, "output": chip.operand_bits}
    reads, output = streams(tiles, chip.dram, bits, {"key": tokens, "value": _values(match)})
    wanted = match.heads.records[..., RECORD.index("again")].max(axis=1)
    low = np.zeros((tiles.heads, tiles.blocks), np.int64)
    low[:, 0] = -(-wanted * tokens * operator.head_size * chip.quantisation.low // 8)
    return (*reads, stream("key_low_bits", tiles.add(low), int(low.sum()), chip.dram)), output


def _values(match: Match) -> Counts:
    """Return the values fetched for each head: with grouped queries, where they come, those that any of them takes."""
    operator = match.operator
    if operator.groups == operator.heads:
        return match.values
    return np.repeat(match.tokens, operator.heads)


def _actions(match: Match, tiles: HeadTiles, chip: Chip, sums: dict[str, Counts], compared: Counts) -> Iterator[Action]:
    operator, bits = match.operator, chip.operand_bits
    D, E = operator.head_size, operator.value_size
    yield Action("multipliers", "multiply-add", "mac_16b", sums["scored"] * D + sums["kept"] * E)
    yield Action("top_k", "compare", "comparator_32b", compared)
    queries: Any = tiles.add(tiles.queries)
    yield from softmax_actions(sums["scored"], queries, E)
    tokens = np.repeat(match.tokens, operator.heads)[:, None]
    stored = (queries + tiles.add(tiles.new_keys * tokens)) * (D + E) * bits
    yield from accesses(
        "sram", chip.sram, stored, queries * (D + E) * bits + (sums["scored"] * D + sums["kept"] * E) * bits
    )
