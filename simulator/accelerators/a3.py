"""A³ (Ham et al., HPCA 2020): a key per cycle through dot product, exponential and output; candidates by greedy search.

Queries of a head follow each other through the modules; a tile is a block of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.dataflow.omitted_attention import (
    DECIDING,
    HeadMatch,
    HeadTiles,
    Selection,
    Units,
    Words,
    match_heads,
    real_rows,
    require_attention,
    seen_keys,
    softmax_actions,
    streams,
    tiles_of,
)
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.greedy_candidates import search
from simulator.hardware.quick_select import list_kept
from simulator.hardware.real_scores import Scores
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Attention, Operator
from simulator.trace.connections import pack_rows, row_blocks, unpack_rows

DECIDES = DECIDING
"""Tensors whose values decide what is kept."""
DEEPER = ()
"""Parameters of which more never makes a run slower."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "units.count"
"""Parameter in proportion to which the chip has multipliers."""


class Approximation(Selection):
    """How the chip finds out what to keep."""

    enabled: bool
    """Whether it approximates; the base design looks at every key."""
    iterations: Annotated[float, Field(gt=0)]
    """Of the greedy search, M, as a part of the keys that a query may look at."""
    threshold: Annotated[float, Field(gt=0, le=1)]
    """Post-scoring drops candidates whose weight is below this part of the largest, T."""


class Modules(Part):
    """The modules that a query passes."""

    features: Annotated[int, Field(ge=1)]
    """Numbers of a key or value multiplied per cycle."""
    latency: Annotated[int, Field(ge=0)]
    """Cycles of each module beyond those of its keys."""


class Chip(Part):
    """The configuration of A³."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    units: Units
    approximation: Approximation
    modules: Modules
    operand_bits: Annotated[int, Field(ge=1, le=16)]
    """Of queries, keys, values and outputs, in DRAM and on chip."""
    block: Annotated[int, Field(ge=1)]
    """Queries of a tile at most."""
    sram: Buffer
    """Of each unit."""
    dram: SimpleChannel

    @property
    def multipliers(self) -> int:
        """Of dot product and output."""
        return 2 * self.units.count * self.modules.features


@dataclass(frozen=True, eq=False)
class Match:
    """What the chip keeps, and what it looked at for that."""

    heads: HeadMatch
    """Records: candidates of each query, (N · H, L)."""

    @property
    def operator(self) -> Attention:
        """With the connections that the chip keeps."""
        return self.heads.operator

    @property
    def output(self) -> object:
        """What the chip's own loops computed."""
        return self.heads.output


def multipliers(chip: Chip) -> int:
    """Return the multipliers of dot product and output."""
    return chip.multipliers


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, as far as it is known: multipliers and SRAM."""
    n = chip.units.count
    return (
        *logic("modules", "mac_16b", chip.multipliers),
        *banks_of("sram", chip.sram, n),
    )


def geometry(operator: Operator, chip: Chip) -> Approximation:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: it is no attention, or does not fit the SRAM.

    """
    _tiles(require_attention(operator, "a3"), chip)
    return chip.approximation


def match(operator: Attention, geometry: Approximation, check: bool) -> Match:
    """Search candidates, score them, and list those kept query by query."""
    candidates: dict[tuple[int, int], Counts] = {}

    def select(operator: Attention, image: int, allowed: Words) -> Words:
        kept = np.empty_like(allowed)
        for head in range(operator.heads):
            kept[head], candidates[image, head] = approximate(operator, image, head, allowed[head], geometry)
        return kept

    def walk(image: int, head: int, kept: Words, issues: NDArray[np.int32]) -> Counts:
        list_kept(kept[head], issues)
        found = candidates.get((image, head))
        return np.bitwise_count(kept[head]).sum(axis=1, dtype=np.int64) if found is None else found

    source = geometry.connections
    return Match(match_heads(operator, select if geometry.enabled else _all, source, walk, check))


def _all(operator: Attention, image: int, allowed: Words) -> Words:
    return allowed


def approximate(
    operator: Attention, image: int, head: int, allowed: Words, geometry: Approximation
) -> tuple[Words, Counts]:
    """Return what a head keeps of what is allowed, (L, W), and how many candidates each query had, (L,)."""
    free = unpack_rows(allowed, operator.key_count)
    query, key = (np.ascontiguousarray(real_rows(operator, role, image, head)) for role in DECIDING)
    order = np.ascontiguousarray(np.argsort(key, axis=0, kind="stable").T)
    candidates = np.zeros(free.shape, np.bool_)
    search(query, key, order, free, _iterations(free.sum(axis=1), geometry), candidates)
    scores, kept = Scores(query, key, operator.scale), np.zeros(free.shape, np.bool_)
    for rows in row_blocks(len(query)):
        own = scores.rows(rows, candidates[rows])
        kept[rows] = own >= own.max(axis=1, keepdims=True) + math.log(geometry.threshold)
    return pack_rows(kept), candidates.sum(axis=1)


