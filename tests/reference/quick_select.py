"""Quick-select as a list of what is left, pass by pass: the pivot is the middle one."""

from __future__ import annotations

from collections.abc import Sequence


def largest(numbers: Sequence[float], k: int, comparators: int, latency: int) -> tuple[float, int, int]:
    """Return the k-th largest, the cycles and the comparisons: each pass is played, comparators at a time."""
    left, cycles, compared = list(numbers), 0, 0
    while True:
        pivot = left[len(left) // 2]
        above: list[float] = []
        below: list[float] = []
        equal = 0
        for first in range(0, len(left), comparators):
            for number in left[first : first + comparators]:
                compared += 1
                if number > pivot:
                    above.append(number)
                elif number < pivot:
                    below.append(number)
                else:
                    equal += 1
            cycles += 1
        cycles += latency
        if len(above) >= k:
            left = above
        elif len(above) + equal >= k:
            return pivot, cycles, compared
        else:
            k -= len(above) + equal
            left = below
