"""A lane's attention pipeline, every unit stepped every cycle.

prepare → detect → filter → schedule → Q·Kᵀ (scores) → softmax → A·V (context)

A step has one group at a time and lasts until all units that work on it in this step have done their part. Between two
steps are two buffers: a step takes one when it begins a group, and the step after gives it back when it has finished
that group. Q·Kᵀ and A·V take turns on the rows that attend: Q·Kᵀ of group 0, of 1, A·V of 0, Q·Kᵀ of 2, A·V of 1 …
Phased, the rows prepare and detect all groups before the first of these turns, and what is detected and filtered is
stored: no limit of buffers before the scheduler.

What a unit does in a cycle: *busy*, it works; *starved*, it has done its part of a step in which another unit has not;
or it waits for its next work. Why, is known when the wait ends: *fill_drain* before its first work and after its last;
*blocked* if all else was there before room for the result; *starved* if not.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNITS = ("detection_rows", "attention_rows", "filter", "scheduler", "mfu", "lane_sram", "link")
NO_LIMIT = 1 << 60


@dataclass
class Unit:
    spent: Counter[str] = field(default_factory=Counter)
    waited: int = 0
    has_worked: bool = False
    engaged: bool = False
    left: int = 0

    def engage(self, cycles: int, wait: str) -> None:
        if self.engaged:
            raise ValueError("a unit works for one step at a time")
        self.spent[wait if self.has_worked else "fill_drain"] += self.waited
        self.waited = 0
        self.has_worked = self.engaged = True
        self.left = cycles

    def tick(self) -> None:
        if not self.engaged:
            self.waited += 1
        elif self.left:
            self.spent["busy"] += 1
            self.left -= 1
        else:
            self.spent["starved"] += 1


@dataclass
class Buffers:
    """Between two steps: how many are taken (being filled, full, or being read), and since when those are full."""

    count: int
    taken: int = 0
    full_since: deque[int] = field(default_factory=deque)
    room_since: int = 0

    def give_back(self, now: int) -> None:
        if self.taken == self.count:
            self.room_since = now
        self.taken -= 1


@dataclass
class Rows:
    """The rows that attend: whose turn it is, and since when they are free."""

    turns: deque[str]
    free: bool = True
    free_since: int = 0


@dataclass
class Step:
    name: str
    jobs: deque[dict[str, int]]
    source: Buffers
    target: Buffers
    rows: Rows | None = None
    hands_on: int = 1
    working: Mapping[str, int] | None = None
    free_since: int = 0

    def settle(self, units: Mapping[str, Unit], now: int) -> bool:
        """Do what can be done at this instant; tell whether anything happened."""
        if self.working is not None:
            if any(units[name].left for name in self.working):
                return False
            self._end(units, now)
            return True
        if not self.jobs or not self.source.full_since or self.target.taken == self.target.count:
            return False
        if self.rows and not (self.rows.free and self.rows.turns[0] == self.name):
            return False
        self._begin(units)
        return True

    def _begin(self, units: Mapping[str, Unit]) -> None:
        others = [self.source.full_since.popleft(), self.free_since]
        if self.rows:
            others.append(self.rows.free_since)
            self.rows.turns.popleft()
            self.rows.free = False
        wait = "blocked" if self.target.room_since > max(others) else "starved"
        self.target.taken += 1
        self.working = {name: cycles for name, cycles in self.jobs.popleft().items() if cycles}
        for name, cycles in self.working.items():
            units[name].engage(cycles, wait)

    def _end(self, units: Mapping[str, Unit], now: int) -> None:
        assert self.working is not None
        for name in self.working:
            units[name].engaged = False
        self.working = None
        self.free_since = now
        if self.rows:
            self.rows.free, self.rows.free_since = True, now
        self.source.give_back(now)
        self.target.full_since.extend([now] * self.hands_on)


@dataclass(frozen=True)
class LaneResult:
    total: int
    spent: dict[str, Counter[str]]
    """Cycles of each unit by what it did; each sums to `total`."""
    phases: Counter[str]
    """Cycles in which the lane prepares or detects, in which it multiplies or weighs connections, and does both."""


def turns(groups: int, ahead: int) -> list[str]:
    """Q·Kᵀ of group g + ahead, then A·V of group g."""
    order = []
    for g in range(groups + ahead):
        order += ["scores"] * (g < groups) + ["context"] * (g >= ahead)
    return order


def run(
    work: Sequence[Mapping[str, int]], before: tuple[int, int], phased: bool, buffers: int = 2, ahead: int = 1
) -> LaneResult:
    """Step a lane until all groups have left it.

    work: of each group the cycles of each unit in each step, by the names of a row of ``WORK``; before: cycles in
    which the rows that detect, and the link, prepare. Change ``buffers`` or ``ahead`` to get a lane slightly off.
    """
    if any(group["detect_filter"] for group in work) and any(group["filter"] for group in work):
        raise ValueError("the comparators work as scores come, or afterwards")
    groups = len(work)
    detecting = "attention_rows" if phased else "detection_rows"
    attending = Rows(deque(["prepare"] + ["detect"] * groups if phased else []))
    attending.turns += turns(groups, ahead)
    between = [Buffers(count) for count in [1, NO_LIMIT, *[NO_LIMIT if phased else buffers] * 2, *[buffers] * 3]]
    between[0].taken, between[0].full_since = 1, deque([0])
    between[1].taken = groups - 1  # the one job of preparation takes the last of them
    between.append(Buffers(NO_LIMIT))
    units = {name: Unit() for name in UNITS}
    jobs = {
        "prepare": [{detecting: before[0], "link": before[1]}],
        "detect": [{detecting: group["detect_rows"], "filter": group["detect_filter"]} for group in work],
        "filter": [{"filter": group["filter"]} for group in work],
        "schedule": [{"scheduler": group["schedule"]} for group in work],
        "scores": [_product(group, "scores") for group in work],
        "softmax": [{"mfu": group["softmax"]} for group in work],
        "context": [_product(group, "context") for group in work],
    }
    on_rows = {"scores", "context"} | ({"prepare", "detect"} if phased else set())
    steps = [
        Step(name, deque(todo), between[i], between[i + 1], attending if name in on_rows else None)
        for i, (name, todo) in enumerate(jobs.items())
    ]
    steps[0].hands_on = groups

    now, phases = 0, Counter[str]()
    while True:
        while any(step.settle(units, now) for step in steps):
            pass
        if not any(step.jobs or step.working is not None for step in steps):
            break
        if not any(step.working is not None for step in steps):
            raise ValueError("nothing works, and something is left to do")
        going_on = {step.name for step in steps if step.working is not None}
        detection, attention = going_on & {"prepare", "detect"}, going_on & {"scores", "softmax", "context"}
        phases.update(detection=bool(detection), attention=bool(attention), both=bool(detection and attention))
        for unit in units.values():
            unit.tick()
        now += 1
    for unit in units.values():
        unit.spent["fill_drain"] += unit.waited
    return LaneResult(now, {name: unit.spent for name, unit in units.items()}, phases)


def _product(group: Mapping[str, int], step: str) -> dict[str, int]:
    return {
        "attention_rows": group[f"{step}_rows"],
        "lane_sram": group[f"{step}_sram"],
        "link": group[f"{step}_link"],
    }
