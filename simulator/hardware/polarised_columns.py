"""Columns of a fixed mask, polarised: dense ones are multiplied whole, of the others what is kept, column by column.

A column that many queries keep, a global token, goes to the denser engine, which multiplies it with every query; the
others go to the sparser engine, compressed by columns. MAC lines are shared out between the engines by their pairs.

Source: You et al., "ViTCoD", HPCA 2023, and its public simulator (GATECH-EIC/ViTCoD).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel
from simulator.program import Counts

RECORD: Final = ("dense", "sparse", "columns")
"""Of a query: connections in dense columns, in others; and the dense columns of its head."""


class MacLines(Part):
    """Configuration of the MAC lines of both engines together."""

    count: Annotated[int, Field(ge=1)]
    """Lines."""
    width: Annotated[int, Field(ge=1)]
    """Multipliers of a line, which work on one pair of query and key, or weight and value."""

    @property
    def multipliers(self) -> int:
        """Of all lines."""
        return self.count * self.width

    def split(self, dense: Counts, sparse: Counts) -> tuple[Counts, Counts]:
        """Return the lines of each engine: in proportion to its pairs, one at least where it has any.

        The line of a chip that has but one takes turns.
        """
        both = (dense > 0) & (sparse > 0)
        share = self.count * dense // np.maximum(1, dense + sparse)
        denser = np.where(both, np.clip(share, 1, max(1, self.count - 1)), np.where(dense > 0, self.count, 0))
        sparser = np.where(both, np.maximum(1, self.count - denser), np.where(sparse > 0, self.count, 0))
        return denser, sparser

    def cycles(self, queries: Counts, columns: Counts, sparse: Counts, features: int) -> tuple[Counts, Counts]:
        """Return what each engine takes for a product: of so many queries with dense columns, and of sparse pairs.

        All arguments but the last (heads, blocks); the denser engine multiplies a column with as many queries as it has
        lines, the sparser as many pairs.
        """
        denser, sparser = self.split(queries * columns, sparse)
        each = -(-features // self.width)
        dense = columns * -(-queries // np.maximum(1, denser)) * each
        return dense, -(-sparse // np.maximum(1, sparser)) * each

    def together(self, dense: Counts, sparse: Counts) -> Counts:
        """Return the cycles of both engines: side by side, but for a chip of one line."""
        return dense + sparse if self.count == 1 else np.maximum(dense, sparse)


@kernel
def polarise(kept: Any, keys: Any, share: Any, records: Any, issues: Any) -> None:
    """Part the columns of a mask.

    kept (L, W) words of so many keys; a column is dense that more than ``share`` of the queries keep; records (L, 3)
    int64 out; issues (pairs, 3) int32 out, or (0, 3): engine, query, key, dense columns first, column by column.
    """
    dense = np.zeros(keys, np.bool_)
    for key in range(keys):
        held = 0
        for query in range(kept.shape[0]):
            held += kept[query, key >> 6] >> (key & 63) & 1
        dense[key] = held > share * kept.shape[0]
    issued, columns = 0, dense.sum()
    for engine in range(2):
        for key in range(keys):
            if dense[key] == (engine == 1):
                continue
            for query in range(kept.shape[0]):
                if kept[query, key >> 6] >> (key & 63) & 1:
                    records[query, engine] += 1
                    if issues.shape[0]:
                        issues[issued, 0], issues[issued, 1], issues[issued, 2] = engine, query, key
                    issued += 1
    records[:, 2] = columns
