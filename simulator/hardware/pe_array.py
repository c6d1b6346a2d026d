"""The PE array: N blocks of slices, each slice a channel-accumulation unit (CA), a queue and a MAC row.

One activation word is broadcast to every CA. Each CA has a small input queue, so that a slow one holds the
broadcast only when its queue is full; each finished T waits in a result queue for its MAC row:

    start[ca, i]  = max(finish[ca, i-1], arrive[i])
    arrive[i]     = max(arrive[i-1] + words[i], max over ca of start[ca, i-p])

The array works through one *row of pixels* at a time and drains before the next, because the line buffers of
the MAC rows turn over there. A row of pixels and a group of output channels is the unit of matching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.bits import popcount
from simulator.hardware.channel_accumulation import (
    U64,
    Window,
    concentrate,
    issue_packed,
    issue_rows,
    issue_window,
    split_rows,
)
from simulator.hardware.jit import kernel


class PEArray(Part):
    """Configuration of the PE array."""

    blocks: Annotated[int, Field(ge=1, le=4096)]
    """PE blocks, N; each works on output channels of its own."""
    slices: Annotated[int, Field(ge=1, le=256)]
    """PE slices of a block; each has a CA and a MAC row."""
    slices_own: Literal["bases", "rows"]
    """What a block shares out among its slices: the bases m of its output channel, or rows of pixels."""
    input_queue: Annotated[int, Field(ge=1, le=4096)]
    """Pixels that wait in front of a CA, p."""
    result_queue: Annotated[int, Field(ge=1, le=64)]
    """Finished T that wait between a CA and its MAC row, q."""

    @property
    def units(self) -> int:
        """CAs in the array, and as many MAC rows."""
        return self.blocks * self.slices

    @property
    def streams(self) -> int:
        """Rows of pixels that are broadcast side by side."""
        return self.slices if self.slices_own == "rows" else 1


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which T's the listening CAs compute for each pixel, one group of output channels.

    CAs come in classes; those of a class compute the same number of T's per pixel, one after the other.
    ``order[j]`` is the coefficient vector (k·M + m) of T number j; the T's of a class follow each other
    turn by turn, within a turn CA by CA.
    """

    order: NDArray[np.int64]
    """Shape (T,)."""
    classes: NDArray[np.int64]
    """Shape (classes, 2): CAs in the class, T's of each per pixel."""

    @property
    def listeners(self) -> int:
        """CAs with work."""
        return int(self.classes[:, 0].sum())


def assign(channels: range, bases: int, slices: int, slices_own: str) -> Assignment:
    """Deal the bases of the output channels ``channels`` to slices.

    ``bases``: slice s computes bases s, s + slices, …; where a channel has fewer bases than a block has slices, the
    block takes several channels. ``rows``: the one CA of a block that works on this row computes all bases.
    """
    k = np.array(channels, np.int64)[None, :]
    if slices_own == "rows":
        turns = np.arange(bases, dtype=np.int64)[:, None]
        return Assignment((k * bases + turns).reshape(-1), np.array([[k.size, bases]], np.int64))
    orders, classes = [], []
    full, rest = divmod(bases, slices)
    for turns_each, first, last in ((full + 1, 0, rest), (full, rest, slices)):
        owners = np.arange(first, min(last, bases), dtype=np.int64)
        if turns_each and owners.size:
            m = np.arange(turns_each)[:, None] * slices + owners[None, :]
            orders.append((k[:, :, None] * bases + m[:, None, :]).reshape(-1))
            classes.append((k.size * owners.size, turns_each))
    return Assignment(np.concatenate(orders), np.array(classes, np.int64))


