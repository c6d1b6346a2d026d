"""Dense layers on DOTA: a tile is a chunk of tokens × a block of outputs, one per PE row, × a piece of the reduction.

The inputs of a chunk stay in the lanes' SRAM while the blocks of outputs follow each other; weights are streamed to all
lanes at once, again for every chunk. The accumulator holds the sums of a block until they are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.accelerators.dota.chip import OPERAND, Chip, sram_actions, stream
from simulator.dataflow.token_parallel import LinearMatch, shares
from simulator.errors import InputError, LawViolation
from simulator.program import Action, Counts, Macs, Program, Stage, Unit, unit_of
from simulator.trace import Linear


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of a dense layer, in order."""

    tokens: Counts
    """(tiles, chips, lanes)."""
    outputs: Counts
    """(tiles, chips): of a block."""
    depth: Counts
    """(tiles,): inputs of a piece."""
    first_block: Counts
    """(tiles,): 1 where the inputs come."""
    last_piece: Counts
    """(tiles,): 1 where the outputs are complete."""

    @property
    def of_chip(self) -> Counts:
        """(tiles, chips): tokens of all lanes, none where a chip has no outputs."""
        tokens: Counts = self.tokens.sum(axis=2) * (self.outputs > 0)
        return tokens

    @property
    def pairs(self) -> Counts:
        """(tiles,): numbers multiplied."""
        pairs: Counts = (self.of_chip * self.outputs).sum(axis=1) * self.depth
        return pairs


def _tiles(operator: Linear, chip: Chip) -> Tiles:
    own = shares(operator, chip.dense_geometry)
    held, widths = np.array([np.diff(share.bounds) for share in own]), np.array([len(share.outputs) for share in own])
    chunk, piece = _fit(operator, int(held.max()), chip)
    C, rows = operator.weight.shape[1], chip.rmmu.rows
    pieces = np.diff(np.minimum(np.arange(0, C + piece, piece), C))
    shape = (-(-int(held.max()) // chunk), -(-int(widths.max()) // rows), len(pieces))
    at_chunk, block, at_piece = (axis.ravel() for axis in np.indices(shape))
    return Tiles(
        np.clip(held - chunk * at_chunk[:, None, None], 0, chunk),
        np.clip(widths - rows * block[:, None], 0, rows),
        pieces[at_piece],
        (block == 0).astype(np.int64),
        (at_piece == len(pieces) - 1).astype(np.int64),
    )


def _fit(operator: Linear, tokens: int, chip: Chip) -> tuple[int, int]:
    """Return the tokens of a lane, and the inputs of each, that a tile may have; its weights take a quarter at most."""
    unit, C = chip.rmmu, operator.weight.shape[1]
    step = unit.rows * unit.width * OPERAND
    piece = min(-(-C // unit.width), max(1, chip.sram.size // (8 * step))) * unit.width
    weights = 2 * unit.rows * piece * OPERAND
    token = 2 * C * OPERAND + 2 * unit.rows * OPERAND
    if chip.sram.size < weights + token:
        raise InputError(
            f"operator '{operator.name}': a token and a block of weights take {weights + token} bytes of each lane's "
            f"SRAM, which holds {chip.sram.size}; enlarge sram.size"
        )
    return min(tokens, (chip.sram.size - weights) // token), piece


def dense_program(match: LinearMatch, chip: Chip) -> Program:
    """Multiply in the order of ``simulator.hardware.rmmu``, chunk by chunk, block by block, piece by piece."""
    operator, tiles = match.operator, _tiles(match.operator, chip)
    steps = -(-tiles.depth // chip.rmmu.width)
    working = tiles.tokens * (tiles.outputs > 0)[..., None] * steps[:, None, None]  # cycles of the rows of each lane
    if match.working is not None and match.working != working.sum():
        raise LawViolation(
            f"{operator.name}: tiles keep the lanes working for {working.sum()} cycles, not {match.working}"
        )
    sums = tiles.of_chip * tiles.outputs * steps[:, None]
    cycles, units = _units(chip, tiles, working, sums)
    outputs = operator.input.size // operator.input.shape[-1] * operator.weight.shape[0]
    asked = tiles.of_chip.sum(axis=1) * tiles.depth * OPERAND
    inputs = asked * tiles.first_block
    weights = (tiles.outputs * (tiles.of_chip > 0)).sum(axis=1) * tiles.depth * OPERAND
    drained = (tiles.of_chip * tiles.outputs).sum(axis=1) * tiles.last_piece * OPERAND
    reads = (
        stream("input", inputs, operator.input.size * OPERAND, chip),
        stream("weight", weights, operator.weight.size * OPERAND, chip),
    )
    writes = (stream("output", drained, outputs * OPERAND, chip),)
    copies = weights * chip.lanes.count
    macs, peak = int(tiles.pairs.sum()), chip.pe_rows * chip.rmmu.width
    return Program(
        operator=operator.name,
        mapping="dense",
        stages=(Stage("dense", cycles, units),),
        reads=reads,
        writes=writes,
        depth=2,
        actions=(
            Action("rmmu", "multiply-add", "mac_fx16", tiles.pairs),
            Action("accumulator", "add", "accumulate", sums.sum(axis=1)),
            *sram_actions(inputs + copies + drained, asked + copies + drained, chip),
        ),
        macs=Macs(operator.macs, macs, macs),
        peak=peak,
        floors={
            "pe_rows": -(-macs // peak),
            "accumulator": -(-int(sums.sum()) // (chip.chips.count * chip.accumulator.per_cycle)),
        },
    )


def _units(chip: Chip, tiles: Tiles, working: Counts, sums: Counts) -> tuple[Counts, dict[str, Unit]]:
    """Return the cycles of each tile and the units: rows, SRAM and accumulator work side by side."""
    operands = tiles.tokens + tiles.outputs[..., None]  # of each lane: inputs, and weights
    reading = -(-operands * tiles.depth[:, None, None] * OPERAND // chip.sram.bytes_per_cycle) * (working > 0)
    adding = -(-sums // chip.accumulator.per_cycle)
    slowest = np.maximum(np.maximum(working.max(axis=(1, 2)), reading.max(axis=(1, 2))), adding.max(axis=1))
    cycles = slowest + chip.rmmu.fill
    rows = {
        "busy": sums.sum(axis=1),
        "blocked": chip.pe_rows * (slowest - working.max(axis=(1, 2))),
        "fill_drain": np.full(len(cycles), chip.pe_rows * chip.rmmu.fill),
    }
    sram, adders = reading.sum(axis=(1, 2)), adding.sum(axis=1)
    return cycles, {
        "pe_rows": unit_of(rows, chip.pe_rows, cycles),
        "lane_sram": unit_of({"busy": sram, "starved": chip.all_lanes * cycles - sram}, chip.all_lanes, cycles),
        "accumulator": unit_of(
            {"busy": adders, "starved": chip.chips.count * cycles - adders}, chip.chips.count, cycles
        ),
    }
