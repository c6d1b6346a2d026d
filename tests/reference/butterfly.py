"""The butterfly networks gate by gate: 2x2 switches, full adders, rotators, on lists of bits.

Source: Hilewitz & Lee, "Fast Bit Compression and Expansion with Parallel Extract and Parallel Deposit
Instructions", ASAP 2006. Lane 0 is the rightmost bit of a word written down; numbers are lists of bits, least
significant first.
"""

from __future__ import annotations

from collections.abc import Sequence


def full_adder(a: int, b: int, carry: int) -> tuple[int, int]:
    half = a ^ b
    return half ^ carry, (a & b) | (half & carry)


def ripple_carry_add(left: list[int], right: list[int]) -> list[int]:
    """Add two numbers of the same width; the sum is one bit wider."""
    total, carry = [], 0
    for a, b in zip(left, right, strict=True):
        bit, carry = full_adder(a, b, carry)
        total.append(bit)
    return [*total, carry]


def prefix_counts(mask: Sequence[int]) -> list[list[int]]:
    """Count the ones up to and including each lane with a divide-and-conquer (Sklansky) tree of adders.

    At each level blocks of two halves are joined: the count at the end of the lower half is added to
    every count of the upper half.
    """
    counts = [[bit] for bit in mask]
    half = 1
    while half < len(mask):
        for first in range(0, len(mask), 2 * half):
            lower_total = counts[first + half - 1]
            for lane in range(first, first + half):
                counts[lane] = [*counts[lane], 0]
            for lane in range(first + half, first + 2 * half):
                counts[lane] = ripple_carry_add(counts[lane], lower_total)
        half *= 2
    return counts


def rotate_left_complement(ones: int, amount: list[int]) -> list[int]:
    """Rotate a register of that many ones left by `amount`; each bit that wraps around is inverted.

    A barrel rotator: bit b of the amount steers a stage that rotates by 2^b.
    """
    register = [1] * ones
    for bit, steer in enumerate(amount):
        if steer:
            step = 1 << bit
            wrapped, kept = register[ones - step :], register[: ones - step]
            register = [1 - wire for wire in wrapped] + kept
    return register


def controls(mask: Sequence[int]) -> list[list[int]]:
    """Switch settings for a mask, stage by stage (d = 1, 2, …, n/2), block by block; 1 = swap."""
    counts = prefix_counts(mask)
    stages = []
    d, amount_bits = 1, 1
    while d < len(mask):
        stage = []
        for first in range(0, len(mask), 2 * d):
            below_the_middle = counts[first + d - 1]
            stage += rotate_left_complement(d, below_the_middle[:amount_bits])
        stages.append(stage)
        d, amount_bits = 2 * d, amount_bits + 1
    return stages


def switch(upper: int, lower: int, swap: int) -> tuple[int, int]:
    """One 2x2 switch: two 2:1 multiplexers that share their control."""
    return (lower, upper) if swap else (upper, lower)


def pass_stage(word: list[int], d: int, stage: list[int]) -> list[int]:
    """One stage of switches, each joining two lanes that lie d apart."""
    out = list(word)
    settings = iter(stage)
    for first in range(0, len(word), 2 * d):
        for lane in range(first, first + d):
            out[lane], out[lane + d] = switch(word[lane], word[lane + d], next(settings))
    return out


def gather(payload: Sequence[int], mask: Sequence[int]) -> list[int]:
    """Concentrate: inverse butterfly, d = 1, 2, …, n/2; lanes that are not selected enter as 0."""
    word = [value if bit else 0 for value, bit in zip(payload, mask, strict=True)]
    for depth, stage in enumerate(controls(mask)):
        word = pass_stage(word, 1 << depth, stage)
    return word


def scatter(payload: Sequence[int], mask: Sequence[int]) -> list[int]:
    """Dilute: butterfly, d = n/2, …, 2, 1, same settings; lanes that are not selected leave as 0."""
    word = list(payload)
    for depth, stage in reversed(list(enumerate(controls(mask)))):
        word = pass_stage(word, 1 << depth, stage)
    return [value if bit else 0 for value, bit in zip(word, mask, strict=True)]


def select(payload: Sequence[int], mask: Sequence[int]) -> list[int]:
    """What `gather` must give: the selected values in order, then zeros."""
    chosen = [value for value, bit in zip(payload, mask, strict=True) if bit]
    return chosen + [0] * (len(mask) - len(chosen))


def spread(payload: Sequence[int], mask: Sequence[int]) -> list[int]:
    """What `scatter` must give: the first values in order at the selected lanes, zeros elsewhere."""
    packed = iter(payload)
    return [next(packed) if bit else 0 for bit in mask]
