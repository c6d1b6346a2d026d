"""A score-stationary array: split rows of a mask, packed into rows of PEs, keep their scores for both products.

The keys of a tile enter at the top, one feature per cycle, and move down a row of PEs per cycle; each row has one
query, and each of its PEs one of the keys that this query keeps. So a row of the mask is split into **sub-rows** of at
most as many connections as a row has PEs, and sub-rows, the empty ones left out, are packed into the rows of the array.
A pass is Q·Kᵀ (as many cycles as features, and one for each row that the last one is behind), the exponential in the
PEs, and A·V likewise with the values in the keys' place.

Source: Lu et al., "Sanger", MICRO 2021; the cycles of a pass as in the authors' bench_sanger_v2.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel
from simulator.program import Counts


class ScoreStationaryArray(Part):
    """Configuration of the array."""

    rows: Annotated[int, Field(ge=1)]
    """Rows of PEs: sub-rows of a pass."""
    pes: Annotated[int, Field(ge=1)]
    """PEs in a row: connections of a sub-row at most."""
    keys: Annotated[int, Field(ge=1)]
    """Keys of a tile: those among which the PEs of a row choose."""
    exponential: Annotated[int, Field(ge=0)]
    """Cycles of the exponential between the products."""

    def passes(self, subrows: Counts) -> Counts:
        """Return the passes for so many sub-rows of a tile of keys."""
        return -(-subrows // self.rows)

    def cycles(self, features: int, values: int) -> int:
        """Return the cycles of a pass."""
        return features + self.rows + self.exponential + values + self.rows

    @property
    def fill(self) -> int:
        """Cycles of a pass in which a row has nothing to multiply."""
        return 2 * self.rows + self.exponential


class MaskArray(Part):
    """Configuration of the array of low-bit PEs that predicts scores, output-stationary."""

    rows: Annotated[int, Field(ge=1)]
    """Queries of a tile of scores."""
    columns: Annotated[int, Field(ge=1)]
    """Keys of a tile of scores."""

    def cycles(self, features: int) -> int:
        """Return the cycles of a tile: operands move right and down a PE per cycle, then the scores move out."""
        return features + self.fill

    @property
    def fill(self) -> int:
        """Cycles of a tile in which a PE has nothing to multiply."""
        return self.rows + self.columns - 1 + self.columns


@kernel
def split_rows(kept: Any, keys: Any, pes: Any, records: Any, issues: Any) -> None:
    """Split the rows of a mask into sub-rows.

    kept (L, W) words; keys of a tile; pes: connections of a sub-row at most; records (L, tiles) int64 out: sub-rows;
    issues (pairs, 3) int32 out, or (0, 3): the number of the sub-row within its tile of keys, query and key.
    """
    issued = 0
    for tile in range(records.shape[1]):
        subrow = 0
        for query in range(kept.shape[0]):
            filled = 0
            for key in range(tile * keys, min((tile + 1) * keys, 64 * kept.shape[1])):
                if kept[query, key >> 6] >> (key & 63) & 1:
                    if filled == pes:
                        filled = 0
                        subrow += 1
                        records[query, tile] += 1
                    filled += 1
                    if issues.shape[0]:
                        issues[issued, 0], issues[issued, 1], issues[issued, 2] = subrow, query, key
                    issued += 1
            if filled:
                subrow += 1
                records[query, tile] += 1
