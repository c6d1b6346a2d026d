"""SCNN's processing elements: every non-zero weight times every non-zero activation, scattered over banks.

A PE holds a tile of the input plane. Channel by channel it takes vectors of I non-zero activations, keeps each while
the channel's vectors of F non-zero weights pass from its weight FIFO, and multiplies all F·I pairs in a cycle. A
crossbar carries each product to the accumulator bank that its output hashes to. Source: Parashar et al., ISCA 2017,
sections 3 and 4; the hash is that of the public simulator DNNsim (``core/src/SCNN.cpp``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.byte_lanes import LANES, add_and_serve, serve
from simulator.hardware.grid import MOST_ROWS
from simulator.hardware.jit import inlined_kernel, kernel

RECORD = ("cycles", "operations", "blocked", "pairs", "weight_vectors", "weight_entries", "landed")
"""Of an output-channel group, all PEs together unless said: cycles until the last PE has finished; PE-cycles in which
vectors are multiplied; in which a full queue blocks them; products; weight vectors that each PE receives; weights as
stored; products that are part of an output (counted with values only)."""

HASHED = LANES
"""Banks that the hash tells apart."""

_NOTHING = np.uint8(16)


class PEs(Part):
    """Configuration of the processing elements: a grid, each with a multiplier array."""

    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    """PEs one above the other; the plane's rows are shared out among them."""
    columns: Annotated[int, Field(ge=1, le=MOST_ROWS)]
    """PEs side by side; the plane's columns are shared out among them."""
    weights: Annotated[int, Field(ge=1, le=8)]
    """F: non-zero weights of a vector."""
    activations: Annotated[int, Field(ge=1, le=8)]
    """I: non-zero activations of a vector."""

    @property
    def count(self) -> int:
        """Number of PEs."""
        return self.rows * self.columns

    @property
    def products(self) -> int:
        """F · I: multipliers of a PE."""
        return self.weights * self.activations


class WeightFifo(Part):
    """Configuration of the queue through which the weights that all PEs receive reach each of them."""

    depth: Annotated[int, Field(ge=1)]
    """Vectors that it holds; those of a channel stay until the PE's last activations of it have passed."""
    rate: Annotated[int, Field(ge=1)]
    """Vectors that it receives per cycle; all PEs' queues receive the same ones at once."""


class Accumulators(Part):
    """Configuration of a PE's accumulator banks."""

    banks: Annotated[int, Field(ge=1, le=HASHED)]
    """A: each adds one product per cycle."""
    entries: Annotated[int, Field(ge=1)]
    """Partial sums in a bank, of one of its two copies."""
    bits: Annotated[int, Field(ge=8, le=32, multiple_of=8)]
    """Width of a partial sum; adders are known of up to 32 bits."""
    queue: Annotated[int, Field(ge=0, le=62)]
    """Products that may wait before a bank; 0: a vector's products are all added before the next one's."""
    copies: Annotated[int, Field(ge=1, le=2)]
    """2: one copy is drained while the next output-channel group fills the other."""

    @property
    def size(self) -> int:
        """Partial sums of a copy."""
        return self.banks * self.entries


WeightOrder = Literal["channels", "taps"]
"""Which runs fastest in the weights of an output-channel group: output channels, or taps of a kernel."""


def bank_table(banks: int) -> NDArray[np.int64]:
    """Return the bank of an output (k mod 8, y mod 4, x mod 4): (8, 4, 4)."""
    k, y, x = np.indices((8, 4, 4))
    high = ((k & 4) << 2) ^ ((x & 2) << 3) ^ ((y & 2) << 3)
    return np.asarray((high + ((x & 1) << 3) + ((y & 1) << 2) + (k & 3)) % banks)