def _iterations(keys: Counts, geometry: Approximation) -> Counts:
    iterations: Counts = np.maximum(1, np.floor(geometry.iterations * keys + 0.5).astype(np.int64))
    return iterations


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Time the blocks of queries."""
    attention, tiles = match.operator, _tiles(match.operator, chip)
    D, E, approximation = attention.head_size, attention.value_size, chip.approximation
    kept, candidates = match.heads.kept, match.heads.records
    seen = np.broadcast_to(seen_keys(attention), kept.shape)
    if not approximation.enabled:  # every key passes every module
        candidates, passing = seen, seen
    else:
        passing = kept
    wide, deep = -(-D // chip.modules.features), -(-E // chip.modules.features)
    late = chip.modules.latency
    steps = {
        "search": _iterations(seen, approximation) + late if approximation.enabled else np.zeros_like(kept),
        "dot_product": candidates * wide + late,
        "exponential": passing + late,
        "output": passing * deep + late,
    }
    pace = np.max(list(steps.values()), axis=0)
    last = [cycles[:, -1] for cycles in steps.values()]
    blocks = tiles.of_blocks(pace)
    drain = np.zeros_like(blocks)
    drain[:, -1] = np.sum(last, axis=0) - pace[:, -1]  # the last query of a head passes the other modules
    cycles, draining = tiles.longest(blocks + drain), tiles.add(drain)
    looked, weighted = tiles.add(tiles.of_blocks(candidates)), tiles.add(tiles.of_blocks(passing))
    n, features = chip.units.count, chip.modules.features
    units = {}
    for name, work in (("dot_product", looked * D), ("output", weighted * E)):
        held = tiles.add(tiles.of_blocks(steps[name] - late))
        starved = features * (n * cycles - held - draining)
        states = {"busy": work, "fill_drain": features * draining, "starved": starved}
        units[name] = unit_of(states, n * features, cycles)
    for name in ("search", "exponential"):
        held = tiles.add(tiles.of_blocks(np.maximum(0, steps[name] - late)))
        starved = n * cycles - held - draining
        used = {"busy": held, "fill_drain": draining, "starved": starved} if held.any() else {}
        units[name] = unit_of(used, n, cycles)
    reads, output = streams(tiles, chip.dram, dict.fromkeys(("query", "key", "value", "output"), chip.operand_bits))
    macs = int(looked.sum()) * D + int(weighted.sum()) * E
    return Program(
        operator=operator.name,
        mapping="approximate" if approximation.enabled else "base",
        stages=(Stage("attention", cycles, units),),
        reads=reads,
        writes=(output,),
        depth=tiles.depth,
        actions=tuple(_actions(tiles, chip, looked, weighted, steps["search"])),
        macs=Macs(operator.macs, int(kept.sum()) * (D + E), macs),
        peak=chip.multipliers,
        floors={
            "dot_product": -(-int(looked.sum()) * D // (n * features)),
            "output": -(-int(weighted.sum()) * E // (n * features)),
            "exponential": -(-int(weighted.sum()) // n),
        },
    )


def _tiles(operator: Attention, chip: Chip) -> HeadTiles:
    return tiles_of(operator, chip.units.count, chip.sram, chip.operand_bits, chip.block)


def _actions(tiles: HeadTiles, chip: Chip, looked: Counts, weighted: Counts, search: Counts) -> Iterator[Action]:
    operator, bits = tiles.operator, chip.operand_bits
    D, E, S = operator.head_size, operator.value_size, operator.key_count
    queries = tiles.add(tiles.queries)
    yield Action("modules", "multiply-add", "mac_16b", looked * D + weighted * E)
    if chip.approximation.enabled:
        iterations = tiles.add(tiles.of_blocks(search - chip.modules.latency))
        yield Action("search", "multiply", "multiply_16b", 2 * iterations)
        yield Action("search", "compare", "comparator_32b", 2 * D * iterations)
        yield Action("search", "add", "add_32b", 2 * iterations)
        sorted_keys = 2 * bits * iterations
    else:
        sorted_keys = 0 * queries
    yield from softmax_actions(weighted, queries, E)
    stored = (queries + tiles.add(tiles.new_keys) * S) * (D + E) * bits
    read = (queries * (D + E) + looked * D + weighted * E) * bits + sorted_keys
    yield from accesses("sram", chip.sram, stored, read)
