"""Rows of pixels through the PE array against the twin that steps every unit every cycle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.hardware.pe_array import (
    RECORD,
    Assignment,
    PEArray,
    Rows,
    accumulate,
    assign,
    channels_at_once,
    stream,
)
from tests.hardware.units import SEVEN, Integers, accumulation, rows_of, run_units, vectors
from tests.reference.pe_array import RowResult, play_row

WINDOWS = (
    accumulation(1, 0),
    accumulation(2, 0),
    accumulation(2, 0, ideal=True),
    accumulation(4, 2, SEVEN),
    accumulation(5, 1, ((1, 2), (1, 0))),
)
COUNTED = {
    "broadcast": ("busy", "blocked", "fill_drain"),
    "ca": ("busy", "starved", "blocked", "imbalance", "fill_drain"),
    "mac": ("busy", "starved", "imbalance", "fill_drain"),
}


@dataclass(frozen=True)
class Fed:
    """An array, the output channels it works on together, and rows of pixels to feed it with."""

    array: PEArray
    bases: int
    channels: int
    lengths: Integers
    words: Integers

    @property
    def assignment(self) -> Assignment:
        return assign(range(self.channels), self.bases, self.array.slices, self.array.slices_own)

    @property
    def rows(self) -> list[slice]:
        """Where each row lies among the pixels."""
        stops = np.cumsum(self.lengths)
        return [slice(stop - length, stop) for stop, length in zip(stops, self.lengths, strict=True)]


@st.composite
def fed_arrays(draw: st.DrawFn, longest: int = 9) -> Fed:
    """Draw rows of 0 to ``longest`` pixels, the first of at least one; 1 to 4 broadcast cycles each."""
    array = PEArray(
        blocks=draw(st.integers(1, 4)),
        slices=draw(st.integers(1, 4)),
        slices_own=draw(st.sampled_from(["bases", "rows"])),
        input_queue=draw(st.integers(1, 4)),
        result_queue=draw(st.integers(1, 4)),
    )
    bases = draw(st.integers(1, 9))
    channels = draw(st.integers(1, channels_at_once(bases, array)))
    lengths = [draw(st.integers(1, longest)), *draw(st.lists(st.integers(0, longest), max_size=2))]
    pixels = sum(lengths)
    words = draw(st.lists(st.integers(1, 4), min_size=pixels, max_size=pixels))
    if draw(st.booleans()):
        words = words[:1] * pixels
    return Fed(array, bases, channels, np.array(lengths), np.array(words, np.int64))


def by_unit(assignment: Assignment, cycles: Integers) -> list[list[list[int]]]:
    """Deal the cycles (P, T) of T's in the order of ``assignment`` out to its CAs: [ca][pixel][turn]."""
    units, first = [], 0
    for count, turns in assignment.classes.tolist():
        dealt = cycles[:, first : first + count * turns].reshape(len(cycles), turns, count)
        units += dealt.transpose(2, 0, 1).tolist()
        first += count * turns
    assert first == cycles.shape[1]
    return units


def stepped(fed: Fed, row: slice, cycles: Integers, mac_cycles: int, **changed: Any) -> RowResult:
    """Play one row with the twin, the T's of all pixels taking ``cycles`` (P, T), its queues ``changed`` if so told."""
    queues = {"input_queue": fed.array.input_queue, "result_queue": fed.array.result_queue, **changed}
    return play_row(by_unit(fed.assignment, cycles[row]), fed.words[row].tolist(), mac_cycles=mac_cycles, **queues)


def record_of(row: RowResult, pairs: int) -> dict[str, int]:
    """Sum what the twin booked, unit by unit, into the columns of a record."""
    sums = {
        "broadcast": row.broadcaster,
        "ca": sum(row.accumulation, Counter()),
        "mac": sum(row.mac_rows, Counter()),
    }
    assert all(set(states) <= set(COUNTED[kind]) for kind, states in sums.items())
    states = {f"{kind}_{state}": sums[kind][state] for kind, names in COUNTED.items() for state in names}
    return {"cycles": row.total, "pairs": pairs, **states}


