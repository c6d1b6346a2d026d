"""DOTA (Qu et al., ASPLOS 2022): weak attentions are detected, cheaply, and omitted.

Lanes hold tokens (``simulator.dataflow.token_parallel``). Here is the chip: its parts, how operators are cut into tiles
that fit the lanes' SRAM, what each tile moves, what every unit does meanwhile, and what costs energy.

An attention tile is a part of the queries of a head on every chip, all lanes at once; its key and values stay while the
parts of the head follow each other. A dense tile is a block of outputs, one per PE row, over a part of the reduction, for
as many tokens as the lanes hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.dataflow.token_parallel import (
    OPERAND_BITS,
    AttentionMatch,
    Geometry,
    LinearMatch,
    Match,
    Retention,
    RowwiseMatch,
    deal,
    homes,
    match,
    shares,
    variant,
)
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError, LawViolation
from simulator.hardware import attention_lane as lane
from simulator.hardware.accumulator import Accumulator
from simulator.hardware.buffer import Buffer
from simulator.hardware.connection_filter import ConnectionFilter
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.lanes import Chips, Lanes
from simulator.hardware.mfu import MultiFunctionUnit
from simulator.hardware.rmmu import RMMU, precision_of
from simulator.hardware.token_scheduler import TokenScheduler
from simulator.program import Action, Counts, Instances, Macs, Program, Stage, Stream, Unit, dram_actions, unit_of
from simulator.trace import Attention, Linear, Operator, Rowwise
from simulator.trace.connections import allowed_keys
from simulator.trace.rowwise import operations

__all__ = ["DEEPER", "WIDER", "Chip", "geometry", "match", "parts", "tile"]

DEEPER = ()
"""Parameters of which more never makes a run slower: the queues between the steps are double buffers."""
WIDER = ("lanes.count",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""

OPERAND = OPERAND_BITS // 8
"""Bytes of an operand, in DRAM and on chip."""
PARTIAL_SUM = 4
"""Bytes of a partial sum."""


def _retention(value: object) -> object:
    """Read what part of the connections is kept."""
    if value in ("trace", "full"):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"expected 'trace', 'full' or a number above 0 up to 1, not '{value}'")
    return float(value)


class Omission(Part):
    """Which connections are omitted."""

    retention: Annotated[Retention, BeforeValidator(_retention)]
    """What the trace says, all (without detection), or this part of each row's keys."""


