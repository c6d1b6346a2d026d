"""The inner join of SparTen: two chunks, each a bit map and its packed non-zeros, meet at the ones that both maps have.

A compute unit ANDs the maps of an input chunk and of its filter's chunk. A priority encoder picks one match per cycle,
prefix sums over the two maps say where the two values lie among the packed ones, and they are multiplied and added up.
A chunk without a match takes a cycle to be seen. The units of a cluster hold one filter each, or two that take turns,
and hear one input chunk after the other. A unit keeps up to ``input_chunks`` of them: with one, all units wait for the
slowest before the next chunk comes; with more, the others run ahead. They meet at the end of each output pixel, where
the collector takes their sums.

Source: Gondimalla, Chesnut, Thottethodi, Vijaykumar, "SparTen", MICRO 2019.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.bits import pack, popcount
from simulator.hardware.jit import kernel

Balancing = Literal["none", "GB-S", "GB-H"]
Indices = NDArray[np.int64]
U64 = np.uint64

RECORD = ("cycles", "busy", "starved", "pairs", "chunks", "bytes")
"""Of each output pixel on a cluster: its cycles; unit-cycles in which units work on a chunk, or wait for one to be
sent; pairs multiplied; input chunks sent, and their bytes."""


class Cluster(Part):
    """Configuration of the clusters and of the compute units inside."""

    count: Annotated[int, Field(ge=1, le=4096)]
    """Clusters, each with an output pixel of its own at a time."""
    units: Annotated[int, Field(ge=1, le=1024)]
    """Compute units of a cluster, a multiplier each."""
    chunk: Annotated[int, Field(ge=1, le=4096)]
    """Elements of a chunk: channels of one pixel of the window, the last chunk of a pixel shorter."""
    input_chunks: Annotated[int, Field(ge=1, le=64)]
    """Input chunks that a unit keeps; 1: a barrier after every chunk."""
    broadcast_bytes: Annotated[int, Field(ge=1)]
    """Of an input chunk, map and values, that reach the units per cycle."""
    fill: Annotated[int, Field(ge=0)]
    """Cycles to fill a unit's pipeline, once per tile."""
    balancing: Balancing
    """``none``: filters as they come, one per unit. ``GB-S``: two per unit, the densest filter with the sparsest.
    ``GB-H``: two per unit, paired anew for every chunk by its own density; a network permutes the sums back."""
    permuted_per_cycle: Annotated[int, Field(ge=1)]
    """Partial sums of a chunk that the permuting network moves per cycle (GB-H)."""

    @property
    def multipliers(self) -> int:
        """Of all clusters."""
        return self.count * self.units


def pack_chunks(mask: NDArray[np.bool_], chunk: int) -> NDArray[np.uint64]:
    """Cut the last axis into chunks and pack each: (…, C) → (…, ⌈C/chunk⌉, ⌈chunk/64⌉) words, zeros after the end."""
    missing = -mask.shape[-1] % chunk
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, missing)])
    return pack(padded.reshape(*mask.shape[:-1], -1, chunk))


def fold(order: Indices, slots: int) -> Indices:
    """Put filters (…, n), the densest first, in slots: (…, 2, slots), the densest with the sparsest; -1 for none.

    With n up to ``slots`` each has one; n is at most twice as many.
    """
    n = order.shape[-1]
    folded = np.full((*order.shape[:-1], 2, slots), -1, np.int64)
    folded[..., 0, : min(n, slots)] = order[..., :slots]
    if n > slots:
        folded[..., 1, 2 * slots - n :] = order[..., : slots - 1 : -1]
    return folded


