"""Operators in the making: what they hold is settled only when the model has run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from simulator.extract.report import Kind
from simulator.trace import Operator, Tensor
from simulator.trace.operator import build

__all__ = ["Draft", "Handle", "Left", "Moment", "Origin", "Scores", "Weights"]


@dataclass(eq=False)
class Handle:
    """A captured tensor, which may become better known: first a mask, then values."""

    tensor: Tensor


@dataclass(eq=False)
class Draft:
    """An operator to be."""

    type: str
    name: str
    roles: dict[str, Handle]
    attributes: dict[str, Any]
    output_shape: tuple[int, ...]
    absorbed: bool = False
    """Whether a later operator took its work over."""

    def operator(self, name: str) -> Operator:
        """Return the operator."""
        return build(self.type, name, {role: handle.tensor for role, handle in self.roles.items()}, self.attributes)


@dataclass(eq=False)
class Left:
    """One operation that becomes no operator."""

    op: str
    module: str
    kind: Kind
    macs: int | None
    elements: int
    bytes: int
    absorbed: bool = False


@dataclass(eq=False)
class Scores:
    """Products of queries and keys on their way to a softmax."""

    product: Draft
    factor: float = 1.0
    masked: bool = False
    steps: list[Draft | Left] = field(default_factory=list)
    """What attention takes over, should it come to that."""


@dataclass(eq=False)
class Weights:
    """Scores after the softmax."""

    scores: Scores
    shape: tuple[int, ...]
    """(…, L, S) of the softmax."""
    mask: Tensor | None
    """(N, H, L, S); None: all, or all but the future."""
    causal: bool


@dataclass(eq=False)
class Moment:
    """The squares of a tensor on their way to a root-mean-square norm."""

    source: tuple[Any, ...]
    """Which tensor, and which view of it."""
    stage: Literal["squares", "mean", "reciprocal root"]
    steps: list[Draft | Left]


@dataclass(eq=False)
class Origin:
    """What computed a tensor."""

    draft: Draft | None
    """The operator whose output it is."""
    activated: bool = False
    """Whether an activation function was applied to that."""
    folded: bool = False
    """Whether a batch norm was folded into that."""
    scores: Scores | None = None
    weights: Weights | None = None
    moment: Moment | None = None
