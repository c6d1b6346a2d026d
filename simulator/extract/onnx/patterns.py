"""Activation functions that exporters write in several nodes, found before the graph runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from simulator.extract.onnx.node import op_name

__all__ = ["Patterns"]

_DEPTH: Final = 8


class Patterns:
    """What whole groups of nodes compute.

    Args:
        nodes: of one graph.
        weights: names of what is constant beside the results of `Constant`.

    """

    def __init__(self, nodes: Sequence[Any], weights: set[str]) -> None:
        self.whole: dict[str, tuple[str, str]] = {}
        """By the name of a result: what it is of which value; the kind is that of a row-wise operator, or `same`."""
        self.within: set[str] = set()
        """Names of results on the way there: no operators of their own."""
        self._makers = {name: node for node in nodes for name in node.output if name}
        self._constants = weights | {name for node in nodes if node.op_type == "Constant" for name in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        for node in nodes:
            if op_name(node) in ("Erf", "Tanh"):
                self._gelu(node)
            elif op_name(node) == "Sqrt":
                self._layer_norm(node)
            elif op_name(node) == "Sigmoid":
                self._silu(node)
            elif op_name(node) == "IsNaN":
                self._guard(node)

    def _found(self, kind: str, source: str, last: Any, within: Sequence[Any]) -> None:
        self.whole[last.output[0]] = (kind, source)
        self.within |= {name for node in within for name in node.output}

    def _silu(self, sigmoid: Any) -> None:
        """X · sigmoid(x)."""
        user = self._only_user(sigmoid, "Mul")
        if user is not None and self._other(user, sigmoid.output[0]) == sigmoid.input[0]:
            self._found("silu", sigmoid.input[0], user, [sigmoid])

    def _layer_norm(self, root: Any) -> None:
        """(x − mean) ÷ √(mean of its squares + ε), as it was before it was an operator; rows are the last axis."""
        user = self._only_user(root, "Div")
        plus = self._maker(root.input[0], "Add")
        mean = plus and self._maker(next((n for n in plus.input if n not in self._constants), ""), "ReduceMean")
        squares = mean and (self._maker(mean.input[0], "Pow") or self._maker(mean.input[0], "Mul"))
        if not squares or user is None or user.input[0] != squares.input[0]:
            return
        centred = self._maker(user.input[0], "Sub")
        first = centred and self._maker(centred.input[1], "ReduceMean")
        if first and first.input[0] == centred.input[0] and all(self._of_last_axis(node) for node in (first, mean)):
            self._found("layer_norm", centred.input[0], user, [first, centred, squares, mean, plus, root])

    def _of_last_axis(self, node: Any) -> bool:
        listed = [list(attribute.ints) for attribute in node.attribute if attribute.name == "axes"]
        return listed == [[-1]]

    def _maker(self, name: str, op: str) -> Any:
        node = self._makers.get(name)
        return node if node is not None and op_name(node) == op else None

    def _guard(self, test: Any) -> None:
        """Where a softmax is NaN it becomes 0: rows that may look nowhere."""
        user = self._only_user(test, "Where")
        if user is not None and user.input[2] == test.input[0] and user.input[1] in self._constants:
            self._found("same", test.input[0], user, [test])

    def _gelu(self, curve: Any) -> None:
        """½ x (1 + erf(x ÷ √2)), or with tanh, the factors in any order."""
        plus = self._only_user(curve, "Add")
        if plus is None or self._other(plus, curve.output[0]) not in self._constants:
            return
        for halved_first in (False, True):
            if self._product(curve, plus, halved_first):
                return

    def _product(self, curve: Any, plus: Any, halved_first: bool) -> bool:
        nodes, last, source, half = [curve, plus], plus, "", False
        while not (source and half):
            user = self._only_user(last, "Mul")
            if user is None:
                return False
            other = self._other(user, last.output[0])
            maker = self._makers.get(other)
            if other in self._constants:
                half = True
            elif halved_first and maker is not None and op_name(maker) == "Mul" and not half:
                variable = [name for name in maker.input if name not in self._constants]
                if len(variable) != 1:
                    return False
                source, half = variable[0], True
                nodes.append(maker)
            elif source:
                return False
            else:
                source = other
            nodes.append(user)
            last = user
        above = self._above(curve.input[0], source, _DEPTH)
        if above is None or not above:
            return False
        self._found("gelu", source, last, [*above, *nodes[:-1]])
        return True

    def _above(self, name: str, source: str, depth: int) -> list[Any] | None:
        """Return the nodes between a value and the one it is computed of with constants alone; None if of others."""
        if name == source or name in self._constants:
            return []
        maker = self._makers.get(name)
        if maker is None or depth == 0 or op_name(maker) not in ("Mul", "Div", "Add", "Pow"):
            return None
        nodes = [maker]
        for each in maker.input:
            found = self._above(each, source, depth - 1)
            if found is None:
                return None
            nodes += found
        return nodes

    def _only_user(self, node: Any, op: str) -> Any:
        users = self._users.get(node.output[0], [])
        return users[0] if len(users) == 1 and op_name(users[0]) == op else None

    def _other(self, node: Any, name: str) -> str:
        first, second = node.input[:2]
        return str(second if first == name else first)
