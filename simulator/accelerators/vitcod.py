"""ViTCoD (You et al., HPCA 2023): fixed masks with denser and sparser columns, an engine for each, compressed heads.

Queries and keys of all heads come compressed across heads and are decoded on the MAC lines; then both engines share the
lines. A tile is a block of queries of a head.
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
    HeadMatch,
    HeadTiles,
    Units,
    Words,
    match_heads,
    require_attention,
    softmax_actions,
    stream,
    streams,
    tiles_of,
)
from simulator.hardware.buffer import Buffer, accesses, banks_of
from simulator.hardware.dram import SimpleChannel
from simulator.hardware.polarised_columns import RECORD, MacLines, polarise
from simulator.program import Action, Counts, Instances, Macs, Phase, Program, Stage, Stream, logic, unit_of
from simulator.trace import Attention, Operator

DEEPER = ()
"""Parameters of which more never makes a run slower."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "units.count"
"""Parameter in proportion to which the chip has multipliers."""


class Polarisation(Part):
    """Which columns are dense."""

    share: Annotated[float, Field(ge=0, le=1)]
    """A column that more than this part of the queries keep is dense."""


class AutoEncoder(Part):
    """Compression of queries and keys across heads."""

    ratio: Annotated[float, Field(gt=0, le=1)]
    """Of compressed heads to heads; 1: none. Grouped-query heads are not compressed."""

    def heads(self, operator: Attention) -> int:
        """Return the compressed heads, rounded up."""
        H = operator.heads
        return H if operator.groups != H else min(H, int(np.ceil(self.ratio * H - 1e-9)))


class Chip(Part):
    """The configuration of ViTCoD."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    units: Units
    columns: Polarisation
    auto_encoder: AutoEncoder
    lines: MacLines
    operand_bits: Annotated[int, Field(ge=1, le=16)]
    """Of queries, keys, values and outputs, in DRAM and on chip."""
    block: Annotated[int, Field(ge=1)]
    """Queries of a tile at most."""
    sram: Buffer
    """Of each unit."""
    dram: SimpleChannel

    @property
    def multipliers(self) -> int:
        """Of all units."""
        return self.units.count * self.lines.multipliers


@dataclass(frozen=True)
class Geometry:
    """What matching depends on."""

    share: float


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all MAC lines."""
    return chip.multipliers


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of, as far as it is known: MACs and SRAM."""
    n = chip.units.count
    return (
        *logic("mac_lines", "mac_8b", chip.multipliers),
        *banks_of("sram", chip.sram, n),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: it is no attention, or does not fit the SRAM.

    """
    _tiles(require_attention(operator, "vitcod"), chip)
    return Geometry(chip.columns.share)


def match(operator: Attention, geometry: Geometry, check: bool) -> HeadMatch:
    """Part the columns of what the trace keeps: records by ``polarised_columns.RECORD``."""

    def walk(image: int, head: int, kept: Words, issues: NDArray[np.int32]) -> Counts:
        records = np.zeros((operator.query_count, len(RECORD)), np.int64)
        polarise(kept[head], operator.key_count, geometry.share, records, issues)
        return records

    return match_heads(operator, None, "trace", walk, check)


def tile(operator: Operator, match: HeadMatch, chip: Chip) -> Program:
    """Time the blocks of queries on both engines."""
    attention, tiles, lines = match.operator, _tiles(match.operator, chip), chip.lines
    D, E = attention.head_size, attention.value_size
    sparse = tiles.of_blocks(match.records[..., RECORD.index("sparse")])
    columns = np.broadcast_to(match.records[:, :1, RECORD.index("columns")], sparse.shape)
    queries, products = tiles.queries, _decoded(tiles, chip)
    decoding = -(-products // lines.multipliers)
    spans = [lines.cycles(queries, columns, sparse, size) for size in (D, E)]
    computing = sum(lines.together(*span) for span in spans)
    assert isinstance(computing, np.ndarray)
    cycles = tiles.longest(decoding + computing)
    performed = queries * columns + sparse
    busy = tiles.add(performed) * (D + E) + tiles.add(products)
    macs, kept = int(performed.sum()) * (D + E), int(match.kept.sum()) * (D + E)
    reads, output = _streams(match, tiles, chip, sparse)
    return Program(
        operator=operator.name,
        mapping="polarised",
        stages=(Stage("attention", cycles, {"mac_lines": unit_of({"busy": busy}, chip.multipliers, cycles)}),),
        reads=reads,
        writes=(output,),
        depth=tiles.depth,
        actions=tuple(_actions(tiles, chip, tiles.add(performed), tiles.add(products))),
        macs=Macs(operator.macs, kept, macs),
        peak=chip.multipliers,
        floors={"mac_lines": -(-int(busy.sum()) // chip.multipliers)},
        phases={
            name: Phase(chip.units.count, tiles.add(spent))
            for name, spent in (
                ("decoder", decoding),
                ("denser", spans[0][0] + spans[1][0]),
                ("sparser", spans[0][1] + spans[1][1]),
            )
        },
    )


def _tiles(operator: Attention, chip: Chip) -> HeadTiles:
    return tiles_of(operator, chip.units.count, chip.sram, chip.operand_bits, chip.block)


def _decoded(tiles: HeadTiles, chip: Chip) -> Counts:
    """Return the products that decode the queries and new keys of each block, (heads, blocks)."""
    operator = tiles.operator
    compressed = chip.auto_encoder.heads(operator)
    if compressed == operator.heads:
        return np.zeros((tiles.heads, tiles.blocks), np.int64)
    vectors = tiles.queries + tiles.new_keys * operator.key_count
    products: Counts = vectors * operator.head_size * compressed
    return products


def _streams(match: HeadMatch, tiles: HeadTiles, chip: Chip, sparse: Counts) -> tuple[tuple[Stream, ...], Stream]:
    operator, bits = tiles.operator, chip.operand_bits
    H, S, L = operator.heads, operator.key_count, operator.query_count
    compressed = chip.auto_encoder.heads(operator)
    (_, _, value), output = streams(tiles, chip.dram, dict.fromkeys(("query", "key", "value", "output"), bits))

    def squeezed(role: str, vectors: Counts) -> Stream:
        """Return a head's share of what is stored of all heads, compressed."""
        numbers = vectors * operator.head_size * bits * compressed
        return stream(role, tiles.add(-(-numbers // (8 * H))), int(numbers.sum()) // (8 * H), chip.dram)

    index = sparse * max(1, (L - 1).bit_length()) + tiles.new_keys * (S * max(1, (L * S).bit_length()))
    index = -(-index // 8)
    reads = (
        squeezed("query", tiles.queries),
        squeezed("key", tiles.new_keys * S),
        value,
        stream("index", tiles.add(index), int(index.sum()), chip.dram),
    )
    return reads, output


def _actions(tiles: HeadTiles, chip: Chip, performed: Counts, decoded: Counts) -> Iterator[Action]:
    operator, bits = tiles.operator, chip.operand_bits
    D, E, S = operator.head_size, operator.value_size, operator.key_count
    queries = tiles.add(tiles.queries)
    yield Action("mac_lines", "multiply-add, attention", "mac_8b", performed * (D + E))
    yield Action("mac_lines", "multiply-add, decoder", "mac_8b", decoded)
    yield from softmax_actions(performed, queries, E)
    stored = (queries + tiles.add(tiles.new_keys) * S) * (D + E) * bits
    yield from accesses("sram", chip.sram, stored, (queries * E + performed * (D + E) + decoded) * bits)
