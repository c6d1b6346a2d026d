"""One node of an ONNX graph as it runs, its attributes by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from simulator.extract.onnx.value import Value

__all__ = ["Node", "attributes_of", "op_name"]


@dataclass(eq=False)
class Node:
    """What runs, with what, and what came of it."""

    proto: Any
    inputs: list[Value | None]
    """None: an optional one that is not given."""
    attributes: dict[str, Any]
    results: list[Any]
    """Arrays, as onnxruntime returned them."""

    @property
    def op(self) -> str:
        """With the domain, unless it is ONNX's own: `Conv`, `com.microsoft::Attention`."""
        return op_name(self.proto)

    @property
    def given(self) -> list[Value]:
        """The inputs that are given."""
        return [value for value in self.inputs if value is not None]

    def input(self, place: int) -> Value:
        """Return an input that must be there."""
        value = self.inputs[place]
        assert value is not None
        return value

    def get(self, place: int) -> Value | None:
        """Return an input, None where it is not given."""
        return self.inputs[place] if place < len(self.inputs) else None


def op_name(proto: Any) -> str:
    """Return the operation of a node."""
    return proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}::{proto.op_type}"


def attributes_of(proto: Any) -> dict[str, Any]:
    """Return the attributes of a node; texts as str."""
    helper: Any = import_module("onnx.helper")
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in proto.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in found.items()
    }
