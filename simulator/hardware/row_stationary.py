"""The row-stationary array of Eyeriss: PEs that hold rows in scratchpads, and the networks that feed them.

A PE computes rows of a 1-D convolution: the weights of p filters and q channels stay in its filter scratchpad while
the ifmap slides through another, and p sums grow in a third. A window of one output column is q·S steps of p MACs, one
per cycle, columns first, then channels, then filters; then p cycles in which the sums that come from the PE below, or
from the global buffer, are added by the same adder (Chen et al., JSSC 2017, fig. 12) and handed on to the PE above. PEs
are not in lock step: each goes on as soon as it has its operands, from one pass to the next as within one. Beside that
the network of the ifmap fills places as they become free in all PEs, that of the weights fills FIFOs of the PEs and,
when a row of PEs has multiplied its last, their scratchpads, and that of the sums moves those of a window in and out
while it lasts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel
from simulator.program import Counts

Count = Annotated[int, Field(ge=1)]


class RowStationaryArray(Part):
    """Configuration of the array."""

    rows: Count
    """PEs along a column: sums move up it."""
    columns: Count
    """PEs along a row."""
    filter_spad: Count
    """Words of a PE's filter scratchpad."""
    ifmap_spad: Count
    """Words of a PE's ifmap scratchpad."""
    psum_spad: Count
    """Words of a PE's scratchpad of sums."""
    zero_gating: bool
    """Whether an ifmap value of zero leaves scratchpads and multiplier untouched. It takes its cycle all the same."""
    filter_words: Count
    """Weights that the network brings to the array per cycle, each to all PEs that need it."""
    ifmap_words: Count
    """Ifmap values per cycle likewise."""
    psum_words: Count
    """Sums per cycle into the array, and as many out of it at the same time."""
    fifo: Count
    """Words of the networks that wait at a PE: of weights before its scratchpad, and of sums that come from below."""
    weights_order: Literal["interleaved", "rows_down", "rows_up"]
    """Whose weights the network brings in turn: a word for each row of PEs, or all of a row, from the top or bottom."""
    starts_with: Literal["any", "all"]
    """Whether a PE uses weights as they come, or once it has all of a pass."""
    pipeline: Annotated[int, Field(ge=0)]
    """Stages from reading operands to the sum: cycles after the last MAC of a pass."""

    @property
    def pes(self) -> int:
        """Number of PEs."""
        return self.rows * self.columns


WEIGHTS_ORDERS = ("interleaved", "rows_down", "rows_up")
"""The orders in which rows of PEs get their weights, as ``bring_weights`` numbers them."""


