"""Token-parallel schedulers: the order in which the kept keys of an attention map are brought to its queries.

T consecutive queries are a group. In each round a query gets at most one of the keys that it keeps; a key that
several queries of the group get in one round is loaded once. Every kept (query, key) is issued exactly once.

- ``row_by_row``: each query alone, its keys by index, a round each.
- ``in_order``: each query takes its keys by index, one per round; keys equal within a round are loaded once.
- ``out_of_order``: a round starts with all queries that still want a key *unserved*. While some are, of the keys
  not yet fully issued and wanted by unserved queries, prefer (1) one all of whose remaining wanters are unserved,
  then (2) the one with most unserved wanters, then (3) the lowest index; issue it to those wanters, who are served.

Hardware keeps keys in one FIFO per *mask*, the T bits that say which queries still want the key (2^T − 1 FIFOs),
and examines them by decreasing number of sharers. So does the kernel: it chooses among FIFOs, never among keys. As
a key that was issued to some of its wanters moves on to the FIFO of the rest, where it may be the lowest, each FIFO
is a pairing heap of keys: linked through the keys themselves, so that 2^T of them cost a word each, and a plain
chain until a key moves in. The work grows with the kept pairs plus the words of the masks; beyond T = 6 a choice
also walks the up to 2^(T − 6) words that say which FIFOs hold keys.

Source: Qu et al., "DOTA: Detect and Omit Weak Attentions for Scalable Transformer Acceleration", ASPLOS 2022,
token-parallel dataflow with out-of-order execution; the FIFOs as in Wang et al., "SOFA: A Compute-Memory Optimized
Sparsity Accelerator via Cross-Stage Coordinated Tiling", MICRO 2024, Fig. 15. The order of (1) to (3) is Skipper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.bits import popcount
from simulator.hardware.jit import kernel

U64 = np.uint64
ONE = U64(1)


class TokenScheduler(Part):
    """Configuration of a token-parallel scheduler."""

    tokens: Annotated[int, Field(ge=1, le=16)]
    """Queries that share a round, T."""
    order: Literal["row_by_row", "in_order", "out_of_order"]
    """Each query alone, each query's keys by index, or the keys with most sharers first."""

    def groups(self, queries: int) -> int:
        """Groups that a head's queries make; the last may be short."""
        return -(-queries // self.tokens)


@dataclass(frozen=True, eq=False)
class Schedule:
    """What a scheduler makes of one head: per group of T consecutive queries, and each issue if asked for."""

    rounds: NDArray[np.int64]
    """Shape (groups,): rounds; one key at most per query in each. Row by row, a round serves one query only."""
    loads: NDArray[np.int64]
    """Shape (groups,): keys loaded; one for all queries that get it in the same round."""
    pairs: NDArray[np.int64]
    """Shape (groups,): (query, key) issued."""
    union: NDArray[np.int64]
    """Shape (groups,): distinct keys, the least that can be loaded."""
    remote: NDArray[np.int64]
    """Shape (groups,): those of the loads that come from another lane than the group's."""
    issues: NDArray[np.int32] | None = None
    """Shape (pairs of all groups, 3): round within its group, query and key, as issued. Those of a group follow
    those of the one before; the queries of a load follow each other, by index."""


RECORD = ("rounds", "loads", "pairs", "union", "remote")
"""What is kept of a group, in the order of ``Schedule``."""

LOW = 6
"""Bits of a mask that number the FIFOs of one word of ``filled``: 2^6 FIFOs in 64 bits."""
_MASKS = np.arange(1 << LOW)
_WEIGHTS = ONE << _MASKS.astype(U64)
WITHIN = (((_MASKS & ~_MASKS[:, None]) == 0) * _WEIGHTS).sum(axis=1, dtype=U64)
"""WITHIN[u]: the FIFOs of a word whose masks lie within u."""
SHARED = np.bitwise_count(_MASKS & _MASKS[:, None])
SHARING = ((SHARED[:, None] == np.arange(LOW + 1)[:, None]) * _WEIGHTS).sum(axis=2, dtype=U64)
"""SHARING[u, p]: the FIFOs of a word whose masks have p bits in common with u."""


@kernel
def _ones(bits: Any) -> Any:
    """Count the ones of ``bits``, as an integer with a sign."""
    return np.int64(popcount(U64(bits)))


@kernel
def _lowest_one(bits: Any) -> Any:
    """Find the lowest one of ``bits``, which has any."""
    return np.int64(popcount(~bits & (bits - ONE)))


@kernel
def _count_union(rows: Any) -> Any:
    """Count the distinct keys of a group: rows (queries, W) words."""
    found = 0
    for w in range(rows.shape[1]):
        wanted = U64(0)
        for query in range(rows.shape[0]):
            wanted |= rows[query, w]
        found += _ones(wanted)
    return found


@kernel
def _count_keys(row: Any) -> Any:
    found = 0
    for w in range(row.shape[0]):
        found += _ones(row[w])
    return found


@kernel
def _list_keys(row: Any, keys: Any) -> Any:
    """Write the keys of one query, (W,) words, to ``keys``, by index; returns how many."""
    count = 0
    for w in range(row.shape[0]):
        left = row[w]
        while left:
            keys[count] = 64 * w + _lowest_one(left)
            count += 1
            left &= left - ONE
    return count


@kernel
def _issue(turn: Any, first: Any, served: Any, key: Any, issued: Any, issues: Any) -> Any:
    """Issue ``key`` to the queries ``served``, a mask, of the group from ``first``; returns the pairs issued so far."""
    if issues is None:
        return issued + _ones(served)
    query = first
    while served:
        if served & 1:
            issues[issued, 0] = turn
            issues[issued, 1] = query
            issues[issued, 2] = key
            issued += 1
        served >>= 1
        query += 1
    return issued


@kernel
def row_by_row(kept: Any, tokens: Any, lanes: Any, homes: Any, records: Any, issues: Any) -> None:
    """Issue each query's keys by index, alone.

    kept (n, W) words; lanes (groups,) and homes (64 · W,): of groups and of keys; records (groups, len(RECORD)) out;
    issues (pairs, 3) as in ``Schedule`` out, or None.
    """
    keys = np.zeros(64 * kept.shape[1], np.int32)
    before = 0
    for group in range(records.shape[0]):
        first, issued, remote = group * tokens, before, 0
        rows = kept[first : first + tokens]
        for query in range(rows.shape[0]):
            for i in range(_list_keys(rows[query], keys)):
                issued = _issue(issued - before, first, 1 << query, keys[i], issued, issues)
                remote += homes[keys[i]] != lanes[group]
        records[group, :3] = issued - before
        records[group, 4] = remote
        records[group, 3] = _count_union(rows)
        before = issued


@kernel
def in_order(kept: Any, tokens: Any, lanes: Any, homes: Any, records: Any, issues: Any) -> None:
    """Issue each query's keys by index, one per round to all queries of a group; arguments as of ``row_by_row``."""
    keys = np.zeros((tokens, 64 * kept.shape[1]), np.int32)
    counts = np.zeros(tokens, np.int64)
    before = 0
    for group in range(records.shape[0]):
        first, issued, loads, remote, rounds = group * tokens, before, 0, 0, 0
        rows = kept[first : first + tokens]
        for query in range(rows.shape[0]):
            counts[query] = _list_keys(rows[query], keys[query])
            rounds = max(rounds, counts[query])
        for turn in range(rounds):
            unserved = 0
            for query in range(rows.shape[0]):
                unserved |= (counts[query] > turn) << query
            while unserved:
                key, served = 64 * kept.shape[1], 0
                for query in range(rows.shape[0]):
                    if unserved >> query & 1 and keys[query, turn] <= key:
                        served = (served if keys[query, turn] == key else 0) | 1 << query
                        key = keys[query, turn]
                issued = _issue(turn, first, served, key, issued, issues)
                loads += 1
                remote += homes[key] != lanes[group]
                unserved &= ~served
        records[group, 0], records[group, 1] = rounds, loads
        records[group, 2], records[group, 3] = issued - before, _count_union(rows)
        records[group, 4] = remote
        before = issued


@kernel
def _meld(one: Any, other: Any, child: Any, sibling: Any) -> Any:
    """Make one heap of two, given by their lowest keys; returns the lowest."""
    low, high = min(one, other), max(one, other)
    sibling[high] = child[low]
    child[low] = high
    return low


@kernel
def _without_lowest(lowest: Any, child: Any, sibling: Any, none: Any) -> Any:
    """Take the lowest key out of its heap; returns the lowest of the others, or ``none``."""
    key, melded = child[lowest], none
    while key != none:
        pair, key = key, sibling[key]
        if key != none:
            other, key = key, sibling[key]
            pair = _meld(pair, other, child, sibling)
        sibling[pair] = melded
        melded = pair
    if melded == none:
        return none
    heap, key = melded, sibling[melded]
    while key != none:
        other, key = key, sibling[key]
        heap = _meld(heap, other, child, sibling)
    return heap


@kernel
def _fill(rows: Any, heads: Any, tails: Any, filled: Any, child: Any, sibling: Any, wanters: Any) -> Any:
    """Put each wanted key into the FIFO of its mask, by index; returns how many there are."""
    none, found = child.shape[0], 0
    for w in range(rows.shape[1]):
        wanted = U64(0)
        for query in range(rows.shape[0]):
            left = rows[query, w]
            wanted |= left
            while left:
                wanters[_lowest_one(left)] |= 1 << query
                left &= left - ONE
        found += _ones(wanted)
        while wanted:
            bit = _lowest_one(wanted)
            wanted &= wanted - ONE
            key, mask = 64 * w + bit, wanters[bit]
            wanters[bit] = 0
            child[key], sibling[key] = none, none
            if heads[mask] == none:
                heads[mask] = key
                filled[mask >> LOW] |= ONE << U64(mask & 63)
            else:
                child[tails[mask]] = key
            tails[mask] = key
    return found


@kernel
def _choose(unserved: Any, alone: Any, heads: Any, filled: Any) -> Any:
    """Find the FIFO whose lowest key has most ``unserved`` wanters, then the lowest index; returns its mask or 0.

    alone: only FIFOs none of whose wanters is served.
    """
    low, high = unserved & 63, unserved >> LOW
    words = high if alone else filled.shape[0] - 1
    lows = WITHIN[low] if alone else ~U64(0)
    chosen, sharers = 0, 1
    w = words  # and then all that is within it, downwards
    while w >= 0:
        candidates, above = filled[w] & lows, _ones(w & high)
        for shared in range(_ones(low) if candidates else -1, max(sharers - above, 0) - 1, -1):
            tied = candidates & SHARING[low, shared]
            if tied:
                if above + shared > sharers:
                    chosen, sharers = 0, above + shared
                while tied:
                    mask = w << LOW | _lowest_one(tied)
                    tied &= tied - ONE
                    if chosen == 0 or heads[mask] < heads[chosen]:
                        chosen = mask
                break
        w = (w - 1) & words if w else -1
    return chosen


@kernel
def out_of_order(kept: Any, tokens: Any, lanes: Any, homes: Any, records: Any, issues: Any) -> None:
    """Issue the keys with most sharers first; arguments as of ``row_by_row``.

    A query that wants a key when a round starts gets one in it; so its n-th key is issued in round n, and a group
    has as many rounds as its query with most keys.
    """
    none = 64 * kept.shape[1]
    child, sibling = np.zeros(none, np.int32), np.zeros(none, np.int32)
    heads, tails = np.full(1 << tokens, none, np.int32), np.zeros(1 << tokens, np.int32)
    filled = np.zeros(max(1, (1 << tokens) >> LOW), np.uint64)
    wanters, counts = np.zeros(64, np.int64), np.zeros(tokens, np.int64)
    before = 0
    for group in range(records.shape[0]):
        first, issued, loads, remote, rounds = group * tokens, before, 0, 0, 0
        rows = kept[first : first + tokens]
        for query in range(rows.shape[0]):
            counts[query] = _count_keys(rows[query])
            rounds = max(rounds, counts[query])
        records[group, 3] = _fill(rows, heads, tails, filled, child, sibling, wanters)
        for turn in range(rounds):
            unserved = 0
            for query in range(rows.shape[0]):
                unserved |= (counts[query] > turn) << query
            while unserved:
                mask = _choose(unserved, True, heads, filled)
                if mask == 0:
                    mask = _choose(unserved, False, heads, filled)
                key, rest = heads[mask], mask & ~unserved
                issued = _issue(turn, first, mask & unserved, key, issued, issues)
                loads += 1
                remote += homes[key] != lanes[group]
                unserved &= ~mask
                heads[mask] = _without_lowest(key, child, sibling, none)
                if heads[mask] == none:
                    filled[mask >> LOW] ^= ONE << U64(mask & 63)
                if rest:
                    child[key] = none
                    if heads[rest] == none:
                        heads[rest] = key
                        filled[rest >> LOW] |= ONE << U64(rest & 63)
                    else:
                        heads[rest] = _meld(heads[rest], key, child, sibling)
        records[group, 0], records[group, 1], records[group, 2] = rounds, loads, issued - before
        records[group, 4] = remote
        before = issued


ORDERS = {"row_by_row": row_by_row, "in_order": in_order, "out_of_order": out_of_order}


@dataclass(frozen=True)
class Homes:
    """Where queries and keys live: both are dealt out to the lanes in spans of so many, span after span in turn."""

    lanes: int = 1
    query_span: int = 1
    """A whole number of groups."""
    key_span: int = 1


ONE_LANE = Homes()


def schedule(
    kept: NDArray[np.uint64], scheduler: TokenScheduler, with_issues: bool = False, homes: Homes = ONE_LANE
) -> Schedule:
    """Schedule the kept connections of one head.

    kept: shape (queries, W), the keys of each query as W words of 64 (``bits.pack``); a last group of fewer than T
    queries is scheduled as it is. ``with_issues`` also lists every issue, 12 bytes per kept pair.
    """
    records = np.zeros((scheduler.groups(len(kept)), len(RECORD)), np.int64)
    issues = None
    if with_issues:
        issues = np.zeros((int(np.bitwise_count(kept).sum(dtype=np.int64)), 3), np.int32)
    lanes = np.arange(len(records)) * scheduler.tokens // homes.query_span % homes.lanes
    keys = np.arange(64 * kept.shape[1]) // homes.key_span % homes.lanes
    ORDERS[scheduler.order](kept, scheduler.tokens, lanes, keys, records, issues)
    rounds, loads, pairs, union, remote = np.ascontiguousarray(records.T)
    return Schedule(rounds, loads, pairs, union, remote, issues)
