"""An accumulation unit and its MAC row in RTL, joined by the queue of results: every instant as of the kernel of the PE
array, which holds a unit back while that queue is full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from simulator.hardware.mac_row import multiply_accumulate
from simulator.hardware.pe_array import RECORD, PEArray
from tests.rtl.accumulation_settings import SETTINGS, SEVEN, Setting
from tests.rtl.bench import Builds, Change, Numbers, Playable, Response, Words, join, needs_verilator
from tests.rtl.test_channel_accumulation import Row, accumulated_prefixes, fields, random_rows, shipped_rows

pytestmark = needs_verilator

SOURCES = ("butterfly.sv", "channel_accumulation.sv", "mac_row.sv", "bench_slice.sv")
PIXELS = 10
"""Most pixels of a row, and columns of the line that is read after it."""


@dataclass(frozen=True)
class Slice:
    """A unit, the multipliers of its MAC row, and the queue between them; 3×3 kernels, one row of pixels an image."""

    unit: Setting
    multipliers: int
    result_queue: int

    @property
    def mac_cycles(self) -> int:
        return -(-9 // self.multipliers)

    def parameters(self) -> dict[str, int | str]:
        own = {"MULTIPLIERS": self.multipliers, "RESULT_QUEUE": self.result_queue, "COLUMNS": PIXELS}
        return self.unit.parameters() | own


SLICES = {
    "as_configured": Slice(Setting(64, 2, 16, 2, SEVEN, 2, "run_time"), 9, 2),
    "queue_2": Slice(SETTINGS["h1_d3_a8"], 2, 2),
    "queue_1": Slice(SETTINGS["h3_d5_a4"], 1, 1),
    "queue_3": Slice(SETTINGS["h1_d3_a8"], 4, 3),
}

Times = list[tuple[int, int, int, int]]
"""Of each pixel of a row: the instants at which it enters the unit's queue, its T enters the queue of results, begins
and ends; from the row's first word, the networks' latency taken off."""
Results = list[tuple[Times, list[int], list[int]]]
"""Per row: times, T's, and the sums of the line."""


def stimulus(built: Slice, rows: list[Row], bases: Numbers) -> tuple[Words, list[int]]:
    """All words, after those of each row one that reads and clears the line; and where each row begins."""
    table = fields(built.unit, rows)
    begins = np.flatnonzero(table[1][0])
    # Before which word a line is read: before the first of the next row, and at the end.
    reads = [*begins[1:].tolist(), len(table[0][0])]
    of_word = np.repeat(np.arange(len(rows)), np.diff([0, *reads]))
    columns = [(np.insert(np.asarray(values, np.int64), reads, 0, axis=0), bits) for values, bits in table]
    read = np.insert(np.zeros(len(of_word), np.int64), reads, 1)
    basis = bases[np.insert(of_word, reads, np.arange(len(rows)))]
    joined = join([*columns[:3], (read, 1), *columns[3:], (basis, 8)])
    return joined, (begins + np.arange(len(rows))).tolist()


def played(bench: Playable, built: Slice, rows: list[Row], bases: Numbers) -> Results:
    words, begins = stimulus(built, rows, bases)
    response = Response(bench.play(words, 300 * len(words)))
    ready, _, *events, reads = (response.take(1) for _ in range(7))
    results = response.take(32, signed=True)
    lines = response.take(32, PIXELS, signed=True)[np.flatnonzero(reads)]
    starts = np.flatnonzero(ready)[begins]
    entered, made, *of_row = (np.flatnonzero(event) + 1 for event in events)
    networks = built.unit.unit.latency - 1
    totals = results[made - 1].tolist()
    instants = np.stack([entered, made, *of_row], axis=1)
    ends = np.cumsum([len(row.activations) for row in rows])
    found = []
    for start, first, end, line in zip(starts, [0, *ends[:-1]], ends, lines, strict=True):
        times = [tuple(four) for four in (instants[first:end] - start - networks).tolist()]
        found.append((times, totals[first:end], line.tolist()))
    return found


def by_kernels(built: Slice, rows: list[Row], bases: Numbers) -> Results:
    """Play the first pixel of each row, the first two, and so on: each takes until its last T is done with."""
    array = PEArray(
        blocks=1, slices=1, slices_own="bases", input_queue=built.unit.queue, result_queue=built.result_queue
    )
    found = []
    for row, basis in zip(rows, bases, strict=True):
        records, sums = accumulated_prefixes(built.unit, row, array, built.mac_cycles)
        totals = sums[-len(row.activations) :, 0]
        of = {name: records[:, column] for column, name in enumerate(RECORD)}
        # The unit's fill is the broadcast of the first pixel; its drain begins when its last T has been handed over.
        words = -(-len(row.coefficients) // built.unit.lanes)
        handed = of["cycles"] - (of["ca_fill_drain"] - words)
        instants = [of["cycles"] - of["broadcast_fill_drain"], handed, of["cycles"] - built.mac_cycles, of["cycles"]]
        output = np.zeros((1, 1, PIXELS), np.int64)
        pixels = np.arange(len(totals))
        multiply_accumulate(
            totals[None, None], 0 * pixels, pixels, basis.reshape(1, 1, 3, 3), (1, 1), (1, 1), (1, 1), output
        )
        times = [tuple(four) for four in np.stack(instants, axis=1).tolist()]
        found.append((times, totals.tolist(), output[0, 0].tolist()))
    return found


def random_bases(seed: int, rows: list[Row]) -> Numbers:
    return np.random.default_rng(seed).integers(-128, 128, (len(rows), 9))


@pytest.mark.parametrize("name", SLICES)
def test_random_rows_and_rows_of_the_shipped_network(name: str, builds: Builds) -> None:
    built = SLICES[name]
    rows = random_rows(31, 300, built.unit) + shipped_rows(35, 100)
    bases = random_bases(32, rows)
    expected = by_kernels(built, rows, bases)
    assert played(builds.bench(SOURCES, built.parameters()), built, rows, bases) == expected
    # The queue of results is full now and then, and holds a unit back; but not where a T takes one cycle.
    free = [times for times, _, _ in by_kernels(Slice(built.unit, built.multipliers, 64), rows, bases)]
    assert ([times for times, _, _ in expected] != free) == (built.mac_cycles > 1)


CHANGES: dict[str, Change] = {
    "adders that do not wait": ("channel_accumulation.sv", "working && remaining", "working && accepted && remaining"),
    "a sum that goes on while it waits": ("channel_accumulation.sv", "if (adders_free || !ends) so_far", "so_far"),
    "a column too far": ("bench_slice.sv", "column + 1'b1", "column + 2'd2"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_broken_design_is_caught(name: str, builds: Builds) -> None:
    built = SLICES["queue_2"]
    rows = random_rows(33, 60, built.unit)
    bases = random_bases(34, rows)
    broken = builds.bench(SOURCES, built.parameters(), CHANGES[name])
    found = played(broken, built, rows, bases)
    assert found != by_kernels(built, rows, bases)
