"""SIGMA's flexible dot-product engines: non-zero weights packed without gaps, sums of any length, a vector per cycle.

The non-zeros of the stationary operand fill the multipliers one after the other, filter by filter; what fits at once is
a *fold*, and a filter may lie in two. The streamed vectors follow, one after the other: a Beneš network in each engine
brings each multiplier the element that its weight meets, and a forwarding adder network (FAN) adds up what belongs to
each filter, wherever it begins and ends. A multiplier whose element is zero does nothing; the vector takes its cycle
all the same, or as many as its distinct elements need to be read.

Source: Qin et al., "SIGMA", HPCA 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.bits import pack, popcount
from simulator.hardware.jit import kernel

Counts = NDArray[np.int64]
U64 = np.uint64

RECORD = ("cycles", "pairs", "elements")
"""Of each row of output pixels in a fold: cycles in which its vectors are streamed, pairs multiplied, elements read."""


class FlexDPE(Part):
    """Configuration of the flexible dot-product engines (Flex-DPEs)."""

    count: Annotated[int, Field(ge=1, le=4096)]
    """Engines."""
    width: Annotated[int, Field(ge=1, le=1024)]
    """Multipliers of an engine."""
    load_words: Annotated[int, Field(ge=1)]
    """Weights that are loaded into the multipliers per cycle."""
    stream_words: Annotated[int, Field(ge=1)]
    """Distinct elements of a streamed vector that are read per cycle, each for all multipliers that need it."""

    @property
    def multipliers(self) -> int:
        """Of all engines."""
        return self.count * self.width

    @property
    def levels(self) -> int:
        """Levels of adders of an engine's FAN."""
        return (self.width - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from a vector to its sums: distribution (switches are set before), product, FAN, accumulation."""
        return 1 + 1 + self.levels + 1


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds of a group's weights, in order."""

    starts: Counts
    """(folds + 1,): where each begins among the weights (K · taps · C), zeros counted."""
    nonzeros: Counts
    """(folds,)."""
    filters: Counts
    """(pieces,): the filter of each piece, which is what of a filter lies in one fold."""
    maps: NDArray[np.uint64]
    """(pieces, taps · words): its weights; the channels of each tap begin a word."""
    spans: Counts
    """(pieces, 2): first word and beyond the last one."""
    pieces: Counts
    """(folds + 1,): where the pieces of each fold begin."""
    unions: NDArray[np.uint64]
    """(folds, taps · words): what any piece needs."""


def fold(kernels: NDArray[np.bool_], multipliers: int) -> Folds:
    """Pack the non-zeros of kernels (K, taps, C) into folds of at most so many."""
    K, taps, C = kernels.shape
    places = np.flatnonzero(kernels)
    first = places[::multipliers]
    starts = np.concatenate(([0], first[1:], [kernels.size])).astype(np.int64)
    count = len(starts) - 1
    length = taps * C
    pieces: list[tuple[int, int]] = []
    owners: list[int] = []
    for f in range(count):
        low, high = starts[f] // length, -(-starts[f + 1] // length)
        owners.append(len(pieces))
        pieces += [(f, k) for k in range(low, high)]
    owners.append(len(pieces))
    words = -(-C // 64)
    maps = np.zeros((len(pieces), taps * words), np.uint64)
    packed = pack(kernels).reshape(K, -1)
    for i, (f, k) in enumerate(pieces):
        begin, end = max(starts[f] - k * length, 0), min(starts[f + 1] - k * length, length)
        if begin == 0 and end == length:
            maps[i] = packed[k]
        else:
            part = np.zeros(length, np.bool_)
            part[begin:end] = kernels[k].ravel()[begin:end]
            maps[i] = pack(part.reshape(taps, C)).ravel()
    used = maps != 0
    some = used.any(axis=1)
    spans = np.stack((used.argmax(axis=1), taps * words - used[:, ::-1].argmax(axis=1)), axis=1) * some[:, None]
    unions = np.array([np.bitwise_or.reduce(maps[a:b], axis=0) for a, b in pairwise(owners)])
    nonzeros = np.diff(np.searchsorted(places, starts))
    filters = np.array([k for _, k in pieces], np.int64)
    return Folds(starts, nonzeros, filters, maps, spans.astype(np.int64), np.array(owners, np.int64), unions)


@kernel
def multiply(vector: Any, mask: Any, low: Any, high: Any, words: Any, inputs: Any, weights: Any) -> Any:
    """Multiply and add the matches of a vector and a piece, one by one: (sum, matches)."""
    total, matches = 0, 0
    for at in range(low, high):
        left = vector[at] & mask[at]
        tap, first = at // words, at % words * 64
        while left:
            lowest = left & (~left + U64(1))
            channel = first + np.int64(popcount(lowest - U64(1)))
            total += inputs[tap, channel] * weights[tap, channel]
            left ^= lowest
            matches += 1
    return total, matches


@kernel
def stream_pixels(
    maps: Any, window: Any, filters: Any, masks: Any, spans: Any, pieces: Any, unions: Any, read: Any, records: Any,
    inputs: Any, weights: Any, output: Any,
) -> None:  # fmt: skip
    """Stream the window of every output pixel of one image and one group past each fold.

    Args:
        maps: of the input, (H, W, words).
        window: kernel, stride, padding, dilation, vertical and horizontal of each.
        filters: see ``Folds``.
        masks: ``Folds.maps``.
        spans: see ``Folds``.
        pieces: see ``Folds``.
        unions: see ``Folds``.
        read: distinct elements read per cycle.
        records: (folds, P, len(RECORD)), added into.
        inputs: values (H, W, C), or None to count only.
        weights: (K, taps, C), or None.
        output: (P, Q, K), added into, or None.

    """
    R, S, down, right, top, left, high, wide = window
    words = maps.shape[2]
    Q = (maps.shape[1] + 2 * left - wide * (S - 1) - 1) // right + 1
    vector = np.zeros(R * S * words, np.uint64)
    channels = 1 if inputs is None else inputs.shape[2]
    values = np.zeros((R * S, channels), np.int64)
    for p in range(records.shape[1]):
        for q in range(Q):
            for r in range(R):
                y = p * down + r * high - top
                for s in range(S):
                    x = q * right + s * wide - left
                    tap = r * S + s
                    inside = y >= 0 and y < maps.shape[0] and x >= 0 and x < maps.shape[1]
                    for word in range(words):
                        vector[tap * words + word] = maps[y, x, word] if inside else U64(0)
                    if inputs is not None:
                        for channel in range(channels):
                            values[tap, channel] = inputs[y, x, channel] if inside else 0
            for f in range(records.shape[0]):
                elements = np.int64(0)
                pairs = np.int64(0)
                for at in range(vector.shape[0]):
                    elements += np.int64(popcount(unions[f, at] & vector[at]))
                for i in range(pieces[f], pieces[f + 1]):
                    if inputs is None:
                        for at in range(spans[i, 0], spans[i, 1]):
                            pairs += np.int64(popcount(masks[i, at] & vector[at]))
                    else:
                        k = filters[i]
                        total, matches = multiply(vector, masks[i], spans[i, 0], spans[i, 1], words, values, weights[k])
                        output[p, q, k] += total
                        pairs += matches
                records[f, p, 0] += max((elements + read - 1) // read, 1)
                records[f, p, 1] += pairs
                records[f, p, 2] += elements
