"""What flows along the edges of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from simulator.extract.draft import Left, Origin
from simulator.extract.store import Place

__all__ = ["Quantised", "Source", "Value"]


@dataclass(frozen=True, eq=False)
class Quantised:
    """What integers stand for: real = (integer − zero) × scale, both of a shape that broadcasts to the integers."""

    scale: NDArray[Any]
    zero: NDArray[Any]
    bits: int


@dataclass(eq=False)
class Value:
    """An array; several may be views of the same memory, which is one place."""

    array: Any
    """A NumPy array, or what onnxruntime gives for a sequence."""
    place: Place
    grid: NDArray[Any] | None = None
    """The step of each element, where the model itself quantised: element = integer × step; no memory."""
    bits: int = 0
    """Of those integers."""
    quantised: Quantised | None = None
    """Of integers: what they stand for."""

    def seen(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Value:
        """Return a view: transposed, reshaped without copying, cut."""
        grid = None if self.grid is None else change(self.grid)
        return Value(change(self.array), self.place, grid, self.bits)


@dataclass(eq=False)
class Source(Origin):
    """What computed a value, with what only graphs need to know."""

    multiple: tuple[Value, float] | None = None
    """It is a tensor times a number."""
    steps: list[Left] = field(default_factory=list)
    """What computed that product."""
    affine: bool = False
    """It is a norm whose gain and bias are nodes of their own, still to come."""
    integer: bool = False
    """It is a product of integers whose scales are still to come."""
    gathered: tuple[Value, Value] | None = None
    """It is rows of a table: the table, and their indices."""
