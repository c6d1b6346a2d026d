"""Shapes are followed from layer to layer, through groups, blocks, repeats and branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from simulator.errors import InputError, nearest
from simulator.library import schema
from simulator.library.fields import Names, at, number, whole
from simulator.library.join import joined
from simulator.library.layers import MAKERS
from simulator.library.maker import MOST_OPERATORS, Flow, Maker

MOST_LAYERS, DEEPEST = 1_000_000, 40
"""Layers that are followed, with and without operators, and blocks within blocks."""


class Follower:
    """Goes through layers, and counts how many."""

    def __init__(self, blocks: Mapping[str, schema.Block], maker: Maker) -> None:
        self._blocks = blocks
        self._maker = maker
        self._followed = 0

    def follow(
        self, layers: Iterable[schema.Layer], flow: Flow, prefix: str, names: Names, inside: tuple[str, ...]
    ) -> Flow:
        """Follow layers from a tensor to the last one's.

        Args:
            layers: in order.
            flow: what the first takes.
            prefix: of the names of what they make.
            names: what names in expressions stand for.
            inside: blocks that these layers are in.

        """
        for layer, label in _labelled(list(layers)):
            where = prefix + label
            here = {**names, "channels": flow.channels}
            with at(where):
                times = self._times(layer, here)
            for i in range(times):
                self._require_few(where)
                name = f"{where}.{i}" if "repeat" in layer.model_fields_set else where
                now = {**here, "i": i, "channels": flow.channels}
                if isinstance(layer, schema.Group):
                    flow = self._group(layer, flow, name, now, inside)
                elif isinstance(layer, schema.Branches):
                    flow = self._branches(layer, flow, name, now, inside)
                else:
                    with at(name):
                        flow = MAKERS[getattr(layer, "type", "")](self._maker, layer, flow, name, now)
        return flow

    def _times(self, layer: schema.Layer, names: Names) -> int:
        """Return how often a layer is there."""
        if not number(layer.when, names, "when"):
            return 0
        times = whole(layer.repeat, names, "repeat", least=0)
        if times > MOST_OPERATORS:
            raise InputError(f"repeat is {times}, expected at most {MOST_OPERATORS}")
        return times

    def _require_few(self, where: str) -> None:
        self._followed += 1
        if self._followed > MOST_LAYERS:
            raise InputError(f"layer '{where}': the workload has more than {MOST_LAYERS} layers")

    def _group(self, layer: schema.Group, flow: Flow, name: str, names: Names, inside: tuple[str, ...]) -> Flow:
        """Follow layers under a name; one that is empty leaves no dot."""
        if layer.block is None:
            return self.follow(layer.layers or [], flow, f"{name}.", names, inside)
        with at(name):
            block = self._block(layer, layer.block, inside)
            given = {key: number(value, names, key) for key, value in layer.with_.items()}
        return self.follow(block.layers, flow, f"{name}.", {**names, **given}, (*inside, layer.block))

    def _block(self, layer: schema.Group, called: str, inside: tuple[str, ...]) -> schema.Block:
        """Return the block that a group refers to, which its arguments fit."""
        if called not in self._blocks:
            raise InputError(f"there is no block '{called}'{nearest(called, self._blocks)}")
        if called in inside:
            raise InputError(f"blocks hold each other in a circle: {' → '.join((*inside, called))}")
        if len(inside) >= DEEPEST:
            raise InputError(f"blocks lie within blocks more than {DEEPEST} deep")
        block = self._blocks[called]
        for key in layer.with_:
            if key not in block.arguments:
                raise InputError(f"block '{called}' takes no '{key}'{nearest(key, block.arguments)}")
        missing = [key for key in block.arguments if key not in layer.with_]
        if missing:
            raise InputError(f"block '{called}' needs '{missing[0]}' under 'with'")
        return block

    def _branches(self, layer: schema.Branches, flow: Flow, name: str, names: Names, inside: tuple[str, ...]) -> Flow:
        """Follow several ways from one tensor and join them."""
        prefix = name.rpartition(".")[0]
        prefix = f"{name}." if layer.name is not None else f"{prefix}." if prefix else ""
        if flow.tensor is None and len(layer.branches) > 1:
            with at(name):
                flow = replace(flow, tensor=self._maker.taken(flow, name))
        ends = [self.follow(way, flow, prefix, names, inside) for way in layer.branches]
        with at(name):
            return joined(self._maker, layer, ends, name, names)


def _labelled(layers: Sequence[schema.Layer]) -> Iterator[tuple[schema.Layer, str]]:
    """Yield layers and how they are called: by name, or by type and which one of it."""
    labels = [layer.name or getattr(layer, "type", "layer") for layer in layers]
    for position, (layer, label) in enumerate(zip(layers, labels, strict=True)):
        numbered = layer.name is None and labels.count(label) > 1
        yield layer, f"{label}{1 + labels[:position].count(label)}" if numbered else label
