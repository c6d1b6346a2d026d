"""A³'s greedy search for one query, with all products of a column in a sorted list and the queues as lists."""

from __future__ import annotations

from collections.abc import Sequence


def search(
    query: Sequence[float], keys: Sequence[Sequence[float]], allowed: Sequence[bool], iterations: int
) -> set[int]:
    """Return the candidates."""
    columns = []
    for column, factor in enumerate(query):
        rising = sorted(range(len(keys)), key=lambda key, column=column: keys[key][column])
        falling = [key for key in (rising[::-1] if factor >= 0 else rising) if allowed[key]]
        columns.append([(factor * keys[key][column], key) for key in falling])
    greedy = dict.fromkeys((key for key, free in enumerate(allowed) if free), 0.0)
    largest, smallest = [list(column) for column in columns], [list(column[::-1]) for column in columns]
    added = 0.0
    for _ in range(iterations):
        heads = [(queue[0][0], -column) for column, queue in enumerate(largest) if queue]
        if heads:
            product, key = largest[-max(heads)[1]].pop(0)
            if product > 0:
                greedy[key] += product
                added += product
        if added < 0:
            continue
        heads = [(queue[0][0], column) for column, queue in enumerate(smallest) if queue]
        if heads:
            product, key = smallest[min(heads)[1]].pop(0)
            if product < 0:
                greedy[key] += product
                added += product
    found = {key for key, score in greedy.items() if score > 0}
    return found or {max(greedy, key=lambda key: (greedy[key], -key))}
