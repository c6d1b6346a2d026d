"""Attention as chips see it that omit connections: which ones are kept, walked head by head, and cut into tiles.

A chip selects connections by its own mechanism where the values of query and key are known, among those that the trace
allows (a causal map, a mask); where they are not, it is taken to select what the trace says is kept. The kernel of a
chip walks the kept connections of a head in the chip's order, counts, and lists what it issues; values are computed
along that list, so that a connection lost or issued twice is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.dataflow.token_parallel import attend_issues
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError, LawViolation
from simulator.hardware.buffer import Buffer
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.program import Action, Counts, Stream
from simulator.trace import Attended, Attention, MaskTensor, Operator, ValueTensor, not_run
from simulator.trace.connections import allowed_keys, allowed_words, pack_rows, unpack_rows

DECIDING: Final = ("query", "key")
"""Tensors whose values decide what a chip with a mechanism of its own keeps."""
MOST_BITS: Final = 16
"""Of an integer that such a chip multiplies."""

Words = NDArray[np.uint64]
Source = Literal["own", "trace"]
Select = Callable[[Attention, int, Words], Words]
"""Of an operator and an image, those of the allowed connections (H, L, W) that the chip keeps, (H, L, W)."""
Walk = Callable[[int, int, Words, NDArray[np.int32]], Counts]
"""Of image, head and the kept connections of the image (H, L, W), records of the head (L, …).

issues (pairs, 3) or (0, 3) out: when, query, key.
"""


class Selection(Part):
    """Where a chip's connections come from."""

    connections: Source
    """'own': by the chip's mechanism where query and key are known by value, else as the trace says; or 'trace'."""


class Units(Part):
    """Replicas of a chip's datapath, each with heads of its own."""

    count: Annotated[int, Field(ge=1, le=65536)]
    """Heads at once."""


def require_attention(operator: Operator, chip: str) -> Attention:
    """Return an operator that such a chip runs.

    Raises:
        InputError: it is no attention, or its integers are too wide.

    """
    if not isinstance(operator, Attention):
        raise not_run(operator, chip, ("attention",))
    for role in ("query", "key", "value"):
        bits = operator.tensors[role].bits
        if bits > MOST_BITS:
            raise InputError(
                f"operator '{operator.name}': {role} has {bits} bits, but {chip} takes operands of at most {MOST_BITS}"
            )
    return operator


def selects(operator: Attention, source: Source) -> bool:
    """Tell whether a chip's own mechanism has the values that it looks at."""
    return source == "own" and all(isinstance(operator.tensors[role], ValueTensor) for role in DECIDING)


def integers_of(operator: Attention, role: str) -> NDArray[np.integer[Any]]:
    """Return the integers of a tensor that is known by value."""
    tensor = operator.tensors[role]
    assert isinstance(tensor, ValueTensor)
    return tensor.values()


def scale_of(operator: Attention, role: str, image: int) -> float:
    """Return what an integer of an image stands for, of a tensor that is known by value."""
    tensor = operator.tensors[role]
    assert isinstance(tensor, ValueTensor)
    return tensor.scale[image] if isinstance(tensor.scale, tuple) else tensor.scale


def real_rows(operator: Attention, role: str, image: int, head: int) -> NDArray[np.float64]:
    """Return the real values of query, key or value of one head of queries, (rows, features).

    ``head`` is that of the queries; keys and values are those that it looks at.
    """
    place = head if role == "query" else operator.group_of(head)
    rows: NDArray[np.float64] = integers_of(operator, role)[image, place] * np.float64(scale_of(operator, role, image))
    return rows


@dataclass(frozen=True, eq=False)
class HeadMatch:
    """What a chip keeps of an attention operator, head by head."""

    operator: Attention
    """With the connections that the chip keeps."""
    records: Counts
    """(N · H, L, …): what the chip's kernel counts for each query."""
    kept: Counts
    """(N · H, L): connections."""
    output: Attended | None


