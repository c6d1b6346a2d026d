"""The Program: one row per tile. It is all that accelerators and engine share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

STATES = ("busy", "starved", "blocked", "imbalance", "fill_drain", "idle")
"""What a unit is doing in a cycle: working; waiting for input; waiting for room; waiting for a sibling; waiting
while a pipeline fills or drains; not used by the operator."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What the instances of a kind of unit do while the stage they belong to works on a tile."""

    instances: int
    """How many there are on the chip."""
    states: Counts
    """Shape (tiles, len(STATES)): unit-cycles; each row sums to instances × the stage's cycles."""

    @cached_property
    def totals(self) -> Counts:
        """Shape (len(STATES),): unit-cycles of all tiles."""
        totals: Counts = self.states.sum(axis=0)
        return totals


@dataclass(frozen=True, eq=False)
class Stage:
    """A step that every tile passes, one tile at a time, in order."""

    name: str
    cycles: Counts
    """Shape (tiles,): cycles that the stage is held by each tile; 0 where the tile has nothing to do here."""
    units: Mapping[str, Unit]
    """The units inside, by name; names are unique in a Program."""


@dataclass(frozen=True, eq=False)
class Phase:
    """Something that goes on inside the tiles, beside other things or after them."""

    instances: int
    """Of what it goes on in (lanes)."""
    cycles: Counts
    """Shape (tiles,): cycles of all instances in which it goes on."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Bytes that cross the DRAM channel for one tensor."""

    name: str
    size: Counts
    """Shape (tiles,): bytes for each tile, whole bursts; 0 where what is needed is on chip already."""
    offset: Counts
    """Shape (tiles,): where they begin within the tensor as stored."""
    compulsory: int
    """The tensor as stored, once: no run can move less."""

    @cached_property
    def total(self) -> int:
        """Bytes of all tiles."""
        return int(self.size.sum())


@dataclass(frozen=True, eq=False)
class Action:
    """How often a component did something, and what a technology table calls it."""

    component: str
    name: str
    kind: str
    """Row of the technology table."""
    count: Counts
    """Shape (tiles,); of the whole operator, shape (1,), where it is not known by tile."""
    size: int = 0
    """Bytes of the memory accessed; 0 for logic."""
    width: int = 0
    """Bits per access; 0 for logic."""
    own_pj: float | None = None
    """Energy of one such action where the part itself says it (DRAM); no technology table is asked then."""

    @cached_property
    def total(self) -> int:
        """Of the whole operator."""
        return int(self.count.sum())


@dataclass(frozen=True)
class Instances:
    """A part of the chip: how many instances it has of what does a kind of action."""

    component: str
    kind: str
    """Row of the technology table."""
    count: int
    """Each does one action per cycle at full activity; where ``static``, one per nanosecond whatever the activity."""
    size: int = 0
    """Bytes of each memory; 0 for logic."""
    width: int = 0
    """Bits per access of each memory; 0 for logic."""
    static: bool = False
    """Whether its energy is that of time (leakage), not of actions: it is counted for the whole of every run."""
    overlaps: bool = False
    """Whether it is what another part is, too (what works is what leaks): that one gives the area of both."""


def logic(
    component: str, kind: str, count: int, active: int | None = None, size: int = 0, width: int = 0
) -> Iterator[Instances]:
    """Yield ``count`` instances of a kind of logic: what leaks, and the ``active`` actions per cycle (all of them).

    Networks have a ``size``, their lanes, and a ``width``, the bits of each.
    """
    yield Instances(component, f"{kind}_leakage", count, size, width, static=True)
    yield Instances(component, kind, count if active is None else active, size, width, overlaps=True)


def memory(component: str, banks: int, size: int, width: int, reads: int = 1, ports: str = "") -> Iterator[Instances]:
    """Yield ``banks`` of SRAM of ``size`` bytes and ``width`` bits: what leaks, and ``reads`` of each per cycle.

    ``ports`` is the end of the kinds in the technology table, ``_2rw`` or ``_1r1w``; the latter also writes per cycle.
    """
    yield Instances(component, f"sram_bank_leakage{ports}", banks, size, width, static=True)
    yield Instances(component, f"sram_read{ports}", banks * reads, size, width, overlaps=True)
    if ports == "_1r1w":
        yield Instances(component, f"sram_write{ports}", banks, size, width, overlaps=True)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates, an addition of the channel accumulation counting as one."""

    dense: int
    """Of the operator as a dense one, undecomposed."""
    effectual: int
    """That the data require in the form in which the chip computes, each once; the chip's page says what counts."""
    performed: int
    """That the chip executed."""


@dataclass(frozen=True, eq=False)
class Program:
    """What one operator asks of the chip, tile by tile.

    A tile is loaded (``reads``), passes the ``stages`` in order, and is stored (``writes``). ``depth`` tiles are on the
    chip at once: a tile's load may begin when the tile ``depth`` before it has left the last stage.
    """

    operator: str
    mapping: str
    """The way in which the operator runs on the chip, in a word."""
    stages: tuple[Stage, ...]
    reads: tuple[Stream, ...]
    writes: tuple[Stream, ...]
    depth: int
    actions: tuple[Action, ...]
    """On the chip; what the DRAM does is the memory's to count."""
    macs: Macs
    peak: int
    """MACs per cycle at full use of the units that the mapping uses."""
    floors: Mapping[str, int]
    """Cycles that no schedule can beat, by what imposes them (the DRAM channel's is the engine's to add)."""
    phases: Mapping[str, Phase] = field(default_factory=dict)
    """What goes on inside the tiles, where the chip tells; phases may overlap."""

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.stages[0].cycles)


def unit_of(states: Mapping[str, Counts], instances: int, cycles: Counts) -> Unit:
    """Collect a unit's unit-cycles (tiles,) by state; the rest is imbalance, or idle where it is never used."""
    collected = np.zeros((len(cycles), len(STATES)), np.int64)
    for name, count in states.items():
        collected[:, STATES.index(name)] = count
    rest = "imbalance" if collected.any() else "idle"
    collected[:, STATES.index(rest)] += instances * cycles - collected.sum(axis=1)
    return Unit(instances, collected)
