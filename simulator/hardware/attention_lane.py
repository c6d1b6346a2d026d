"""A lane's attention pipeline: groups of queries pass detection, filter, scheduler, Q·Kᵀ, softmax and A·V.

Each step has one group at a time. Between two steps are two buffers, one being filled and one being read: a step may
begin a group when the step before has finished it, and when the step after has finished the group before the last.
Q·Kᵀ and A·V share PE rows and alternate: Q·Kᵀ of group g + 1, then A·V of group g.

Detection has PE rows of its own, or (``phased``) shares those of attention: then it handles all groups first, what it
selects is stored, and Q·Kᵀ begins when it has finished.

Inside Q·Kᵀ and A·V the rows, the lane's SRAM and the link work side by side, and the step lasts as long as the slowest;
inside detection do the rows and, where a threshold is compared on the fly, the filter.

Source: Qu et al., "DOTA", ASPLOS 2022 (the steps, the shared unit); buffers and order are assumed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from simulator.hardware.jit import kernel

STEPS: Final = ("detect", "filter", "schedule", "scores", "softmax", "context")
DETECT, FILTER, SCHEDULE, SCORES, SOFTMAX, CONTEXT = range(6)

WORK: Final = (
    "detect_rows", "detect_filter", "filter", "schedule", "scores_rows", "scores_sram", "scores_link",
    "softmax", "context_rows", "context_sram", "context_link",
)  # fmt: skip
"""Cycles that each unit works on a group, by step: the columns of ``work``."""

UNITS: Final = ("detection_rows", "attention_rows", "filter", "scheduler", "mfu", "lane_sram", "link")
ROWS_D, ROWS_A, FILTER_UNIT, SCHEDULER, MFU, SRAM, LINK = range(7)
BUSY, STARVED, BLOCKED, FILL = range(4)
STATES: Final = ("busy", "starved", "blocked", "fill_drain")
"""What a unit does until its lane has finished: see ``simulator.program.STATES``.

