"""How folds fill the buffers of a systolic array, what each tile moves, what its PEs do, and what costs energy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.accelerators.systolic.chip import BUFFERS, PARTIAL, Chip
from simulator.dataflow.folds import Match, Pieces, Product, require_same
from simulator.dataflow.residency import Filled, Need, fill
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer
from simulator.hardware.dram import whole_bursts
from simulator.program import Action, Counts, Macs, Program, Stage, Stream, unit_of

FAR: Final = 2**62
"""Beyond every address."""


def product_program(match: Match, chip: Chip, softmax: bool = False) -> Program:
    """Gather the folds of a product into tiles; with ``softmax``, the vector unit has its outputs after the array.

    Raises:
        InputError: not even one step of a fold fits the buffers.

    """
    return _Tiles(match, chip, *_cut(match.product, chip)).program(softmax)


def _steps(product: Product, chip: Chip) -> tuple[int, bool]:
    """Return the steps of a piece at most, for its weights and outputs, and whether sums of a column of folds stay."""
    array, operand = chip.array, chip.operand
    rows, columns, steps = Pieces(array, product.extents, 1).full
    folded = array.dataflow != "output" and array.rows < product.layer.reduction
    result = PARTIAL if folded else operand
    stay = folded and steps * columns * result <= chip.output_buffer.half
    of_fold, of_step = {  # bytes of weights and outputs that a piece needs, whatever its steps, and for each of them
        "output": ((0, rows * columns * result), (columns * operand, 0)),
        "weight": ((rows * columns * operand, 0), (0, columns * result)),
        "input": ((0, 0), (rows * operand, columns * result)),
    }[array.dataflow]
    limit = steps
    for name, whole, each in zip(BUFFERS[1:], of_fold, of_step, strict=True):
        half = getattr(chip, name).half
        if stay and name == "output_buffer":
            continue
        if whole + each > half:
            raise InputError(
                f"operator '{product.layer.name}': a step of a fold needs {whole + each} bytes of {name}, but half of "
                f"it holds {half}; enlarge {name}.size"
            )
        limit = min(limit, half // each) if each else limit
    return limit, stay


def _cut(product: Product, chip: Chip) -> tuple[Pieces, Filled, bool]:
    """Return the pieces of a group, the tiles that they fill, and whether sums stay on chip."""
    steps, stay = _steps(product, chip)
    while True:
        pieces = Pieces(chip.array, product.extents, steps)
        needs = _weights_needed(pieces, chip), _outputs_needed(pieces, chip, stay)
        filled = fill(product, pieces, *needs, chip.halves, chip.pe.operand_bits, chip.tiling.folds)
        if filled.largest <= chip.input_buffer.half:
            return pieces, filled, stay
        if steps == 1 or chip.array.dataflow == "input":
            raise InputError(
                f"operator '{product.layer.name}': a step of a fold needs {filled.largest} bytes of input_buffer, but "
                f"half of it holds {chip.input_buffer.half}; enlarge input_buffer.size"
            )
        steps = max(1, steps // 2)


def _weights_needed(pieces: Pieces, chip: Chip) -> Need:
    """Return the weights of each piece; what stays in the PEs is there once for all pieces of a fold."""
    folds, parts = pieces.counts[1:]
    region = {
        "output": pieces.column * parts + pieces.part,
        "weight": pieces.column * folds + pieces.row,
        "input": pieces.row * parts + pieces.part,
    }[pieces.array.dataflow]
    return Need(region, pieces.size(1) * pieces.size(2) * chip.operand)


def _outputs_needed(pieces: Pieces, chip: Chip, stay: bool) -> Need:
    """Return the outputs of each piece: complete ones of a fold, or sums, of all folds of a column where they stay."""
    _, columns, steps = pieces.along
    if pieces.array.dataflow == "output":
        return Need(pieces.column * pieces.counts[1] + pieces.row, pieces.size(0) * pieces.size(2) * chip.operand)
    if stay:
        return Need(pieces.column, columns * pieces.full[2] * PARTIAL)
    result = PARTIAL if pieces.counts[1] > 1 else chip.operand
    return Need(np.arange(len(columns)), columns * steps * result)


def _regions(need: Need) -> Counts:
    """Return the bytes of each region."""
    sizes = np.zeros(int(need.region.max()) + 1, np.int64)
    sizes[need.region] = need.size
    return sizes


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The tiles of an operator: those of a group, once for each."""

    match: Match
    chip: Chip
    pieces: Pieces
    filled: Filled
    stay: bool
    """Whether the sums of a column of folds stay in the output buffer until they are complete."""

    @property
    def groups(self) -> int:
        """G."""
        return self.match.product.layer.groups

    @cached_property
    def starts(self) -> Counts:
        """The first piece of each tile of a group."""
        starts: Counts = np.flatnonzero(np.diff(self.filled.tile, prepend=-1))
        return starts

    @cached_property
    def bundles(self) -> Counts:
        """The first of the groups' tiles in each tile: as many groups share one as fit, where each has but one."""
        tiles = len(self.starts) * self.groups
        if len(self.starts) > 1:
            return np.arange(tiles)
        needs = (self.filled.touched, *(int(_regions(need).sum()) for need in (self.weights, self.outputs)))
        fit = [half // max(1, need) for half, need in zip(self.chip.halves, needs, strict=True)]
        columns, folds, _ = self.pieces.counts
        return np.arange(0, tiles, max(1, min(*fit, self.chip.tiling.folds // (columns * folds))))

    @cached_property
    def weights(self) -> Need:
        """What pieces need of the weights' buffer."""
        return _weights_needed(self.pieces, self.chip)

    @cached_property
    def outputs(self) -> Need:
        """What pieces need of the outputs' buffer."""
        return _outputs_needed(self.pieces, self.chip, self.stay)

    def add(self, of_pieces: Counts) -> Counts:
        """Add up by tile what is given by piece: (tiles,) of all groups."""
        total: Counts = np.add.reduceat(np.tile(np.add.reduceat(of_pieces, self.starts), self.groups), self.bundles)
        return total

    def stream(self, name: str, size: Counts, at: Counts, stored: int, compulsory: int) -> Stream:
        """Return a stream of which ``size`` bytes of each piece begin at ``at`` in the ``stored`` ones of a group."""
        first = np.tile(np.minimum.reduceat(np.where(size > 0, at, FAR), self.starts), self.groups)
        first += np.repeat(np.arange(self.groups), len(self.starts)) * stored
        first, moved = np.minimum.reduceat(first, self.bundles), self.add(size)
        return Stream(name, whole_bursts(moved, self.chip.dram.burst), np.where(moved > 0, first, 0), compulsory)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """(pieces,): whether what leaves the array is complete; where outputs stay, at the end of their fold."""
        ends: NDArray[np.bool_] = self.pieces.row == self.pieces.counts[1] - 1
        return self.pieces.last if self.pieces.array.dataflow == "output" else ends

    @cached_property
    def results(self) -> Counts:
        """(pieces,): outputs or sums that leave the array."""
        results = self.pieces.size(0) * self.pieces.size(2)
        return results * self.pieces.last if self.pieces.array.dataflow == "output" else results

    @cached_property
    def added_to(self) -> Counts:
        """(pieces,): sums that those of folds before are added to."""
        if self.pieces.array.dataflow == "output":
            return np.zeros_like(self.results)
        return self.results * (self.pieces.row > 0)

    @cached_property
    def spilled(self) -> bool:
        """Whether sums go to the DRAM and back between folds."""
        return self.pieces.array.dataflow != "output" and self.pieces.counts[1] > 1 and not self.stay

    @cached_property
    def stored(self) -> Counts:
        """(pieces,): bytes of complete outputs."""
        return self.results * self.complete * self.chip.operand

    def partial(self, which: NDArray[np.bool_]) -> Counts:
        """(pieces,): bytes of sums that cross the DRAM channel one way."""
        return self.results * which * PARTIAL if self.spilled else np.zeros_like(self.results)

    def streams(self) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
        """Return what is read and written."""
        layer, filled, operand = self.match.product.layer, self.filled, self.chip.operand
        inputs = math.prod(layer.input_shape) // layer.groups * operand
        M, K, N = self.match.product.extents
        reads = [
            self.stream("input", filled.inputs, filled.inputs_at, inputs, filled.touched * self.groups),
            self.stream(
                "weight",
                filled.weights,
                cumulative(_regions(self.weights))[self.weights.region],
                K * N * operand,
                K * N * operand * self.groups,
            ),
        ]
        outputs = M * N * operand
        writes = [self.stream("output", self.stored, cumulative(self.stored)[:-1], outputs, outputs * self.groups)]
        if self.spilled:
            at = cumulative(self.results * PARTIAL)[:-1] % max(1, M * N * PARTIAL)
            reads.append(self.stream("partial_sums", self.partial(self.pieces.row > 0), at, 0, 0))
            writes.append(self.stream("spilled_sums", self.partial(~self.complete), at, 0, 0))
        return tuple(reads), tuple(writes)

    def program(self, softmax: bool) -> Program:
        """Return the Program."""
        match, chip, array = self.match, self.chip, self.match.array
        rows, columns, steps = self.pieces.along
        overhead = self.add(self.pieces.overhead)
        overhead[-1] -= array.last
        cycles, pairs = self.add(steps) + overhead, self.add(rows * columns * steps)
        name, pes = match.operator.name, chip.pes
        require_same(name, int(cycles.sum()), match.cycles, "cycles")
        require_same(name, int(pairs.sum()), match.pairs, "products")
        unit = unit_of({"busy": pairs, "fill_drain": pes * overhead}, pes, cycles)
        stages = [Stage("array", cycles, {"pe": unit})]
        if softmax:
            after = chip.vector.softmax_cycles(self.add(self.results * self.complete))
            stages.append(Stage("vector", after, {"vector": unit_of({"busy": after}, 1, after)}))
        reads, writes = self.streams()
        return Program(
            operator=name,
            mapping=f"{array.dataflow}_stationary",
            stages=tuple(stages),
            reads=reads,
            writes=writes,
            depth=2,
            actions=(*self.pe_actions(pairs), *self.buffer_actions()),
            macs=Macs(match.operator.macs, match.effectual, match.pairs),
            peak=pes,
            floors={"pe": -(-match.pairs // pes)},
        )

    def pe_actions(self, pairs: Counts) -> Iterator[Action]:
        """Count products, and the registers through which operands and sums pass, or in which they stay."""
        chip = self.chip
        worked = np.array([self.match.effectual]) if chip.pe.zero_gating else pairs
        yield Action("pe", "multiply", f"multiply_{chip.pe.operand_bits}b", worked)
        yield Action("pe", "add", "add_32b", worked)
        passing = PARTIAL + (2 if chip.array.dataflow == "output" else 1) * chip.operand
        loaded = 0 if chip.array.dataflow == "output" else self.add(self.stationary) * chip.operand
        yield Action("pe_registers", "write", "register_8b", pairs * passing + loaded)
        yield Action("pe_registers", "read", "register_8b", pairs * (PARTIAL + 2 * chip.operand))

    @cached_property
    def stationary(self) -> Counts:
        """(pieces,): operands that are loaded to stay."""
        rows, columns, _ = self.pieces.along
        return rows * columns * self.pieces.first

    def buffer_actions(self) -> Iterator[Action]:
        """Count accesses to the buffers."""
        rows, columns, steps = self.pieces.along
        fed = {
            "output": (rows * steps, columns * steps),
            "weight": (rows * steps, self.stationary),
            "input": (self.stationary, rows * steps),
        }[self.pieces.array.dataflow]
        operand = self.chip.operand
        kept = np.where(self.complete, operand, PARTIAL) * self.results
        there_and_back = self.partial(self.pieces.row > 0), self.partial(~self.complete)
        moved = {
            "input_buffer": (self.filled.inputs, fed[0] * operand),
            "weight_buffer": (self.filled.weights, fed[1] * operand),
            "output_buffer": (
                kept + there_and_back[0],
                self.added_to * PARTIAL + self.stored + there_and_back[1],
            ),
        }
        for name, (into, out) in moved.items():
            buffer: Buffer = getattr(self.chip, name)
            bank = {"size": buffer.bank, "width": buffer.width_bits}
            for action, size in (("write", into), ("read", out)):
                count = -(-self.add(size) * 8 // buffer.width_bits)
                yield Action(name, action, f"sram_{action}{buffer.suffix}", count, **bank)