@kernel
def gather(mask: Any, starts: Any, run: Any, places: Any, bounds: Any, entries: Any) -> int:
    """Pack the non-zeros of each channel, piece by piece of the plane; return how many there are.

    mask (C, pixels) in the order of the pieces; starts (pieces + 1,); run: zeros that an entry can skip and one more;
    places (non-zeros,) receives indices of pixels, bounds (C, pieces + 1) where each piece begins among them, entries
    (pieces,) what is stored: the non-zeros and a placeholder for every ``run`` zeros before one.
    """
    count = 0
    for c in range(mask.shape[0]):
        for piece in range(starts.shape[0] - 1):
            bounds[c, piece] = count
            zeros = stored = 0
            for pixel in range(starts[piece], starts[piece + 1]):
                if mask[c, pixel]:
                    places[count] = pixel
                    count += 1
                    stored += 1 + zeros // run
                    zeros = 0
                else:
                    zeros += 1
            entries[piece] += stored
        bounds[c, starts.shape[0] - 1] = count
    return count


@inlined_kernel
def _idle(waiting: Any, pe: int, cycles: int) -> None:
    """Let the banks of a PE go on while it has nothing to multiply."""
    while cycles > 0 and serve(waiting, pe, 0):
        cycles -= 1


@inlined_kernel
def _drain(waiting: Any, pe: int) -> Any:
    """Return the cycles until nothing waits before the banks of a PE."""
    cycles = 0
    for bank in range(HASHED):
        waits: Any = np.int64(waiting[pe, bank])
        cycles = max(cycles, waits)
        waiting[pe, bank] = 0
    return cycles


@kernel
def _classify(places: Any, bounds: Any, up: Any, left: Any, phases: int) -> Any:
    """Return the class of each non-zero, by its place modulo 4, and a bit for each class present: (C, phases)."""
    classes = np.empty(places.shape[0], np.uint8)
    present = np.zeros((bounds.shape[0], phases), np.int64)
    for c in range(bounds.shape[0]):
        for piece in range(bounds.shape[1] - 1):
            seen = 0
            for at in range(bounds[c, piece], bounds[c, piece + 1]):
                own = (up[places[at]] & 3) * 4 + (left[places[at]] & 3)
                classes[at] = own
                seen |= 1 << own
            present[c, piece % phases] |= seen
    return classes, present


@inlined_kernel
def _operate(waiting: Any, pe: int, hits: Any, classes: Any, first: int, lanes: int, n: int, queue: int) -> int:
    """Multiply a vector of activations with ``n`` vectors of weights; return the cycles.

    The products of one wait before their banks until at most as many are left in each as its queue holds.
    """
    most = hits.shape[1]
    row0 = most * np.int64(classes[first])
    row1 = most * np.int64(classes[first + 1] if lanes > 1 else _NOTHING)
    row2 = most * np.int64(classes[first + 2] if lanes > 2 else _NOTHING)
    row3 = most * np.int64(classes[first + 3] if lanes > 3 else _NOTHING)
    cycles = n
    for j in range(n):
        for more in range(4, lanes):
            own = classes[first + more]
            for bank in range(HASHED):
                waiting[pe, bank] += hits[own, j, bank]
        blocked = add_and_serve(waiting, pe, hits, row0 + j, row1 + j, row2 + j, row3 + j, queue)
        while blocked:
            blocked = serve(waiting, pe, queue)
            cycles += 1
    return cycles


