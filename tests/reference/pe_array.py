"""One row of pixels through the PE array, every unit stepped every cycle.

broadcaster → input queue of each CA (p pixels) → CA → T queue (q results) → MAC row

`play_row` moves tokens through deques cycle by cycle and books the state of every unit in every cycle;
`recurrence` evaluates the finishing times from their equations. The two share nothing but the input.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class RowResult:
    """Times in cycles from the start of the row; states in cycles, each unit's summing to `total`.

    finish[ca][i]: the last T of pixel i has entered the T queue (empty for a CA without work);
    mac_finish[ca]: the MAC row has ended its last T (0 without MAC rows or without work).
    """

    total: int
    arrive: list[int]
    finish: list[list[int]]
    mac_finish: list[int]
    accumulation: list[Counter[str]]
    mac_rows: list[Counter[str]]
    broadcaster: Counter[str]


@dataclass
class MacRow:
    cycles: int
    results: int
    capacity: int
    queue: deque[int] = field(default_factory=deque)
    remaining: int = 0
    working: bool = False
    started: int = 0
    ended: int = 0
    last_end: int = 0

    def room(self) -> bool:
        return self.cycles == 0 or len(self.queue) < self.capacity

    def push(self, number: int) -> None:
        if self.cycles:
            self.queue.append(number)

    def settle(self, now: int) -> bool:
        """Do what can be done at this instant; tell whether anything happened."""
        if self.working and self.remaining == 0:
            self.working = False
            self.ended += 1
            self.last_end = now
            return True
        if not self.working and self.queue:
            self.queue.popleft()
            self.working = True
            self.remaining = self.cycles
            self.started += 1
            return True
        return False

    def done(self) -> bool:
        return self.cycles == 0 or self.ended == self.results

    def state(self) -> str:
        if self.working:
            return "busy"
        if self.done():
            return "imbalance"
        return "starved" if self.started else "fill_drain"

    def step(self) -> None:
        if self.working:
            self.remaining -= 1


@dataclass
class Accumulator:
    pixels: list[list[int]]
    capacity: int
    mac: MacRow
    queue: deque[int] = field(default_factory=deque)
    pending: deque[int] = field(default_factory=deque)
    remaining: int = 0
    holding: bool = False
    begun: int = 0
    produced: int = 0
    finish: list[int] = field(default_factory=list)

    def has_work(self) -> bool:
        return any(self.pixels)

    def room(self) -> bool:
        return len(self.queue) < self.capacity

    def settle(self, now: int) -> bool:
        """Do what can be done at this instant; tell whether anything happened."""
        if self.holding:
            if self.remaining == 0 and self.mac.room():
                self.mac.push(self.produced)
                self.produced += 1
                self.holding = False
                if not self.pending:
                    self.finish.append(now)
                return True
            return False
        if self.pending:
            self.remaining = self.pending.popleft()
            self.holding = True
            return True
        if self.queue:
            self.pending.extend(self.pixels[self.queue.popleft()])
            self.begun += 1
            return True
        return False

    def done(self) -> bool:
        return not self.has_work() or len(self.finish) == len(self.pixels)

    def state(self, sending: bool, all_done: bool) -> str:
        if not self.has_work():
            return "imbalance"
        if self.holding:
            return "busy" if self.remaining else "blocked"
        if self.done():
            return "fill_drain" if all_done else "imbalance"
        if not self.begun:
            return "fill_drain"
        return "starved" if sending else "imbalance"

    def step(self) -> None:
        if self.holding and self.remaining:
            self.remaining -= 1


@dataclass
class Broadcaster:
    words: list[int]
    arrive: list[int] = field(default_factory=list)
    remaining: int = 0

    def __post_init__(self) -> None:
        self.remaining = self.words[0] if self.words else 0

    def settle(self, now: int, receivers: list[Accumulator]) -> bool:
        """Hand the pixel over once it is sent and every CA has room; tell whether it was."""
        pixel = len(self.arrive)
        if pixel == len(self.words) or self.remaining or not all(ca.room() for ca in receivers):
            return False
        for ca in receivers:
            ca.queue.append(pixel)
        self.arrive.append(now)
        if pixel + 1 < len(self.words):
            self.remaining = self.words[pixel + 1]
        return True

    def state(self) -> str:
        if len(self.arrive) == len(self.words):
            return "fill_drain"
        return "busy" if self.remaining else "blocked"

    def step(self) -> None:
        if self.remaining:
            self.remaining -= 1


def check(units: list[list[list[int]]], words: list[int], input_queue: int, result_queue: int) -> None:
    if input_queue < 1 or result_queue < 1:
        raise ValueError("a queue has room for at least one")
    if any(count < 1 for count in words):
        raise ValueError("a pixel takes at least one cycle to broadcast")
    for pixels in units:
        if len(pixels) != len(words) or len({len(results) for results in pixels}) > 1:
            raise ValueError("every CA computes the same number of results for each of the pixels")
        if any(cycles < 1 for results in pixels for cycles in results):
            raise ValueError("a result takes at least one cycle")


def play_row(
    units: list[list[list[int]]], words: list[int], input_queue: int, result_queue: int, mac_cycles: int
) -> RowResult:
    """Step the row: units[ca][pixel] are the cycles of each T, words[pixel] those of its broadcast.

    With mac_cycles = 0 the MAC rows are absent: a finished T leaves at once.
    """
    check(units, words, input_queue, result_queue)
    mac_rows = [MacRow(mac_cycles, sum(map(len, pixels)), result_queue) for pixels in units]
    cas = [Accumulator(pixels, input_queue, mac) for pixels, mac in zip(units, mac_rows, strict=True)]
    receivers = [ca for ca in cas if ca.has_work()]
    broadcaster = Broadcaster(words)
    accumulation: list[Counter[str]] = [Counter() for _ in units]
    multiplication: list[Counter[str]] = [Counter() for _ in units]
    broadcast: Counter[str] = Counter()

    now = 0
    while True:
        settling = True
        while settling:
            settling = False
            for mac in mac_rows:
                settling |= mac.settle(now)
            for ca in cas:
                settling |= ca.settle(now)
            settling |= broadcaster.settle(now, receivers)

        all_done = all(ca.done() for ca in cas)
        if all_done and all(mac.done() for mac in mac_rows):
            break
        sending = broadcaster.remaining > 0
        for ca, tally in zip(cas, accumulation, strict=True):
            tally[ca.state(sending, all_done)] += 1
        if mac_cycles:
            for mac, tally in zip(mac_rows, multiplication, strict=True):
                tally[mac.state()] += 1
        broadcast[broadcaster.state()] += 1

        for part in (*mac_rows, *cas, broadcaster):
            part.step()
        now += 1

    return RowResult(
        total=now,
        arrive=broadcaster.arrive,
        finish=[ca.finish if ca.has_work() else [] for ca in cas],
        mac_finish=[mac.last_end for mac in mac_rows],
        accumulation=accumulation,
        mac_rows=multiplication,
        broadcaster=broadcast,
    )


@dataclass(frozen=True)
class Finishes:
    """Finishing times, as in `RowResult`."""

    total: int
    arrive: list[int]
    finish: list[list[int]]
    mac_finish: list[int]


def recurrence(
    units: Sequence[Sequence[Sequence[int]]],
    words: Sequence[int],
    input_queue: int,
    result_queue: int,
    mac_cycles: int,
) -> Finishes:
    """The same row from its equations.

    start[ca, i]  = max(finish[ca, i−1], arrive[i])
    arrive[i]     = max(arrive[i−1] + words[i], max over ca with work of start[ca, i−p])
    enter[ca, j]  = max(begin[ca, j] + cycles[ca, j], mac_start[ca, j−q])
    mac_start[ca, j] = max(enter[ca, j], mac_start[ca, j−1] + mac_cycles)

    with T number j of a CA begun at the start of its pixel or at enter[ca, j−1].
    """
    working = [ca for ca, pixels in enumerate(units) if any(pixels)]
    arrive: list[int] = []
    start: list[list[int]] = [[] for _ in units]
    finish: list[list[int]] = [[] for _ in units]
    mac_start: list[list[int]] = [[] for _ in units]
    for i, sending in enumerate(words):
        accepted = (arrive[i - 1] if i else 0) + sending
        if i >= input_queue:
            accepted = max([accepted, *(start[ca][i - input_queue] for ca in working)])
        arrive.append(accepted)
        for ca in working:
            clock = max(finish[ca][i - 1] if i else 0, accepted)
            start[ca].append(clock)
            for cycles in units[ca][i]:
                clock += cycles
                if mac_cycles:
                    j = len(mac_start[ca])
                    if j >= result_queue:
                        clock = max(clock, mac_start[ca][j - result_queue])
                    row_free = mac_start[ca][j - 1] + mac_cycles if j else 0
                    mac_start[ca].append(max(clock, row_free))
            finish[ca].append(clock)
    mac_finish = [starts[-1] + mac_cycles if starts else 0 for starts in mac_start]
    ends = [times[-1] for times in finish if times]
    if not ends:
        return Finishes(0, [], finish, mac_finish)
    return Finishes(max([*ends, *mac_finish]), arrive, finish, mac_finish)
