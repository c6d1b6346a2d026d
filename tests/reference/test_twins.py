"""The slow models themselves: worked examples by hand, plain definitions, equations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import butterfly
from tests.reference.channel_accumulation import CAResult, accumulate
from tests.reference.pe_array import play_row, recurrence

SEVEN = [(1, 0), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (1, 3)]


def bits(text: str) -> list[int]:
    return [int(bit) for bit in text.replace(" ", "")]


# Butterfly networks


def test_the_published_example_is_scattered() -> None:
    """Abcdefgh under 10101101 is d0e0fg0h; lane 0 is written rightmost."""
    payload, mask = [ord(letter) for letter in "abcdefgh"[::-1]], bits("10101101"[::-1])
    diluted = butterfly.scatter(payload, mask)
    assert "".join(chr(value) if value else "0" for value in diluted[::-1]) == "d0e0fg0h"


def test_rotation_inverts_what_wraps_around() -> None:
    registers = [butterfly.rotate_left_complement(4, bits(f"{amount:03b}"[::-1])) for amount in range(8)]
    expected = ["1111", "1110", "1100", "1000", "0000", "0001", "0011", "0111"]
    assert registers == [bits(text[::-1]) for text in expected]


@pytest.mark.parametrize("n", [2, 4, 8])
def test_networks_select_and_spread_under_every_mask(n: int) -> None:
    payload = list(range(1, n + 1))
    for number in range(1 << n):
        mask = [number >> lane & 1 for lane in range(n)]
        assert butterfly.gather(payload, mask) == butterfly.select(payload, mask)
        assert butterfly.scatter(payload, mask) == butterfly.spread(payload, mask)


@given(st.integers(4, 8).flatmap(lambda power: st.lists(st.integers(0, 1), min_size=1 << power, max_size=1 << power)))
def test_networks_select_and_spread_under_wide_masks(mask: list[int]) -> None:
    payload = list(range(1, len(mask) + 1))
    assert butterfly.gather(payload, mask) == butterfly.select(payload, mask)
    assert butterfly.scatter(payload, mask) == butterfly.spread(payload, mask)


def test_prefix_counts_count() -> None:
    mask = bits("1101 0110 1011 1101")
    numbers = [sum(bit << place for place, bit in enumerate(count)) for count in butterfly.prefix_counts(mask)]
    assert numbers == [sum(mask[: lane + 1]) for lane in range(16)]


# Channel accumulation

ACTIVATION_MAP = bits("1101 0110 1011 1101 0111 1001 1111 0101")
COEFFICIENT_MAP = bits("0100 0010 1000 0001 0000 1000 0110 0100")


def worked_example(adders: int, look_ahead: int, ideal: bool = False) -> CAResult:
    activations = [present * (channel + 1) for channel, present in enumerate(ACTIVATION_MAP)]
    coefficients = [present * (-1) ** channel for channel, present in enumerate(COEFFICIENT_MAP)]
    offsets = [offset for offset in SEVEN if offset[0] <= look_ahead]
    result = accumulate(coefficients, activations, adders, look_ahead, offsets, network=32, ideal=ideal)
    assert result.total == sum(a * c for a, c in zip(activations, coefficients, strict=True))
    assert result.pairs == 8
    assert len(result.issued) == result.cycles
    return result


def test_worked_example_issues_lane_by_lane() -> None:
    assert worked_example(adders=4, look_ahead=2).issued == [
        {0: (1, 0), 1: (0, 1), 2: (2, 2)},
        {1: (1, 1), 2: (3, 2)},
        {0: (5, 0), 1: (4, 1), 2: (4, 2)},
    ]


def test_worked_example_without_a_window_goes_row_by_row() -> None:
    codes = ["0100", "1100", "0010", "0010", "0110", "1000"]
    by_row = [{lane: (row, lane) for lane in range(4) if codes[row][lane] == "1"} for row in range(6)]
    assert worked_example(adders=4, look_ahead=0).issued == by_row


@pytest.mark.parametrize(("adders", "look_ahead", "cycles"), [(4, 0, 6), (4, 1, 3), (4, 2, 3), (8, 0, 3), (8, 2, 2)])
def test_worked_example_cycles(adders: int, look_ahead: int, cycles: int) -> None:
    assert worked_example(adders, look_ahead).cycles == cycles


def test_worked_example_concentrated_ideally() -> None:
    assert worked_example(adders=4, look_ahead=0, ideal=True).issued == [
        {0: (0, 1), 1: (1, 0), 2: (1, 1), 3: (2, 2)},
        {0: (3, 2), 1: (4, 1), 2: (4, 2), 3: (5, 0)},
    ]


@pytest.mark.parametrize("ideal", [False, True])
def test_a_unit_takes_at_least_one_cycle(ideal: bool) -> None:
    assert accumulate([0, 1, 0], [5, 0, 7], 4, 2, SEVEN, ideal=ideal) == CAResult(1, 0, [{}], 0)
    assert accumulate([1, 1, 1], [0, 0, 0], 4, 2, SEVEN, ideal=ideal) == CAResult(1, 0, [{}], 0)


def test_at_most_h_empty_rows_are_passed() -> None:
    """Codes in rows 0 and 5 of 6: after row 0 rows 1 and 2 are passed, after row 3 row 4."""
    coefficients = [1, 0, 0, 0, 0, 1]
    result = accumulate(coefficients, [1] * 6, 1, 2, [])
    assert result.issued == [{0: (0, 0)}, {}, {0: (5, 0)}]
    assert accumulate(coefficients, [1] * 6, 1, 2, [(1, 0), (2, 0)]).issued == [{0: (0, 0)}, {0: (5, 0)}]


def test_what_is_not_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="reaches 1 to 1 rows"):
        accumulate([1], [1], 4, 1, SEVEN)
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        accumulate([2], [1], 4, 2, SEVEN)
    with pytest.raises(ValueError, match="2 coefficients for 1"):
        accumulate([1, 1], [1], 4, 2, SEVEN)


@st.composite
def pixels(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    channels = draw(st.integers(1, 80))
    coefficients = draw(st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=channels, max_size=channels))
    activations = draw(st.lists(st.one_of(st.just(0), st.integers(-128, 127)), min_size=channels, max_size=channels))
    return coefficients, activations


@given(pixels(), st.sampled_from([1, 2, 4, 5, 8, 16]), st.integers(0, 2), st.sampled_from([16, 64]))
def test_every_pair_is_issued_once_and_the_total_is_the_dot_product(
    pixel: tuple[list[int], list[int]], adders: int, look_ahead: int, network: int
) -> None:
    coefficients, activations = pixel
    offsets = [offset for offset in SEVEN if offset[0] <= look_ahead]
    result = accumulate(coefficients, activations, adders, look_ahead, offsets, network)
    ideal = accumulate(coefficients, activations, adders, look_ahead, offsets, network, ideal=True)
    kept = [c for c, a in zip(coefficients, activations, strict=True) if a]
    expected = {divmod(j, adders) for j, coefficient in enumerate(kept) if coefficient}
    for unit in (result, ideal):
        issued = [source for cycle in unit.issued for source in cycle.values()]
        assert len(issued) == len(set(issued)) == unit.pairs
        assert set(issued) == expected
        assert unit.total == sum(c * a for c, a in zip(coefficients, activations, strict=True))
        assert len(unit.issued) == unit.cycles
    assert ideal.cycles == max(1, -(-ideal.pairs // adders)) <= result.cycles <= max(1, -(-len(kept) // adders))


# PE array


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[list[list[int]]], list[int]]:
    pixels = draw(st.integers(0, 8))
    units = []
    for _ in range(draw(st.integers(1, 4))):
        results = draw(st.integers(0, 3))
        cycles = st.lists(st.integers(1, 7), min_size=results, max_size=results)
        units.append(draw(st.lists(cycles, min_size=pixels, max_size=pixels)))
    return units, draw(st.lists(st.integers(1, 5), min_size=pixels, max_size=pixels))


@settings(max_examples=2000, deadline=None)
@given(rows(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 6))
def test_stepping_agrees_with_the_recurrence_and_every_cycle_has_one_state(
    row: tuple[list[list[list[int]]], list[int]], input_queue: int, result_queue: int, mac_cycles: int
) -> None:
    units, words = row
    stepped = play_row(units, words, input_queue, result_queue, mac_cycles)
    solved = recurrence(units, words, input_queue, result_queue, mac_cycles)
    assert (stepped.total, stepped.arrive) == (solved.total, solved.arrive)
    assert (stepped.finish, stepped.mac_finish) == (solved.finish, solved.mac_finish)

    for ca, states in enumerate(stepped.accumulation):
        assert states["busy"] == sum(map(sum, units[ca]))
        assert states.total() == stepped.total
    for ca, states in enumerate(stepped.mac_rows):
        assert states["busy"] == mac_cycles * sum(map(len, units[ca]))
        assert states.total() == (stepped.total if mac_cycles else 0)
    assert stepped.broadcaster["busy"] == (sum(words) if stepped.total else 0)
    assert stepped.broadcaster.total() == stepped.total


def test_a_row_counted_by_hand_without_mac_rows() -> None:
    """Two CAs, queues of one pixel, two cycles per broadcast; the first CA is slow, the third has no work.

    Pixels arrive at 2, 4 and, when CA 0 starts pixel 1, at 7. CA 0 computes 2–7, 7–8, 8–9; CA 1 computes
    2–3, 4–5, 7–8.
    """
    result = play_row([[[5], [1], [1]], [[1], [1], [1]], [[], [], []]], [2, 2, 2], 1, 1, 0)
    assert result.total == 9
    assert result.arrive == [2, 4, 7]
    assert result.finish == [[7, 8, 9], [3, 5, 8], []]
    assert result.accumulation == [
        Counter(fill_drain=2, busy=7),
        Counter(fill_drain=2, busy=3, starved=2, imbalance=2),
        Counter(imbalance=9),
    ]
    assert result.broadcaster == Counter(busy=6, blocked=1, fill_drain=2)
    assert result.mac_rows == [Counter()] * 3


def test_a_row_counted_by_hand_with_mac_rows() -> None:
    """One T per pixel at CA 0, two at CA 1, MAC rows of three cycles behind queues of one T.

    Pixels arrive at 1 and 2. CA 0 computes 1–2 and 2–6, its MAC row 2–5 and 6–9.
    CA 1 ends its T's at 2, 3, 4 and 6; the third waits until the MAC row starts the second at 5, the fourth,
    computed 5–6, until it starts the third at 8. Its MAC row works 2–5, 5–8, 8–11, 11–14.
    """
    result = play_row([[[1], [4]], [[1, 1], [1, 1]], [[], []]], [1, 1], 2, 1, 3)
    assert result.total == 14
    assert result.arrive == [1, 2]
    assert result.finish == [[2, 6], [3, 8], []]
    assert result.mac_finish == [9, 14, 0]
    assert result.accumulation == [
        Counter(fill_drain=1 + 6, busy=5, imbalance=2),
        Counter(fill_drain=1 + 6, busy=4, blocked=1 + 2),
        Counter(imbalance=14),
    ]
    assert result.mac_rows == [
        Counter(fill_drain=2, busy=6, starved=1, imbalance=5),
        Counter(fill_drain=2, busy=12),
        Counter(imbalance=14),
    ]
    assert result.broadcaster == Counter(busy=2, fill_drain=12)


def test_a_row_without_work_takes_no_time() -> None:
    assert play_row([[[], []]], [3, 3], 2, 2, 4).total == 0


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        play_row([[[1]]], [1], 0, 1, 1)
