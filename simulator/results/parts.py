"""What the parts of a chip take whether they work or not: area, power at full activity, leakage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simulator.arch import Technology
from simulator.program import Instances


def area_by_component(parts: Iterable[Instances], technology: Technology) -> dict[str, float | None]:
    """Return mm² by component, in order of first appearance; None where that of any of its parts is not known.

    Raises:
        InputError: the technology table lacks a kind of part.

    """
    totals: dict[str, float | None] = {}
    for part in parts:
        if part.overlaps:
            totals.setdefault(part.component, 0.0)
            continue
        area, before = technology.area(part.kind, part.size, part.width), totals.get(part.component, 0.0)
        totals[part.component] = None if area is None or before is None else before + part.count * area
    return totals


def total_area(areas: Mapping[str, float | None]) -> float | None:
    """Add components up; None where there are none or one is not known."""
    known = [area for area in areas.values() if area is not None]
    return sum(known) if known and len(known) == len(areas) else None


def full_power(parts: Iterable[Instances], technology: Technology, clock: int) -> float:
    """Return mW at full activity: one action of each instance per cycle of ``clock`` (Hz), or per ns where static.

    Raises:
        InputError: the technology table lacks a kind of part.

    """
    gigahertz = clock / 1e9
    return sum(
        part.count * technology.energy(part.kind, part.size, part.width) * (1 if part.static else gigahertz)
        for part in parts
    )


def nanoseconds(cycles: int, clock: int) -> int:
    """Return the time that ``cycles`` take at ``clock`` (Hz), in whole nanoseconds, rounded up."""
    return -(-cycles * 10**9 // clock)


def leakage(parts: Sequence[Instances], cycles: int, clock: int) -> list[tuple[Instances, int]]:
    """Return the static parts and how often each leaks in ``cycles``: once per instance and nanosecond."""
    return [(part, part.count * nanoseconds(cycles, clock)) for part in parts if part.static]