@kernel
def bring_weights(
    filters: int,
    channels: int,
    split: tuple[int, int, int, int, int, int],
    order: int,
    together: bool,
    words: int,
    taken: Counts,
    opened: Counts,
    since: int,
) -> tuple[Counts, int]:
    """Return when each row of PEs can have used the weights of each tap at the earliest, (rows, S), and the last came.

    A word of the network holds weights of one row of PEs, in the order in which it uses them: taps first, then
    channels, then filters. Rows are numbered from the bottom, those of the first filters first. A word that finds no
    place holds up all that follow it.

    Args:
        filters: of a pass, and
        channels: of it.
        split: p, q, sets that run other filters, sets that run other channels, R, S.
        order: which of ``WEIGHTS_ORDERS``.
        together: whether a PE waits for all its weights.
        words: weights that come per cycle.
        taken: (rows, fifo): when the words before left the FIFO of each row for its scratchpads, the latest last; those
            of the pass follow.
        opened: (rows,): when each scratchpad is free for them.
        since: when the network is.

    """
    p, q, across, deep, R, S = split
    height = deep * R
    rows = across * height
    own = np.zeros(rows, np.int64)
    for row in range(rows):
        own_filters = min(p, filters - row // height * p)
        own_channels = min(q, channels - (deep - 1 - row % height // R) * q)
        own[row] = own_filters * own_channels * S
    rounds = -(-p * q * S // words)
    fifo = taken.shape[1]
    entered = np.zeros((rows, fifo + rounds), np.int64)
    for row in range(rows):
        for i in range(fifo):
            entered[row, i] = taken[row, i]
    now = since
    for i in range(rows * rounds):
        turn, which = (i // rows, i % rows) if order == 0 else (i % rounds, i // rounds)
        row = which if order == 2 else which // height * height + height - 1 - which % height
        if turn * words >= own[row]:
            continue
        now = max(now, entered[row, turn]) + 1
        entered[row, fifo + turn] = max(now, opened[row] + 1, entered[row, fifo + turn - 1] + 1)
    used = np.full((rows, S), since)
    for row in range(rows):
        come = -(-own[row] // words)
        for i in range(fifo):
            taken[row, i] = entered[row, come + i]
        own_filters = min(p, filters - row // height * p)
        own_channels = own[row] // (own_filters * S)
        for i in range(own[row]):
            s, rest = i // (own_filters * own_channels), i % (own_filters * own_channels)
            c, k = rest // own_filters, rest % own_filters
            at = entered[row, fifo + (come - 1 if together else i // words)]
            used[row, s] = max(used[row, s], at + p * q - c * p - k)
    return used, now


@kernel
def play_passes(
    loads: NDArray[np.bool_],
    images: int,
    needs: Counts,
    beyond: Counts,
    last: Counts,
    taps: Counts,
    filters: int,
    channels: int,
    split: tuple[int, int, int, int, int, int],
    order: int,
    together: bool,
    networks: tuple[int, int, int],
    fifos: tuple[int, int],
    places: int,
    drain: int,
) -> Counts:
    """Play passes of the same sizes, one after the other.

    A PE waits for nothing but the weight and the ifmap value of its next MAC, the sum from below, and a place for its
    own in the FIFO above: it goes on to the next pass by itself. The sums of a pass come into the array when those of
    the pass before have left it. PEs of a row have the same weights, and columns of the ifmap come to all: they are
    alike. A pass that leaves all as it found it is not played again: the next one takes as long.

    Args:
        loads: (passes,): whether the weights of a pass come; else they are there.
        images: each of which passes through all windows.
        needs: (windows, S): column under each tap, padding left out (-1), numbered as they are delivered.
        beyond: (windows,): columns, of those that are delivered, up to the last that each window needs.
        last: (columns,): the last window that needs each column, ascending,
        taps: (columns,): and its taps that are done when the column is free there.
        filters: of a pass, and
        channels: of it.
        split: p, q, sets that run other filters, sets that run other channels, R, S. A column is used for q·p cycles.
        order: which of ``WEIGHTS_ORDERS``.
        together: whether a PE waits for all its weights.
        networks: weights that come per cycle, cycles in which a column of all rows and channels is delivered, and
            those in which the sums of a window go in, or out.
        fifos: words of weights that wait before a filter scratchpad, and sums that wait at a PE.
        places: columns that the ifmap scratchpads hold, at least those of a window.
        drain: cycles from the last sum's addition to its leaving.

    Returns:
        (passes, 2): when the PE whose sums leave last would begin with its first window, were it not held up there,
        and when its last sum is added; both from when the last sum of the pass before was added.

    """
    (windows, S), columns = needs.shape, len(last)
    p, q, across, deep, R, _ = split
    height = deep * R
    rows = across * height
    words, delivery, sums = networks
    window = max(p * (q * S + 1), sums)
    played = np.zeros((len(loads), 2), np.int64)
    # What is left of the passes before, in cycles from the last sum of the latest; rings, the oldest first.
    times = np.zeros((2 + fifos[1]) * rows + 2 * places, np.int64)
    ended, opened, freed = times[:rows], times[rows : 2 * rows], times[len(times) - places :]
    handed, arrived_at = times[2 * rows : (2 + fifos[1]) * rows], times[(2 + fifos[1]) * rows : len(times) - places]
    taken, weights = np.zeros((rows, fifos[0]), np.int64), 0
    first, added = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    used = np.zeros((rows, S), np.int64)
    done = np.zeros(S, np.int64)  # when all rows are done with each tap of a window
    settled = False
    for i in range(len(loads)):
        if settled and loads[i] == loads[i - 1]:
            played[i, 0], played[i, 1] = played[i - 1, 0], played[i - 1, 1]
            if not loads[i]:
                taken -= played[i, 1]
                weights -= played[i, 1]
            continue
        was, took, came = times.copy(), taken.copy(), weights
        if loads[i]:
            used, weights = bring_weights(filters, channels, split, order, together, words, taken, opened, weights)
        gone = drain if i else 0
        arrived = left = turn = 0
        for image in range(images):
            before = image * columns
            for w in range(windows):
                while arrived < before + beyond[w]:
                    start = max(arrived_at[(arrived - 1) % places], freed[arrived % places])
                    arrived_at[arrived % places] = start + delivery
                    arrived += 1
                done[:] = ended[0]
                begins = image == 0 and w == 0
                for row in range(rows):
                    now = ended[row]
                    for s in range(S):
                        if needs[w, s] >= 0:
                            now = max(now, arrived_at[(before + needs[w, s]) % places])
                        now += q * p
                        if begins and loads[i]:
                            now = max(now, used[row, s])
                        done[s] = max(done[s], now)
                    opened[row] = now
                    added[row] = max(now, gone) if begins and row % height == 0 else now
                for _ in range(p):
                    _add_up(added, handed[turn * rows : (turn + 1) * rows], height)
                    turn = (turn + 1) % fifos[1]
                for row in range(rows):
                    ended[row] = max(added[row], ended[row] + sums)
                    if begins:
                        first[row] = ended[row]
                while left < before + columns and last[left - before] == w:
                    freed[left % places] = done[taps[left - before] - 1]
                    left += 1
        end = ended[height - 1]
        played[i, 0] = first[height - 1] - window
        for top in range(2 * height - 1, rows, height):
            if ended[top] > end:
                played[i, 0], end = first[top] - window, ended[top]
        played[i, 1] = end
        _turn(arrived_at, arrived)
        _turn(freed, left)
        _turn(handed, turn * rows)
        times -= end
        taken -= end
        weights -= end
        settled = i > 0 and np.array_equal(was, times)
        settled = settled and (not loads[i] or (weights == came and np.array_equal(took, taken)))
    return played


@kernel
def _add_up(added: Counts, handed: Counts, height: int) -> None:
    """Let each row of PEs add its next sum: (rows,) each, when the last was added, and the last in its FIFO's place."""
    for row in range(len(added)):
        now = added[row]
        if row % height:
            now = max(now, added[row - 1])
        if (row + 1) % height:
            now = max(now, handed[row + 1] - 1)
        added[row] = handed[row] = now + 1


@kernel
def _turn(ring: Counts, by: int) -> None:
    """Let a ring begin with another place: ``np.roll`` where it stands, for its users hold views."""
    before = ring.copy()
    for i in range(len(ring)):
        ring[i] = before[(i + by) % len(ring)]


@kernel
def count_live(mask: NDArray[np.bool_], taps: int, stride: int, padding: int, dilation: int, windows: int) -> Counts:
    """Count the non-zeros of each ifmap row (rows, W) that each tap meets in all windows: (rows, S)."""
    rows, width = mask.shape
    live = np.zeros((rows, taps), np.int64)
    for row in range(rows):
        for s in range(taps):
            met = 0
            for x in range(windows):
                at = x * stride + s * dilation - padding
                if 0 <= at < width and mask[row, at]:
                    met += 1
            live[row, s] = met
    return live


@kernel
def walk_passes(
    passes: Counts,
    live: Counts,
    mask: NDArray[np.bool_],
    weights: NDArray[Any],
    inputs: NDArray[Any],
    shape: tuple[int, int, int, int, int, int],
    output: Counts,
    with_values: bool,
) -> Counts:
    """Walk the row primitives of all passes, pair their operands, and with values add the products up.

    A row primitive is one row of a filter over one row of an ifmap, in all windows.

    Args:
        passes: (passes, 9): group; images, filters, channels and output rows of each, from and beyond.
        live: (N, G, C, H, S): non-zeros that a tap meets along an ifmap row.
        mask: (G, K, C, R, S): weights that are not zero.
        weights: (G, K, C, R, S), and
        inputs: (N, G, C, H, W); not looked at without values.
        shape: stride, padding and dilation, vertical and horizontal.
        output: (N, G, K, E, F), where sums are added to; not looked at without values.
        with_values: whether to compute.

    Returns:
        (passes, 3): pairs whose ifmap value is not zero, pairs of two non-zeros, and ifmap rows that are no padding,
        one for each row of a filter, channel and output row, of all images.

    """
    down, above, apart, right, before, beside = shape
    R, S = mask.shape[3], mask.shape[4]
    H, W = live.shape[3], inputs.shape[4]
    F = output.shape[4]
    counts = np.zeros((len(passes), 3), np.int64)
    met = np.zeros(S, np.int64)
    for i in range(len(passes)):
        g, n0, n1, k0, k1 = passes[i, 0], passes[i, 1], passes[i, 2], passes[i, 3], passes[i, 4]
        c0, c1, y0, y1 = passes[i, 5], passes[i, 6], passes[i, 7], passes[i, 8]
        multiplied = effectual = rows = 0
        for n in range(n0, n1):
            for c in range(c0, c1):
                for r in range(R):
                    met[:] = 0
                    for y in range(y0, y1):
                        row = y * down + r * apart - above
                        if row < 0 or row >= H:
                            continue
                        rows += 1
                        for s in range(S):
                            met[s] += live[n, g, c, row, s]
                        if with_values:
                            for k in range(k0, k1):
                                for s in range(S):
                                    weight = np.int64(weights[g, k, c, r, s])
                                    for x in range(F):
                                        at = x * right + s * beside - before
                                        if at < 0 or at >= W:
                                            continue
                                        value = np.int64(inputs[n, g, c, row, at])
                                        if value != 0:
                                            output[n, g, k, y, x] += weight * value
                    for k in range(k0, k1):
                        for s in range(S):
                            multiplied += met[s]
                            if mask[g, k, c, r, s]:
                                effectual += met[s]
        counts[i, 0], counts[i, 1], counts[i, 2] = multiplied, effectual, rows
    return counts
