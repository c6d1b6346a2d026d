"""One group of queries through a token-parallel scheduler, as the rules are written down.

`wants[q]` are the keys of query q. A schedule is a list of rounds, a round a list of loads, a load one key and the
queries that get it. Out of order looks at all keys for each load.
"""

from __future__ import annotations

from collections.abc import Sequence

Load = tuple[int, list[int]]
Schedule = list[list[Load]]


def row_by_row(wants: Sequence[set[int]]) -> Schedule:
    return [[(key, [query])] for query, keys in enumerate(wants) for key in sorted(keys)]


def in_order(wants: Sequence[set[int]]) -> Schedule:
    queues = [sorted(keys) for keys in wants]
    rounds = []
    while any(queues):
        getting: dict[int, list[int]] = {}
        for query, queue in enumerate(queues):
            if queue:
                getting.setdefault(queue.pop(0), []).append(query)
        rounds.append(sorted(getting.items()))
    return rounds


def out_of_order(wants: Sequence[set[int]], preferences: Sequence[str] = ("alone", "most", "lowest")) -> Schedule:
    """Leave out or turn round some of the `preferences` to get a scheduler that is slightly off."""
    wanters = {key: {query for query, keys in enumerate(wants) if key in keys} for key in set().union(*wants)}
    rounds = []
    while any(wanters.values()):
        unserved = set().union(*wanters.values())
        loads: list[Load] = []
        while any(wanters[key] & unserved for key in wanters):
            considered = [key for key in wanters if wanters[key] & unserved]

            def preference(key: int, unserved: set[int] = unserved) -> list[int]:
                terms = {
                    "alone": wanters[key] <= unserved,
                    "most": len(wanters[key] & unserved),
                    "lowest": -key,
                    "highest": key,
                }
                return [terms[name] for name in preferences]

            key = max(considered, key=preference)
            served = wanters[key] & unserved
            loads.append((key, sorted(served)))
            wanters[key] = wanters[key] - served
            unserved = unserved - served
        rounds.append(loads)
    return rounds


ORDERS = {"row_by_row": row_by_row, "in_order": in_order, "out_of_order": out_of_order}
