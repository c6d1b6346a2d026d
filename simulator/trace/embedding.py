"""Embedding bags: rows of a table are gathered and reduced, bag by bag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.trace.checks import Shape
from simulator.trace.operator import Operator, register
from simulator.trace.tensor import Tensor, ValueTensor

MODES = ("sum", "mean", "max")


@register
@dataclass(frozen=True, eq=False)
class EmbeddingBag(Operator):
    """Gather rows of a table and reduce those of each bag to one.

    The cost is in the gathering: there are no multiply-accumulates (`macs` is 0), the additions, comparisons and
    divisions are counted by `operations`.

    Args:
        table: (rows, F).
        indices: (lookups,), whole numbers from 0 to rows − 1, those of the first bag first. A `DensityTensor`
            says how many there are, not which.
        lengths: (bags,), how many of the indices belong to each bag; 0 is an empty bag, whose result is 0.
        output: (bags, F), what is stored; for its density only.
        mode: "sum", "mean" or "max".

    Raises:
        InputError: a shape or the mode is wrong. What only the data show is refused by `bags_of_rows`.

    """

    type: ClassVar[str] = "embedding_bag"
    roles: ClassVar[tuple[str, ...]] = ("table", "indices", "lengths", "output")
    table: Tensor
    indices: Tensor
    lengths: Tensor
    output: Tensor | None = None
    mode: str = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise self._error(f"unknown mode {self.mode!r}{nearest(str(self.mode), MODES)}")
        self._require_axes("table", "rows, F")
        self._require_axes("indices", "lookups")
        self._require_axes("lengths", "bags")
        self._require_shape("output", self.output_shape, "bags, F")

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.table.shape[0]

    @property
    def features(self) -> int:
        """F, elements of a row."""
        return self.table.shape[1]

    @property
    def lookups(self) -> int:
        """Rows gathered, those gathered twice counted twice."""
        return self.indices.shape[0]

    @property
    def bags(self) -> int:
        """Rows of the result."""
        return self.lengths.shape[0]

    @property
    def output_shape(self) -> Shape:
        """(bags, F)."""
        return (self.bags, self.features)

    @property
    def macs(self) -> int:
        """0: see `operations`."""
        return 0

    @property
    def operations(self) -> dict[str, int]:
        """How often each elementary operation is done, no bag being empty: lookups − bags reductions of F elements."""
        reductions = max(self.lookups - self.bags, 0) * self.features
        if self.mode == "max":
            return {"compare": reductions}
        return {"add": reductions} | ({"divide": self.bags * self.features} if self.mode == "mean" else {})

    def bags_of_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return the rows gathered (lookups,) and the first lookup of each bag, (bags + 1,) with the end of the last.

        None where the indices or the lengths are not known.

        Raises:
            InputError: an index is no row of the table, or the lengths do not sum up to the lookups.

        """
        indices, lengths = self.indices.values(), self.lengths.values()
        if indices is None or lengths is None:
            return None
        if indices.min() < 0 or indices.max() >= self.rows:
            wrong = indices.min() if indices.min() < 0 else indices.max()
            raise self._error(f"indices hold {wrong}, expected rows of the table, 0 to {self.rows - 1}")
        if lengths.min() < 0:
            raise self._error(f"lengths hold {lengths.min()}, expected whole numbers of at least 0")
        starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        if starts[-1] != self.lookups:
            raise self._error(f"lengths sum up to {starts[-1]}, expected the {self.lookups} lookups of indices")
        return indices.astype(np.int64), starts

    @property
    def has_reference(self) -> bool:
        """Whether the values are known, all rows on one scale, and the result is of integers."""
        one_scale = isinstance(self.table, ValueTensor) and not isinstance(self.table.scale, tuple)
        return one_scale and self.mode != "mean" and super().has_reference

    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer result (bags, F); None where values are not known, for a mean, or for many scales.

        Raises:
            InputError: as `bags_of_rows`.

        """
        if not self.has_reference:
            return None
        found = self.bags_of_rows()
        table: NDArray[np.integer[Any]] | None = self.table.values()
        assert found is not None
        assert table is not None
        return reduce_bags(table, *found, self.mode)


def reduce_bags(
    table: NDArray[np.integer[Any]], rows: NDArray[np.int64], starts: NDArray[np.int64], mode: str
) -> NDArray[np.int64]:
    """Return the sum or the largest of each bag's rows of a table: (bags, F), 0 for an empty bag.

    Args:
        table: (rows, F).
        rows: (lookups,), of one bag after the other.
        starts: (bags + 1,), the first lookup of each bag, and the end.
        mode: "sum" or "max".

    Raises:
        InputError: another mode.

    """
    if mode not in ("sum", "max"):
        raise InputError(f"the mode {mode!r} has no result in integers, expected 'sum' or 'max'")
    output = np.zeros((len(starts) - 1, table.shape[1]), np.int64)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        reduce = np.add.reduceat if mode == "sum" else np.maximum.reduceat
        output[filled] = reduce(table[rows].astype(np.int64), starts[filled], axis=0)
    return output
