"""Play a Program: what happens between tiles, and which part waits for which.

Tiles are loaded through the DRAM channel, pass the stages, and are stored, with finite room everywhere. The DMA
engine serves its descriptors in a fixed order (load of tile i, then store of tile i - depth), so every wait is of
the form "the later of two events" and no run gets slower when a part gets faster.

A plain channel says at once when a transfer will end, so that all times follow one from another (``recurrence``). A
detailed memory does not: there events are simulated one after the other (``events``), which is the slow twin, too.
"""

from __future__ import annotations

from simulator.engine.recurrence import recur
from simulator.engine.timeline import Timeline
from simulator.hardware.dram import Memory, SimpleChannel
from simulator.program import Program


def play(program: Program, memory: Memory, clock: int) -> Timeline:
    """Simulate ``program`` on ``memory`` at ``clock`` Hz, and account for every cycle of every unit.

    Raises:
        InputError: the tensors do not fit the memory (see ``footprint``).

    """
    if isinstance(memory, SimpleChannel):
        return recur(program, memory, clock)
    from simulator.engine.events import simulate_events

    return simulate_events(program, memory, clock)
