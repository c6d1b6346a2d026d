"""The channel-accumulation unit for one (k, m, pixel), step by step, through the gate-level networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.reference import butterfly


@dataclass(frozen=True)
class CAResult:
    """What one unit did; `issued` holds, cycle by cycle, {lane: (row, lane in that row)}."""

    cycles: int
    total: int
    issued: list[dict[int, tuple[int, int]]]
    pairs: int


@dataclass(frozen=True)
class Code:
    """What arrives beside a packed activation: is there a coefficient, and is it negative."""

    present: int
    negative: int


def pack(values: Sequence[int]) -> tuple[list[int], list[int]]:
    """The stored form of a word: its SparseMap and its non-zero values in order."""
    return [int(value != 0) for value in values], [value for value in values if value != 0]


def match_word(coefficients: Sequence[int], activations: Sequence[int]) -> tuple[list[Code], list[int]]:
    """Dilute the signs, concentrate the codes; returns one code for each packed activation, and these."""
    coefficient_map, packed_coefficients = pack(coefficients)
    activation_map, packed_activations = pack(activations)
    signs = [int(value < 0) for value in packed_coefficients]
    signs += [0] * (len(coefficient_map) - len(signs))
    diluted = butterfly.scatter(signs, coefficient_map)
    present = butterfly.gather(coefficient_map, activation_map)
    negative = butterfly.gather(diluted, activation_map)
    codes = [Code(present[j], negative[j]) for j in range(len(packed_activations))]
    return codes, packed_activations


def match_pixel(coefficients: Sequence[int], activations: Sequence[int], network: int) -> tuple[list[Code], list[int]]:
    """Match word after word; the packed activations follow one another without gaps."""
    codes: list[Code] = []
    packed: list[int] = []
    for first in range(0, len(activations), network):
        coefficient_word = list(coefficients[first : first + network])
        activation_word = list(activations[first : first + network])
        padding = [0] * (network - len(activation_word))
        word_codes, word_packed = match_word(coefficient_word + padding, activation_word + padding)
        codes += word_codes
        packed += word_packed
    return codes, packed


def window_schedule(
    rows: list[list[int]], adders: int, look_ahead: int, offsets: Sequence[tuple[int, int]]
) -> list[dict[int, tuple[int, int]]]:
    """Issue the codes of the rows (1 = present) cycle by cycle through the look-ahead, look-aside window."""
    waiting = [list(row) for row in rows]
    issued: list[dict[int, tuple[int, int]]] = []
    row = 0
    while row < len(waiting):
        cycle: dict[int, tuple[int, int]] = {}
        for lane in range(adders):
            if waiting[row][lane]:
                waiting[row][lane] = 0
                cycle[lane] = (row, lane)
        for ahead, aside in offsets:
            if row + ahead >= len(waiting):
                continue
            for lane in range(adders):
                source = (lane + aside) % adders
                if lane not in cycle and waiting[row + ahead][source]:
                    waiting[row + ahead][source] = 0
                    cycle[lane] = (row + ahead, source)
        issued.append(cycle)
        row += 1
        skipped = 0
        while skipped < look_ahead and row < len(waiting) and not any(waiting[row]):
            row += 1
            skipped += 1
    return issued


def dense_schedule(rows: list[list[int]], adders: int) -> list[dict[int, tuple[int, int]]]:
    """Issue the present codes packed densely, in order."""
    present = [(row, lane) for row, codes in enumerate(rows) for lane, code in enumerate(codes) if code]
    return [dict(enumerate(present[first : first + adders])) for first in range(0, len(present), adders)]


def accumulate(
    coefficients: Sequence[int],
    activations: Sequence[int],
    adders: int,
    look_ahead: int,
    offsets: Sequence[tuple[int, int]],
    network: int = 64,
    ideal: bool = False,
) -> CAResult:
    """Compute one T[k, m, y, x] from the C coefficients (-1, 0, 1) and the C activations of the pixel.

    Offsets are (rows ahead, lanes aside); each must lie in the window, 1 ≤ ahead ≤ look_ahead.
    """
    if len(coefficients) != len(activations):
        raise ValueError(f"{len(coefficients)} coefficients for {len(activations)} activations")
    if any(value not in (-1, 0, 1) for value in coefficients):
        raise ValueError("a coefficient is -1, 0 or 1")
    if any(not 1 <= ahead <= look_ahead for ahead, _ in offsets):
        raise ValueError(f"an offset reaches 1 to {look_ahead} rows ahead: {list(offsets)}")

    codes, packed = match_pixel(coefficients, activations, network)
    padding = -len(codes) % adders
    codes = codes + [Code(0, 0)] * padding
    packed = packed + [0] * padding
    rows = [[code.present for code in codes[first : first + adders]] for first in range(0, len(codes), adders)]

    issued = dense_schedule(rows, adders) if ideal else window_schedule(rows, adders, look_ahead, offsets)
    issued = issued or [{}]

    total = 0
    for cycle in issued:
        for row, lane in cycle.values():
            position = row * adders + lane
            total += -packed[position] if codes[position].negative else packed[position]
    return CAResult(len(issued), total, issued, sum(code.present for code in codes))
