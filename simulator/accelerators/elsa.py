"""ELSA (Ham et al., ISCA 2021): candidates by sign hashes and lengths of keys, attended as they are found.

Keys of a head are hashed first; then queries follow each other. A tile is a block of queries of a head, and the hashing
of its keys comes with the first.
"""

from __future__ import annotations

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
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.candidate_pipeline import Banks, deal
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.real_scores import Scores
from simulator.hardware.sign_hash import SignHash, hashes, keep_similar
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Attention, Operator
from simulator.trace.connections import pack_rows, row_blocks, unpack_rows

DECIDES = DECIDING
"""Tensors whose values decide what is kept."""
DEEPER = ()
"""Parameters of which more never makes a run slower: queues are taken to be deep enough."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "units.count"
"""Parameter in proportion to which the chip has multipliers."""


class Similarity(Selection):
    """How the chip finds out what to keep."""

    degree: Annotated[float, Field(gt=0)]
    """Of approximation, p: keys of which the softmax is above p ÷ n make the bar that similarity has to reach."""


class Chip(Part):
    """The configuration of ELSA."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    units: Units
    similarity: Similarity
    hash: SignHash
    banks: Banks
    operand_bits: Annotated[int, Field(ge=1, le=16)]
    """Of queries, keys, values and outputs, in DRAM and on chip."""
    block: Annotated[int, Field(ge=1)]
    """Queries of a tile at most."""
    sram: Buffer
    """Of each unit."""
    dram: SimpleChannel

    @property
    def multipliers(self) -> int:
        """Of all modules that attend: for keys, and for values."""
        return 2 * self.units.count * self.banks.count * self.banks.features


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    similarity: Similarity
    hash: SignHash
    banks: int


def multipliers(chip: Chip) -> int:
    """Return the multipliers of the modules that attend; those of the hash unit are not counted."""
    return chip.multipliers


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, as far as it is known: multipliers and SRAM."""
    n = chip.units.count
    return (
        *logic("modules", "mac_16b", chip.multipliers),
        *logic("hash", "mac_16b", n * chip.hash.multipliers),
        *banks_of("sram", chip.sram, n),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: it is no attention, its heads are wider than a hash, or it does not fit the SRAM.

    """
    attention = require_attention(operator, "elsa")
    if attention.head_size > chip.hash.bits:
        raise InputError(
            f"operator '{operator.name}': heads have {attention.head_size} features, but {chip.hash.bits} are hashed; "
            "enlarge hash.factors"
        )
    _tiles(attention, chip)
    return Geometry(chip.similarity, chip.hash, chip.banks.count)


def match(operator: Attention, geometry: Geometry, check: bool) -> HeadMatch:
    """Hash, compare, and deal the candidates out to banks: records by ``candidate_pipeline.RECORD``."""

    def select(operator: Attention, image: int, allowed: Words) -> Words:
        return similar(operator, image, allowed, geometry.similarity.degree, geometry.hash)

    def walk(image: int, head: int, kept: Words, issues: NDArray[np.int32]) -> Counts:
        records = np.zeros((operator.query_count, 2), np.int64)
        deal(kept[head], geometry.banks, records, issues)
        return records

    return match_heads(operator, select, geometry.similarity.connections, walk, check)


def similar(operator: Attention, image: int, allowed: Words, degree: float, unit: SignHash) -> Words:
    """Return the connections of an image that the selectors keep of those allowed, (H, L, W).

    A key is kept whose cos(π ÷ bits · differing signs − bias) · length is at least the bar · the greatest length.
    """
    kept, factors = np.empty_like(allowed), unit.matrices()
    angles = np.maximum(0, np.pi / unit.bits * np.arange(unit.bits + 1) - unit.bias)
    for head in range(operator.heads):
        free = unpack_rows(allowed[head], operator.key_count)
        query, key = (real_rows(operator, role, image, head) for role in DECIDING)
        lengths = np.sqrt(np.square(key).sum(axis=1))
        bar = learned(query, key, operator.scale, free, degree) * lengths.max()
        chosen = np.zeros(free.shape, np.bool_)
        asked, held = (pack_rows(hashes(rows, factors)) for rows in (query, key))
        keep_similar(asked, held, lengths, np.cos(angles), bar, free, chosen)
        kept[head] = pack_rows(chosen)
    return kept


def learned(
    query: NDArray[np.float64], key: NDArray[np.float64], scale: float, allowed: NDArray[np.bool_], degree: float
) -> float:
    """Return the bar that the queries of a head learn, as a part of the greatest length of a key.

    Of the keys whose softmax is above degree ÷ n, the least score, by the lengths of the query and of the longest key;
    its mean over the queries that have any. The paper learns it from training data, here from the operator's own.
    """
    lengths = np.sqrt(np.square(query).sum(axis=1)) * np.sqrt(np.square(key).sum(axis=1)).max() * scale
    scores, least = Scores(query, key, scale), []
    for rows in row_blocks(len(query)):
        weights = scores.softmax(rows, allowed[rows])
        strong = weights > degree / allowed[rows].sum(axis=1, keepdims=True)
        own = np.where(strong, scores.rows(rows, allowed[rows]), np.inf).min(axis=1)
        used = strong.any(axis=1) & (lengths[rows] > 0)
        least.append(own[used] / lengths[rows][used])
    every = np.concatenate(least)
    return float(every.mean()) if len(every) else -1.0


