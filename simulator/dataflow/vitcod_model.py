"""The cycle rules of ViTCoD's public attention simulator, to be set beside Skipper's own.

Of each layer one head stands for all, which share the MAC lines. Source: GATECH-EIC/ViTCoD, Hardware/Simulator
(ViTCoD.py, SRAM.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BANDWIDTH: Final = 76.8 * 1024**3
"""Bytes per second."""
CLOCK: Final = 500e6


@dataclass(frozen=True)
class Layer:
    """The head that stands for a layer."""

    tokens: int
    """Queries, and keys."""
    global_tokens: int
    """Keys whose column is dense."""
    sparse: int
    """Connections of the other columns."""


@dataclass(frozen=True)
class Cycles:
    """What the simulator prints, added up over layers."""

    loading: float
    decoding: float
    computing: int

    @property
    def total(self) -> float:
        """Whichever is slower: loading, or decoding and computing."""
        return max(self.loading, self.decoding + self.computing)


def _transfer(numbers: float, share: float = 1.0) -> int:
    """Return the cycles for so many numbers of 8 bits."""
    return math.ceil(numbers * 8 / (BANDWIDTH * 8 * share) * CLOCK)


def attention_cycles(layers: Iterable[Layer], heads: int, ratio: float, features: int = 64, lines: int = 64) -> Cycles:
    """Return the cycles of the attention of some layers.

    Args:
        layers: each by a head of its own.
        heads: that share the lines.
        ratio: of compressed heads to heads.
        features: of a head.
        lines: MAC lines; the simulator takes as many MACs for the length of one.

    """
    loading = decoding = 0.0
    computing = 0
    vector = _transfer(heads * ratio * features)
    weights = _transfer(heads * ratio, 1 / heads)
    decode = math.ceil(heads * ratio * features / int(lines * lines / heads))
    for layer in layers:
        n, dense, nnz = layer.tokens, layer.global_tokens, layer.sparse
        if dense:  # keys of dense columns, and all queries
            loading += dense * vector + weights + n * vector + weights
            decoding += dense * decode + n * decode
        if n > dense:
            loading += (n - dense) * vector + weights
            decoding += (n - dense) * decode
        if not dense:
            again = nnz / n
            loading += n * vector * again + weights
            decoding += n * decode * again
        loading += n * _transfer(heads * features)  # values
        denser = int(lines * (dense * n / (nnz + dense * n)))
        sparser = lines - denser
        step = math.ceil(features / (lines / heads))
        scores = [math.ceil(nnz / sparser) * step] if sparser else []
        outputs = [math.ceil(nnz * features / int(sparser * lines / heads))] if sparser else []
        if dense:
            scores.append(dense * math.ceil(n / denser) * step)
            outputs.append(math.ceil(n * features * dense / int(denser * lines / heads)))
        computing += max(scores) + max(outputs)
    return Cycles(loading, decoding, computing)
