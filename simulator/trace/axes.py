"""What the axes of an operator's tensors count: images, channels, filters, rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from simulator.trace.operator import Operator

__all__ = ["AXES", "Axes", "axes_of"]


@dataclass(frozen=True)
class Axes:
    """Which axes of a tensor count what; None where it has no such axis."""

    filters: int | None = None
    """Output channels of a weight."""
    channels: int | None = None
    """Input channels of a weight, channels or features of an activation: what a product sums over."""
    images: int | None = None
    """The first axis counts images where the tensor has at least so many axes."""
    is_map: bool = False
    """Whether the last axis is a row of keys, of an attention mask."""


_WEIGHT = Axes(filters=0, channels=1)
_PLANES = Axes(channels=1, images=4)
_HEADS = Axes(channels=-1, images=4)
_TOKENS = Axes(channels=-1, images=3)
_FEATURES = Axes(channels=-1, images=2)

AXES: Final[Mapping[str, Mapping[str, Axes]]] = MappingProxyType(
    {
        "conv2d": {"input": _PLANES, "weight": _WEIGHT, "coefficients": _WEIGHT, "output": _PLANES},
        "linear": {"input": _FEATURES, "weight": _WEIGHT, "output": _FEATURES},
        "matmul": {"a": Axes(channels=-1, images=3), "b": Axes(channels=-2, images=3), "output": _TOKENS},
        "attention": {
            "query": _HEADS,
            "key": _HEADS,
            "value": _HEADS,
            "mask": Axes(images=4, is_map=True),
            "tokens": _TOKENS,
            "memory": _TOKENS,
            "output": _HEADS,
        },
        "embedding_bag": {"table": Axes(channels=1), "output": Axes(channels=1)},
        "spmm": {"dense": Axes(channels=1), "output": Axes(channels=1)},
        "rowwise": {"input": _FEATURES, "other": _FEATURES, "output": _FEATURES},
    }
)
"""By type of operator and role; of what is not here nothing is known."""


def axes_of(operator: Operator, role: str) -> Axes:
    """Return what the axes of an operator's tensor count."""
    return AXES.get(operator.type, {}).get(role, Axes())
