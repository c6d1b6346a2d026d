"""Sanger (Lu et al., MICRO 2021): connections predicted from 4-bit scores, packed and split, on a reconfigurable array.

A tile is a block of queries of a head: the mask array predicts it while the score-stationary array attends the block
before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

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
    integers_of,
    match_heads,
    require_attention,
    scale_of,
    seen_keys,
    softmax_actions,
    streams,
    tiles_of,
)
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.low_bit_mask import few_bits, keep_probable
from simulator.hardware.score_stationary import MaskArray, ScoreStationaryArray, split_rows
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, logic, unit_of
from simulator.trace import Attention, Operator
from simulator.trace.connections import pack_rows, unpack_rows

DECIDES = DECIDING
"""Tensors whose values decide what is kept."""
DEEPER = ()
"""Parameters of which more never makes a run slower: all queues are double buffers."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "units.count"
"""Parameter in proportion to which the chip has multipliers."""

_BITS = {"INT4": 4, "INT8": 8}
_SUM = 32
"""Bits of a partial sum."""


class Prediction(Selection):
    """How the chip finds out what to keep."""

    precision: Literal["INT4", "INT8"]
    """Of the queries and keys that scores are predicted from."""
    threshold: Annotated[float, Field(ge=0, lt=1)]
    """On the softmax of the predicted scores."""


