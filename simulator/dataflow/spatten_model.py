"""The cycle rules of SpAtten's public behaviour model for BERT, to be set beside Skipper's own.

A layer's heads follow each other: their keys and values come from DRAM, then queries stream through, then the pipeline
drains. Source: mit-han-lab/spatten, spatten_hardware/simulator/src/bert.cpp, without Ramulator and without its top-k,
whose pivots are random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TRANSACTION: Final = 32
"""Bytes."""
DRAIN: Final = (1 + 1 + 9) + (7 + 21 + 23 + 29 + 7) + 1 + 1 + (1 + 1 + 1)
"""Cycles of Q·Kᵀ, softmax (dequantise, exponential, sum, divide, quantise), requantisation, top-k and A·V."""


@dataclass(frozen=True)
class Head:
    """A head of a layer."""

    length: int
    """Queries."""
    fetched: int
    """Keys and values that are not pruned."""
    size: int = 64
    """Features."""
    key_bits: int = 12
    value_bits: int = 12


def layer_cycles(heads: Sequence[Head], channels: int = 16, multipliers: int = 512) -> int:
    """Return the cycles of a layer."""
    dram = fill = batch = 0
    for head in heads:
        rows = multipliers // head.size
        batch = -(-head.fetched // rows)
        for bits in (head.key_bits, head.value_bits):
            stored = 8 if bits == 6 or bits > 8 else bits
            transactions = batch * rows * head.size * stored // 8 // TRANSACTION
            dram += -(-transactions // channels)
        fill += head.length * batch
    return dram + fill + DRAIN + batch
