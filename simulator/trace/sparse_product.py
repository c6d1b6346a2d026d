"""A sparse matrix times a dense one: how a graph network aggregates the features of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace.checks import Shape
from simulator.trace.graph import checked_matrix, draw_matrix
from simulator.trace.operator import Operator, register
from simulator.trace.tensor import Tensor, ValueTensor

_GIVEN = ("indptr", "indices")


@register
@dataclass(frozen=True, eq=False)
class SpMM(Operator):
    """A sparse matrix (M, K) in rows (CSR), such as a graph's adjacency, times a dense one (K, F).

    Where its non-zeros lie is said in one of two ways:

    - indptr and indices, and values where they are not all 1;
    - none of these, but their number `nonzeros`: a matrix with the degrees of a real graph is drawn, see
      `simulator.trace.graph.draw_matrix`.

    Args:
        dense: (K, F).
        indptr: (M + 1,), whole numbers that rise from 0 to the number of non-zeros.
        indices: (nonzeros,), columns that rise in each row.
        values: (nonzeros,); None: all are 1.
        output: (M, F), what is stored after the activation function; for its density only.
        rows: M; 0, the default, stands for that of indptr, or K where a matrix is drawn.
        nonzeros: how many; 0, the default, stands for the number of indices.
        exponent: of the degrees drawn; 0: all equal.
        seed: of the matrix drawn.

    Raises:
        InputError: a shape or an attribute contradicts another. What only the data show is refused by `matrix`.

    """

    type: ClassVar[str] = "spmm"
    roles: ClassVar[tuple[str, ...]] = ("dense", *_GIVEN, "values", "output")
    dense: Tensor
    indptr: Tensor | None = None
    indices: Tensor | None = None
    values: Tensor | None = None
    output: Tensor | None = None
    rows: int = 0
    nonzeros: int = 0
    exponent: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_axes("dense", "K, F")
        if (self.indptr is None) != (self.indices is None):
            missing = _GIVEN[self.indptr is not None]
            raise self._error(f"{missing} is missing, a matrix has both indptr and indices, or is drawn")
        if self.values is not None and self.indices is None:
            raise self._error("values are given, but indices, which they go with, are not")
        if self.indptr is not None and self.indices is not None:
            self._require_axes("indptr", "M + 1")
            self._require_axes("indices", "nonzeros")
            self._require_shape("values", self.indices.shape, "nonzeros")
            rows, nonzeros = self.indptr.shape[0] - 1, self.indices.shape[0]
        else:
            rows, nonzeros = self.rows or self.columns, self.nonzeros
        for what, said, found in (("rows", self.rows, rows), ("nonzeros", self.nonzeros, nonzeros)):
            if said not in (0, found):
                raise self._error(f"{what} is {said!r}, expected the {found} of indptr and indices")
        try:
            exponent = checked_matrix(rows, self.columns, nonzeros, self.exponent)
        except InputError as error:
            raise self._error(str(error)) from None
        self._set(rows=int(rows), nonzeros=int(nonzeros), exponent=exponent)
        self._require_shape("output", self.output_shape, "M, F")

    @classmethod
    def of(cls, name: str, adjacency: NDArray[Any], dense: Tensor, **others: Any) -> SpMM:
        """Return the product with a matrix (M, K) given whole: booleans, or integers, which become its values."""
        array = np.asarray(adjacency)
        if array.ndim != 2:
            raise InputError(f"operator '{name}' (spmm): the matrix has {array.ndim} axes, expected 2 (M, K)")
        rows, columns = np.nonzero(array)
        indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=array.shape[0]))))
        values = None if array.dtype == np.bool_ else ValueTensor(array[rows, columns])
        starts, places = ValueTensor(indptr, bits=32), ValueTensor(columns, bits=32)
        return cls(name, dense, indptr=starts, indices=places, values=values, **others)

    @property
    def columns(self) -> int:
        """K."""
        return self.dense.shape[0]

    @property
    def features(self) -> int:
        """F."""
        return self.dense.shape[1]

    @property
    def output_shape(self) -> Shape:
        """(M, F)."""
        return (self.rows, self.features)

    @property
    def macs(self) -> int:
        """The number of non-zeros · F: the matrix is sparse by nature, its zeros are no part of the operator."""
        return self.nonzeros * self.features

    def matrix(self) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]] | None:
        """Return indptr (M + 1,) and indices (nonzeros,), given or drawn; None where only their shapes are known.

        Raises:
            InputError: indptr does not rise from 0 to nonzeros, or a row's indices do not rise within 0 … K − 1.

        """
        if self.indptr is None or self.indices is None:
            return draw_matrix(self.rows, self.columns, self.nonzeros, self.exponent, self.seed)
        indptr, indices = self.indptr.values(), self.indices.values()
        if indptr is None or indices is None:
            return None
        starts = indptr.astype(np.int64)
        if starts[0] != 0 or starts[-1] != self.nonzeros or (np.diff(starts) < 0).any():
            raise self._error(f"indptr does not rise from 0 to the {self.nonzeros} indices")
        wrong = indices[(indices < 0) | (indices >= self.columns)]
        if len(wrong):
            raise self._error(f"indices hold {wrong[0]}, expected columns, 0 to {self.columns - 1}")
        falls = np.diff(indices.astype(np.int64)) <= 0
        falls[starts[1:-1][(starts[1:-1] > 0) & (starts[1:-1] < self.nonzeros)] - 1] = False  # between two rows
        if falls.any():
            row = int(np.searchsorted(starts, falls.argmax() + 1, side="right")) - 1
            raise self._error(f"indices of row {row} do not rise, or repeat a column")
        return starts, indices

    @property
    def has_reference(self) -> bool:
        """Whether the values of the operands are known: of a matrix that is drawn they are all 1."""
        operands = (self.dense, self.indptr, self.indices, self.values)
        return all(isinstance(tensor, ValueTensor) for tensor in operands if tensor is not None)

    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer product (M, F); None where values are not known.

        Raises:
            InputError: as `matrix`.

        """
        found, dense = self.matrix(), self.dense.values()
        factors = None if self.values is None else self.values.values()
        if found is None or dense is None or (self.values is not None and factors is None):
            return None
        starts, indices = found
        gathered = dense[indices].astype(np.int64)
        if factors is not None:
            gathered *= factors.astype(np.int64)[:, None]
        output = np.zeros(self.output_shape, np.int64)
        filled = np.flatnonzero(np.diff(starts))
        output[filled] = np.add.reduceat(gathered, starts[filled], axis=0)
        return output