def channels_at_once(bases: int, array: PEArray) -> int:
    """Output channels that the array works on together."""
    return array.blocks * (max(1, array.slices // bases) if array.slices_own == "bases" else 1)


RECORD = (
    "cycles", "pairs",
    "broadcast_busy", "broadcast_blocked", "broadcast_fill_drain",
    "ca_busy", "ca_starved", "ca_blocked", "ca_imbalance", "ca_fill_drain",
    "mac_busy", "mac_starved", "mac_imbalance", "mac_fill_drain",
)  # fmt: skip
"""What is kept of a row of pixels: cycles, matched pairs, and the cycles in each state summed over the CAs with
work, the MAC rows with work, and the one broadcast."""


@kernel
def _listen(sent: Any, now: Any, cycles: Any, finish: Any) -> Any:
    """Let CAs take a pixel that was ``sent`` and accepted ``now``, and work on the first T of it.

    Returns the latest start, and the sums of starved, waited and busy cycles.
    """
    latest, starved, waited, busy = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for ca in range(finish.shape[0]):  # sums of one pixel fit 32 bits, and twice as many of them a vector register
        before = finish[ca]
        start = max(before, np.int32(now))
        starved = np.int32(starved + max(np.int32(np.int32(sent) - before), np.int32(0)))
        waited = np.int32(waited + start - before)
        latest = max(latest, start)
        busy = np.int32(busy + cycles[ca])
        finish[ca] = start + cycles[ca]
    return latest, starved, waited, busy


@kernel
def _go_on(cycles: Any, finish: Any) -> Any:
    """Let CAs work on a further T of the same pixel; returns the sum of busy cycles."""
    busy = 0
    for ca in range(finish.shape[0]):
        busy += cycles[ca]
        finish[ca] += cycles[ca]
    return busy


@kernel
def _hand_over(mac_cycles: Any, started: Any, finish: Any, mac_finish: Any) -> Any:
    """Let each CA put its T into the result queue, and its MAC row take it when it can.

    ``started``: when the T that has to leave the queue first was started; then when this one is. Returns the sum of
    blocked cycles.
    """
    blocked = np.int32(0)
    for ca in range(finish.shape[0]):
        enter = max(finish[ca], started[ca])
        blocked = np.int32(blocked + enter - finish[ca])
        begin = max(enter, mac_finish[ca])
        finish[ca] = enter
        started[ca] = begin
        mac_finish[ca] = begin + mac_cycles
    return blocked


@kernel
def _advance(
    i: Any, words: Any, classes: Any, cycles: Any, mac_cycles: Any,
    arrive: Any, started: Any, finish: Any, mac_finish: Any, mac_started: Any, record: Any,
) -> Any:  # fmt: skip
    """Send pixel ``i`` of a row to all CAs: one step of the recurrence; returns its arrival."""
    sent = arrive + words
    now = max(sent, started[i % started.shape[0]])
    latest, first_ca, first_t = 0, 0, 0
    for c in range(classes.shape[0]):
        count, turns = classes[c]
        those = slice(first_ca, first_ca + count)
        for turn in range(turns):
            spent = cycles[first_t : first_t + count]
            if turn == 0:
                start, starved, waited, busy = _listen(sent, now, spent, finish[those])
                latest = max(latest, start)
                record[5] += busy
                if i == 0:
                    record[9] += waited
                else:
                    record[6] += starved
                    record[8] += waited - starved
            else:
                record[5] += _go_on(spent, finish[those])
            if mac_cycles > 0:
                leaving = mac_started[(i * turns + turn) % mac_started.shape[0], those]
                record[7] += _hand_over(mac_cycles, leaving, finish[those], mac_finish[those])
                if i == 0 and turn == 0:
                    record[13] += np.sum(leaving)
            first_t += count
        first_ca += count
    started[i % started.shape[0]] = latest
    record[2] += words
    record[3] += now - sent
    return now


@kernel
def _drain(arrive: Any, finish: Any, mac_finish: Any, mac_busy: Any, record: Any) -> None:
    """Close a row: all wait for the last CA and the last MAC row."""
    last = 0
    for ca in range(finish.shape[0]):
        last = max(last, finish[ca])
    end = last
    for ca in range(finish.shape[0]):
        end = max(end, mac_finish[ca])
    spread, mac_spread = 0, 0
    for ca in range(finish.shape[0]):
        spread += last - finish[ca]
        mac_spread += end - mac_finish[ca]
    record[0] = end
    record[4] = end - arrive
    record[8] += spread
    record[9] += (end - last) * finish.shape[0]
    if mac_busy:
        record[10] = mac_busy
        record[12] = mac_spread
        record[11] = finish.shape[0] * end - mac_busy - mac_spread - record[13]


@kernel
def accumulate_rows(
    activation: Any, words: Any, row_starts: Any, maps: Any, classes: Any,
    adders: Any, look_ahead: Any, ahead: Any, aside: Any, ideal: Any,
    input_queue: Any, result_queue: Any, mac_cycles: Any, rows: Any, records: Any,
    signs: Any, values: Any, value_starts: Any, sums: Any,
) -> None:  # fmt: skip
    """Match rows of pixels with one group of coefficients, through CAs, queues and MAC rows.

    activation (P, W) words, words (P,) broadcast cycles, row_starts (rows + 1,), maps (W, T) words, classes as in
    ``Assignment``; rows: scratch of ``Window.rows``; records (rows, len(RECORD)) out. To check: signs (W, T), values
    (all packed activations), value_starts (P + 1,), sums (P, T) out; else None.
    """
    word_count, units = maps.shape
    listeners = 0
    mac_busy = 0
    for c in range(classes.shape[0]):
        listeners += classes[c, 0]
        mac_busy += classes[c, 0] * classes[c, 1] * mac_cycles
    codes = np.zeros((word_count + 1, units), np.uint64)
    sign_codes = np.zeros((word_count + 1, units if values is not None else 0), np.uint64)
    free, skipped = np.zeros(units, rows.dtype), np.zeros(units, rows.dtype)
    cycles, finish, mac_finish = np.zeros(units, np.int32), np.zeros(listeners, np.int32), np.zeros(listeners, np.int32)
    mac_started = np.zeros((result_queue, listeners), np.int32)
    started = np.zeros(input_queue, np.int64)
    for row in range(row_starts.shape[0] - 1):
        finish[:], mac_finish[:], mac_started[:], started[:] = 0, 0, 0, 0
        arrive = 0
        record = records[row]
        for pixel in range(row_starts[row], row_starts[row + 1]):
            count = concentrate(activation[pixel], maps, codes)
            found = U64(0)
            for q in range((count + 63) >> 6):
                for t in range(units):
                    found += popcount(codes[q, t])
            record[1] += np.int64(found)
            packed, total = None, None
            if values is not None:
                concentrate(activation[pixel], signs, sign_codes)
                packed = values[value_starts[pixel] : value_starts[pixel + 1]]
                total = sums[pixel]
            if ideal:
                issue_packed(codes, count, adders, cycles, sign_codes, packed, total)
            elif look_ahead == 0:
                issue_rows(codes, count, adders, cycles, sign_codes, packed, total)
            else:
                issued_rows = split_rows(codes, count, adders, look_ahead, rows)
                issue_window(
                    rows, issued_rows, adders, look_ahead, ahead, aside, free, skipped, cycles,
                    sign_codes, packed, total,
                )  # fmt: skip
            arrive = _advance(
                pixel - row_starts[row], words[pixel], classes, cycles, mac_cycles,
                arrive, started, finish, mac_finish, mac_started, record,
            )  # fmt: skip
        _drain(arrive, finish, mac_finish, mac_busy * (row_starts[row + 1] - row_starts[row]), record)


@kernel
def stream_rows(
    words: Any, row_starts: Any, classes: Any, cycles: Any, input_queue: Any, records: Any
) -> None:  # fmt: skip
    """Broadcast rows of pixels straight to the MAC rows: no matching; T number j takes ``cycles[j]``.

    The states of the MAC rows are recorded where those of the CAs are in ``accumulate_rows``.
    """
    listeners = 0
    for c in range(classes.shape[0]):
        listeners += classes[c, 0]
    finish, idle = np.zeros(listeners, np.int32), np.zeros(listeners, np.int32)
    none = np.zeros((1, listeners), np.int32)
    started = np.zeros(input_queue, np.int64)
    for row in range(row_starts.shape[0] - 1):
        finish[:], started[:] = 0, 0
        arrive = 0
        for pixel in range(row_starts[row], row_starts[row + 1]):
            i = pixel - row_starts[row]
            arrive = _advance(i, words[pixel], classes, cycles, 0, arrive, started, finish, idle, none, records[row])
        _drain(arrive, finish, idle, 0, records[row])


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of pixels as the array is fed with them: P pixels in rows, each with its map and broadcast cycles."""

    activation: NDArray[np.uint64]
    """Shape (P, W): maps, 64 channels a word."""
    words: NDArray[np.int64]
    """Shape (P,): cycles to broadcast each pixel."""
    starts: NDArray[np.int64]
    """Shape (rows + 1,): where each row begins among the pixels."""


def accumulate(
    pixels: Rows,
    maps: NDArray[np.uint64],
    assignment: Assignment,
    window: Window,
    array: PEArray,
    mac_cycles: int,
    signs: NDArray[np.uint64] | None = None,
    values: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Match every row of pixels with one group of coefficient vectors.

    maps and signs are (W, T) words in the order of ``assignment``; values are the packed activations of all pixels.
    Returns the records (rows, len(RECORD)) and, with values, the sums T (P, T).
    """
    records = np.zeros((len(pixels.starts) - 1, len(RECORD)), np.int64)
    sums = value_starts = None
    if values is not None:
        counts = np.bitwise_count(pixels.activation).sum(axis=1, dtype=np.int64)
        value_starts = np.concatenate(([0], np.cumsum(counts)))
        sums = np.zeros((len(pixels.activation), maps.shape[1]), np.int64)
    accumulate_rows(
        pixels.activation, pixels.words, pixels.starts, maps, assignment.classes,
        window.adders, window.look_ahead, window.ahead, window.aside, window.ideal,
        array.input_queue, array.result_queue, mac_cycles,
        window.rows(64 * maps.shape[0], maps.shape[1]), records, signs, values, value_starts, sums,
    )  # fmt: skip
    return records, sums


def stream(pixels: Rows, assignment: Assignment, mac_cycles: int, array: PEArray) -> NDArray[np.int64]:
    """Send every row of pixels straight to the MAC rows; records as of ``accumulate`` (rows, len(RECORD)).

    No data is looked at: where all pixels take equally long to broadcast, rows of equal length are played once.
    """
    cycles = np.full(len(assignment.order), mac_cycles, np.int32)
    lengths, words = np.diff(pixels.starts), pixels.words
    again = np.arange(len(lengths))
    if len(words) and words.min() == words.max():
        lengths, again = np.unique(lengths, return_inverse=True)
        words = words[: lengths.sum()]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    records = np.zeros((len(lengths), len(RECORD)), np.int64)
    stream_rows(words, starts, assignment.classes, cycles, array.input_queue, records)
    return records[again]
