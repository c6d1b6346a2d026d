"""Run a graph node by node and record what it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simulator.extract.draft import Left, Origin
from simulator.extract.onnx.attention import attend, softmax
from simulator.extract.onnx.elements import HANDLERS as ELEMENTS
from simulator.extract.onnx.elements import activation
from simulator.extract.onnx.engine import Engine
from simulator.extract.onnx.gathering import HANDLERS as BAGS
from simulator.extract.onnx.gathering import gathered
from simulator.extract.onnx.kinds import FREE, STATIC, bytes_of, kind_of, macs_of
from simulator.extract.onnx.model import Model
from simulator.extract.onnx.node import Node, attributes_of
from simulator.extract.onnx.paths import NodePaths
from simulator.extract.onnx.patterns import Patterns
from simulator.extract.onnx.products import HANDLERS as PRODUCTS
from simulator.extract.onnx.quantised import after_quantising, dequantised
from simulator.extract.onnx.tensors import is_usable
from simulator.extract.onnx.value import Source, Value
from simulator.extract.onnx.views import seen
from simulator.extract.recorder import Recorder
from simulator.extract.store import Place

__all__ = ["Watch"]

_ELEMENTS = {**ELEMENTS, "Softmax": softmax}
_OTHERS = {**PRODUCTS, "Attention": attend}


class Watch:
    """Runs graphs and hands what they compute to the recorder.

    Args:
        model: the graph and its weights.
        recorder: what keeps the operators.
        paths: says which node runs.
        engine: computes.

    """

    def __init__(self, model: Model, recorder: Recorder, paths: NodePaths, engine: Engine) -> None:
        self._model, self._recorder, self._paths, self._engine = model, recorder, paths, engine

    def run(self, graph: Any, known: dict[str, Value], weights: Mapping[str, Any]) -> list[Value | None]:
        """Run a graph and return its outputs.

        Args:
            graph: of the model, or one within it.
            known: inputs and what is known of the graph around it, by name.
            weights: initialisers by name, read when they are first used and let go after their last use.

        Raises:
            InputError: a node cannot be run, or computes what a trace cannot hold.

        """
        uses = Counter(name for node in graph.node for name in _used(node))
        uses.update(output.name for output in graph.output)
        constants = set(weights) | {name for name, value in known.items() if value.place.constant}
        patterns = Patterns(graph.node, constants)
        uses.update(source for _, source in patterns.whole.values())
        mine: dict[str, Value] = {}

        def find(name: str) -> Value | None:
            if name in mine or name in known:
                return mine.get(name) or known[name]
            if name in weights:
                mine[name] = Value(self._model.array(weights[name]), Place(True))
                return mine[name]
            return None

        for proto in graph.node:
            self._paths.enter(proto)
            node = Node(proto, [find(name) for name in proto.input], attributes_of(proto), [])
            made = self._step(node, patterns, find)
            pairs = zip(proto.output, made, strict=True)
            mine |= {name: value for name, value in pairs if uses[name] and value is not None}
            node.inputs, node.results, made = [], [], []
            wholes = [patterns.whole[name][1] for name in proto.output if name in patterns.whole]
            for name in (*_used(proto), *wholes):
                uses[name] -= 1
                if not uses[name]:
                    mine.pop(name, None)
                    known.pop(name, None)
        return [find(output.name) for output in graph.output]

    def _step(self, node: Node, patterns: Patterns, find: Any) -> Sequence[Value | None]:
        recorder, proto = self._recorder, node.proto
        if node.op == "If":
            return self._branch(node, find)
        if node.op == "DequantizeLinear" and (exact := dequantised(node)) is not None:
            return exact
        constant = node.op in STATIC or (bool(node.given) and all(value.place.constant for value in node.given))
        outer = {name: find(name) for name in _captured(proto)}
        arrays = [None if value is None else value.array for value in node.inputs]
        fixed = [value is not None and value.place.constant for value in node.inputs]
        around = {name: value.array for name, value in outer.items() if value is not None}
        constant = constant and all(value.place.constant for value in outer.values() if value is not None)
        if node.op == "Constant":
            constant = True
        node.results = self._engine.run(proto, arrays, fixed, around)
        if (views := seen(node)) is not None:
            return views
        kind, source = patterns.whole.get(proto.output[0], ("", ""))
        within = proto.output[0] in patterns.within
        origin = None if within else self._origin(node, constant, kind, find(source) if kind else None)
        quantised = after_quantising(node)
        silent = kind == "same" or within or node.op in FREE
        if origin is None and not silent and quantised is None and node.op not in ("Cast", "CastLike"):
            self._stored(node)
        if origin is None and not silent and not constant:
            macs = macs_of(node)
            left = recorder.leave(node.op, kind_of(node, macs), *bytes_of(node.results), macs)
            origin = _passed_on(node, left)
        if origin is None and node.op == "Gather":
            origin = gathered(recorder, node)
        if quantised is not None:
            if origin is not None:
                quantised[0].place.origin = origin
            return quantised
        made = [None if array is None else Value(array, Place(constant)) for array in node.results]
        if origin is not None and made[0] is not None:
            made[0].place.origin = origin
        if node.op == "Attention" and len(made) > 1:
            for value in made[1:]:
                if value is not None:
                    value.place.origin = None
        return made

    def _origin(self, node: Node, constant: bool, kind: str, source: Value | None) -> Origin | None:
        recorder = self._recorder
        if kind == "same" and source is not None:
            return source.place.origin
        if kind and source is not None:
            made = activation(recorder, kind, source)
            return Source(made.draft, affine=True) if kind == "layer_norm" else made
        operands = [value.array for value in node.inputs[:2] if value is not None]
        if any(not np.size(array) for array in operands) or all(np.ndim(array) == 0 for array in operands):
            return None  # nothing to compute, or numbers, no tensors
        if node.op in _OTHERS:
            return _OTHERS[node.op](recorder, node)
        if constant or not isinstance(node.results[0], np.ndarray):
            return None
        origin = BAGS[node.op](recorder, node) if node.op in BAGS else None
        handler = _ELEMENTS.get(node.op)
        return origin if origin is not None or handler is None else handler(recorder, node)

    def _stored(self, node: Node) -> None:
        """Keep where the outputs of operators are zero that only go on into something else."""
        for value in node.given:
            origin = value.place.origin
            draft = None if origin is None else origin.draft
            if draft is not None and "output" not in draft.roles and is_usable(value.array):
                self._recorder.mask("its input", value)

    def _branch(self, node: Node, find: Any) -> Sequence[Value | None]:
        """Run the branch that is taken."""
        condition = node.input(0)
        if not condition.place.constant:
            self._recorder.reads("If")
        graph = node.attributes["then_branch" if bool(condition.array.reshape(())) else "else_branch"]
        around = {name: value for name in _captured(node.proto) if (value := find(name)) is not None}
        return self.run(graph, around, {tensor.name: tensor for tensor in graph.initializer})


def _passed_on(node: Node, left: Left) -> Origin | None:
    """Return where the elements come from, where a node copies them in their order."""
    origin = node.input(0).place.origin if node.op in ("Cast", "CastLike") else None
    if origin is None:
        return None
    scores = origin.weights.scores if origin.weights is not None else origin.scores
    if scores is not None:
        scores.steps.append(left)
    left.absorbed = isinstance(origin, Source) and origin.integer
    return origin


def _used(proto: Any) -> Iterator[str]:
    """Yield what a node uses of its graph."""
    yield from (name for name in proto.input if name)
    yield from _captured(proto)


def _captured(proto: Any) -> list[str]:
    """Return what the graphs within a node use of the one around it, each once."""
    found: dict[str, None] = {}
    for attribute in proto.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            own = {each.name for each in (*graph.input, *graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            names = (*(n for inner in graph.node for n in _used(inner)), *(output.name for output in graph.output))
            found |= dict.fromkeys(name for name in names if name not in own and name not in proto.input)
    return list(found)
