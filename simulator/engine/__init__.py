"""The engine: plays Programs, and accounts for every cycle of every unit."""

from simulator.engine.channel import Transfer
from simulator.engine.play import DRAM, Interval, Timeline, footprint, play
from simulator.engine.stalls import MemoryStall, apportion, memory_stalls

__all__ = ["DRAM", "Interval", "MemoryStall", "Timeline", "Transfer", "apportion", "footprint", "memory_stalls", "play"]