def tile(operator: Operator, match: HeadMatch, chip: Chip) -> Program:
    """Time the blocks of queries."""
    attention, tiles = match.operator, _tiles(match.operator, chip)
    D, E = attention.head_size, attention.value_size
    fullest, kept = np.moveaxis(match.records, -1, 0)
    looks = chip.banks.count * chip.banks.selectors
    vector = max(-(-D // chip.banks.features), -(-E // chip.banks.features))
    steps = {
        "hash": np.full_like(kept, chip.hash.cycles),
        "selectors": np.broadcast_to(-(-seen_keys(attention) // looks), kept.shape),
        "modules": fullest * vector,
        "dividers": np.full_like(kept, -(-E // chip.banks.dividers)),
    }
    pace = np.max(list(steps.values()), axis=0)
    before = tiles.new_keys * 0
    before[:, 0] = chip.hash.cycles * attention.key_count  # of every head: its keys' hashes are not kept
    fill = np.zeros_like(before)
    fill[:, -1] = steps["hash"][:, -1] + steps["dividers"][:, -1]  # the first query comes, the last one goes
    cycles = tiles.longest(tiles.of_blocks(pace) + before + fill)
    n, modules = chip.units.count, chip.units.count * chip.banks.count
    hashing = tiles.add(tiles.of_blocks(steps["hash"]) + before)
    pairs, waiting = tiles.add(tiles.of_blocks(kept)), tiles.add(before + fill)
    selecting = tiles.add(tiles.of_blocks(steps["selectors"]))
    attending = tiles.add(tiles.of_blocks(fullest * vector))
    units = {
        "modules": unit_of(
            {
                "busy": pairs * vector,
                "fill_drain": chip.banks.count * waiting,
                "starved": modules * cycles - chip.banks.count * (waiting + attending),
            },
            modules,
            cycles,
        ),  # what is left, while the fullest bank attends, is imbalance
        "hash": unit_of({"busy": hashing, "starved": n * cycles - hashing}, n, cycles),
        "selectors": unit_of({"busy": selecting, "starved": n * cycles - selecting}, n, cycles),
    }
    reads, output = streams(tiles, chip.dram, dict.fromkeys(("query", "key", "value", "output"), chip.operand_bits))
    macs = int(kept.sum()) * (D + E)
    return Program(
        operator=operator.name,
        mapping="hashed",
        stages=(Stage("attention", cycles, units),),
        reads=reads,
        writes=(output,),
        depth=tiles.depth,
        actions=tuple(_actions(tiles, chip, pairs)),
        macs=Macs(operator.macs, macs, macs),
        peak=chip.multipliers,
        floors={
            "modules": -(-int(pairs.sum()) * vector // modules),
            "hash": -(-int(hashing.sum()) // n),
            "selectors": -(-int(selecting.sum()) // n),
        },
    )


def _tiles(operator: Attention, chip: Chip) -> HeadTiles:
    return tiles_of(operator, chip.units.count, chip.sram, chip.operand_bits, chip.block)


def _actions(tiles: HeadTiles, chip: Chip, pairs: Counts) -> Iterator[Action]:
    operator, bits = tiles.operator, chip.operand_bits
    D, E, S = operator.head_size, operator.value_size, operator.key_count
    queries = tiles.add(tiles.queries)
    first = np.zeros((tiles.heads, tiles.blocks), np.int64)
    first[:, 0] = S
    hashed = queries + tiles.add(first)
    looked = tiles.add(np.broadcast_to(tiles.of_blocks(seen_keys(operator)[None]), first.shape))
    yield Action("modules", "multiply-add", "mac_16b", pairs * (D + E))
    yield Action("hash", "multiply-add", "mac_16b", hashed * chip.hash.products)
    yield Action("selectors", "count differing signs", "full_adder_1b", looked * chip.hash.bits)
    yield Action("selectors", "multiply cosine and length", "multiply_16b", looked)
    yield Action("selectors", "compare", "comparator_32b", looked)
    yield from softmax_actions(pairs, queries, E)
    stored = (queries + tiles.add(tiles.new_keys) * S) * (D + E) * bits + hashed * chip.hash.bits
    signs = looked * (chip.hash.bits + bits) + hashed * D * bits
    yield from accesses("sram", chip.sram, stored, (queries * (D + E) + pairs * (D + E)) * bits + signs)
