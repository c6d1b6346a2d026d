"""How a Program played: what each stage and the channel did when, kept as tables of whole numbers.

A long run has thousands of rows, which most readers only add up; those who want them one by one get them as objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.errors import LawViolation
from simulator.program import STATES, Counts, Program

if TYPE_CHECKING:
    from simulator.hardware.dram_port import Activity

DRAM = "dram"
BUSY, STARVED, BLOCKED, FILL_DRAIN, IDLE = map(STATES.index, ("busy", "starved", "blocked", "fill_drain", "idle"))


Rows = NDArray[np.void]
SPAN = np.dtype([(name, np.int64) for name in ("track", "state", "start", "end", "tile", "stream")])
"""See ``Interval``; tracks are numbered as stages, then the channel, states as STATES; no stream is -1."""
MOVE = np.dtype([(name, np.int64) for name in ("stream", "tile", "size", "start", "takes", "free", "done")])
"""See ``Transfer``; streams are numbered reads first."""


@dataclass(frozen=True)
class Interval:
    """What a track did from ``start`` to ``end`` (cycles)."""

    track: str
    """The stage, or ``dram``."""
    state: str
    """One of STATES."""
    start: int
    end: int
    tile: int
    """The tile worked on or waited for."""
    stream: str = ""
    """For a transfer, what is moved."""


@dataclass
class Transfer:
    """A piece of a tensor that crosses the channel for a tile. Times are in core cycles."""

    stream: str
    tile: int
    size: int
    """Bytes."""
    write: bool
    start: int
    """When the DMA engine asks for it."""
    takes: int = 0
    """Cycles that its bytes need at the channel's peak."""
    free: int = -1
    """When the DMA engine can ask for the next."""
    done: int = -1
    """When what was read can be used, or what was written is safe."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """How a Program played."""

    program: Program
    cycles: int
    spans: Rows
    """Shape (intervals,), of SPAN: for each stage, then the channel, gapless from 0 to ``cycles``."""
    moves: Rows
    """Shape (transfers,), of MOVE: what crossed the DRAM channel, in order."""
    held: Counts
    """Shape (tiles, 2): from when to when each tile holds room in the input buffers."""
    drained: Counts
    """Shape (tiles, 2): from when to when each tile holds room in the output buffers."""
    memory: Activity | None = None
    """What a detailed memory did."""

    def __post_init__(self) -> None:
        for name, (instances, states) in self.units.items():
            if (counted := int(states.sum())) != instances * self.cycles:
                raise LawViolation(
                    f"{self.program.operator}: {name} accounts for {counted} of {instances * self.cycles} unit-cycles"
                )

    @cached_property
    def units(self) -> Mapping[str, tuple[int, Counts]]:
        """Per unit: instances, and unit-cycles in each of STATES; they sum to instances × cycles.

        What units do inside tiles is added to what their stage does between tiles.
        """
        stages = self.program.stages
        tracks = np.zeros((len(stages) + 1, len(STATES)), np.int64)
        spans = self.spans
        np.add.at(tracks, (spans["track"], spans["state"]), spans["end"] - spans["start"])
        units: dict[str, tuple[int, Counts]] = {}
        for stage, between in zip(stages, tracks[:-1], strict=True):
            between[BUSY] = 0
            for name, unit in stage.units.items():
                inside, outside = unit.totals, unit.instances * between
                if not inside[:IDLE].any():  # not used by the operator: idle between tiles, too
                    outside[IDLE], outside[:IDLE] = outside.sum(), 0
                units[name] = (unit.instances, inside + outside)
        units[DRAM] = (1, tracks[-1])
        return units

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        """The rows of ``spans``."""
        tracks, streams = (*(stage.name for stage in self.program.stages), DRAM), (*self._streams, "")
        return tuple(
            Interval(tracks[track], STATES[state], start, end, tile, streams[stream])
            for track, state, start, end, tile, stream in self.spans.tolist()
        )

    @cached_property
    def transfers(self) -> tuple[Transfer, ...]:
        """The rows of ``moves``."""
        streams, reads = self._streams, len(self.program.reads)
        return tuple(
            Transfer(streams[stream], tile, size, stream >= reads, start, takes, free, done)
            for stream, tile, size, start, takes, free, done in self.moves.tolist()
        )

    @property
    def _streams(self) -> tuple[str, ...]:
        return tuple(stream.name for stream in (*self.program.reads, *self.program.writes))