def balance(density: Indices, filters: int, units: int, balancing: Balancing) -> list[Indices]:
    """Deal K filters out to blocks that a cluster works on at once.

    Args:
        density: non-zeros of each filter's chunks, (K, chunks).
        filters: of a block at most.
        units: compute units of a cluster.
        balancing: how.

    Returns:
        For each block the filters of each unit for each chunk, (chunks, 2, units in use), -1 for none.

    """
    K, chunks = density.shape
    turns = 2 if balancing != "none" and filters > 1 else 1
    slots = min(units, filters // turns)
    blocks = -(-K // (turns * slots))
    if turns == 2:
        order = np.argsort(-density.sum(axis=1), kind="stable")
        folded = fold(order, blocks * slots)
    else:
        folded = fold(np.arange(K), blocks * slots)
    folded = folded.reshape(2, blocks, slots).transpose(1, 0, 2)
    return [_dealt(block, density, chunks, balancing) for block in folded]


def _dealt(block: Indices, density: Indices, chunks: int, balancing: Balancing) -> Indices:
    """Return a block's filters chunk by chunk; with GB-H those of two turns are paired anew for each."""
    if balancing == "GB-H" and (block[1] >= 0).any():
        own = np.sort(block[block >= 0])
        order = own[np.argsort(-density[own], axis=0, kind="stable")].T
        return fold(order, block.shape[1])
    return np.broadcast_to(block, (chunks, *block.shape))


@kernel
def join(first: Any, second: Any) -> Any:
    """Count the matches of two maps (words,)."""
    matches = 0
    for word in range(first.shape[0]):
        matches += int(popcount(first[word] & second[word]))
    return matches


@kernel
def join_values(first: Any, second: Any, at: Any, inputs: Any, weights: Any, sums: Any, filter: Any) -> Any:
    """Pick the matches of two maps one by one, multiply and add into ``sums[filter]``; returns how many there are."""
    matches = 0
    for word in range(first.shape[0]):
        left = first[word] & second[word]
        while left:
            lowest = left & (~left + U64(1))
            place = at + 64 * word + np.int64(popcount(lowest - U64(1)))
            sums[filter] += inputs[place] * weights[filter, place]
            left ^= lowest
            matches += 1
    return matches


@kernel
def join_pixels(
    maps: Any, sizes: Any, weights: Any, filters: Any, window: Any, chunk: Any, kept: Any, port: Any, least: Any,
    records: Any, inputs: Any, values: Any, output: Any,
) -> None:  # fmt: skip
    """Compute all output pixels of one image and one group on a cluster, for one block of filters.

    Args:
        maps: of the input, (H, W, J, words).
        sizes: bytes of each chunk as sent, (H, W, J).
        weights: maps of the units' filters, (taps, J, 2, units, words).
        filters: which these are, (taps, J, 2, units), -1 for none.
        window: kernel, stride, padding, dilation, vertical and horizontal of each.
        chunk: elements of a chunk.
        kept: input chunks that a unit keeps.
        port: bytes of a chunk sent per cycle.
        least: cycles between chunks at least.
        records: (P, Q, len(RECORD)), out.
        inputs: values (H, W, C), or None to count only.
        values: weights (K, taps, C), or None.
        output: (P, Q, K), added into, or None.

    """
    R, S, down, right, top, left, high, wide = window
    units = weights.shape[3]
    present = np.zeros((2, units), np.int32)
    in_use = 0
    for u in range(units):
        for turn in range(2):
            present[turn, u] = filters[0, 0, turn, u] >= 0
        in_use += present[0, u]
    finished = np.zeros(units, np.int64)
    latest = np.zeros(kept, np.int64)  # when the last unit was done with each of the chunks that were kept last
    for p in range(records.shape[0]):
        for q in range(records.shape[1]):
            finished[:] = 0
            latest[:] = 0
            sent = np.int64(0)  # when the port is free
            busy, starved, pairs, chunks, size = np.int64(0), np.int64(0), np.int64(0), 0, np.int64(0)
            for r in range(R):
                y = p * down + r * high - top
                if y < 0 or y >= maps.shape[0]:
                    continue
                for s in range(S):
                    x = q * right + s * wide - left
                    if x < 0 or x >= maps.shape[1]:
                        continue
                    tap = r * S + s
                    for j in range(maps.shape[2]):
                        own = maps[y, x, j]
                        room = latest[chunks % kept]
                        start = max(sent, room)
                        last = start
                        for u in range(units):
                            spent = np.int64(0)
                            for turn in range(2):
                                if inputs is None:
                                    matches = join(own, weights[tap, j, turn, u])
                                else:
                                    matches = join_values(
                                        own, weights[tap, j, turn, u], j * chunk, inputs[y, x], values[:, tap],
                                        output[p, q], filters[tap, j, turn, u],
                                    )  # fmt: skip
                                pairs += matches
                                spent += max(matches, present[turn, u])
                            busy += spent
                            starved += max(sent - max(finished[u], room), 0) * present[0, u]
                            finished[u] = max(finished[u], start) + spent
                            last = max(last, finished[u])
                        latest[chunks % kept] = last
                        sent = start + max((sizes[y, x, j] + port - 1) // port, least)
                        size += sizes[y, x, j]
                        chunks += 1
            done = finished.max()
            starved += max(sent - done, 0) * in_use
            records[p, q, 0] = max(sent, done)
            records[p, q, 1] = busy
            records[p, q, 2] = starved
            records[p, q, 3] = pairs
            records[p, q, 4] = chunks
            records[p, q, 5] = size