class Chip(Part):
    """The configuration of a DOTA system."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    chips: Chips
    lanes: Lanes
    rmmu: RMMU
    filter: ConnectionFilter
    scheduler: TokenScheduler
    mfu: MultiFunctionUnit
    accumulator: Accumulator
    sram: Buffer
    """Of each lane."""
    dram: SimpleChannel
    attention: Omission

    @property
    def pe_rows(self) -> int:
        """PE rows of all chips."""
        return self.chips.count * self.lanes.count * self.rmmu.rows


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chips are made of."""
    lanes = chip.chips.count * chip.lanes.count
    return (
        Instances("rmmu", "mac_fx16", chip.pe_rows * chip.rmmu.width),
        Instances("filter", "filter_cycle", lanes),
        Instances("scheduler", "scheduler_cycle", lanes),
        Instances("mfu", "mfu_cycle", lanes),
        Instances("accumulator", "accumulate", chip.chips.count * chip.accumulator.per_cycle),
        Instances("sram", "sram_leakage", -(-lanes * chip.sram.size // 1024), static=True),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    if not isinstance(operator, Attention | Linear | Rowwise):
        raise InputError(
            f"operator '{operator.name}' ({operator.type}): a transformer accelerator does not run it; "
            "expected attention, linear or rowwise"
        )
    for role, tensor in operator.tensors.items():
        if tensor.bits > OPERAND_BITS:
            raise InputError(
                f"operator '{operator.name}': {role} has {tensor.bits} bits, but PEs multiply at most {OPERAND_BITS}"
            )
    variant(operator, chip.attention.retention)
    return Geometry(chip.chips, chip.lanes, chip.rmmu, chip.scheduler, chip.attention.retention)


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Cut a match into tiles that fit the lanes' SRAM, and say what each tile moves and does.

    Raises:
        InputError: the smallest tile does not fit.

    """
    if isinstance(match, AttentionMatch):
        return _attention(match, chip)
    if isinstance(match, LinearMatch):
        return _dense(match, chip)
    return _rowwise(match, chip)


def _sram_actions(written: Counts, read: Counts, chip: Chip) -> Iterator[Action]:
    """Count accesses for so many bytes of each tile."""
    bank = {"size": chip.sram.size // chip.sram.banks, "width": chip.sram.width_bits}
    yield Action("sram", "write", "sram_write", -(-written * 8 // chip.sram.width_bits), **bank)
    yield Action("sram", "read", "sram_read", -(-read * 8 // chip.sram.width_bits), **bank)


def _stream(name: str, size: Counts, compulsory: int, chip: Chip) -> Stream:
    """Return bytes that cross the channel tile after tile, in the order in which they are stored."""
    size = size.astype(np.int64)
    return Stream(name, whole_bursts(size, chip.dram.burst), cumulative(size)[:-1] % max(1, compulsory), compulsory)


# Attention


@dataclass(frozen=True, eq=False)
class Work:
    """An attention operator on this chip: what the rows do, and who holds what."""

    match: AttentionMatch
    chip: Chip

    @property
    def operator(self) -> Attention:
        """What is computed."""
        return self.match.operator

    @property
    def detects(self) -> bool:
        """Whether the chip detects, and does not keep all or what it is told to."""
        return self.operator.rank is not None and self.operator.rule != "none"

    @property
    def phased(self) -> bool:
        """Whether all rows detect first and attend then."""
        return self.chip.rmmu.detection_rows == 0

    @property
    def detection_rows(self) -> int:
        """PE rows of a lane that detect."""
        return self.chip.rmmu.detection_rows or self.chip.rmmu.rows

    @property
    def attention_rows(self) -> int:
        """PE rows of a lane that attend."""
        return self.chip.rmmu.rows - (self.chip.rmmu.detection_rows if self.detects else 0)

    @property
    def omits(self) -> bool:
        """Whether the scheduler has anything to choose."""
        return self.operator.mask is not None or self.operator.rule != "none"

    def queries(self) -> Counts:
        """Return the queries of each group, (groups,)."""
        tokens, L = self.chip.scheduler.tokens, self.operator.query_count
        return np.diff(np.minimum(np.arange(0, L + tokens, tokens), L))

    def work(self) -> Counts:
        """Return the cycles that each unit works on each group: (heads, groups, len(lane.WORK))."""
        operator, chip, queries = self.operator, self.chip, self.queries()
        D, E, bandwidth = operator.head_size, operator.value_size, chip.sram.bytes_per_cycle
        side_by_side = 1 if chip.scheduler.order == "row_by_row" else chip.scheduler.tokens
        rounds, loads, remote = (self.match.of(field) for field in ("rounds", "loads", "remote"))
        slots = rounds * side_by_side
        work = np.zeros((*rounds.shape, len(lane.WORK)), np.int64)
        columns = dict(zip(lane.WORK, np.moveaxis(work, -1, 0), strict=True))
        if self.detects:
            seen = allowed_keys(operator.query_count, operator.key_count, operator.causal)[np.cumsum(queries) - 1]
            products = queries * seen * (operator.rank or 0)
            columns["detect_rows"][:] = chip.rmmu.cycles(products, self.detection_rows, operator.precision)
            columns["detect_filter" if operator.rule == "threshold" else "filter"][:] = chip.filter.cycles(seen)
        if self.omits:
            columns["schedule"][:] = rounds
        columns["softmax"][:] = chip.mfu.softmax_cycles(self.match.of("pairs"))
        for step, size in (("scores", D), ("context", E)):
            columns[f"{step}_rows"][:] = chip.rmmu.cycles(slots * size, self.attention_rows)
            columns[f"{step}_sram"][:] = -(-loads * size * OPERAND // bandwidth)
            columns[f"{step}_link"][:] = -(-remote * size * OPERAND // chip.lanes.link_bytes)
        return work


@dataclass(frozen=True, eq=False)
class Parts:
    """How the queries of a head are cut: part by part, lane by lane."""

    order: Counts
    """(groups,): the groups, those of a part and a lane one after the other."""
    bounds: Counts
    """(parts · lanes + 1,): where they begin."""
    queries: Counts
    """(parts, lanes)."""
    keys: Counts
    """(lanes,): keys that live in each lane."""
    depth: int
    """Tiles on the chip at once."""


def _parts(work: Work) -> Parts:
    """Cut the queries of a head so that keys and values of a lane, and its queries, fit its SRAM.

    Fewest parts first, then room for the next tile beside this one.
    """
    operator, chip = work.operator, work.chip
    lanes, tokens, S = chip.lanes.count, chip.scheduler.tokens, operator.key_count
    queries = work.queries()
    live = chip.lanes.homes(operator.query_count, tokens)[::tokens]
    keys = np.bincount(chip.lanes.homes(S, tokens), minlength=lanes)
    stays = int(keys.max()) * (operator.head_size + operator.value_size) * OPERAND
    group = tokens * (operator.head_size + operator.value_size) * OPERAND
    mask = tokens * -(-S // 8)
    if work.detects:
        bits = (operator.rank or 0) * operator.precision
        stays += -(-S * bits // 8)
        group += -(-tokens * bits // 8)
    fixed = 2 * mask if work.omits else 0
    if work.detects and work.phased:
        group += mask
    most = int(np.bincount(live, minlength=lanes).max())
    fits = {depth: min(most, (chip.sram.size - fixed - depth * stays) // (depth * group)) for depth in (2, 1)}
    if fits[1] < 1:
        raise InputError(
            f"operator '{operator.name}': a sequence of {S} keys takes {stays + group + fixed} bytes of each lane's "
            f"SRAM, which holds {chip.sram.size}; enlarge sram.size or lanes.count, or cut the sequence"
        )
    depth = 2 if fits[2] > 0 and -(-most // fits[2]) <= -(-most // fits[1]) else 1
    place = np.zeros(len(live), np.int64)  # of a group among those of its lane
    for own in range(lanes):
        place[live == own] = np.arange(np.count_nonzero(live == own))
    count = -(-most // fits[depth])
    cell = place // fits[depth] * lanes + live
    order = np.argsort(cell, kind="stable")
    per_cell = np.bincount(cell, minlength=count * lanes)
    held = np.bincount(cell, weights=queries, minlength=count * lanes).astype(np.int64)
    return Parts(order, cumulative(per_cell), held.reshape(count, lanes), keys, depth)


@dataclass(frozen=True, eq=False)
class Waves:
    """Which head runs on which chip when: wave by wave, one head on each chip."""

    wave: Counts
    """(N · H,): of each head."""
    first_of_image: NDArray[np.bool_]
    """(N · H,): whether its chip meets the image for the first time."""
    first_of_group: NDArray[np.bool_]
    """(N · H,): whether its chip meets these keys and values for the first time."""

    @property
    def count(self) -> int:
        """Waves."""
        return int(self.wave.max()) + 1

    def add(self, values: Counts) -> Counts:
        """Add what is given head by head, (N · H, parts …), up by wave: (waves · parts …)."""
        total = np.zeros((self.count, *values.shape[1:]), np.int64)
        np.add.at(total, self.wave, values)
        return total.reshape(-1, *values.shape[2:])


def _waves(operator: Attention, chips: Chips) -> Waves:
    N, H = operator.images, operator.heads
    image, head = (axis.ravel() for axis in np.indices((N, H)))
    group = head * operator.groups // H
    if chips.split == "batch":
        own, wave = image % chips.count, image // chips.count * H + head
        first = head == 0
    else:
        per = -(-H // chips.count)
        own, wave = head // per, image * per + head % per
        first = head % per == 0
    before = np.roll(group, 1)
    new = np.asarray(first | (group != before) | (np.roll(own, 1) != own))
    return Waves(wave, first, new)


def _prepare(work: Work, cut: Parts, waves: Waves) -> Counts:
    """Return the cycles of rows and link before detection: (heads, parts, lanes, 2).

    X·P once per image, W̃ once per head and token; every lane receives the others' K̃.
    """
    operator, chip = work.operator, work.chip
    before = np.zeros((len(waves.wave), *cut.queries.shape, 2), np.int64)
    if not work.detects:
        return before
    assert operator.tokens is not None and operator.rank is not None
    tokens, k = chip.scheduler.tokens, operator.rank
    own = np.bincount(chip.lanes.homes(operator.query_count, tokens), minlength=chip.lanes.count)
    for source, held in ((operator.tokens, own), (operator.memory, cut.keys)):
        if source is not None:
            sums = chip.rmmu.cycles(held * source.shape[-1] * k, work.detection_rows, precision_of(source.bits))
            before[:, 0, :, 0] += waves.first_of_image[:, None] * sums
    products = cut.queries * k * k
    products[0] += cut.keys * k * k
    before[..., 0] += chip.rmmu.cycles(products, work.detection_rows, operator.precision)
    others = (operator.key_count - cut.keys) * k * operator.precision
    before[:, 0, :, 1] = -(-others // (8 * chip.lanes.link_bytes))
    return before


def _attention(match: AttentionMatch, chip: Chip) -> Program:
    work, operator = Work(match, chip), match.operator
    cut, waves = _parts(work), _waves(match.operator, chip.chips)
    doing = work.work()
    shape = (len(waves.wave), *cut.queries.shape)
    cycles, states = np.zeros(shape, np.int64), np.zeros((*shape, len(lane.UNITS), len(lane.STATES)), np.int64)
    before = _prepare(work, cut, waves)
    lane.run_lanes(doing, before, cut.order, cut.bounds, work.detects and work.phased, cycles, states)
    longest = np.zeros((waves.count, shape[1]), np.int64)
    np.maximum.at(longest, waves.wave, cycles.max(axis=2))
    tile_cycles = longest.reshape(-1)
    spent = waves.add(states.sum(axis=2))
    units = _lane_units(work, spent, tile_cycles)
    reads, writes = _attention_streams(work, cut, waves)
    pairs = match.of("pairs")
    macs = int(pairs.sum()) * (operator.head_size + operator.value_size)
    return Program(
        operator=operator.name,
        mapping=_mapping(operator),
        stages=(Stage("attention", tile_cycles, units),),
        reads=reads,
        writes=writes,
        depth=cut.depth,
        actions=(
            *_attention_actions(work, cut, waves, spent),
            *dram_actions(reads, writes, chip.dram.energy_pj_per_bit),
        ),
        macs=Macs(operator.macs, macs, macs),
        peak=chip.chips.count * chip.lanes.count * work.attention_rows * chip.rmmu.width,
        floors=_floors(units, macs, work),
    )


def _mapping(operator: Attention) -> str:
    if operator.mask is not None:
        return "given"
    return {"none": "full", "top_k": "top-k", "threshold": "threshold"}[operator.rule]


def _lane_units(work: Work, spent: Counts, cycles: Counts) -> dict[str, Unit]:
    """Return the units of the lanes; spent: (tiles, len(lane.UNITS), len(lane.STATES)) of one instance per lane."""
    lanes = work.chip.chips.count * work.chip.lanes.count
    rows = {"detection_rows": work.detection_rows, "attention_rows": work.attention_rows}
    shared = work.attention_rows == work.chip.rmmu.rows
    units = {}
    for index, name in enumerate(lane.UNITS):
        if name == "detection_rows" and shared:
            continue  # all rows do both, or none detects
        many = rows.get(name, 1)
        used = spent[:, index].any(axis=0)[0]
        states = {state: many * spent[:, index, at] for at, state in enumerate(lane.STATES)} if used else {}
        units["pe_rows" if many > 1 and shared else name] = unit_of(states, many * lanes, cycles)
    return units


def _floors(units: dict[str, Unit], macs: int, work: Work) -> dict[str, int]:
    """Cycles that each unit needs for its work alone, were it spread perfectly and never kept waiting."""
    floors = {name: -(-int(unit.states[:, 0].sum()) // unit.instances) for name, unit in units.items()}
    rows = "attention_rows" if "attention_rows" in units else "pe_rows"
    lanes = work.chip.chips.count * work.chip.lanes.count
    per_cycle = lanes * work.attention_rows * work.chip.rmmu.width
    if not (work.detects and work.phased):
        floors[rows] = -(-macs // per_cycle)
    for name, field, size in (("lane_sram", "union", work.chip.sram.bytes_per_cycle),):
        loads = int(work.match.of(field).sum()) * (work.operator.head_size + work.operator.value_size) * OPERAND
        floors[name] = -(-loads // (size * lanes))
    floors.pop("link")  # what crosses it depends on the order of loads
    return floors


def _attention_streams(work: Work, cut: Parts, waves: Waves) -> tuple[tuple[Stream, ...], tuple[Stream, ...]]:
    operator, chip = work.operator, work.chip
    N, H, L, D = operator.query.shape
    S, G, E = operator.key_count, operator.groups, operator.value_size
    queries = np.broadcast_to(cut.queries.sum(axis=1), (N * H, len(cut.queries)))
    at_first = np.arange(len(cut.queries)) == 0
    group, image = (first[:, None] & at_first for first in (waves.first_of_group, waves.first_of_image))

    def read(name: str, sizes: NDArray[Any], compulsory: int) -> Stream:
        return _stream(name, waves.add(sizes.astype(np.int64)), compulsory, chip)

    reads = [
        read("query", queries * D * OPERAND, N * H * L * D * OPERAND),
        read("key", group * (S * D * OPERAND), N * G * S * D * OPERAND),
        read("value", group * (S * E * OPERAND), N * G * S * E * OPERAND),
    ]
    if operator.mask is not None:
        reads.append(read("mask", queries * -(-S // 8), N * H * L * -(-S // 8)))
    if work.detects:
        assert operator.tokens is not None and operator.rank is not None
        C, k = operator.tokens.shape[-1], operator.rank
        weights = -(-2 * k * k * operator.precision // 8)
        reads.append(read("tokens", image * (L * C * OPERAND), N * L * C * OPERAND))
        if operator.memory is not None:
            reads.append(read("memory", image * (S * C * OPERAND), N * S * C * OPERAND))
        once = (np.arange(N * H) == 0)[:, None] & at_first
        reads.append(read("projection", once * -(-C * k * 2 // 8), -(-C * k * 2 // 8)))
        reads.append(read("detector", np.broadcast_to(at_first, (N * H, len(at_first))) * weights, H * weights))
    writes = (read("output", queries * E * OPERAND, N * H * L * E * OPERAND),)
    return tuple(reads), writes


def _attention_actions(work: Work, cut: Parts, waves: Waves, spent: Counts) -> Iterator[Action]:
    operator, chip = work.operator, work.chip
    per_part = [cut.bounds[i * chip.lanes.count] for i in range(len(cut.queries))]

    def by_tile(groups: Counts) -> Counts:
        """Add what is given group by group, (heads, groups), up by tile."""
        return waves.add(np.add.reduceat(groups[:, cut.order], per_part, axis=1))

    D, E = operator.head_size, operator.value_size
    pairs, loads, remote = (by_tile(work.match.of(field)) for field in ("pairs", "loads", "remote"))
    queries = waves.add(np.broadcast_to(cut.queries.sum(axis=1), (len(waves.wave), len(cut.queries))).copy())
    yield Action("rmmu", "multiply-add, attention", "mac_fx16", pairs * (D + E))
    if work.detects:
        yield from _detection_actions(work, cut, waves, by_tile)
    busy = dict(zip(lane.UNITS, np.moveaxis(spent[..., lane.BUSY], -1, 0), strict=True))
    for unit in ("filter", "scheduler", "mfu"):
        yield Action(unit, "work", f"{unit}_cycle", busy[unit])
    yield Action("link", "keys and values", "link_bit", remote * (D + E) * OPERAND_BITS)
    stored = waves.add((waves.first_of_group[:, None] & (np.arange(len(cut.queries)) == 0)).astype(np.int64))
    into = (queries * (D + E) + stored * operator.key_count * (D + E)) * OPERAND
    yield from _sram_actions(into, (queries * (D + E) + loads * (D + E)) * OPERAND, chip)


def _detection_actions(work: Work, cut: Parts, waves: Waves, by_tile: Any) -> Iterator[Action]:
    operator = work.operator
    assert operator.tokens is not None and operator.rank is not None
    k, (N, H), first = operator.rank, (operator.images, operator.heads), np.arange(len(cut.queries)) == 0
    seen = allowed_keys(operator.query_count, operator.key_count, operator.causal)[np.cumsum(work.queries()) - 1]
    estimates = by_tile(np.broadcast_to(work.queries() * seen, (N * H, len(seen))))
    tokens = np.broadcast_to(cut.queries.sum(axis=1) + first * operator.key_count, (N * H, len(first)))
    products = estimates * k + waves.add(tokens * k * k)
    yield Action("rmmu", "multiply-add, detection", f"mac_int{operator.precision}", products)
    image = waves.add((waves.first_of_image[:, None] & first).astype(np.int64))
    for name, source in (("tokens", operator.tokens), ("memory", operator.memory)):
        if source is not None:
            precision = precision_of(source.bits)
            kind = "mac_fx16" if precision == OPERAND_BITS else f"mac_int{precision}"
            yield Action("rmmu", f"project {name}", kind, image * source.shape[-2] * source.shape[-1] * k)
    each = waves.add(np.broadcast_to(first, (N * H, len(first))).astype(np.int64))
    bits = (work.chip.lanes.count - 1) * operator.key_count * k * operator.precision
    yield Action("link", "estimated keys", "link_bit", each * bits)


# Dense layers


def _dense(match: LinearMatch, chip: Chip) -> Program:
    """A tile is a chunk of tokens × a block of outputs × a piece of the reduction."""
    operator, unit = match.operator, chip.rmmu
    own = shares(operator, geometry(operator, chip))
    C, K = operator.weight.shape[1], operator.weight.shape[0]
    chunk, piece = _fit_dense(operator, max(int(np.diff(share.bounds).max()) for share in own), chip)
    held = np.array([np.diff(share.bounds) for share in own])  # (chips, lanes)
    chunks = max(1, -(-int(held.max()) // chunk))
    tokens = np.clip(held - chunk * np.arange(chunks)[:, None, None], 0, chunk)  # (chunks, chips, lanes)
    blocks = max(1, -(-max(len(share.outputs) for share in own) // unit.rows))
    widths = np.array([len(share.outputs) for share in own])
    outputs = np.clip(widths - unit.rows * np.arange(blocks)[:, None], 0, unit.rows)  # (blocks, chips)
    pieces = np.diff(np.minimum(np.arange(0, C + piece, piece), C))
    j, b, r = (axis.ravel() for axis in np.indices((chunks, blocks, len(pieces))))
    tokens, outputs, depth = tokens[j], outputs[b], pieces[r]  # of each tile
    steps = -(-depth // unit.width)
    working = (tokens * steps[:, None, None]) * (outputs > 0)[..., None]  # (tiles, chips, lanes): cycles of the rows
    sums = (working * outputs[..., None]).sum(axis=2)  # (tiles, chips)
    sram = -(-(tokens.sum(axis=2) + chip.lanes.count * outputs) * depth[:, None] * OPERAND // chip.sram.bytes_per_cycle)
    sram = -(-sram // chip.lanes.count)
    adding = -(-sums // chip.accumulator.per_cycle)
    cycles = np.maximum(np.maximum(working.max(axis=(1, 2)), adding.max(axis=1)), sram.max(axis=1)) + unit.fill
    lanes = chip.chips.count * chip.lanes.count
    rows = {"busy": sums.sum(axis=1), "fill_drain": np.full(len(j), chip.pe_rows * unit.fill)}
    units = {
        "pe_rows": unit_of(rows, chip.pe_rows, cycles),
        "lane_sram": unit_of({"busy": sram.sum(axis=1) * chip.lanes.count}, lanes, cycles),
        "accumulator": unit_of({"busy": adding.sum(axis=1)}, chip.chips.count, cycles),
    }
    macs = int((sums.sum(axis=1) * 0 + (tokens.sum(axis=2) * outputs).sum(axis=1) * depth).sum())
    if match.working is not None and match.working != int(working.sum()):
        raise LawViolation(f"{operator.name}: tiles keep lanes busy for {working.sum()} cycles, not {match.working}")
    every = tokens.sum(axis=2)  # (tiles, chips)
    reads = (
        _stream(
            "input",
            np.where(b == 0, (every * (outputs > 0)).sum(axis=1) * depth * OPERAND, 0),
            operator.input.size * OPERAND,
            chip,
        ),
        _stream("weight", (outputs * (every > 0)).sum(axis=1) * depth * OPERAND, operator.weight.size * OPERAND, chip),
    )
    drained = np.where(r == len(pieces) - 1, (every * outputs).sum(axis=1) * OPERAND, 0)
    writes = (_stream("output", drained, operator.input.size // C * K * OPERAND, chip),)
    loaded = np.where(b == 0, every.sum(axis=1) * depth * OPERAND, 0)
    weights = outputs.sum(axis=1) * depth * OPERAND * chip.lanes.count
    return Program(
        operator=operator.name,
        mapping="dense",
        stages=(Stage("dense", cycles, units),),
        reads=reads,
        writes=writes,
        depth=2,
        actions=(
            Action("rmmu", "multiply-add", "mac_fx16", (every * outputs).sum(axis=1) * depth),
            Action("accumulator", "add", "accumulate", sums.sum(axis=1)),
            *_sram_actions(loaded + weights + drained, every.sum(axis=1) * depth * OPERAND + weights + drained, chip),
            *dram_actions(reads, writes, chip.dram.energy_pj_per_bit),
        ),
        macs=Macs(operator.macs, macs, macs),
        peak=chip.pe_rows * unit.width,
        floors={
            "pe_rows": -(-macs // (chip.pe_rows * unit.width)),
            "accumulator": -(-int(sums.sum()) // (chip.chips.count * chip.accumulator.per_cycle)),
        },
    )


def _fit_dense(operator: Linear, tokens: int, chip: Chip) -> tuple[int, int]:
    """Return the tokens of a lane, and the inputs of each, that a tile may have: weights take up to a quarter."""
    unit, C = chip.rmmu, operator.weight.shape[1]
    step = unit.rows * unit.width * OPERAND
    piece = min(-(-C // unit.width), max(1, chip.sram.size // 4 // (2 * step))) * unit.width
    left = chip.sram.size - 2 * unit.rows * piece * OPERAND
    token = 2 * C * OPERAND + unit.rows * (PARTIAL_SUM + 2 * OPERAND)
    if left < token:
        raise InputError(
            f"operator '{operator.name}': one token and a block of weights take {chip.sram.size - left + token} bytes of "
            f"each lane's SRAM, which holds {chip.sram.size}; enlarge sram.size"
        )
    return max(1, min(tokens, left // token)), piece


# Between products


def _rowwise(match: RowwiseMatch, chip: Chip) -> Program:
    """A tile is a chunk of rows, dealt out to the lanes."""
    operator = match.operator
    F, inputs = operator.input.shape[-1], 1 if operator.other is None else 2
    row = F * OPERAND * (inputs + 1)
    fit = chip.sram.size // (2 * row)
    if fit < 1:
        raise InputError(
            f"operator '{operator.name}': two rows take {2 * row} bytes of a lane's SRAM, which holds {chip.sram.size}; "
            "enlarge sram.size"
        )
    held = np.concatenate([np.diff(bounds) for bounds in deal(operator.input.shape, geometry(operator, chip))])
    chunk = min(fit, max(1, int(held.max())))
    rows = np.clip(held - chunk * np.arange(-(-int(held.max()) // chunk))[:, None], 0, chunk)  # (tiles, lanes)
    counts = sorted(set(rows.ravel().tolist()))
    needed = {count: chip.mfu.cycles(operations(operator.kind, count * F, count)) for count in counts}
    working = np.vectorize(needed.__getitem__, otypes=[np.int64])(rows)
    cycles = working.max(axis=1)
    units = {"mfu": unit_of({"busy": working.sum(axis=1)}, working.shape[1], cycles)}
    size = rows.sum(axis=1) * F * OPERAND
    whole = operator.input.size * OPERAND
    reads = tuple(_stream(role, size, whole, chip) for role in ("input", "other")[:inputs])
    writes = (_stream("output", size, whole, chip),)
    return Program(
        operator=operator.name,
        mapping=operator.kind,
        stages=(Stage("mfu", cycles, units),),
        reads=reads,
        writes=writes,
        depth=2,
        actions=(
            Action("mfu", "work", "mfu_cycle", working.sum(axis=1)),
            *_sram_actions((inputs + 1) * size, (inputs + 1) * size, chip),
            *dram_actions(reads, writes, chip.dram.energy_pj_per_bit),
        ),
        macs=Macs(0, 0, 0),
        peak=chip.pe_rows * chip.rmmu.width,
        floors={"mfu": -(-int(working.sum()) // working.shape[1])},
    )
