"""The slow models themselves: worked examples by hand, plain definitions, equations."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import attention_lane, butterfly, detector, rmmu
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


# A lane's attention pipeline

NOTHING = dict.fromkeys(("detect_rows", "detect_filter", "filter", "schedule", "softmax"), 0) | dict.fromkeys(
    (f"{step}_{unit}" for step in ("scores", "context") for unit in ("rows", "sram", "link")), 0
)


def test_two_groups_through_a_lane_cycle_by_cycle() -> None:
    """Of group A and B in turn, after preparation 0–2, in which the rows work one cycle and the link both.

    detect 2–4, 4–5; filter 4–5, 5–7; schedule 5–6, 7–10; Q·Kᵀ 6–9, 10–12; softmax 9–11, 12–13; A·V 12–14, 14–15:
    that of A could begin at 11, but it is the turn of Q·Kᵀ of B. By cycle (b busy, s starved, - fills or drains):

        cycle           0 1 2 3 4 5 6 7 8 9 0 1 2 3 4
        detection rows  b s b b b - - - - - - - - - -
        attention rows  - - - - - - b b b s b s b b b
        filter          - - - - b b b - - - - - - - -
        scheduler       - - - - - b s b b b - - - - -
        MFU             - - - - - - - - - b b s b - -
        SRAM            - - - - - - b s s s b b b s b
        link            b b s s s s b b s s s s s s b
    """
    a = {"detect_rows": 2, "filter": 1, "schedule": 1, "scores_rows": 3, "scores_sram": 1, "scores_link": 2}
    a |= {"softmax": 2, "context_rows": 2, "context_sram": 1}
    b = {"detect_rows": 1, "filter": 2, "schedule": 3, "scores_rows": 1, "scores_sram": 2, "softmax": 1}
    b |= {"context_rows": 1, "context_sram": 1, "context_link": 1}
    made = attention_lane.run([NOTHING | a, NOTHING | b], (1, 2), phased=False)
    assert made.total == 15
    assert made.spent == {
        "detection_rows": Counter(busy=4, starved=1, fill_drain=10),
        "attention_rows": Counter(busy=7, starved=2, fill_drain=6),
        "filter": Counter(busy=3, fill_drain=12),
        "scheduler": Counter(busy=4, starved=1, fill_drain=10),
        "mfu": Counter(busy=3, starved=1, fill_drain=11),
        "lane_sram": Counter(busy=5, starved=4, fill_drain=6),
        "link": Counter(busy=5, starved=10),
    }


def test_a_slow_scheduler_blocks_what_is_before_it() -> None:
    """Five groups of one cycle each in detection and filter, and four in the scheduler, which works 2–22.

    Group 2 may be filtered when the scheduler has finished group 0 at 6, group 3 at 10, group 4 at 14: the filter
    works 1–3, 6–7, 10–11, 14–15. Group 4 may be detected when group 2 is filtered, at 7: the rows work 0–4, 7–8.
    Phased, all that is detected and filtered is stored: they work 0–5 and 1–6.
    """
    work = [NOTHING | {"detect_rows": 1, "filter": 1, "schedule": 4}] * 5
    made = attention_lane.run(work, (0, 0), phased=False)
    assert made.total == 22
    assert made.spent["detection_rows"] == Counter(busy=5, blocked=3, fill_drain=14)
    assert made.spent["filter"] == Counter(busy=5, blocked=9, fill_drain=1 + 7)
    assert made.spent["scheduler"] == Counter(busy=20, fill_drain=2)
    phased = attention_lane.run(work, (0, 0), phased=True)
    assert phased.total == 22
    assert phased.spent["attention_rows"] == Counter(busy=5, fill_drain=17)
    assert phased.spent["detection_rows"] == Counter(fill_drain=22)
    assert phased.spent["filter"] == Counter(busy=5, fill_drain=17)
    assert phased.spent["scheduler"] == Counter(busy=20, fill_drain=2)


@pytest.mark.parametrize(
    ("ahead", "order"),
    [(0, "Q0 A0 Q1 A1 Q2 A2"), (1, "Q0 Q1 A0 Q2 A1 A2"), (2, "Q0 Q1 Q2 A0 A1 A2")],
)
def test_turns_of_the_rows_that_attend(ahead: int, order: str) -> None:
    names = ["scores" if turn[0] == "Q" else "context" for turn in order.split()]
    assert attention_lane.turns(3, ahead) == names


def test_comparators_have_one_place_in_the_pipeline() -> None:
    with pytest.raises(ValueError, match="comparators"):
        attention_lane.run([NOTHING | {"filter": 1, "detect_filter": 1}], (0, 0), phased=False)


def test_a_lane_without_groups_prepares() -> None:
    assert attention_lane.run([], (3, 2), phased=False).total == 3
    assert attention_lane.run([], (0, 0), phased=True).total == 0


# Rows of PEs


def test_a_block_counted_by_hand() -> None:
    """Two tokens of three values pass two rows of two PEs: values 0 and 1 in cycles 0 and 1, value 2 in 2 and 3.

    A product takes a cycle, one level of the tree another; then it is added to what was there. So the sums are
    there at 3 for token 0, first step, … 6 for token 1, second step.
    """
    made = rmmu.block([[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [1, 0, -1]], width=2)
    assert made.sums == [[6, -2], [15, -2]]
    assert (made.working, made.total) == (4, 6)


def test_a_tree_of_sixteen_has_four_levels() -> None:
    made = rmmu.block([[1] * 16], [[2] * 16], width=16)
    assert (made.sums, made.working, made.total) == ([[32]], 1, 1 + 5)


def test_no_tokens_take_no_time() -> None:
    assert rmmu.block([], [[1, 2]], width=16) == rmmu.BlockResult([], 0, 0)


# Detector


@pytest.mark.parametrize(
    ("number", "shift", "rescaled"),
    [(5, 1, 2), (7, 1, 4), (6, 2, 2), (10, 2, 2), (-5, 1, -2), (-7, 1, -4), (-3, 2, -1), (9, 0, 7), (-99, 3, -8)],
)
def test_halves_go_to_even_numbers(number: int, shift: int, rescaled: int) -> None:
    """2.5 → 2, 3.5 → 4, 1.5 → 2, 2.5 → 2, and the same below zero; −0.75 → −1; four bits hold −8 … 7."""
    assert detector.rescale(number, shift, 4) == rescaled


def test_filters_by_hand() -> None:
    scores = [[4, 9, 9, -1], [0, 0, 0, 0], [1, 2, 3, 3]]
    assert detector.top_k(scores, [4, 4, 3], [2, 3, 1]) == [{1, 2}, {0, 1, 2}, {2}]
    assert detector.top_k(scores, [4, 4, 4], [1, 1, 1]) == [{1}, {0}, {2}]
    assert detector.threshold(scores, [4, 4, 3], 4) == [{0, 1, 2}, {0}, {2}]
    assert detector.threshold(scores, [1, 4, 4], 3) == [{0}, {0}, {2, 3}]


def test_rounded_numbers_of_keys() -> None:
    """A half is kept, and of a row at least one key."""
    assert detector.how_many([1, 2, 3, 4, 5], 0.5) == [1, 1, 2, 2, 3]
    assert detector.how_many([1, 2, 30], 0.1) == [1, 1, 3]
