"""The cycle rules of Sanger's two public models, to be set beside Skipper's own.

Both give the latency of the attention of a BERT-base layer, projections included, on 1024 PEs at 1 GHz from an average
density and load balance. Source: hatsu3/Sanger, bench_sanger.py and bench_sanger_v2.py.
"""

from __future__ import annotations

from typing import Final

HIDDEN: Final = 768
"""Features of BERT-base, all heads together."""
ROWS: Final = 64
PES: Final = 16
BANDWIDTH: Final = 128.0
"""GB/s."""


def closed_form(density: float, balance: float, length: int) -> float:
    """Return seconds: dense projections, then all else at a rate that grows with sparsity and load balance."""
    peak = 2 * ROWS * PES
    before = 2 * 3 * length * HIDDEN**2 / 1e9
    after = (2 * 2 * length**2 * HIDDEN + 2 * length * HIDDEN**2) / 1e9
    return before / peak + after / (peak / density * balance)


def subrows(density: float, balance: float, length: int) -> float:
    """Return the sub-rows of a tile of 64 keys: of 16 connections, filled as well as the load balance says."""
    return density / balance / (PES / ROWS) * length


def tile_cycles(density: float, balance: float, length: int) -> float:
    """Return the cycles of a tile of 64 sub-rows and 64 keys: (768 + 64) + (sub-rows + 64), were data always there."""
    return (HIDDEN + ROWS) + (subrows(density, balance, length) + ROWS)


def tile_model(density: float, balance: float, length: int) -> float:
    """Return seconds: dense projections, tiles of attention, and an output projection that gains as attention does."""
    needed = ROWS * 2.0  # GB/s: a key of 64 features of two bytes is streamed per cycle of 1 ns
    slower = max(1.0, needed / BANDWIDTH)
    count = length / ROWS * (subrows(density, balance, length) / ROWS)
    peak = 2 * ROWS * PES
    projections = 2 * 3 * length * HIDDEN**2 / 1e9 / peak
    output = 2 * length * HIDDEN**2 / 1e9 / (peak / density * balance)
    return projections + tile_cycles(density, balance, length) * count * slower / 1e9 + output
