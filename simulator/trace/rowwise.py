"""What a transformer does between its products: softmax, normalisation, activation, additions."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from simulator.errors import InputError, nearest
from simulator.trace.checks import Shape
from simulator.trace.operator import Operator, register
from simulator.trace.tensor import Tensor

OPERATIONS: Final = MappingProxyType(
    {
        "softmax": {"compare": (1, -1), "add": (2, -1), "exp": (1, 0), "divide": (1, 0)},
        "layer_norm": {"add": (4, -1), "multiply": (3, 2), "sqrt": (0, 1), "divide": (0, 1)},
        "rms_norm": {"add": (1, 0), "multiply": (3, 1), "sqrt": (0, 1), "divide": (0, 1)},
        "gelu": {"multiply": (1, 0), "add": (1, 0), "exp": (1, 0), "divide": (1, 0)},
        "silu": {"add": (1, 0), "exp": (1, 0), "divide": (1, 0)},
        "relu": {"compare": (1, 0)},
        "add": {"add": (1, 0)},
        "multiply": {"multiply": (1, 0)},
    }
)
"""Operations of each kind as (per element, per row): docs/traces.md says where they come from."""

_OF_TWO = ("add", "multiply")


@register
@dataclass(frozen=True, eq=False)
class Rowwise(Operator):
    """An operator that handles every row (the last axis) alone and keeps the shape.

    Args:
        input: (…, F).
        other: (…, F), the second operand of "add" and "multiply".
        output: (…, F), what is stored; for its density only.
        kind: "softmax", "layer_norm", "rms_norm", "gelu", "silu", "relu", "add" (a residual) or "multiply" (a gate).

    Raises:
        InputError: an unknown kind, a second operand too many or missing, shapes that differ.

    """

    type: ClassVar[str] = "rowwise"
    roles: ClassVar[tuple[str, ...]] = ("input", "other", "output")
    input: Tensor
    other: Tensor | None = None
    output: Tensor | None = None
    kind: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in OPERATIONS:
            raise self._error(f"unknown kind {self.kind!r}{nearest(str(self.kind), OPERATIONS)}")
        if (self.other is not None) != (self.kind in _OF_TWO):
            raise self._error(f"other is {'missing' if self.other is None else 'given'}, but the kind is '{self.kind}'")
        self._require_shape("other", self.input.shape, "that of input")
        self._require_shape("output", self.input.shape, "that of input")

    @property
    def output_shape(self) -> Shape:
        """(…, F)."""
        return self.input.shape

    @property
    def elements(self) -> int:
        """The number of elements of the input."""
        return self.input.size

    @property
    def rows(self) -> int:
        """The number of rows of the input."""
        return self.input.size // self.input.shape[-1]

    @property
    def macs(self) -> int:
        """0: see `operations`."""
        return 0

    @property
    def operations(self) -> dict[str, int]:
        """How often each elementary operation is done."""
        return operations(self.kind, self.elements, self.rows)

    @property
    def has_reference(self) -> bool:
        """False: the result is not of integers, and no operands are paired."""
        return False

    def reference(self) -> None:
        """Return None, see `has_reference`."""
        return None


def operations(kind: str, elements: int, rows: int) -> dict[str, int]:
    """Return the elementary operations of a kind on so many elements in so many rows.

    A sparse softmax has as many elements as there are connections kept.

    Raises:
        InputError: an unknown kind.

    """
    if kind not in OPERATIONS:
        raise InputError(f"unknown kind {kind!r}{nearest(str(kind), OPERATIONS)}")
    return {name: elements * a + rows * b for name, (a, b) in OPERATIONS[kind].items()}
