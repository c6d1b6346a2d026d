"""The accumulator that the lanes share: it adds partial sums where a reduction is split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.arch.part import Part


class Accumulator(Part):
    """Configuration of a chip's accumulator."""

    per_cycle: Annotated[int, Field(ge=1)]
    """Partial sums added per cycle, of all lanes together."""
