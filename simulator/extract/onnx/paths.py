"""What an operator of a graph is called: as PyTorch calls it where the exporter says so."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from simulator.extract.onnx.node import op_name

__all__ = ["NodePaths"]

_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


class NodePaths:
    """The path of the module whose node runs.

    Args:
        nodes: of the graph.
        weights: names of its initialisers.

    """

    def __init__(self, nodes: Iterable[Any], weights: Iterable[str]) -> None:
        self._node: Any = None
        self._weights = set(weights)
        paths = {name.rpartition(".")[0] for name in self._weights} | {
            _scope(node)[0] for node in nodes if node.name.startswith("/") or _scopes(node)
        }
        self._parents = {parent for path in paths for parent in _parents(path)}

    def enter(self, node: Any) -> None:
        """Say which node runs."""
        self._node = node

    @property
    def module(self) -> str:
        """Path of the module whose node runs, or the node's name where the file knows no modules."""
        return self._place()[0]

    def name(self, op: str) -> str:
        """Return how an operation is called: by the module where this is one layer, else with op."""
        path, whole = self._place()
        return path if whole and path else f"{path}.{op}" if path else op

    def _place(self) -> tuple[str, bool]:
        if self._node is None:
            return "", False
        path, own = _scope(self._node)
        if op_name(self._node) in ("Conv", "Gemm", "MatMul"):  # a batch norm folded beforehand leaves its own name
            weight = next((name for name in self._node.input if name in self._weights), "").removesuffix(".weight")
            if any("batch_norm" in scope for scope in _scopes(self._node)[-1:]) and f"{weight}.weight" in self._weights:
                return weight, True
        return path, own and path not in self._parents


def _parents(path: str) -> Iterable[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _scopes(node: Any) -> list[str]:
    return _listed(node, _SCOPES)


def _scope(node: Any) -> tuple[str, bool]:
    """Return the path of a node's module, and whether that is a layer of PyTorch's own, as far as the file tells."""
    scopes, classes = _scopes(node), _listed(node, _CLASSES)
    if len(scopes) >= 2 and len(classes) == len(scopes):
        return scopes[-2], classes[-2].startswith("torch.nn.modules.")
    if len(scopes) == 1:
        return "", False
    if not node.name.startswith("/"):
        return (node.name or next(iter(node.output), "")).replace("/", "."), True
    path: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if path and part.startswith(path[-1] + "."):
            path.pop()  # /layer/layer.0/conv is layer.0.conv
        path.append(part)
    return ".".join(path), True


def _listed(node: Any, key: str) -> list[str]:
    text = next((entry.value for entry in getattr(node, "metadata_props", ()) if entry.key == key), "[]")
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(each) for each in found] if isinstance(found, list | tuple) else []
