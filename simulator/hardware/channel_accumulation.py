"""The channel-accumulation unit (CA): one sum of matched coefficients and activations per (k, m, pixel).

A coefficient is one sign and the bit that says it is there; an activation is a packed 8-bit value. The unit
moves the *codes* of the coefficients until they line up with the packed activations: a butterfly dilutes the
packed signs to their channels, an inverse butterfly concentrates them under the activation's map. The j-th
code then belongs to the j-th packed activation. Rows of ``adders`` codes are issued one a cycle; a window of
look-ahead and look-aside offsets fills the lanes whose own code is empty (Bit-Tactical, ASPLOS'19).

The kernels treat all T units that listen to one broadcast pixel together: the activation's map, hence the
number of rows and where they begin, is the same for all of them, so each step is one loop over units.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from simulator.arch.part import Part
from simulator.hardware.bits import gather, popcount, shift_left, shift_right
from simulator.hardware.butterfly import ButterflyNetwork
from simulator.hardware.jit import borrow, inlined_kernel, kernel

U64 = np.uint64


class ChannelAccumulation(Part):
    """Configuration of one channel-accumulation unit."""

    adders: Annotated[int, Field(ge=1, le=32)]
    """Codes issued per cycle, a."""
    network_lanes: Annotated[int, Field(ge=2, le=256)]
    """Channels of one broadcast word, n: the width of both networks; a power of two."""
    dilution: Literal["run_time", "precomputed"]
    """Whether packed signs pass the butterfly with every pixel, or lie diluted in the slices' registers."""
    result_bits: Annotated[int, Field(ge=8, le=32, multiple_of=8)]
    """Width of a sum T."""
    concentration: Literal["window", "ideal"]
    """``window``: rows of codes and a window over them; ``ideal``: every present code packed densely."""
    look_ahead: Annotated[int, Field(ge=0, le=15)]
    """Rows beyond the current one that the window sees, h; 0 with no offsets is no window at all."""
    offsets: tuple[tuple[Annotated[int, Field(ge=1)], int], ...]
    """(rows ahead, lanes aside) in order of preference; the lane wraps around within the row."""

    @field_validator("network_lanes")
    @classmethod
    def _is_a_width(cls, lanes: int) -> int:
        if lanes & (lanes - 1):
            raise ValueError(f"expected a power of two from 2 to 256, not {lanes}")
        return lanes

    @model_validator(mode="after")
    def _within_reach(self) -> ChannelAccumulation:
        for ahead, aside in self.offsets:
            if ahead > self.look_ahead:
                raise ValueError(f"offset ({ahead}, {aside}) reaches beyond look_ahead = {self.look_ahead}")
        return self

    @property
    def diluter(self) -> ButterflyNetwork:
        """The butterfly that spreads packed signs to their channels; its mask, the weights', is static."""
        return ButterflyNetwork(lanes=self.network_lanes, payload_bits=1, run_time_mask=False)

    @property
    def concentrator(self) -> ButterflyNetwork:
        """The inverse butterfly that gathers codes (present, sign) under the activation's map.

        Without a window, codes that are packed densely are of no use unless the 8-bit activations move with them.
        """
        payload = 2 + (8 if self.concentration == "ideal" else 0)
        return ButterflyNetwork(lanes=self.network_lanes, payload_bits=payload, run_time_mask=True)

    @property
    def latency(self) -> int:
        """Cycles from a broadcast word to its first sum: the networks, then the adders' result register."""
        return (self.diluter.latency if self.dilution == "run_time" else 0) + self.concentrator.latency + 1

    @property
    def choices(self) -> int:
        """Codes among which each adder chooses: its own and one of each offset; 0 where there is no window."""
        return 1 + len(self.offsets) if self.concentration == "window" and self.offsets else 0

    def window(self) -> Window:
        """Return the window in the form that the kernels take."""
        width = np.uint16 if self.adders <= 16 else np.uint32
        ahead = np.array([ahead for ahead, _ in self.offsets], np.int64)
        aside = np.array([aside % self.adders for _, aside in self.offsets], np.int64)
        return Window(self.adders, self.look_ahead, ahead, aside, self.concentration == "ideal", np.dtype(width))


