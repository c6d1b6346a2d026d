"""Eyeriss v1 (Chen et al., ISCA 2016 and JSSC 2017): rows stay in the PEs, zeros save energy and bytes, no cycles.

Every operator that multiplies is a grouped convolution (``simulator.dataflow.layers``), cut into passes by the mapping
parameters (``simulator.dataflow.row_stationary``). Here is the chip: its parts, how its buffers limit a mapping, what
crosses the link to the DRAM and when, and what costs energy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, Hertz
from simulator.dataflow.row_stationary import (
    WORD,
    Coding,
    Geometry,
    GivenMapping,
    Match,
    Room,
    Rule,
    Stored,
    geometry_of,
    match,
    rows_touched,
)
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.row_stationary import RowStationaryArray
from simulator.program import (
    STATES,
    Action,
    Counts,
    Instances,
    Macs,
    Phase,
    Program,
    Stage,
    Stream,
    Unit,
    logic,
    memory,
    unit_of,
)
from simulator.trace import Operator

__all__ = ["DEEPER", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "resized", "tile"]

DEEPER = ()
"""Parameters of which more never makes a run slower: none, a mapping that moves fewer bytes may take more cycles."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower: none, likewise."""

Count = Annotated[int, Field(ge=1)]


class GlobalBuffer(Part):
    """The buffer between link and array: banks for ifmaps and sums, and banks for the weights of the next pass."""

    fmap_banks: Count
    """Banks for ifmaps and sums, each for one or the other as a layer needs them."""
    filter_banks: Count
    """Banks that hold the weights of a pass until the array takes them."""
    bank: Bytes
    """Bytes of a bank."""
    width_bits: Annotated[int, Field(ge=16, multiple_of=16)]
    """Bits per access."""