@inlined_kernel
def _hit(hits: Any, own: int, first: int, last: int, chosen: Any, filters: Any, rise: Any, shift: Any, banks: Any,
         F: int) -> None:  # fmt: skip
    """Count what each vector of weights, chosen[first … last - 1], sends to each bank from a pixel of a class."""
    for j in range(-(-(last - first) // F)):
        for bank in range(HASHED):
            hits[own, j, bank] = 0
    j = room = 0
    for w in range(first, last):
        i = chosen[w]
        hits[own, j, banks[filters[i] & 7, (own // 4 + rise[i]) & 3, (own + shift[i]) & 3]] += 1
        room += 1
        if room == F:
            room = 0
            j += 1


@kernel
def multiply(
    weights: Any, filters: Any, taps: Any, rise: Any, shift: Any, phase_starts: Any, group: int, run: int,
    places: Any, bounds: Any, up: Any, left: Any, banks: Any, F: int, width: int, queue: int, fifo: int, rate: int,
    weight_values: Any, input_values: Any, output: Any, record: Any,
) -> None:  # fmt: skip
    """Multiply a plane's tiles with all filters, one output-channel group after the other.

    weights (K, C, taps) of booleans; a group's weights in the order in which they are stored: filter within the group,
    tap, and what is added to a pixel's place to give the output's: filters, taps, rise, shift (n,), phase by phase;
    places, bounds as ``gather`` made them, a piece for each PE and phase; up, left (pixels,): each pixel's place within
    its phase; banks as ``bank_table``; weight_values (K, C, taps), input_values (C, pixels) and output (K, P, Q),
    which is added to: empty where only to be counted; F and ``width``: weights and activations of a vector; record
    (groups, len(RECORD)).
    """
    K, C = weights.shape[:2]
    phases = phase_starts.shape[0] - 1
    pes = (bounds.shape[1] - 1) // phases
    chosen = np.zeros(filters.shape[0], np.int64)
    ends = np.zeros(phases + 1, np.int64)
    hits = np.zeros((17, -(-filters.shape[0] // F), HASHED), np.uint8)  # by class of the pixel; the last one never hits
    waiting = np.zeros((pes, HASHED), np.uint8)
    finish = np.zeros(pes, np.int64)
    released, passed = np.zeros(C, np.int64), np.zeros(C, np.int64)
    classes, present = _classify(places, bounds, up, left, phases)
    check = weight_values.size > 0
    for g in range(record.shape[0]):
        operations = spent = pairs = vectors = stored = landed = 0
        finish[:] = 0
        oldest = held = sent = 0
        for c in range(C):
            count = zeros = of_channel = 0
            for phase in range(phases):
                ends[phase] = count
                for i in range(phase_starts[phase], phase_starts[phase + 1]):
                    k = g * group + filters[i]
                    if k < K:
                        if weights[k, c, taps[i]]:
                            chosen[count] = i
                            count += 1
                            stored += 1 + zeros // run
                            zeros = 0
                        else:
                            zeros += 1
                of_channel += -(-(count - ends[phase]) // F)
            ends[phases] = count
            vectors += of_channel
            while oldest < c and held + of_channel > fifo:
                sent = max(sent, released[oldest] * rate)
                held -= passed[oldest]
                oldest += 1
            begin = sent // rate
            sent += of_channel
            held += of_channel
            passed[c] = of_channel
            latest = begin
            for phase in range(phases):
                of_phase = ends[phase + 1] - ends[phase]
                if of_phase == 0:
                    continue
                n = -(-of_phase // F)
                for own in range(16):
                    if present[c, phase] >> own & 1:
                        _hit(hits, own, ends[phase], ends[phase + 1], chosen, filters, rise, shift, banks, F)
                for pe in range(pes):
                    low, high = bounds[c, pe * phases + phase], bounds[c, pe * phases + phase + 1]
                    if low == high:
                        continue
                    if finish[pe] < begin:
                        _idle(waiting, pe, begin - finish[pe])
                        finish[pe] = begin
                    before = finish[pe]
                    for a in range(low, high, width):
                        lanes = min(width, high - a)
                        finish[pe] += _operate(waiting, pe, hits, classes, a, lanes, n, queue)
                        if check:
                            for w in range(ends[phase], ends[phase + 1]):
                                i = chosen[w]
                                k = g * group + filters[i]
                                for at in range(a, a + lanes):
                                    pixel = places[at]
                                    y, x = up[pixel] + rise[i], left[pixel] + shift[i]
                                    if 0 <= y < output.shape[1] and 0 <= x < output.shape[2]:
                                        landed += 1
                                        output[k, y, x] += weight_values[k, c, taps[i]] * input_values[c, pixel]
                    operations += n * -(-(high - low) // width)
                    pairs += (high - low) * of_phase
                    spent += finish[pe] - before
                    latest = max(latest, finish[pe])
            released[c] = latest
        end = 0
        for pe in range(pes):
            left_over = _drain(waiting, pe)
            spent += left_over
            end = max(end, finish[pe] + left_over)
        record[g, 0] = end
        record[g, 1] = operations
        record[g, 2] = spent - operations
        record[g, 3] = pairs
        record[g, 4] = vectors
        record[g, 5] = stored
        record[g, 6] = landed
