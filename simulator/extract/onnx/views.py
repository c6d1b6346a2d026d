"""Nodes that only look at their input in another way: nothing is computed or, mostly, moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.extract.onnx.node import Node
from simulator.extract.onnx.value import Value

__all__ = ["seen"]

_Change = Callable[[NDArray[Any]], NDArray[Any]]


def seen(node: Node) -> list[Value] | None:
    """Return what a node makes of its input without computing; None where it computes, or copies in another order."""
    make = _VIEWS.get(node.op)
    first = node.get(0)
    if make is None or first is None or not isinstance(first.array, np.ndarray):
        return None
    changes = make(node, first.array)
    if changes is None:
        return None
    views = [first.seen(change) for change in changes]
    for view in views:
        if not (np.may_share_memory(view.array, first.array) or view.array.size == 0):
            return None  # a copy
        view.quantised = first.quantised if node.op in _SAME or _scalar(first) else None
    return views


_SAME: Final = ("Identity", "Dropout")


def _scalar(value: Value) -> bool:
    return value.quantised is not None and value.quantised.scale.size == 1 and value.quantised.zero.size == 1


def _ints(node: Node, place: int, name: str) -> list[int] | None:
    value = node.get(place)
    if value is not None:
        return [int(each) for each in value.array.reshape(-1)]
    given = node.attributes.get(name)
    return None if given is None else [int(each) for each in given]


def _reshape(node: Node, array: NDArray[Any]) -> list[_Change]:
    shape = tuple(node.results[0].shape)
    return [lambda a: a.reshape(shape)]


def _transpose(node: Node, array: NDArray[Any]) -> list[_Change]:
    order = node.attributes.get("perm")
    return [lambda a: a.transpose(order)]


def _expand(node: Node, array: NDArray[Any]) -> list[_Change]:
    shape = tuple(node.results[0].shape)
    return [lambda a: np.broadcast_to(a, shape)]


def _slice(node: Node, array: NDArray[Any]) -> list[_Change] | None:
    starts, ends = _ints(node, 1, "starts"), _ints(node, 2, "ends")
    if starts is None or ends is None:
        return None
    axes = _ints(node, 3, "axes") or list(range(len(starts)))
    steps = _ints(node, 4, "steps") or [1] * len(starts)
    cut = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, None if step < 0 and end < -array.shape[axis] else end, step)
    return [lambda a: a[tuple(cut)]]


def _split(node: Node, array: NDArray[Any]) -> list[_Change]:
    axis = int(node.attributes.get("axis", 0)) % max(1, array.ndim)
    changes: list[_Change] = []
    begin = 0
    for result in node.results:
        end = begin + result.shape[axis]
        cut = (*[slice(None)] * axis, slice(begin, end))
        changes.append(lambda a, cut=cut: a[cut])  # type: ignore[misc]
        begin = end
    return changes


def _select(node: Node, array: NDArray[Any]) -> list[_Change] | None:
    """One index of an axis is a view; several are gathered."""
    index = node.input(1)
    axis = int(node.attributes.get("axis", 0)) % array.ndim
    if index.array.ndim or not index.place.constant:
        return None
    return [lambda a: a[(*[slice(None)] * axis, int(index.array))]]


def _identity(node: Node, array: NDArray[Any]) -> list[_Change] | None:
    training = node.op == "Dropout" and (flag := node.get(2)) is not None and bool(flag.array)
    return None if training or len(node.results) > 1 else [lambda a: a]


_VIEWS: Final[dict[str, Callable[[Node, NDArray[Any]], list[_Change] | None]]] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Expand": _expand,
    "Slice": _slice,
    "Split": _split,
    "Gather": _select,
    **dict.fromkeys(_SAME, _identity),
}
