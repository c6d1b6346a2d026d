"""The engine: plays Programs, and accounts for every cycle of every unit.

``play`` chooses how. On a plain channel all times follow one from another (``recurrence``, compiled). A detailed memory
decides as it goes, so events are simulated one after the other (``events`` with SimPy, ``channel``); that plays plain
channels, too, which is how the tests compare the two, time by time. Either gives a ``Timeline``, from which
``memory_stalls`` tells what was waited for.
"""

from simulator.engine.layout import footprint
from simulator.engine.play import play
from simulator.engine.stalls import MemoryStall, apportion, memory_stalls
from simulator.engine.timeline import DRAM, Interval, Timeline, Transfer

__all__ = ["DRAM", "Interval", "MemoryStall", "Timeline", "Transfer", "apportion", "footprint", "memory_stalls", "play"]