class Chip(Part):
    """The configuration of Sanger."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    units: Units
    prediction: Prediction
    mask_array: MaskArray
    array: ScoreStationaryArray
    packed_rows: Annotated[int, Field(ge=1)]
    """Queries whose sub-rows are packed together."""
    operand_bits: Annotated[int, Field(ge=1, le=16)]
    """Of queries, keys, values and outputs, in DRAM and on chip."""
    sram: Buffer
    """Of each unit."""
    dram: SimpleChannel

    @property
    def pes(self) -> int:
        """PEs of all score-stationary arrays."""
        return self.units.count * self.array.rows * self.array.pes

    @property
    def mask_pes(self) -> int:
        """PEs of all mask arrays."""
        return self.units.count * self.mask_array.rows * self.mask_array.columns


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    prediction: Prediction
    keys: int
    pes: int


def multipliers(chip: Chip) -> int:
    """Return the PEs of the score-stationary arrays; those that predict are not counted."""
    return chip.pes


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, as far as it is known: PEs and SRAM."""
    n = chip.units.count
    return (
        *logic("array", "mac_16b", chip.pes),
        *logic("mask_array", "mac_8b", chip.mask_pes),
        *banks_of("sram", chip.sram, n),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: it is no attention, or does not fit the SRAM.

    """
    _tiles(require_attention(operator, "sanger"), chip)
    return Geometry(chip.prediction, chip.array.keys, chip.array.pes)


def match(operator: Attention, geometry: Geometry, check: bool) -> HeadMatch:
    """Predict, split and pack: records are the sub-rows of each query in each tile of keys."""
    columns = -(-operator.key_count // geometry.keys)

    def select(operator: Attention, image: int, allowed: Words) -> Words:
        return predict(operator, image, allowed, geometry.prediction)

    def walk(image: int, head: int, kept: Words, issues: NDArray[np.int32]) -> Counts:
        records = np.zeros((operator.query_count, columns), np.int64)
        split_rows(kept[head], geometry.keys, geometry.pes, records, issues)
        return records

    return match_heads(operator, select, geometry.prediction.connections, walk, check)


def predict(operator: Attention, image: int, allowed: Words, prediction: Prediction) -> Words:
    """Return the connections of an image that the mask array keeps of those allowed, (H, L, W)."""
    bits, scales = _BITS[prediction.precision], []
    rows = []
    for role in DECIDING:
        numbers, step = few_bits(integers_of(operator, role)[image], bits)
        scales.append(step * scale_of(operator, role, image))
        rows.append(numbers)
    step = operator.scale * scales[0] * scales[1]
    kept = np.empty_like(allowed)
    for head in range(operator.heads):
        free = unpack_rows(allowed[head], operator.key_count)
        keys = rows[1][operator.group_of(head)]
        kept[head] = pack_rows(keep_probable(rows[0][head], keys, free, step, prediction.threshold))
    return kept


def tile(operator: Operator, match: HeadMatch, chip: Chip) -> Program:
    """Time the blocks of queries on both arrays."""
    attention, tiles = match.operator, _tiles(match.operator, chip)
    D, E = attention.head_size, attention.value_size
    subrows = tiles.of_blocks(match.records.reshape(tiles.heads, attention.query_count, -1))
    passes = chip.array.passes(subrows).sum(axis=2)
    kept = tiles.of_blocks(match.kept)
    array = passes * chip.array.cycles(D, E)
    guesses, scores = _predicted(tiles, chip)
    mask = np.broadcast_to(guesses * chip.mask_array.cycles(D), array.shape)
    spent = tiles.longest(array), tiles.longest(mask)
    pairs, each = tiles.add(kept), chip.array.rows * chip.array.pes
    guessed = tiles.add(np.broadcast_to(scores, array.shape))
    fill = tiles.add(passes) * chip.array.fill * each
    looked = tiles.add(np.broadcast_to(guesses, array.shape))
    mask_each = chip.mask_array.rows * chip.mask_array.columns
    units = {
        "array": unit_of({"busy": pairs * (D + E), "fill_drain": fill}, chip.pes, spent[0]),
        "mask_array": unit_of(
            {"busy": guessed * D, "fill_drain": looked * chip.mask_array.fill * mask_each}, chip.mask_pes, spent[1]
        ),
    }
    reads, output = streams(tiles, chip.dram, dict.fromkeys(("query", "key", "value", "output"), chip.operand_bits))
    macs = int(match.kept.sum()) * (D + E)
    return Program(
        operator=operator.name,
        mapping="packed",
        stages=(
            Stage("predict", spent[1], {"mask_array": units["mask_array"]}),
            Stage("attend", spent[0], {"array": units["array"]}),
        ),
        reads=reads,
        writes=(output,),
        depth=tiles.depth,
        actions=tuple(_actions(tiles, chip, subrows, passes, pairs, guessed, looked)),
        macs=Macs(operator.macs, macs, macs),
        peak=chip.pes,
        floors={
            "array": -(-macs // chip.pes),
            "mask_array": -(-int(guessed.sum()) * D // chip.mask_pes),
        },
    )


def _tiles(operator: Attention, chip: Chip) -> HeadTiles:
    return tiles_of(operator, chip.units.count, chip.sram, chip.operand_bits, chip.packed_rows, operator.key_count)


def _predicted(tiles: HeadTiles, chip: Chip) -> tuple[Counts, Counts]:
    """Return the tiles of scores that the mask array predicts for each block, and the scores themselves, (blocks,)."""
    seen, L = seen_keys(tiles.operator), tiles.operator.query_count
    guesses, scores = np.zeros(tiles.blocks, np.int64), np.zeros(tiles.blocks, np.int64)
    for block in range(tiles.blocks):
        first, last = block * tiles.rows, min((block + 1) * tiles.rows, L)
        ends = np.minimum(np.arange(first, last, chip.mask_array.rows) + chip.mask_array.rows, last)
        guesses[block] = (-(-seen[ends - 1] // chip.mask_array.columns)).sum()
        scores[block] = seen[first:last].sum()
    return guesses, scores


def _actions(
    tiles: HeadTiles, chip: Chip, subrows: Counts, passes: Counts, pairs: Counts, guessed: Counts, looked: Counts
) -> Iterator[Action]:
    operator, bits = tiles.operator, chip.operand_bits
    D, E, S = operator.head_size, operator.value_size, operator.key_count
    low = _BITS[chip.prediction.precision]
    yield Action("array", "multiply-add", "mac_16b", pairs * (D + E))
    yield Action("mask_array", "multiply-add", "mac_8b", guessed * D)
    queries, sums = tiles.add(tiles.queries), tiles.add(subrows.sum(axis=2)) * E
    yield Action("array", "add sub-rows", "add_32b", sums)
    yield from softmax_actions(pairs, queries, E)
    vectors = (queries + tiles.add(tiles.new_keys) * S) * (D + E) * bits
    streamed = tiles.add(passes) * chip.array.keys * (D + E) * bits + tiles.add(subrows.sum(axis=2)) * D * bits
    predicting = looked * (chip.mask_array.rows + chip.mask_array.columns) * D * low
    mask = tiles.add(tiles.queries * S)
    yield from accesses(
        "sram", chip.sram, vectors + sums * _SUM + mask, streamed + predicting + sums * _SUM + mask + queries * E * bits
    )
