"""Lanes: each holds a part of the tokens and computes what belongs to them; links carry keys and values."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part


class Lanes(Part):
    """Configuration of the lanes of a chip."""

    count: Annotated[int, Field(ge=1, le=4096)]
    """Lanes of a chip."""
    deal: Literal["turns", "blocks"]
    """How tokens are dealt out: group after group in turn, or one block of consecutive tokens each."""

    def span(self, tokens: int, group: int) -> int:
        """Return how many consecutive tokens go to a lane before the next one has its turn: whole groups."""
        return group if self.deal == "turns" else group * max(1, -(-tokens // (group * self.count)))

    def homes(self, tokens: int, group: int) -> NDArray[np.int64]:
        """Return the lane of each token, (tokens,)."""
        lanes: NDArray[np.int64] = np.arange(tokens) // self.span(tokens, group) % self.count
        return lanes


class Link(Part):
    """Configuration of the links between the lanes of a chip."""

    bytes_per_cycle: Annotated[int, Field(ge=1)]
    """What a lane receives of the other lanes' keys and values."""


class Chips(Part):
    """How many chips work together, each with an equal share of the DRAM channel, and what they share out."""

    count: Annotated[int, Field(ge=1, le=4096)]
    """Chips; they take up their next part of the work together."""
    split: Literal["batch", "heads"]
    """Each works on other sequences of the batch, or on other heads and other outputs of the same sequences."""
