"""The kernel of SCNN's PEs against its twin, cycle by cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.hardware.cartesian_product import RECORD, Accumulators, bank_table, gather, multiply
from tests.reference import cartesian_product as twin


def test_banks_are_those_of_the_public_simulator() -> None:
    table = bank_table(32)
    for k, y, x in np.ndindex(8, 4, 4):
        assert table[k, y, x] == twin.bank_of((k, y, x, 0), 32)
    assert np.unique(table).size == 32


@pytest.mark.parametrize("run", [2, 16])
def test_gathering(run: int) -> None:
    mask = np.random.default_rng(0).random((3, 40)) < 0.1
    mask[0, 20:] = False
    starts = np.array([0, 0, 25, 40])
    places, bounds, entries = np.zeros(mask.sum(), np.int32), np.zeros((3, 4), np.int64), np.zeros(3, np.int64)
    assert gather(mask, starts, run, places, bounds, entries) == mask.sum()
    stored = [0, 0, 0]
    for c, piece in np.ndindex(3, 3):
        own = places[bounds[c, piece] : bounds[c, piece + 1]]
        place = np.flatnonzero(mask[c, starts[piece] : starts[piece + 1]])
        np.testing.assert_array_equal(own, place + starts[piece])
        stored[piece] += int(sum(1 + gap // run for gap in np.diff(place, prepend=-1) - 1))
    assert entries.tolist() == stored


densities = st.sampled_from((0.1, 0.5, 1.0))


def values(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> NDArray[np.int64]:
    return rng.integers(-9, 10, shape) * (rng.random(shape) < density)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    K, C, taps, group = (
        draw(st.integers(1, 9)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 8)),
    )
    pes, phases = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    pixels = draw(st.integers(0, 25))
    return {
        "weights": values(rng, (K, C, taps), draw(densities)),
        "inputs": values(rng, (C, pixels), draw(densities)),
        "up": rng.integers(0, 7, pixels),
        "left": rng.integers(0, 7, pixels),
        "rise": rng.integers(-3, 1, taps),
        "shift": rng.integers(-3, 1, taps),
        "phase": np.sort(rng.integers(0, phases, taps)),
        "phases": phases,
        "starts": np.sort(np.concatenate(([0, pixels], rng.integers(0, pixels + 1, pes * phases - 1)))),
        "group": group,
        "hardware": twin.Hardware(
            draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.sampled_from((1, 3, 16, 32))),
            draw(st.integers(0, 9)), draw(st.sampled_from((1, 3, 8, 50))), draw(st.integers(1, 5)),
        ),
    }  # fmt: skip


def compiled(case: dict[str, Any], values: bool) -> tuple[Any, Any]:
    weights, inputs, hardware = case["weights"], case["inputs"], case["hardware"]
    (K, C, taps), phases, group = weights.shape, case["phases"], case["group"]
    filters, tap = np.tile(np.arange(group), taps), np.repeat(np.arange(taps), group)
    phase_starts = np.searchsorted(case["phase"][tap], np.arange(phases + 1))
    places, bounds = np.zeros(np.count_nonzero(inputs), np.int32), np.zeros((C, len(case["starts"])), np.int64)
    gather(inputs != 0, case["starts"], 16, places, bounds, np.zeros(len(case["starts"]) - 1, np.int64))
    record = np.zeros((-(-K // group), len(RECORD)), np.int64)
    output = np.zeros((K, 6, 6) if values else (0, 0, 0), np.int64)
    multiply(
        weights != 0, filters, tap, case["rise"][tap], case["shift"][tap], phase_starts, group, 16, places, bounds,
        case["up"], case["left"], bank_table(hardware.banks), hardware.weights, hardware.activations, hardware.queue,
        hardware.fifo, hardware.rate, weights if values else np.zeros((0, 0, 0), np.int64),
        inputs if values else np.zeros((0, 0), np.int64), output, record,
    )  # fmt: skip
    return record, output


def expected(case: dict[str, Any], g: int) -> twin.Result:
    weights, inputs, phases = case["weights"], case["inputs"], case["phases"]
    K, C, taps = weights.shape
    first = g * case["group"]
    filters = range(min(case["group"], K - first))
    kernels = [
        [
            [
                twin.Weight(k, case["rise"][t], case["shift"][t], weights[first + k, c, t])
                for t in range(taps)
                if case["phase"][t] == phase
                for k in filters
                if weights[first + k, c, t]
            ]
            for phase in range(phases)
        ]
        for c in range(C)
    ]
    starts = case["starts"]
    pixels = [
        [
            [
                [
                    twin.Pixel(case["up"][p], case["left"][p], inputs[c, p])
                    for p in range(starts[pe * phases + phase], starts[pe * phases + phase + 1])
                    if inputs[c, p]
                ]
                for phase in range(phases)
            ]
            for c in range(C)
        ]
        for pe in range((len(starts) - 1) // phases)
    ]
    return twin.run_group(case["hardware"], kernels, pixels)


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_kernel_equals_the_twin(case: dict[str, Any]) -> None:
    """Every cycle, every product and every sum."""
    record, output = compiled(case, values=True)
    sums = np.zeros_like(output)
    for g, row in enumerate(record):
        found = dict(zip(RECORD, row.tolist(), strict=True))
        slow = expected(case, g)
        assert (found["cycles"], found["operations"], found["blocked"], found["pairs"]) == (
            slow.cycles, slow.operations, slow.blocked, slow.pairs,
        )  # fmt: skip
        for (k, y, x), value in slow.sums.items():
            if 0 <= y < 6 and 0 <= x < 6:
                sums[g * case["group"] + k, y, x] += value
    np.testing.assert_array_equal(output, sums)
    counted, _ = compiled(case, values=False)
    np.testing.assert_array_equal(counted[:, :-1], record[:, :-1])


def test_two_products_of_one_bank_take_two_cycles() -> None:
    """Worked by hand: one weight of one filter, two pixels four columns apart, which hash alike."""
    weights, pixels = [[[twin.Weight(0, 0, 0, 2)]]], [[[[twin.Pixel(0, 0, 3), twin.Pixel(0, 4, 5)]]]]
    result = twin.run_group(twin.Hardware(4, 4, 32, 0, 50, 5), weights, pixels)
    assert (result.cycles, result.operations, result.blocked, result.pairs) == (2, 1, 1, 2)
    assert result.sums == {(0, 0, 0): 6, (0, 0, 4): 10}


def test_a_counter_holds_what_may_wait() -> None:
    """A bank's counter has 7 bits: 64 products at once beside 62 that wait."""
    with pytest.raises(ValueError, match="62"):
        Accumulators(banks=32, entries=32, bits=24, queue=63, copies=2)
