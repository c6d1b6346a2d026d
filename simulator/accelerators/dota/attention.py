"""Attention on DOTA: a tile is a part of the queries of a head on every chip, all lanes at once.

Keys and values stay while the parts of a head follow each other; a lane's pipeline drains at the end of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.accelerators.dota.chip import OPERAND, Chip, sram_actions, stream
from simulator.accelerators.dota.cut import Cut, Waves, cut_queries, detects, group_sizes, waves_of
from simulator.dataflow.token_parallel import OPERAND_BITS, AttentionMatch
from simulator.hardware import attention_lane as lane
from simulator.hardware.rmmu import precision_of
from simulator.program import Action, Counts, Macs, Phase, Program, Stage, Stream, Unit, unit_of
from simulator.trace import Attention, Tensor
from simulator.trace.connections import allowed_keys


@dataclass(frozen=True, eq=False)
class Work:
    """An attention operator on this chip: who does what, and where it is."""

    match: AttentionMatch
    chip: Chip

    @property
    def operator(self) -> Attention:
        """What is computed."""
        return self.match.operator

    @property
    def omits(self) -> bool:
        """Whether the scheduler has anything to choose."""
        return self.operator.mask is not None or self.operator.rule != "none"

    @property
    def detects(self) -> bool:
        """Whether the chip finds out itself what is kept."""
        return detects(self.operator)

    @property
    def rank(self) -> int:
        """Of the detector."""
        return self.operator.rank or 0

    @property
    def shared(self) -> bool:
        """Whether all rows attend: those that detect do so before, or none detects."""
        return not self.detects or self.chip.rmmu.detection_rows == 0

    @property
    def detection_rows(self) -> int:
        """PE rows of a lane that detect."""
        return self.chip.rmmu.detection_rows or self.chip.rmmu.rows

    @property
    def attention_rows(self) -> int:
        """PE rows of a lane that attend."""
        return self.chip.rmmu.rows - (0 if self.shared else self.chip.rmmu.detection_rows)

    @property
    def vector(self) -> int:
        """Numbers of a key and its value."""
        return self.operator.head_size + self.operator.value_size

    @property
    def projection_bytes(self) -> int:
        """Of P, two bits for each of −1, 0 and 1."""
        assert self.operator.projection is not None
        return -(-self.operator.projection.size * 2 // 8)

    def estimated(self, vectors: Any) -> Any:
        """Return the bytes of so many vectors of the detector, of its rank and precision."""
        return -(-vectors * self.rank * self.operator.precision // 8)

    @cached_property
    def cut(self) -> Cut:
        """How the queries of a head are cut."""
        return cut_queries(self.operator, self.chip)

    @cached_property
    def waves(self) -> Waves:
        """Which head runs where and when."""
        return waves_of(self.operator, self.chip.chips)

    @cached_property
    def queries(self) -> Counts:
        """(groups,)."""
        return group_sizes(self.operator, self.chip.scheduler.tokens)

    @cached_property
    def seen(self) -> Counts:
        """(groups,): keys that the last query of a group may look at; so many scores are estimated for each query."""
        allowed = allowed_keys(self.operator.query_count, self.operator.key_count, self.operator.causal)
        seen: Counts = allowed[np.cumsum(self.queries) - 1]
        return seen

    def by_tile(self, groups: Counts) -> Counts:
        """Add up by tile what is given group by group, (heads, groups) or (groups,)."""
        heads = np.broadcast_to(groups, (self.waves.heads, len(self.queries)))
        starts = self.cut.bounds[: -1 : self.chip.lanes.count]
        return self.waves.add(np.add.reduceat(heads[:, self.cut.order], starts, axis=1))

    def of_parts(self, parts: NDArray[np.integer | np.bool_]) -> Counts:
        """Return what every head has in each of its parts, (parts,), by tile."""
        return self.waves.add(np.broadcast_to(parts, (self.waves.heads, self.cut.parts)))

    def of_first(self, heads: NDArray[np.bool_]) -> Counts:
        """Return how many of the heads chosen, (heads,), begin in each tile."""
        return self.waves.add(heads[:, None] & self.cut.first)


def attention_program(match: AttentionMatch, chip: Chip) -> Program:
    """Run the lanes over every part of every head: see ``simulator.hardware.attention_lane``."""
    work, operator = Work(match, chip), match.operator
    shape = (work.waves.heads, *work.cut.queries.shape)
    cycles = np.zeros(shape, np.int64)
    states = np.zeros((*shape, len(lane.UNITS), len(lane.STATES)), np.int64)
    phases = np.zeros((*shape, len(lane.PHASES)), np.int64)
    cut, phased = work.cut, work.detects and work.shared
    doing, before = _doing(work), _before(work)
    lane.run_lanes(doing, before, cut.order, cut.bounds, phased, cycles, states, phases)
    detecting = int(doing[..., lane.WORK.index("detect_rows")].sum() + before[..., 0].sum())
    spent = work.waves.add(states.sum(axis=2))
    longest = work.waves.longest(cycles.max(axis=2))
    units = _units(work, spent, longest)
    reads, writes = _reads(work), (_output(work),)
    macs = int(match.of("pairs").sum()) * work.vector
    return Program(
        operator=operator.name,
        mapping=_mapping(operator),
        stages=(Stage("attention", longest, units),),
        reads=reads,
        writes=writes,
        depth=cut.depth,
        actions=tuple(_actions(work, spent)),
        macs=Macs(operator.macs, macs, macs),
        peak=_peak(work),
        floors=_floors(work, units, macs, detecting),
        phases={
            name: Phase(chip.all_lanes, spans)
            for name, spans in zip(lane.PHASES, work.waves.add(phases.sum(axis=2)).T, strict=True)
        },
    )


def _mapping(operator: Attention) -> str:
    if operator.mask is not None:
        return "given"
    if operator.rule == "top_k" and operator.rank is None:
        return "drawn"
    return {"none": "full", "top_k": "top-k", "threshold": "threshold"}[operator.rule]


def _peak(work: Work) -> int:
    return work.chip.all_lanes * work.attention_rows * work.chip.rmmu.width


def _doing(work: Work) -> Counts:
    """Return the cycles that each unit works on each group: (heads, groups, len(lane.WORK))."""
    operator, chip, match = work.operator, work.chip, work.match
    side_by_side = 1 if chip.scheduler.order == "row_by_row" else chip.scheduler.tokens
    rounds, loads, remote = (match.of(field) for field in ("rounds", "loads", "remote"))
    doing = np.zeros((*rounds.shape, len(lane.WORK)), np.int64)
    columns = dict(zip(lane.WORK, np.moveaxis(doing, -1, 0), strict=True))
    if work.detects:
        products = work.queries * work.seen * work.rank
        columns["detect_rows"][:] = chip.rmmu.cycles(products, work.detection_rows, operator.precision)
        columns["detect_filter" if operator.rule == "threshold" else "filter"][:] = chip.filter.cycles(work.seen)
    if work.omits:
        columns["schedule"][:] = rounds
    columns["softmax"][:] = chip.mfu.softmax_cycles(match.of("pairs"))
    for step, size in (("scores", operator.head_size), ("context", operator.value_size)):
        columns[f"{step}_rows"][:] = chip.rmmu.cycles(rounds * side_by_side * size, work.attention_rows)
        columns[f"{step}_sram"][:] = -(-loads * size * OPERAND // chip.sram.bytes_per_cycle)
        columns[f"{step}_link"][:] = -(-remote * size * OPERAND // chip.link.bytes_per_cycle)
    return doing


def _before(work: Work) -> Counts:
    """Return the cycles of rows and link before a part is detected: (heads, parts, lanes, 2).

    X·P once per image, W̃ once per head and token; every lane receives the others' K̃.
    """
    operator, chip, cut = work.operator, work.chip, work.cut
    before = np.zeros((work.waves.heads, *cut.queries.shape, 2), np.int64)
    if not work.detects:
        return before
    for _, source, held in _sources(work):
        sums = chip.rmmu.cycles(held * source.shape[-1] * work.rank, work.detection_rows, precision_of(source.bits))
        before[:, 0, :, 0] += work.waves.new_image[:, None] * sums
    products = (cut.queries + cut.first[:, None] * cut.keys) * work.rank**2
    before[..., 0] += chip.rmmu.cycles(products, work.detection_rows, operator.precision)
    others = (operator.key_count - cut.keys) * work.rank * operator.precision
    before[:, 0, :, 1] = -(-others // (8 * chip.link.bytes_per_cycle))
    return before


def _sources(work: Work) -> Iterator[tuple[str, Tensor, Counts]]:
    """Yield what is projected: its role, the tensor, and how many of its tokens each lane holds."""
    operator, chip = work.operator, work.chip
    for role, source in (("tokens", operator.tokens), ("memory", operator.memory)):
        if source is not None:
            live = chip.lanes.homes(source.shape[1], chip.scheduler.tokens)
            yield role, source, np.bincount(live, minlength=chip.lanes.count)


def _units(work: Work, spent: Counts, cycles: Counts) -> dict[str, Unit]:
    """Return the units of the lanes; spent: (tiles, len(lane.UNITS), len(lane.STATES)), one instance per lane."""
    rows = {"detection_rows": work.detection_rows, "attention_rows": work.attention_rows}
    units = {}
    for name, states in zip(lane.UNITS, np.moveaxis(spent, 1, 0), strict=True):
        if work.shared and name == "detection_rows":
            continue
        each = rows.get(name, 1)
        used = states[:, lane.BUSY].any()
        by_state = dict(zip(lane.STATES, each * states.T, strict=True)) if used else {}
        label = "pe_rows" if work.shared and name == "attention_rows" else name
        units[label] = unit_of(by_state, each * work.chip.all_lanes, cycles)
    return units


def _floors(work: Work, units: dict[str, Unit], macs: int, detecting: int) -> dict[str, int]:
    """Cycles that each unit needs for its work alone, were it spread perfectly and never kept waiting.

    detecting: cycles in which the rows of all lanes detect, added up.
    """
    lanes, cells = work.chip.all_lanes, work.attention_rows * work.chip.rmmu.width
    floors = {
        name: -(-int(units[name].states[:, 0].sum()) // units[name].instances)
        for name in ("filter", "scheduler", "mfu")
    }
    loads = int(work.match.of("union").sum()) * work.vector * OPERAND
    floors["lane_sram"] = -(-loads // (work.chip.sram.bytes_per_cycle * lanes))
    if work.shared:
        return {"pe_rows": -(-(macs + detecting * cells) // (lanes * cells)), **floors}
    return {"attention_rows": -(-macs // (lanes * cells)), "detection_rows": -(-detecting // lanes), **floors}


def _reads(work: Work) -> tuple[Stream, ...]:
    operator, chip = work.operator, work.chip
    N, H, L, D = operator.query.shape
    S, G, E, queries = operator.key_count, operator.groups, operator.value_size, work.cut.queries.sum(axis=1)

    def read(name: str, count: Counts, each: int, least: int) -> Stream:
        return stream(name, count * each, least * each, chip)

    reads = [
        read("query", work.of_parts(queries), D * OPERAND, N * H * L),
        read("key", work.of_first(work.waves.new_keys), S * D * OPERAND, N * G),
        read("value", work.of_first(work.waves.new_keys), S * E * OPERAND, N * G),
    ]
    if operator.mask is not None:
        reads.append(read("mask", work.of_parts(queries), -(-S // 8), N * H * L))
    if work.detects:
        images = work.of_first(work.waves.new_image)
        for role, source, _ in _sources(work):
            reads.append(read(role, images, source.shape[1] * source.shape[2] * OPERAND, N))
        reads.append(read("projection", work.of_first(work.waves.new_chip), work.projection_bytes, 1))
        reads.append(
            read("detector", work.of_first(np.ones(work.waves.heads, np.bool_)), work.estimated(2 * work.rank), H)
        )
    return tuple(reads)


def _output(work: Work) -> Stream:
    operator, queries = work.operator, work.of_parts(work.cut.queries.sum(axis=1))
    size = operator.value_size * OPERAND
    return stream("output", queries * size, operator.query.size // operator.head_size * size, work.chip)


def _actions(work: Work, spent: Counts) -> Iterator[Action]:
    pairs, loads, remote = (work.by_tile(work.match.of(field)) for field in ("pairs", "loads", "remote"))
    yield Action("rmmu", "multiply-add, attention", "mac_fx16", pairs * work.vector)
    if work.detects:
        yield from _detection_actions(work)
    busy = dict(zip(lane.UNITS, spent[..., lane.BUSY].T, strict=True))
    for unit in ("filter", "scheduler", "mfu"):
        yield Action(unit, "work", f"{unit}_cycle", busy[unit])
    yield Action("link", "keys and values", "link_bit", remote * work.vector * OPERAND_BITS)
    queries = work.of_parts(work.cut.queries.sum(axis=1))
    stored = work.of_first(work.waves.new_keys) * work.operator.key_count
    vector = work.vector * OPERAND
    written, read = _detection_bytes(work) if work.detects else (0, 0)
    yield from sram_actions((queries + stored) * vector + written, (queries + loads) * vector + read, work.chip)


def _detection_bytes(work: Work) -> tuple[Counts, Counts]:
    """Return what detection writes to the lanes' SRAM and reads from it, by tile.

    Tokens and their projection once per image; the projection is read for each head; Q̃ is written and read once, K̃ is
    written to every lane and read for each group.
    """
    operator, cut, lanes = work.operator, work.cut, work.chip.lanes.count
    written = read = work.of_first(work.waves.new_chip) * work.projection_bytes
    images, heads = work.of_first(work.waves.new_image), work.of_first(np.ones(work.waves.heads, np.bool_))
    for _, source, held in _sources(work):
        size, projected = source.shape[1] * source.shape[2] * OPERAND, work.estimated(int(held.sum()))
        written = written + images * (size + projected)
        read = read + images * size + heads * projected
    queries = work.of_parts(work.estimated(cut.queries.sum(axis=1)))
    keys = work.estimated(operator.key_count)
    weights = heads * work.estimated(2 * work.rank)
    groups = work.by_tile(work.estimated(work.seen))
    return written + weights + queries + heads * keys * lanes, read + weights + queries + groups


def _detection_actions(work: Work) -> Iterator[Action]:
    operator, cut, k = work.operator, work.cut, work.rank
    tokens = cut.queries.sum(axis=1) + cut.first * operator.key_count
    products = work.by_tile(work.queries * work.seen) * k + work.of_parts(tokens) * k**2
    yield Action("rmmu", "multiply-add, detection", f"mac_int{operator.precision}", products)
    for role, source, _ in _sources(work):
        precision = precision_of(source.bits)
        kind = "mac_fx16" if precision == OPERAND_BITS else f"mac_int{precision}"
        additions = work.of_first(work.waves.new_image) * (source.shape[1] * source.shape[2] * k)
        yield Action("rmmu", f"project {role}", kind, additions)
    heads = work.of_first(np.ones(work.waves.heads, np.bool_))
    bits = (work.chip.lanes.count - 1) * operator.key_count * k * operator.precision
    yield Action("link", "estimated keys", "link_bit", heads * bits)