class RunLengths(Part):
    """Run-length coding of feature maps in DRAM; weights are stored as they are."""

    inputs: Literal["auto", "rlc", "plain"]
    """Form of ifmaps; ``auto``: the smaller one."""
    outputs: Literal["auto", "rlc", "plain"]
    """Form of ofmaps likewise."""
    run_bits: Annotated[int, Field(ge=1, le=16)]
    """Bits of a run of zeros; a longer one is broken by a zero that is stored."""
    pairs: Count
    """Pairs of a run and a value in a word."""
    word_bits: Annotated[int, Field(ge=8, multiple_of=8)]
    """Bits of a word."""

    @property
    def coding(self) -> Coding:
        """The code."""
        return Coding(self.run_bits, self.pairs, self.word_bits // 8)


class Mapper(Part):
    """How operators are mapped."""

    given: tuple[GivenMapping, ...]
    """Mappings for layers of known shapes, where they fit."""
    rule: Rule
    """What the best mapping of any other layer is, see ``simulator.dataflow.row_stationary.find_mapping``."""
    runs: Count
    """Runs of consecutive passes that an operator is simulated in at most: how finely its transfers are seen."""


class Chip(Part):
    """The configuration of an Eyeriss chip."""

    clock: Hertz
    """Core clock; the link keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    array: RowStationaryArray
    global_buffer: GlobalBuffer
    rlc: RunLengths
    mapping: Mapper
    dram: SimpleChannel

    @property
    def room(self) -> Room:
        """What a mapping has to fit."""
        bank = self.global_buffer.bank // WORD
        return Room(self.array, self.global_buffer.fmap_banks * bank, self.global_buffer.filter_banks * bank)


def multipliers(chip: Chip) -> int:
    """Return the PEs."""
    return chip.array.pes


def resized(chip: Chip, multipliers: int) -> dict[str, str]:
    """Return the columns of PEs that come nearest to that many multipliers, buffers and networks in proportion."""
    columns = max(1, round(multipliers / chip.array.rows))
    grown = {
        "array.filter_words": chip.array.filter_words,
        "array.ifmap_words": chip.array.ifmap_words,
        "array.psum_words": chip.array.psum_words,
        "global_buffer.fmap_banks": chip.global_buffer.fmap_banks,
        "global_buffer.filter_banks": chip.global_buffer.filter_banks,
    }
    scaled = {key: str(max(1, round(size * columns / chip.array.columns))) for key, size in grown.items()}
    return {"array.columns": str(columns), **scaled}


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of; not among it: networks, control, run-length coders, FIFOs of the PEs."""
    array, buffer = chip.array, chip.global_buffer
    pes = array.pes
    return (
        *logic("mac", "mac_16b", pes),
        *memory("filter_spad", pes, array.filter_spad * WORD, 8 * WORD),
        # Per PE and cycle a value read and one written.
        *logic("ifmap_spad", "register_8b", pes * array.ifmap_spad * WORD, pes * 2 * WORD),
        *logic("psum_spad", "register_8b", pes * array.psum_spad * WORD, pes * 2 * WORD),
        *memory("global_buffer", buffer.fmap_banks + buffer.filter_banks, buffer.bank, buffer.width_bits),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return the mapping of an operator.

    Raises:
        InputError: the chip has no way to run it.

    """
    return geometry_of(operator, chip.room, chip.mapping.given, chip.mapping.rule)


class _Runs:
    """Consecutive passes added up, each run preceded by the transfer of its weights.

    Weights come while the array works on the run before; ifmaps come, and outputs go, while it waits: in the order
    weights 0, run 0, weights 1, run 1 … a tile may be loaded when the one two before it has left.
    """

    def __init__(self, passes: int, most: int) -> None:
        self._starts = np.arange(0, passes, -(-passes // most))

    def array(self, of_passes: Counts) -> Counts:
        """Add up what happens in the runs: (passes,) → (tiles,)."""
        return self._spread(of_passes, 1)

    def ahead(self, of_passes: Counts) -> Counts:
        """Add up what happens before the runs: (passes,) → (tiles,)."""
        return self._spread(of_passes, 0)

    def offsets(self, of_passes: Counts, which: int) -> Counts:
        """Return the running sum at each tile: (passes,) → (tiles,)."""
        spread = self._spread(of_passes, which)
        return np.cumsum(spread) - spread

    def _spread(self, of_passes: Counts, which: int) -> Counts:
        tiles = np.zeros(2 * len(self._starts), np.int64)
        tiles[which::2] = np.add.reduceat(of_passes, self._starts)
        return tiles


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the passes up in runs, and say what each moves and does."""
    passes, timing, layer = match.passes, match.timing, match.layer
    runs = _Runs(len(passes), chip.mapping.runs)
    R, S = layer.vertical.kernel, layer.horizontal.kernel
    filters, channels = (np.diff(span)[:, 0] for span in (passes.filters, passes.channels))
    weights = filters * channels * R * S * passes.loads_weights
    ifmap, ofmap = _stored(match, chip)
    loaded = ifmap.pieces(passes.group, passes.images, passes.channels, passes.rows) * passes.loads
    stored = ofmap.pieces(passes.group, passes.images, passes.filters, passes.outputs) * passes.last
    cycles = runs.array(timing.cycles)
    performed = match.multiplied if chip.array.zero_gating else timing.steps

    def stream(name: str, size: Counts, which: int, compulsory: int) -> Stream:
        moved = whole_bursts(runs.array(size) if which else runs.ahead(size), chip.dram.burst)
        return Stream(name, moved, np.minimum(runs.offsets(size, which), compulsory), compulsory)

    return Program(
        operator=layer.name,
        mapping="given" if match.geometry.given else "found",
        stages=(Stage("array", cycles, _units(match, runs, chip)),),
        reads=(
            stream("input", loaded, 1, ifmap.size),
            stream("weight", weights * WORD, 0, int(np.prod(layer.weight_shape)) * WORD),
        ),
        writes=(stream("output", stored, 1, ofmap.size),),
        depth=2,
        actions=tuple(_actions(match, runs, chip, performed, weights)),
        macs=Macs(operator.macs, int(match.effectual.sum()), int(performed.sum())),
        peak=chip.array.pes,
        floors=_floors(match, chip),
        phases={
            "loading": Phase(1, runs.array(timing.waits)),
            "computing": Phase(1, runs.array(timing.windows)),
            "sums": Phase(1, runs.array(timing.sums)),
            "ifmap": Phase(1, runs.array(timing.stalls)),
            "draining": Phase(1, runs.array(timing.drains)),
        },
    )


def _stored(match: Match, chip: Chip) -> tuple[Stored, Stored]:
    """Return ifmap and ofmap as they are in DRAM; padding is in neither, nor are rows that no window covers."""
    layer, rlc = match.layer, chip.rlc
    inputs = Stored(layer.input_mask(), layer.input_shape, rlc.coding, rlc.inputs, rows_touched(layer.vertical))
    rows = np.ones(layer.vertical.outputs, np.bool_)
    return inputs, Stored(layer.output_mask(), layer.output_shape, rlc.coding, rlc.outputs, rows)


def _units(match: Match, runs: _Runs, chip: Chip) -> dict[str, Unit]:
    """Return the units; PEs without work, of a pass or of its last sets, wait for the others (imbalance)."""
    timing, pes = match.timing, chip.array.pes
    cycles = runs.array(timing.cycles)
    pe = {
        "busy": timing.steps + timing.adds,
        "blocked": timing.used * timing.sums,
        "starved": timing.used * timing.stalls,
        "fill_drain": timing.used * (timing.waits + timing.drains),
    }
    sums = -(-timing.psum_words // chip.array.psum_words)
    return {
        "pe": unit_of({state: runs.array(count) for state, count in pe.items()}, pes, cycles),
        "ifmap_network": _one(runs.array(timing.ifmap_cycles), cycles),
        "psum_network": _one(runs.array(sums), cycles),
    }


def _one(busy: Counts, cycles: Counts) -> Unit:
    """Return a unit of one instance that waits when it does not work."""
    states = np.zeros((len(cycles), len(STATES)), np.int64)
    states[:, STATES.index("busy")] = busy
    states[:, STATES.index("starved")] = cycles - busy
    return Unit(1, states)


def _floors(match: Match, chip: Chip) -> dict[str, int]:
    """Cycles that each unit needs for its work alone."""
    timing = match.timing
    return {
        "pe": -(-int((timing.steps + timing.adds).sum()) // chip.array.pes),
        "ifmap_network": int(timing.ifmap_cycles.sum()),
        "psum_network": -(-int(timing.psum_words.sum()) // chip.array.psum_words),
    }


def _actions(match: Match, runs: _Runs, chip: Chip, performed: Counts, weights: Counts) -> Iterator[Action]:
    passes, timing, layer = match.passes, match.timing, match.layer
    images, filters, channels, outputs = (
        np.diff(span)[:, 0] for span in (passes.images, passes.filters, passes.channels, passes.outputs)
    )
    mapping, array, width = match.geometry.mapping, chip.array, chip.global_buffer.width_bits
    spread = np.minimum(mapping.t, filters)  # sets that get the same ifmap
    columns = len(layer.horizontal.touched(range(layer.horizontal.outputs)))
    received = match.rows_met * columns * spread
    pixels = images * layer.horizontal.outputs * outputs * filters
    spad = {"size": array.filter_spad * WORD, "width": 8 * WORD}

    def bytes_of(words: Counts) -> Counts:
        return runs.array(words * WORD)

    def accesses(words: Counts) -> Counts:
        return runs.array(-(-words * 8 * WORD // width))

    yield Action("mac", "multiply-add", "mac_16b", runs.array(performed))
    yield Action("mac", "add sums", "add_16b", runs.array(timing.adds))
    yield Action("filter_spad", "read", "sram_read", runs.array(performed), **spad)
    yield Action("filter_spad", "write", "sram_write", runs.array(weights * outputs), **spad)
    yield Action("ifmap_spad", "read", "register_8b", bytes_of(performed))
    yield Action("ifmap_spad", "write", "register_8b", bytes_of(received))
    yield Action("psum_spad", "read", "register_8b", bytes_of(performed + timing.adds))
    yield Action("psum_spad", "write", "register_8b", bytes_of(performed + timing.adds))
    enter = timing.psum_words * ~passes.first
    moved = weights + timing.ifmap_words + timing.psum_words + enter + timing.adds
    yield Action("network", "move bits", "link_bit", runs.array(moved * 8 * WORD))
    bank = {"size": chip.global_buffer.bank, "width": width}
    covered = np.diff(np.concatenate(([0], np.cumsum(rows_touched(layer.vertical))))[passes.rows])[:, 0]
    filled = images * channels * covered * layer.horizontal.size * passes.loads
    leave = pixels * passes.last
    for name, kind, words in (
        ("write ifmap", "sram_write", filled),
        ("read ifmap", "sram_read", timing.ifmap_words),
        ("write sums", "sram_write", timing.psum_words),
        ("read sums", "sram_read", enter),
        ("read outputs", "sram_read", leave),
        ("write weights", "sram_write", weights),
        ("read weights", "sram_read", weights),
    ):
        yield Action("global_buffer", name, kind, accesses(words), **bank)
