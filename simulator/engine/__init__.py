"""The engine: plays Programs, and accounts for every cycle of every unit."""

from simulator.engine.play import DRAM, Interval, Timeline, play

__all__ = ["DRAM", "Interval", "Timeline", "play"]
