"""What each type of layer makes of the tensor that it takes: operators, parameters, another shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.library.fields import Names
from simulator.library.layers.convolution import conv
from simulator.library.layers.dense import linear, matmul
from simulator.library.layers.shape import parameters, pool, reshape
from simulator.library.layers.sparse import aggregate, embedding_bags
from simulator.library.layers.transformer import attention, rowwise
from simulator.library.maker import Flow, Maker

MAKERS: dict[str, Callable[[Maker, Any, Flow, str, Names], Flow]] = {
    "conv": conv,
    "linear": linear,
    "matmul": matmul,
    "pool": pool,
    "reshape": reshape,
    "parameters": parameters,
    "rowwise": rowwise,
    "attention": attention,
    "embedding_bags": embedding_bags,
    "aggregate": aggregate,
}
"""By type: from maker, layer, what flows, name and names to what flows on."""

__all__ = ["MAKERS"]