class Window:
    """The window of a CA as arrays: rows ahead and lanes aside of each offset, and the width of a row."""

    def __init__(
        self,
        adders: int,
        look_ahead: int,
        ahead: NDArray[np.int64],
        aside: NDArray[np.int64],
        ideal: bool,
        row_type: np.dtype[Any],
    ):
        self.adders, self.look_ahead, self.ahead, self.aside = adders, look_ahead, ahead, aside
        self.ideal, self.row_type = ideal, row_type

    def rows(self, channels: int, units: int) -> NDArray[Any]:
        """Return room for the rows of ``units`` CAs over ``channels`` channels, and for what is beyond them."""
        return np.zeros((-(-channels // self.adders) + self.look_ahead + 1, units), self.row_type)


@kernel
def concentrate(activation: Any, maps: Any, codes: Any) -> Any:
    """Gather the bits of each unit's map under the activation's: (W,), (W, T) → codes (W + 1, T).

    The codes of a pixel's words follow each other without gaps. Returns the number of codes per unit.
    """
    units = maps.shape[1]
    total = 0
    for word in activation:
        total += int(popcount(word))
    for q in range(min((total >> 6) + 2, codes.shape[0])):  # the last row of lanes may reach a word further
        for t in range(units):
            codes[q, t] = U64(0)
    position = 0
    for w in range(activation.shape[0]):
        word = activation[w]
        q, shift = position >> 6, U64(position & 63)
        count = int(popcount(word))
        if (position & 63) + count <= 64:
            for t in range(units):
                codes[q, t] |= gather(maps[w, t], word) << shift
        else:
            for t in range(units):
                gathered = gather(maps[w, t], word)
                codes[q, t] |= gathered << shift
                codes[q + 1, t] |= gathered >> (U64(64) - shift)
        position += count
    return total


@kernel
def split_rows(codes: Any, count: Any, adders: Any, beyond: Any, rows: Any) -> Any:
    """Cut the codes into rows of ``adders`` lanes, then ``beyond`` empty rows; returns the number of rows."""
    mask = (U64(1) << U64(adders)) - U64(1)
    total = (count + adders - 1) // adders
    for r in range(total):
        q, shift = (r * adders) >> 6, U64((r * adders) & 63)
        if shift + U64(adders) <= U64(64):
            for t in range(codes.shape[1]):
                rows[r, t] = (codes[q, t] >> shift) & mask
        else:
            for t in range(codes.shape[1]):
                rows[r, t] = ((codes[q, t] >> shift) | (codes[q + 1, t] << (U64(64) - shift))) & mask
    for r in range(total, total + beyond):
        for t in range(codes.shape[1]):
            rows[r, t] = 0
    return total


@kernel
def issued_sum(issued: Any, unit: Any, first: Any, turn: Any, adders: Any, signs: Any, values: Any) -> Any:
    """Add what one unit issues from one row: lane i of ``issued`` holds code ``first + (i + turn) mod a``."""
    total = 0
    for i in range(adders):
        if (U64(issued) >> U64(i)) & U64(1):
            j = first + (i + turn) % adders
            negative = (signs[j >> 6, unit] >> U64(j & 63)) & U64(1)
            total += -values[j] if negative else values[j]
    return total


@inlined_kernel
def promote(
    rows: Any, r: Any, total: Any, adders: Any, ahead: Any, aside: Any, free: Any, signs: Any, values: Any, sums: Any
) -> None:
    """Fill the ``free`` lanes (T,) of row r from the rows ahead, offset by offset; both are consumed."""
    for o in range(ahead.shape[0]):
        s, turn, back = r + ahead[o], aside[o], adders - aside[o]
        if s >= total:
            continue
        for t in range(rows.shape[1]):
            row, empty = rows[s, t], free[t]
            if turn == 0:
                taken = free.dtype.type(row & empty)
                left = row & ~taken
            else:
                taken = free.dtype.type((shift_right(row, turn) | shift_left(row, back)) & empty)
                left = row & ~(shift_left(taken, turn) | shift_right(taken, back))
            free[t] = empty & ~taken
            rows[s, t] = left
            if values is not None:
                sums[t] += issued_sum(taken, t, s * adders, turn, adders, signs, values)


@kernel
def issue_window(
    rows: Any, total: Any, adders: Any, look_ahead: Any, ahead: Any, aside: Any, free: Any, skipped: Any, cycles: Any,
    signs: Any, values: Any, sums: Any,
) -> None:  # fmt: skip
    """Issue ``total`` rows of T units through the window: ``cycles`` (T,) out; ``rows`` are consumed.

    All units walk the rows together. A unit *steps* at a row (spends a cycle there) unless the row is empty by
    then and it has skipped fewer than ``look_ahead`` rows since its last step. With ``values`` given, what is issued
    is also added into ``sums``: the loop that counts is the loop that adds.
    """
    units = rows.shape[1]
    lanes = (U64(1) << U64(adders)) - U64(1)
    for t in range(units):
        skipped[t] = look_ahead
        cycles[t] = 0 if total else 1
    for r in range(total):
        for t in range(units):
            row = rows[r, t]
            steps = (row != 0) | (skipped[t] >= look_ahead)
            free[t] = (~row & lanes) if steps else U64(0)
            cycles[t] += steps
            skipped[t] = 0 if steps else skipped[t] + 1
            if values is not None:
                sums[t] += issued_sum(row, t, r * adders, 0, adders, signs, values)
        promote(borrow(rows), r, total, adders, borrow(ahead), borrow(aside), borrow(free), signs, values, sums)


@kernel
def issue_packed(codes: Any, total: Any, adders: Any, cycles: Any, signs: Any, values: Any, sums: Any) -> None:
    """Issue the present codes densely packed, ``adders`` a cycle: the ideal concentration; ``cycles`` (T,) out."""
    for t in range(cycles.shape[0]):
        cycles[t] = 0
    for q in range((total + 63) >> 6):
        for t in range(cycles.shape[0]):
            cycles[t] += np.int32(popcount(codes[q, t]))
            if values is not None:
                sums[t] += issued_sum(codes[q, t], t, q * 64, 0, 64, signs, values)
    for t in range(cycles.shape[0]):
        cycles[t] = max((cycles[t] + adders - 1) // adders, 1)


@kernel
def issue_rows(codes: Any, total: Any, adders: Any, cycles: Any, signs: Any, values: Any, sums: Any) -> None:
    """Issue row after row with no window: a cycle each, whatever is in it; ``cycles`` (T,) out."""
    spent = max((total + adders - 1) // adders, 1)
    for t in range(cycles.shape[0]):
        cycles[t] = spent
    if values is not None:
        for q in range((total + 63) >> 6):
            for t in range(cycles.shape[0]):
                sums[t] += issued_sum(codes[q, t], t, q * 64, 0, 64, signs, values)