It fills or drains before its first work and after its last; another wait is blocked where room for the result came
later than all else, and starved where it did not.
"""

PHASES: Final = ("detection", "attention", "both")
"""What goes on in a lane: preparing and detecting; Q·Kᵀ, softmax or A·V; both at once."""


@kernel
def _spend(unit: Any, start: Any, end: Any, work: Any, waits: Any, last: Any, states: Any) -> None:
    """Account for a unit that waited since ``last`` and then worked ``work`` cycles of a step from start to end.

    A unit without work in a step takes no part in it: it goes on waiting.
    """
    if work == 0:
        return
    states[unit, waits if last[unit] > 0 else FILL] += start - last[unit]
    states[unit, BUSY] += work
    states[unit, STARVED] += end - start - work
    last[unit] = end


@kernel
def run_lane(work: Any, before: Any, phased: Any, states: Any, phases: Any) -> Any:
    """Let groups pass a lane; returns the cycle in which the last one leaves.

    work: (groups, len(WORK)). before: cycles in which the rows that detect (rows), and the link, prepare what detection
    needs, (2,). states: (len(UNITS), len(STATES)) int64 in and out, to which the cycles of each unit are added;
    ``phased``: the rows that detect are those that attend, all counted as attention_rows. phases: (len(PHASES),) int64
    in and out, to which the cycles of each phase are added.
    """
    groups = work.shape[0]
    detected = np.zeros((groups + 1, 2), np.int64)  # from when to when, first the preparation
    multiplied, weighted = np.zeros((2 * groups, 2), np.int64), np.zeros((groups, 2), np.int64)
    finish = np.zeros((6, groups + 2), np.int64)  # of group g at g + 2: before the first one all is finished
    last = np.zeros(7, np.int64)
    detecting = ROWS_A if phased else ROWS_D
    ready = max(before[0], before[1])
    detected[0, 1] = ready
    _spend(detecting, 0, ready, before[0], FILL, last, states)
    _spend(LINK, 0, ready, before[1], FILL, last, states)
    rows_free = 0  # of the rows that attend
    if phased:
        at = ready
        for group in range(groups):
            at = _detect(work[group], at, 0, detecting, last, states, detected[group + 1])
            finish[DETECT, group + 2] = at
        rows_free = at
    for group in range(groups + 1):
        if group < groups:
            g, doing = group + 2, work[group]
            if not phased:
                room = finish[FILTER, g - 2]
                free = max(finish[DETECT, g - 1], ready)
                finish[DETECT, g] = _detect(doing, free, room, detecting, last, states, detected[group + 1])
            for step in (FILTER, SCHEDULE):
                stored = phased and step == FILTER
                room = 0 if stored else finish[step + 1, g - 2]
                needs = max(finish[step - 1, g], finish[step, g - 1])
                start = max(needs, room)
                cycles = doing[2] if step == FILTER else doing[3]
                finish[step, g] = start + cycles
                unit = FILTER_UNIT if step == FILTER else SCHEDULER
                _spend(unit, start, start + cycles, cycles, BLOCKED if room > needs else STARVED, last, states)
            needs, room = max(finish[SCHEDULE, g], rows_free), finish[SOFTMAX, g - 2]
            start = max(needs, room)
            rows_free = _multiply(doing[4], doing[5], doing[6], start, room > needs, last, states)
            multiplied[2 * group - (group > 0)] = start, rows_free
            finish[SCORES, g] = rows_free
            needs, room = max(finish[SCORES, g], finish[SOFTMAX, g - 1]), finish[CONTEXT, g - 2]
            start = max(needs, room)
            finish[SOFTMAX, g] = start + doing[7]
            weighted[group] = start, finish[SOFTMAX, g]
            waits = BLOCKED if room > needs else STARVED
            _spend(MFU, start, finish[SOFTMAX, g], doing[7], waits, last, states)
        if group > 0:
            g, doing = group + 1, work[group - 1]
            start = max(finish[SOFTMAX, g], rows_free)
            rows_free = _multiply(doing[8], doing[9], doing[10], start, False, last, states)
            multiplied[2 * group - (group == groups)] = start, rows_free
            finish[CONTEXT, g] = rows_free
    end = max(rows_free, ready)
    for unit in range(7):
        states[unit, FILL] += end - last[unit]
    _add_phases(detected, multiplied, weighted, phases)
    return end


@kernel
def _add_phases(detected: Any, multiplied: Any, weighted: Any, phases: Any) -> None:
    """Add up how long each phase goes on, and both at once, of times from when to when in order."""
    at_once = np.zeros((multiplied.shape[0] + weighted.shape[0], 2), np.int64)
    count = _intersect(multiplied, weighted, at_once)
    shared = np.zeros((detected.shape[0] + at_once.shape[0] + multiplied.shape[0], 2), np.int64)
    attending, both = -_length(at_once[:count]), 0
    for spans in (multiplied, weighted):
        attending += _length(spans)
        both += _length(shared[: _intersect(detected, spans, shared)])
    both -= _length(shared[: _intersect(detected, at_once[:count], shared)])
    phases[0] += _length(detected)
    phases[1] += attending
    phases[2] += both


@kernel
def _length(spans: Any) -> Any:
    return (spans[:, 1] - spans[:, 0]).sum()


@kernel
def _intersect(one: Any, other: Any, shared: Any) -> Any:
    """Write the times in which both go on to ``shared``; returns how many there are."""
    i, j, count = 0, 0, 0
    while i < one.shape[0] and j < other.shape[0]:
        start, end = max(one[i, 0], other[j, 0]), min(one[i, 1], other[j, 1])
        if end > start:
            shared[count] = start, end
            count += 1
        if one[i, 1] < other[j, 1]:
            i += 1
        else:
            j += 1
    return count


@kernel
def _detect(doing: Any, free: Any, room: Any, unit: Any, last: Any, states: Any, span: Any) -> Any:
    """Detect one group: rows and comparators side by side; returns when it is finished."""
    start = max(free, room)
    end = start + max(doing[0], doing[1])
    waits = BLOCKED if room > free else STARVED
    _spend(unit, start, end, doing[0], waits, last, states)
    _spend(FILTER_UNIT, start, end, doing[1], waits, last, states)
    span[0], span[1] = start, end
    return end


@kernel
def _multiply(rows: Any, sram: Any, link: Any, start: Any, blocked: Any, last: Any, states: Any) -> Any:
    """Multiply the connections of one group: rows, SRAM and link side by side; returns when it is finished."""
    end = start + max(rows, sram, link)
    waits = BLOCKED if blocked else STARVED
    _spend(ROWS_A, start, end, rows, waits, last, states)
    _spend(SRAM, start, end, sram, waits, last, states)
    _spend(LINK, start, end, link, waits, last, states)
    return end


@kernel
def run_lanes(
    work: Any, before: Any, order: Any, bounds: Any, phased: Any, cycles: Any, states: Any, phases: Any
) -> None:
    """Run the lanes of every head and part of its queries.

    work: (heads, groups, len(WORK)); before: (heads, parts, lanes, 2); order (groups,) and bounds (parts · lanes + 1,):
    the groups of each part and lane, one after the other; cycles (heads, parts, lanes) and states (heads, parts, lanes,
    len(UNITS), len(STATES)) and phases (heads, parts, lanes, len(PHASES)) int64, zero, out.
    """
    heads, parts, lanes = cycles.shape
    for head in range(heads):
        for part in range(parts):
            for lane in range(lanes):
                own = order[bounds[part * lanes + lane] : bounds[part * lanes + lane + 1]]
                cycles[head, part, lane] = run_lane(
                    work[head][own],
                    before[head, part, lane],
                    phased,
                    states[head, part, lane],
                    phases[head, part, lane],
                )