def assert_records_equal(records: Integers, expected: list[dict[str, int]]) -> None:
    assert [dict(zip(RECORD, record, strict=True)) for record in records.tolist()] == expected


def assert_every_cycle_has_one_state(records: Integers, listeners: int, mac_rows: int) -> None:
    for record in (dict(zip(RECORD, record, strict=True)) for record in records.tolist()):
        for kind, units in (("broadcast", 1), ("ca", listeners), ("mac", mac_rows)):
            assert sum(record[f"{kind}_{state}"] for state in COUNTED[kind]) == units * record["cycles"]


def random_operands(fed: Fed, channels: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return activations (P, C) and ternary coefficients (K·M, C), of every density."""
    rng = np.random.default_rng(seed)
    counts = len(fed.words), fed.channels * fed.bases
    kept = [rng.random((count, channels)) < rng.choice([0.0, 1.0, *rng.random(6)], (count, 1)) for count in counts]
    return rng.integers(-128, 128, kept[0].shape) * kept[0], rng.choice([-1, 1], kept[1].shape) * kept[1]


@settings(max_examples=1000, deadline=None)
@given(fed_arrays(), st.sampled_from(WINDOWS), st.integers(0, 5), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_rows_equal_the_stepped_twin_in_every_column(
    fed: Fed, unit: Any, mac_cycles: int, channels: int, seed: int
) -> None:
    """At least a row of at least a pixel each time: more than a thousand rows."""
    activations, coefficients = random_operands(fed, channels, seed)
    assignment = fed.assignment
    dealt = coefficients[assignment.order]
    maps, signs = vectors(dealt)
    pixels = rows_of(activations, fed.words, fed.lengths)
    packed = activations[activations != 0].astype(np.int64)
    records, sums = accumulate(pixels, maps, assignment, unit.window(), fed.array, mac_cycles, signs, packed)
    unchecked, _ = accumulate(pixels, maps, assignment, unit.window(), fed.array, mac_cycles)

    alone = run_units(unit, activations, dealt)
    expected = [record_of(stepped(fed, row, alone.cycles, mac_cycles), alone.pairs[row].sum()) for row in fed.rows]
    assert_records_equal(records, expected)
    assert_every_cycle_has_one_state(records, assignment.listeners, assignment.listeners if mac_cycles else 0)
    np.testing.assert_array_equal(unchecked, records)
    np.testing.assert_array_equal(sums, activations @ dealt.T)


@settings(max_examples=500, deadline=None)
@given(fed_arrays(), st.integers(1, 9))
def test_dense_rows_equal_the_stepped_twin(fed: Fed, mac_cycles: int) -> None:
    """The MAC rows stand where the CAs do: a result of ``mac_cycles`` per T, and nothing behind."""
    assignment = fed.assignment
    pixels = Rows(np.zeros((len(fed.words), 0), np.uint64), fed.words, np.concatenate(([0], np.cumsum(fed.lengths))))
    records = stream(pixels, assignment, mac_cycles, fed.array)
    cycles = np.full((len(fed.words), len(assignment.order)), mac_cycles)
    assert_records_equal(records, [record_of(stepped(fed, row, cycles, mac_cycles=0), pairs=0) for row in fed.rows])
    assert_every_cycle_has_one_state(records, assignment.listeners, 0)


@pytest.mark.parametrize(("mac_cycles", "cycles"), [(0, 1 + 3 * 3), (2, 1 + 3 * 3 + 2), (5, 1 + 3 + 3 * 5)])
def test_a_row_counted_by_hand(mac_cycles: int, cycles: int) -> None:
    """Three pixels of three rows of two codes; then the MAC row drains, or is what everything waits for."""
    array = PEArray(blocks=1, slices=1, slices_own="bases", input_queue=2, result_queue=1)
    pixels = rows_of(np.ones((3, 6)), np.ones(3, np.int64), np.array([3]))
    maps, _ = vectors(np.ones((1, 6)))
    records, _ = accumulate(
        pixels, maps, assign(range(1), 1, 1, "bases"), accumulation(2, 0).window(), array, mac_cycles
    )
    assert records[0, RECORD.index("cycles")] == cycles
    assert records[0, RECORD.index("pairs")] == 18


@pytest.mark.parametrize(
    "changed",
    [{"input_queue": 1}, {"input_queue": 3}, {"result_queue": 1}, {"result_queue": 3}, {"mac_cycles": 3}],
    ids=str,
)
def test_an_array_that_is_slightly_off_is_noticed(changed: dict[str, int]) -> None:
    """The records are those of the twin, and differ from those of twins with another queue or other MAC rows."""
    array = PEArray(blocks=2, slices=2, slices_own="bases", input_queue=2, result_queue=2)
    fed = Fed(array, bases=4, channels=2, lengths=np.array([24]), words=np.ones(24, np.int64))
    activations, coefficients = random_operands(fed, 24, seed=5)
    dealt = coefficients[fed.assignment.order]
    unit = accumulation(4, 2, SEVEN)
    pixels = rows_of(activations, fed.words, fed.lengths)
    records, _ = accumulate(pixels, vectors(dealt)[0], fed.assignment, unit.window(), array, mac_cycles=2)
    alone = run_units(unit, activations, dealt)
    same, other = (
        record_of(stepped(fed, slice(24), alone.cycles, **{"mac_cycles": 2, **queues}), alone.pairs.sum())
        for queues in ({}, changed)
    )
    assert_records_equal(records, [same])
    assert same != other


# Who computes what


def cas(assignment: Assignment) -> list[list[int]]:
    """Return the coefficient vectors of each CA, in its order."""
    numbers = by_unit(assignment, assignment.order[None])
    return [pixels[0] for pixels in numbers]


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 20), st.integers(1, 8))
def test_bases_are_dealt_to_the_slices_of_each_channel(first: int, channels: int, bases: int, slices: int) -> None:
    """Slice s computes bases s, s + slices, … of its channel, in this order; slices without a base do not listen."""
    assignment = assign(range(first, first + channels), bases, slices, "bases")
    expected = [
        [k * bases + m for m in range(s, bases, slices)]
        for k in range(first, first + channels)
        for s in range(min(slices, bases))
    ]
    assert sorted(cas(assignment)) == sorted(expected)
    assert assignment.listeners == len(expected)
    assert sorted(assignment.order) == list(range(first * bases, (first + channels) * bases))


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 20), st.integers(1, 8))
def test_one_ca_of_each_block_computes_all_bases_of_a_row(first: int, channels: int, bases: int, slices: int) -> None:
    assignment = assign(range(first, first + channels), bases, slices, "rows")
    assert cas(assignment) == [[k * bases + m for m in range(bases)] for k in range(first, first + channels)]
    assert assignment.listeners == channels
    assert sorted(assignment.order) == list(range(first * bases, (first + channels) * bases))


@pytest.mark.parametrize(
    ("bases", "own", "channels"),
    [(7, "bases", 32), (6, "bases", 32), (4, "bases", 32), (3, "bases", 64), (1, "bases", 192), (1, "rows", 32)],
)
def test_channels_at_once(bases: int, own: Any, channels: int) -> None:
    array = PEArray(blocks=32, slices=6, slices_own=own, input_queue=2, result_queue=2)
    assert channels_at_once(bases, array) == channels


@given(fed_arrays())
def test_no_more_cas_listen_than_there_are(fed: Fed) -> None:
    most = channels_at_once(fed.bases, fed.array)
    assert assign(range(most), fed.bases, fed.array.slices, fed.array.slices_own).listeners <= fed.array.units
