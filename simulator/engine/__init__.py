"""The engine: plays Programs, and accounts for every cycle of every unit."""

from simulator.engine.layout import footprint
from simulator.engine.play import play
from simulator.engine.stalls import MemoryStall, apportion, memory_stalls
from simulator.engine.timeline import DRAM, Interval, Timeline, Transfer

__all__ = ["DRAM", "Interval", "MemoryStall", "Timeline", "Transfer", "apportion", "footprint", "memory_stalls", "play"]
