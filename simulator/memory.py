"""The memory that a run uses: the chip's plain channel, or a DRAM simulated command by command in its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.arch import Arch
from simulator.errors import InputError
from simulator.hardware.dram import Memory, SimpleChannel
from simulator.program import Action, Program

if TYPE_CHECKING:
    from simulator.hardware.dram_port import Activity
    from simulator.hardware.dram_timing import Dram

SIMPLE, DETAILED = "simple", "detailed"
SLOWEST = 10_000
"""Memory cycles per core cycle at most: beyond all chips, and refreshes would take all the time of the simulation."""


@dataclass(frozen=True)
class RunMemory:
    """What a run reads and writes."""

    channel: SimpleChannel
    """The chip's."""
    detailed: Arch[Dram] | None
    """What takes its place."""

    @property
    def model(self) -> Memory:
        """What the engine plays against."""
        return self.channel if self.detailed is None else self.detailed.chip

    @property
    def capacity(self) -> int | None:
        """Bytes; None where there is no limit."""
        return None if self.detailed is None else self.detailed.chip.capacity

    def actions(self, program: Program, activity: Activity | None) -> Iterator[Action]:
        """Count what a run did to the memory, each kind of action with its own energy.

        A plain channel is priced by the bit, and so is a memory whose currents are not known.
        """
        if activity is None or self.detailed is None or self.detailed.chip.currents is None:
            for name, streams in (("read", program.reads), ("write", program.writes)):
                for moved in streams:
                    bits = moved.size * 8
                    pj = self.channel.energy_pj_per_bit
                    yield Action("dram", f"{name} {moved.name}", "dram_bit", bits, own_pj=pj)
            return
        from simulator.hardware.dram_timing import Energy, spent

        each = self.detailed.chip.energy_each
        for name, pj, count in zip(Energy._fields, each, spent(activity.counts), strict=True):
            yield Action("dram", name.replace("_", " "), f"dram_{name}", np.array([count]), own_pj=pj)


def choose_memory(choice: str | Path | Arch[Any], chip: Any, origin: str) -> RunMemory:
    """Return the memory for a run of ``chip``: ``simple``, ``detailed`` (the one the chip names), a name or file.

    Raises:
        InputError: no such memory, one that cannot be read or has other bursts than the chip, or the chip names none.

    """
    channel: SimpleChannel = chip.dram
    if choice == SIMPLE:
        return RunMemory(channel, None)
    if choice == DETAILED:
        if channel.detailed is None:
            raise InputError(
                f"{origin}: key 'dram.detailed' is missing; expected the name of the memory that takes the channel's "
                "place, or --memory NAME"
            )
        choice = channel.detailed
    if not isinstance(choice, Arch):
        from simulator.hardware.dram_timing import read_memory

        choice = read_memory(choice)
    if channel.burst % choice.chip.burst:
        raise InputError(
            f"memory '{choice.name}': a burst of {choice.chip.burst} bytes does not divide dram.burst, which is "
            f"{channel.burst}; expected --set dram.burst='{choice.chip.burst} B' or another memory"
        )
    period = chip.clock * choice.chip.timing.tCK
    if period * SLOWEST < 10**12:
        raise InputError(
            f"{origin}: key 'clock' is {chip.clock} Hz, a cycle of which takes {10**12 // period} of memory "
            f"'{choice.name}'; expected at most {SLOWEST}: a faster clock, or --memory simple"
        )
    return RunMemory(channel, choice)
