"""Rows of a table that are gathered and added up: bags of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from simulator.extract.draft import Origin
from simulator.extract.onnx.node import Node
from simulator.extract.onnx.value import Source, Value
from simulator.extract.recorder import Recorder
from simulator.extract.store import Place

__all__ = ["HANDLERS", "gathered"]


def gathered(recorder: Recorder, node: Node) -> Source | None:
    """Return that a node looks rows of a table up; alone it only copies."""
    if node.op != "Gather":
        return None
    table, indices = node.input(0), node.input(1)
    if not table.place.constant or indices.place.constant or table.array.ndim != 2 or indices.array.ndim != 2:
        return None
    return Source(None, gathered=(table, indices)) if node.attributes.get("axis", 0) == 0 else None


def _reduced(mode: str) -> Callable[[Recorder, Node], Origin | None]:
    def handler(recorder: Recorder, node: Node) -> Origin | None:
        """Add up the rows of each bag; all bags are of one length."""
        before, axes = recorder.origin(node.input(0)), node.get(1)
        listed = node.attributes.get("axes") if axes is None else axes.array.reshape(-1)
        if not isinstance(before, Source) or before.gathered is None or listed is None:
            return None
        table, indices = before.gathered
        if [int(axis) % 3 for axis in listed] != [1] or node.input(0).array.ndim != 3 or indices.array.size == 0:
            return None
        bags, length = indices.array.shape
        rows = table.array.shape[0]
        flat = Value(np.where(indices.array < 0, indices.array + rows, indices.array).reshape(-1), Place(False))
        lengths = Value(np.full(bags, length, np.int64), Place(False))
        roles = {
            "table": recorder.values("its table", table),
            "indices": recorder.tensors.integers(flat),
            "lengths": recorder.tensors.integers(lengths),
        }
        shape = (bags, table.array.shape[1])
        return Origin(recorder.draft("embedding_bag", "embedding_bag", shape, roles, mode=mode))

    return handler


HANDLERS: Final = {f"Reduce{kind}": _reduced(kind.lower()) for kind in ("Sum", "Mean", "Max")}
