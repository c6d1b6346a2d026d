"""Products on a systolic array: a layer as a product of matrices, its folds, and what each piece of them needs.

A layer is, group after group, a product of its windows (M = images · output pixels) and its filters (N) over the
reduction (K = R · S · C, channels innermost, as SCALE-Sim orders it). No matrix of windows is ever made: an operand's
address is the sum of its window's and its tap's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.dataflow.layers import Layer, layer_of
from simulator.errors import LawViolation
from simulator.hardware.systolic_array import AXES, SystolicArray, count_non_zeros, multiply_folds, run_folds
from simulator.program import Counts
from simulator.trace import Operator


@dataclass(frozen=True, eq=False)
class Product:
    """A layer as G products of the same size."""

    layer: Layer

    @property
    def extents(self) -> tuple[int, int, int]:
        """(M, K, N) of each group."""
        layer = self.layer
        return layer.images * layer.pixels, layer.reduction, layer.filters

    @cached_property
    def windows(self) -> tuple[Counts, Counts, Counts]:
        """Image, first row and first column of each window (M,), the padding above and left being negative."""
        along = (self.layer.vertical, self.layer.horizontal)
        image, p, q = np.indices((self.layer.images, *(axis.outputs for axis in along))).reshape(3, -1)
        y, x = (at * axis.stride - axis.padding for at, axis in zip((p, q), along, strict=True))
        return image, y, x

    @cached_property
    def taps(self) -> tuple[Counts, Counts]:
        """Row and column of each tap in its window (R · S,)."""
        along = (self.layer.vertical, self.layer.horizontal)
        r, s = np.indices(tuple(axis.kernel for axis in along)).reshape(2, -1)
        return r * along[0].dilation, s * along[1].dilation

    def addresses(self) -> tuple[Counts, Counts]:
        """Return the parts of the operands' addresses in ``inputs``: of windows (M,) and of the reduction (K,)."""
        vertical, horizontal, C = self.layer.vertical, self.layer.horizontal, self.layer.channels
        height, width = (axis.size + 2 * axis.padding for axis in (vertical, horizontal))
        image, y, x = self.windows
        r, s = self.taps
        pixels = ((image * height + y + vertical.padding) * width + x + horizontal.padding) * C
        taps = ((r * width + s) * C)[:, None] + np.arange(C)
        return pixels, taps.ravel()

    def inputs(self, array: NDArray[Any]) -> NDArray[Any]:
        """Lay out inputs (N, G, C, H, W) padded and channels last: (G, addresses)."""
        padding = [(axis.padding, axis.padding) for axis in (self.layer.vertical, self.layer.horizontal)]
        padded = np.pad(array, [(0, 0)] * 3 + padding) if any(map(any, padding)) else array
        return np.ascontiguousarray(padded.transpose(1, 0, 3, 4, 2)).reshape(self.layer.groups, -1)

    def weights(self, array: NDArray[Any]) -> NDArray[Any]:
        """Lay out weights (G, K, C, R, S) as matrices, filter by filter: (G, K, R · S · C)."""
        G, K = array.shape[:2]
        return np.ascontiguousarray(array.transpose(0, 1, 3, 4, 2)).reshape(G, K, -1)

    def outputs(self, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bring sums (G, M, N) into the shape of the operator's output."""
        layer = self.layer
        shape = layer.groups, layer.images, layer.vertical.outputs, layer.horizontal.outputs, layer.filters
        return layer.as_output(sums.reshape(shape).transpose(1, 0, 4, 2, 3))


@dataclass(frozen=True, eq=False)
class Match:
    """What the array does for a layer, whatever feeds it."""

    operator: Operator
    array: SystolicArray
    product: Product
    cycles: int
    """Of all folds of all groups, stalls left out."""
    pairs: int
    """Of operands that met, zeros and padding among them."""
    effectual: int
    """Those of two non-zeros."""
    output: NDArray[np.int64] | None
    """The sums in the shape of the operator's output, where they were asked for."""


def match(operator: Operator, array: SystolicArray, check: bool) -> Match:
    """Walk the folds of an operator, group after group; with ``check`` along its operands, adding their products up."""
    product = Product(layer_of(operator))
    totals, output = _multiply(product, array) if check else (_count(product, array), None)
    cycles, pairs, effectual = totals.sum(axis=0).tolist()
    return Match(operator, array, product, cycles - array.last, pairs, effectual, output)


def _count(product: Product, array: SystolicArray) -> Counts:
    axes, extents = AXES[array.dataflow], product.extents
    (M, K, N), pixels = extents, product.addresses()
    block = {0: array.rows, 1: array.columns}.get(axes.index(0), M)
    inputs = np.zeros((product.layer.groups, -(-M // block), K), np.int64)
    count_non_zeros(product.inputs(product.layer.input_mask()), *pixels, block, inputs)
    step = array.columns if axes[1] == 2 else N
    mask = product.weights(product.layer.weight_mask())
    weights = np.add.reduceat(mask, np.arange(0, N, step), axis=1, dtype=np.int64)
    shape = axes, array.rows, array.columns, array.preload
    return np.array([run_folds(extents, *shape, *counts) for counts in zip(inputs, weights, strict=True)])


def _multiply(product: Product, array: SystolicArray) -> tuple[Counts, NDArray[np.int64] | None]:
    inputs, weights = product.layer.input_values(), product.layer.weight_values()
    if inputs is None or weights is None:
        return _count(product, array), None
    M, _, N = product.extents
    sums = np.zeros((product.layer.groups, M, N), np.int64)
    shape = product.extents, AXES[array.dataflow], array.rows, array.columns, array.preload
    non_zero = product.weights(product.layer.weight_mask())
    operands = zip(product.inputs(inputs), product.weights(weights), non_zero, sums, strict=True)
    totals = [multiply_folds(*shape, x, *product.addresses(), *of_weights) for x, *of_weights in operands]
    return np.array(totals), product.outputs(sums)


@dataclass(frozen=True, eq=False)
class Pieces:
    """The folds of a group, column of folds by column, each cut into runs of steps; one entry of an array per piece."""

    array: SystolicArray
    extents: tuple[int, int, int]
    steps: int
    """Of a piece at most."""

    @cached_property
    def _grid(self) -> tuple[tuple[int, int, int], Counts, Counts, Counts]:
        sizes = (self.array.columns, self.array.rows, self.steps)
        rows, columns, steps = AXES[self.array.dataflow]
        counts = tuple(-(-self.extents[axis] // size) for axis, size in zip((columns, rows, steps), sizes, strict=True))
        column, row, step = np.indices(counts).reshape(3, -1)
        return (counts[0], counts[1], counts[2]), column, row, step

    @property
    def counts(self) -> tuple[int, int, int]:
        """Columns of folds, folds in each, pieces of each fold."""
        return self._grid[0]

    @property
    def column(self) -> Counts:
        """Of which column of folds."""
        return self._grid[1]

    @property
    def row(self) -> Counts:
        """Of which fold in it."""
        return self._grid[2]

    @property
    def part(self) -> Counts:
        """Which piece of its fold."""
        return self._grid[3]

    def span(self, axis: int) -> tuple[Counts, Counts]:
        """Return from where to where each piece goes along M (0), K (1) or N (2)."""
        place = AXES[self.array.dataflow].index(axis)
        index, size = ((self.row, self.array.rows), (self.column, self.array.columns), (self.part, self.steps))[place]
        return index * size, np.minimum((index + 1) * size, self.extents[axis])

    def size(self, axis: int) -> Counts:
        """Return how far each piece goes along M (0), K (1) or N (2)."""
        first, last = self.span(axis)
        return last - first

    @property
    def along(self) -> tuple[Counts, Counts, Counts]:
        """Rows and columns in use and steps of each piece."""
        rows, columns, steps = (self.size(axis) for axis in AXES[self.array.dataflow])
        return rows, columns, steps

    @property
    def full(self) -> tuple[int, int, int]:
        """Rows and columns in use and steps of the fold that has most of each."""
        rows, columns, steps = (self.extents[axis] for axis in AXES[self.array.dataflow])
        return min(rows, self.array.rows), min(columns, self.array.columns), steps

    @property
    def first(self) -> NDArray[np.bool_]:
        """Whether a fold begins with the piece."""
        begins: NDArray[np.bool_] = self.part == 0
        return begins

    @property
    def last(self) -> NDArray[np.bool_]:
        """Whether a fold ends with the piece."""
        ends: NDArray[np.bool_] = self.part == self.counts[2] - 1
        return ends

    @property
    def overhead(self) -> Counts:
        """Cycles beside the steps: loading what stays, before the first piece of a fold; skew, after its last."""
        return self.first * self.array.preload + self.last * self.array.skew


def require_same(name: str, counted: int, matched: int, what: str) -> None:
    """Assert that tiles have as much of something as the folds that were walked.

    Raises:
        LawViolation: they do not.

    """
    if counted != matched:
        raise LawViolation(f"{name}: the tiles have {counted} {what}, the folds {matched}")