def match_heads(operator: Attention, select: Select | None, source: Source, walk: Walk, check: bool) -> HeadMatch:
    """Select, walk, and with ``check`` compute along what is issued.

    Without ``select``, or without the values that it looks at, what the trace says is kept.

    Raises:
        InputError: as ``simulator.trace.Attention.kept``.

    """
    computed, kept = _connections(operator, select if selects(operator, source) else None)
    N, H, L, _ = kept.shape
    output = None
    if check:
        output = Attended(np.zeros_like(kept), np.zeros((N, H, L, operator.value_size)), np.zeros((N, H, L)))
    records = []
    counts = np.bitwise_count(kept).sum(axis=-1, dtype=np.int64)
    for image, head in np.ndindex(N, H):
        issues = np.zeros((int(counts[image, head].sum()) if check else 0, 3), np.int32)
        records.append(walk(image, head, kept[image], issues))
        if output is not None:
            output.kept[image, head] = _issued(issues, L, operator.key_count)
            if operator.has_values:
                output.values[image, head], output.tolerance[image, head] = attend_issues(
                    computed, image, head, output.kept[image, head], issues
                )
    return HeadMatch(computed, np.stack(records), counts.reshape(N * H, L), output)


def _connections(operator: Attention, select: Select | None) -> tuple[Attention, Words]:
    N, H, L, S = operator.images, operator.heads, operator.query_count, operator.key_count
    kept = np.empty((N, H, L, -(-S // 64)), np.uint64)
    everything = select is not None and operator.mask is None  # that is allowed, whatever the trace's detector keeps
    allowed = allowed_words(L, S, operator.causal)
    for image in range(N):
        said = np.stack([allowed if everything else operator.kept(image, head) for head in range(H)])
        kept[image] = said if select is None else select(operator, image, said)
        if (np.bitwise_count(kept[image]).sum(axis=-1) == 0).any():
            raise LawViolation(f"{operator.name}: a query of image {image} keeps no key")
    if select is None:
        return operator, kept
    mask = MaskTensor.of(unpack_rows(kept.reshape(-1, kept.shape[-1]), S).reshape(N, H, L, S))
    without: dict[str, Any] = dict.fromkeys(("tokens", "projection", "detector_query", "detector_key", "memory"))
    numbers: dict[str, Any] = dict.fromkeys(("retention", "keys_per_row", "threshold"))
    return replace(operator, **without, **numbers, rule="none", mask=mask), kept


def _issued(issues: NDArray[np.int32], queries: int, keys: int) -> Words:
    """Return the connections issued, packed.

    Raises:
        LawViolation: one was issued twice.

    """
    seen = np.zeros((queries, keys), np.int32)
    np.add.at(seen, (issues[:, 1], issues[:, 2]), 1)
    if seen.max(initial=0) > 1:
        raise LawViolation("a connection was issued twice")
    return pack_rows(seen > 0)


def at_least_the_best(scores: NDArray[np.float64], allowed: NDArray[np.bool_], kept: NDArray[np.bool_]) -> None:
    """Let rows of (L, S) that keep nothing keep the best of what is allowed, of equal ones the first."""
    empty = np.flatnonzero(~kept.any(axis=1))
    best = np.where(allowed[empty], scores[empty], -np.inf).argmax(axis=1)
    kept[empty, best] = True


@dataclass(frozen=True, eq=False)
class HeadTiles:
    """The tiles of an attention operator: waves of heads, one head on each unit, in blocks of queries.

    Keys and values come with the first block of a head, unless the head before looked at the same ones; they are
    broadcast to all units of a wave.
    """

    operator: Attention
    units: int
    """Heads at once."""
    rows: int
    """Queries of a block."""
    depth: int
    """Tiles on the chip at once."""

    @property
    def heads(self) -> int:
        """N · H."""
        return self.operator.images * self.operator.heads

    @property
    def blocks(self) -> int:
        """Blocks of a head."""
        return -(-self.operator.query_count // self.rows)

    @property
    def queries(self) -> Counts:
        """(heads, blocks): queries of each."""
        L = self.operator.query_count
        sizes = np.diff(np.minimum(np.arange(self.blocks + 1) * self.rows, L))
        return np.broadcast_to(sizes, (self.heads, self.blocks))

    @property
    def new_keys(self) -> Counts:
        """(heads, blocks): 1 where keys and values come with the tile."""
        image, head = (axis.ravel() for axis in np.indices((self.operator.images, self.operator.heads)))
        keys = image * self.operator.groups + head * self.operator.groups // self.operator.heads
        new = np.zeros((self.heads, self.blocks), np.int64)
        new[:, 0] = np.diff(keys, prepend=-1) > 0
        return new

    def of_blocks(self, rows: Counts) -> Counts:
        """Add up what is given by row, (heads, L, …), by block: (heads, blocks, …)."""
        return np.add.reduceat(rows, np.arange(self.blocks) * self.rows, axis=1)

    def add(self, blocks: Counts) -> Counts:
        """Add up what is given by head and block, (heads, blocks), by tile."""
        total = np.zeros((-(-self.heads // self.units), self.blocks), np.int64)
        np.add.at(total, np.arange(self.heads) // self.units, blocks)
        return total.ravel()

    def longest(self, blocks: Counts) -> Counts:
        """Return the longest of each tile, likewise."""
        total = np.zeros((-(-self.heads // self.units), self.blocks), np.int64)
        np.maximum.at(total, np.arange(self.heads) // self.units, blocks)
        return total.ravel()


def tiles_of(operator: Attention, units: int, sram: Buffer, bits: int, most_rows: int, extra: int = 0) -> HeadTiles:
    """Cut an operator into tiles that fit a unit's SRAM: keys and values, and blocks of queries and outputs.

    Room for the next tile beside this one first, if that takes at least half of ``most_rows``, or all there are.

    Args:
        operator: what is cut.
        units: heads at once.
        sram: of a unit.
        bits: of an operand.
        most_rows: queries of a block at most.
        extra: bits that a query takes beside itself and its output.

    Raises:
        InputError: not even one query fits beside the keys and values.

    """
    S, D, E = operator.key_count, operator.head_size, operator.value_size
    stays, row = -(-S * (D + E) * bits // 8), -(-((D + E) * bits + extra) // 8)
    wanted = min(most_rows, operator.query_count)
    fits = {depth: min(wanted, (sram.size - depth * stays) // (depth * row)) for depth in (2, 1)}
    depth = 2 if 2 * fits[2] >= wanted else 1
    if fits[depth] < 1:
        raise InputError(
            f"operator '{operator.name}': the {S} keys and values of a head and a query take {stays + row} bytes of "
            f"a unit's SRAM, which holds {sram.size}; enlarge sram.size"
        )
    return HeadTiles(operator, units, fits[depth], depth)


def stream(name: str, size: Counts, compulsory: int, dram: SimpleChannel) -> Stream:
    """Return bytes that cross the channel tile after tile, in the order in which they are stored."""
    size = size.astype(np.int64)
    return Stream(name, whole_bursts(size, dram.burst), cumulative(size)[:-1] % max(1, compulsory), compulsory)


def streams(
    tiles: HeadTiles, dram: SimpleChannel, bits: Mapping[str, int], fetched: Mapping[str, Counts] | None = None
) -> tuple[tuple[Stream, ...], Stream]:
    """Return what is read, query, key and value, and the output.

    Args:
        tiles: of the operator.
        dram: the channel.
        bits: of an operand of query, key, value and output, as stored.
        fetched: where not all are needed, how many keys or values are fetched for each head, (heads,): each a byte
            range of its own, and all that the chip ever asks for.

    """
    operator, some = tiles.operator, fetched or {}
    D, E, S = operator.head_size, operator.value_size, operator.key_count

    def moved(role: str, vectors: Counts, features: int) -> Stream:
        size = -(-vectors * features * bits[role] // 8)
        return stream(role, tiles.add(size), int(vectors.sum()) * features * bits[role] // 8, dram)

    keys = {role: tiles.new_keys * some.get(role, np.full(tiles.heads, S))[:, None] for role in ("key", "value")}
    reads = (moved("query", tiles.queries, D), moved("key", keys["key"], D), moved("value", keys["value"], E))
    return reads, moved("output", tiles.queries, E)


def softmax_actions(kept: Counts, queries: Counts, features: int) -> Iterator[Action]:
    """Count an exponential for each connection, and a division for each number of the output.

    Either is taken to cost a multiplication of 32 bits; sums of weights are additions.
    """
    yield Action("softmax", "exponential", "multiply_32b", kept)
    yield Action("softmax", "sum", "add_32b", kept)
    yield Action("softmax", "divide", "multiply_32b", queries * features)


def seen_keys(operator: Attention) -> Counts:
    """Return how many keys, from the first, each query may look at: (L,)."""
    return allowed_keys(operator.query_count, operator.key_count, operator.causal)
