"""From a workload's layers to a trace: shapes are followed from layer to layer, densities become tensors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.errors import InputError, nearest
from simulator.library import schema
from simulator.library.densities import Densities
from simulator.library.expression import Number, evaluate
from simulator.library.lookups import draw_lookups
from simulator.trace import (
    Attention,
    Conv2d,
    DensityTensor,
    EmbeddingBag,
    Linear,
    Operator,
    Rowwise,
    SpMM,
    Tensor,
    Trace,
    ValueTensor,
)
from simulator.trace.checks import Shape

LARGEST = 2**31
"""Elements that one tensor may have."""
MOST_OPERATORS = 100_000
LEAST_CHANNELS = 8
"""Channels below which a kernel is not decomposed, as in `simulator.compress.hybrid_quantise`."""

Names = Mapping[str, Number]


@dataclass(frozen=True)
class Workload:
    """A workload made with given parameters."""

    trace: Trace
    parameters: Mapping[str, int]
    """Numbers that the model learns, by the layer that holds them: weights, biases and norms, dense."""
    settings: Names
    """The values of its parameters."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators, zeros included."""
        return self.trace.macs

    @property
    def parameter_count(self) -> int:
        """Numbers that the model learns."""
        return sum(self.parameters.values())


@dataclass(frozen=True)
class _Flow:
    """What goes from one layer to the next."""

    shape: Shape
    density: float
    tensor: Tensor | None = None


def build(
    document: schema.Document,
    name: str,
    settings: Mapping[str, str | Number] | None = None,
    densities: Densities | None = None,
) -> Workload:
    """Make a workload with given parameters into operators on tensors of known density.

    Args:
        document: the file as it is read.
        name: of the trace.
        settings: parameters by name, as numbers or expressions.
        densities: of weights and inputs by operator, before those of the file.

    Raises:
        InputError: an unknown parameter, an expression that is none, a shape that does not fit, a density outside
            0 to 1, a tensor of more than 2^31 elements.

    """
    values = resolve(document, settings or {})
    builder = _Builder(document, values, densities)
    with builder.at("input"):
        shape = tuple(builder.whole(size, values, "shape") for size in document.input.shape)
        start = _Flow(shape, builder.part(document.input.density, values, "density"))
    builder.run(document.layers, start, "", values, ())
    provenance = {"workload": name, "description": document.description}
    provenance |= {"parameters": ", ".join(f"{key}={value}" for key, value in values.items())}
    provenance |= {"density table": densities.origin} if densities else {}
    if densities is not None:
        densities.require_used(operator.name for operator in builder.operators)
    if not builder.operators:
        raise InputError("the workload has no operators, expected one or more")
    return Workload(Trace(name, tuple(builder.operators), provenance), builder.parameters, values)


def parameter_names(document: schema.Document) -> tuple[str, ...]:
    """Return the parameters that can be set, those of every workload included."""
    return tuple(dict.fromkeys((*document.parameters, *schema.COMMON)))


def resolve(document: schema.Document, settings: Mapping[str, str | Number]) -> dict[str, Number]:
    """Return the value of every parameter."""
    known = parameter_names(document)
    for key in settings:
        if key not in known:
            raise InputError(f"there is no parameter '{key}'{nearest(key, known)}")
    values: dict[str, Number] = {key: value for key, (value, _) in schema.COMMON.items()}
    written = {key: parameter.value for key, parameter in document.parameters.items()}
    for key, value in {**written, **{key: settings[key] for key in settings if key not in written}}.items():
        try:
            values[key] = _number(settings.get(key, value), values)
        except InputError as error:
            raise InputError(f"parameter '{key}': {error}") from None
    return values


def _number(value: str | Number, names: Names) -> Number:
    if isinstance(value, str):
        return evaluate(value, names)
    if isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{value!r} is no finite number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Builder:
    """Collects operators and counts parameters while it follows the shapes."""

    def __init__(self, document: schema.Document, values: Names, densities: Densities | None) -> None:
        self.operators: list[Operator] = []
        self.parameters: dict[str, int] = {}
        self._blocks = document.blocks
        self._densities = densities
        self._place = ""
        self.seed = self.whole(values["seed"], values, "seed", least=0)
        self.bits = {key: self.whole(values[f"{key}_bits"], values, f"{key}_bits") for key in ("weight", "activation")}
        self.bases = self.whole(values["bases"], values, "bases", least=0)

    # --- numbers ---------------------------------------------------------------------------------------------------

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Name the place in every refusal."""
        before, self._place = self._place, place
        try:
            yield
        except InputError as error:
            if str(error).startswith(("layer '", "operator '")):
                raise
            raise InputError(f"layer '{place}': {error}") from None
        finally:
            self._place = before

    def number(self, value: str | Number, names: Names, what: str) -> Number:
        """Return the number that a field stands for."""
        try:
            return _number(value, names)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None

    def whole(self, value: str | Number, names: Names, what: str, least: int = 1) -> int:
        """Return a whole number."""
        number = self.number(value, names, what)
        if not isinstance(number, int) or number < least:
            raise InputError(f"{what} is {_said(value, number)}, expected a whole number of at least {least}")
        return number

    def flag(self, value: bool | str | Number, names: Names, what: str) -> bool:
        """Return whether a field is true."""
        return value if isinstance(value, bool) else bool(self.number(value, names, what))

    def part(self, value: str | Number, names: Names, what: str) -> float:
        """Return a density."""
        number = self.number(value, names, what)
        if not 0 <= number <= 1:
            raise InputError(f"{what} is {_said(value, number)}, expected a number from 0 to 1")
        return float(number)

    def pair(self, value: Any, names: Names, what: str, least: int = 1) -> tuple[int, int]:
        """Return (vertical, horizontal)."""
        both = value if isinstance(value, list) else [value, value]
        return self.whole(both[0], names, what, least), self.whole(both[1], names, what, least)

    # --- tensors ---------------------------------------------------------------------------------------------------

    def tensor(self, name: str, role: str, shape: Shape, density: float, bits: int) -> DensityTensor:
        """Return a tensor drawn from a seed of its own, which other layers do not change."""
        if math.prod(shape) > LARGEST:
            sizes = " × ".join(map(str, shape))
            raise InputError(f"{role} has {sizes} = {math.prod(shape)} elements, more than 2^31")
        digest = hashlib.sha256(f"{self.seed}/{name}.{role}".encode()).digest()
        return DensityTensor(shape, density, int.from_bytes(digest[:6], "little"), bits)

    def taken(self, flow: _Flow, name: str, role: str = "input") -> Tensor:
        """Return the tensor of what flows: the one that was stored, or a new one."""
        return flow.tensor or self.tensor(name, role, flow.shape, flow.density, self.bits["activation"])

    def stored(self, name: str, shape: Shape, density: float) -> DensityTensor:
        """Return the tensor of a result."""
        return self.tensor(name, "output", shape, density, self.bits["activation"])

    def add(self, operator: Operator, output: Tensor) -> _Flow:
        """Keep an operator and go on with its output."""
        if len(self.operators) >= MOST_OPERATORS:
            raise InputError(f"the workload has more than {MOST_OPERATORS} operators")
        self.operators.append(operator)
        return _Flow(output.shape, output.density, output)

    def count(self, name: str, parameters: int) -> None:
        """Count what a layer learns."""
        if parameters:
            self.parameters[name] = self.parameters.get(name, 0) + parameters

    # --- layers ----------------------------------------------------------------------------------------------------

    def run(
        self, layers: Iterable[schema.Layer], flow: _Flow, prefix: str, names: Names, inside: tuple[str, ...]
    ) -> _Flow:
        """Follow layers from a tensor to the last one's."""
        layers = list(layers)
        labels = [layer.name or getattr(layer, "type", "layer") for layer in layers]
        for position, (layer, label) in enumerate(zip(layers, labels, strict=True)):
            if layer.name is None and labels.count(label) > 1:
                label += str(1 + labels[:position].count(label))
            where = prefix + label
            here = {**names, "channels": flow.shape[1] if len(flow.shape) == 4 else flow.shape[-1]}
            with self.at(where):
                if not self.number(layer.when, here, "when"):
                    continue
                times = self.whole(layer.repeat, here, "repeat", least=0)
            if times > MOST_OPERATORS:
                raise InputError(f"layer '{where}': repeat is {times}, expected at most {MOST_OPERATORS}")
            for i in range(times):
                name = where if times == 1 else f"{where}.{i}"
                now = {**here, "i": i, "channels": flow.shape[1] if len(flow.shape) == 4 else flow.shape[-1]}
                if isinstance(layer, schema.Group):
                    flow = self.group(layer, flow, name, now, inside)
                elif isinstance(layer, schema.Branches):
                    flow = self.branches(layer, flow, name, now, inside)
                else:
                    with self.at(name):
                        flow = getattr(self, f"_{layer.type}")(layer, flow, name, now)  # type: ignore[attr-defined]
        return flow

    def group(self, layer: schema.Group, flow: _Flow, name: str, names: Names, inside: tuple[str, ...]) -> _Flow:
        """Follow layers under a name; one that is empty leaves no dot."""
        if layer.block is None:
            return self.run(layer.layers or [], flow, f"{name}.", names, inside)
        with self.at(name):
            if layer.block not in self._blocks:
                raise InputError(f"there is no block '{layer.block}'{nearest(layer.block, self._blocks)}")
            if layer.block in inside:
                raise InputError(f"blocks hold each other in a circle: {' → '.join((*inside, layer.block))}")
            block = self._blocks[layer.block]
            for key in layer.with_:
                if key not in block.arguments:
                    raise InputError(f"block '{layer.block}' takes no '{key}'{nearest(key, block.arguments)}")
            missing = [key for key in block.arguments if key not in layer.with_]
            if missing:
                raise InputError(f"block '{layer.block}' needs '{missing[0]}' under 'with'")
            given = {key: self.number(value, names, key) for key, value in layer.with_.items()}
        return self.run(block.layers, flow, f"{name}.", {**names, **given}, (*inside, layer.block))

    def branches(self, layer: schema.Branches, flow: _Flow, name: str, names: Names, inside: tuple[str, ...]) -> _Flow:
        """Follow several ways from one tensor and join them."""
        prefix = name.rpartition(".")[0]
        prefix = f"{name}." if layer.name is not None else f"{prefix}." if prefix else ""
        if flow.tensor is None and len(layer.branches) > 1:
            with self.at(name):
                flow = replace(flow, tensor=self.taken(flow, name))
        ends = [self.run(way, flow, prefix, names, inside) for way in layer.branches]
        with self.at(name):
            return self.joined(layer, ends, name, names)

    def joined(self, layer: schema.Branches, ends: list[_Flow], name: str, names: Names) -> _Flow:
        """Return what ways join to."""
        shapes = [end.shape for end in ends]
        if layer.join == "concat":
            axis = 1 if len(shapes[0]) == 4 else len(shapes[0]) - 1
            if any(s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
                raise InputError(f"ways of shapes {_listed(shapes)} cannot be put side by side")
            shape = (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])
            given = sum(end.density * math.prod(end.shape) for end in ends) / math.prod(shape)
        else:
            shape = max(shapes, key=math.prod)
            stretched = len(shape) == 4 and all(s in (shape, (*shape[:2], 1, 1)) for s in shapes)
            if len(set(shapes)) > 1 and not (layer.join == "multiply" and stretched):
                raise InputError(f"ways of shapes {_listed(shapes)} cannot be joined by '{layer.join}'")
            given = math.prod(end.density for end in ends)
            if layer.join == "add":
                given = self.part(names["activation_density"], names, "activation_density")
        density = given if layer.density is None else self.part(layer.density, names, "density")
        density = min(max(density, 0.0), 1.0)
        if not layer.operator:
            return _Flow(shape, density)
        if layer.join == "concat" or len(ends) != 2:
            raise InputError("only two ways that are added or multiplied are an operator")
        output = self.stored(name, shape, density)
        first, second = (self.taken(end, name, role) for end, role in zip(ends, ("input", "other"), strict=True))
        return self.add(Rowwise(name, first, other=second, output=output, kind=layer.join), output)

    def _weighted(self, layer: schema.Weighted, flow: _Flow, name: str, names: Names) -> tuple[_Flow, float, float]:
        """Return the input, the density of the weight and that of the output."""
        weight = layer.weight_density if layer.weight_density is not None else names["weight_density"]
        output = layer.density if layer.density is not None else names["activation_density"]
        weight_part = self.part(weight, names, "weight_density")
        if layer.input_density is not None:
            flow = _Flow(flow.shape, self.part(layer.input_density, names, "input_density"))
        measured = self._densities.of(name) if self._densities else None
        if measured is not None:
            weight_part = measured.weight
            flow = flow if flow.density == measured.input else _Flow(flow.shape, measured.input)
        return flow, weight_part, self.part(output, names, "density")

    def _conv(self, layer: schema.Conv, flow: _Flow, name: str, names: Names) -> _Flow:
        if len(flow.shape) != 4:
            raise InputError(f"its input has shape {flow.shape}, expected (N, C, H, W)")
        C, K = flow.shape[1], self.whole(layer.out, names, "out")
        names = {**names, "out": K}
        kernel = self.pair(layer.kernel, names, "kernel")
        stride, dilation = self.pair(layer.stride, names, "stride"), self.pair(layer.dilation, names, "dilation")
        padding = (
            self.pair(layer.padding, names, "padding", least=0)
            if layer.padding is not None
            else ((kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2)
        )
        groups = self.whole(layer.groups, names, "groups")
        if C % groups or K % groups:
            raise InputError(f"groups is {groups}, expected a divisor of both C = {C} and K = {K}")
        flow, part, density = self._weighted(layer, flow, name, names)
        data = self.taken(flow, name)
        shape = (K, C // groups, *kernel)
        kept = self._weights(name, shape, part, groups == 1 and math.prod(kernel) > 1 and C >= LEAST_CHANNELS)
        bias, norm = self.flag(layer.bias, names, "bias"), self.flag(layer.norm, names, "norm")
        self.count(name, math.prod(shape) + K * bias + 2 * K * norm)
        how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        operator = Conv2d(name, data, **kept, **how)
        output = self.stored(name, operator.output_shape, density)
        return self.add(Conv2d(name, data, **kept, **how, output=output), output)

    def _weights(self, name: str, shape: Shape, density: float, decomposes: bool) -> dict[str, Any]:
        """Return the weight of a layer, or basis and coefficients."""
        if self.bases and decomposes and math.prod(shape[2:]) >= self.bases:
            basis = self.tensor(name, "basis", (self.bases, *shape[2:]), 1, 8)
            return {
                "basis": basis,
                "coefficients": self.tensor(name, "coefficients", (*shape[:2], self.bases), density, 1),
            }
        ternary = self.bases and (len(shape) == 2 or math.prod(shape[2:]) == 1)
        return {"weight": self.tensor(name, "weight", shape, density, 1 if ternary else self.bits["weight"])}

    def _linear(self, layer: schema.Linear, flow: _Flow, name: str, names: Names) -> _Flow:
        out = self.whole(layer.out, names, "out")
        flow, part, density = self._weighted(layer, flow, name, names)
        flags = {key: self.flag(getattr(layer, key), names, key) for key in ("bias", "tied", "norm")}
        return self._product(flow, name, out, part, density, **flags)

    def _product(
        self,
        flow: _Flow,
        name: str,
        out: int,
        part: float,
        density: float,
        bias: bool = False,
        tied: bool = False,
        norm: bool = False,
    ) -> _Flow:
        shape = (out, flow.shape[-1])
        data, kept = self.taken(flow, name), self._weights(name, shape, part, False)
        self.count(name, math.prod(shape) * (not tied) + out * bias + 2 * out * norm)
        output = self.stored(name, (*flow.shape[:-1], out), density)
        return self.add(Linear(name, data, output=output, **kept), output)

    def _pool(self, layer: schema.Pool, flow: _Flow, name: str, names: Names) -> _Flow:
        if len(flow.shape) != 4:
            raise InputError(f"its input has shape {flow.shape}, expected (N, C, H, W)")
        density = flow.density if layer.density is None else self.part(layer.density, names, "density")
        if layer.kernel is None:
            return _Flow((*flow.shape[:2], 1, 1), density)
        kernel = self.pair(layer.kernel, names, "kernel")
        stride = kernel if layer.stride is None else self.pair(layer.stride, names, "stride")
        padding = self.pair(layer.padding, names, "padding", least=0)
        sizes = []
        for axis in range(2):
            reach = flow.shape[2 + axis] + 2 * padding[axis] - kernel[axis]
            steps = -(-reach // stride[axis]) if layer.ceil else reach // stride[axis]
            if layer.ceil and steps * stride[axis] >= flow.shape[2 + axis] + padding[axis]:
                steps -= 1  # a window must begin inside
            if reach < 0:
                raise InputError(f"its input has shape {flow.shape}, expected at least the window {kernel}")
            sizes.append(steps + 1)
        return _Flow((*flow.shape[:2], *sizes), density)

    def _reshape(self, layer: schema.Reshape, flow: _Flow, name: str, names: Names) -> _Flow:
        shape = flow.shape
        if layer.to == "flat":
            return _Flow((shape[0], math.prod(shape[1:])), flow.density)
        if layer.to == "tokens":
            if len(shape) != 4:
                raise InputError(f"its input has shape {shape}, expected (N, C, H, W)")
            tokens = shape[2] * shape[3] + self.whole(layer.extra, names, "extra", least=0)
            return _Flow((shape[0], tokens, shape[1]), flow.density)
        if layer.to == "pairs":
            if len(shape) != 2 or shape[0] % 2:
                raise InputError(f"its input has shape {shape}, expected (2N, F)")
            return _Flow((shape[0] // 2, 2 * shape[1]), flow.density)
        if len(shape) != 3:
            raise InputError(f"its input has shape {shape}, expected (N, L, C)")
        return _Flow((shape[0], shape[2]), flow.density)

    def _parameters(self, layer: schema.Parameters, flow: _Flow, name: str, names: Names) -> _Flow:
        self.count(name, self.whole(layer.count, names, "count", least=0))
        return flow

    def _rowwise(self, layer: schema.Rowwise, flow: _Flow, name: str, names: Names) -> _Flow:
        usual = 2 if layer.kind == "layer_norm" else 0
        affine = usual if layer.affine is None else self.whole(layer.affine, names, "affine", least=0)
        self.count(name, affine * flow.shape[-1])
        density = names["activation_density"] if layer.kind == "relu" else flow.density
        density = self.part(density if layer.density is None else layer.density, names, "density")
        data, output = self.taken(flow, name), self.stored(name, flow.shape, density)
        return self.add(Rowwise(name, data, output=output, kind=layer.kind), output)

    def _attention(self, layer: schema.Attention, flow: _Flow, name: str, names: Names) -> _Flow:
        if len(flow.shape) != 3:
            raise InputError(f"its input has shape {flow.shape}, expected (N, L, C)")
        N, L, C = flow.shape
        H = self.whole(layer.heads, names, "heads")
        G = H if layer.kv_heads is None else self.whole(layer.kv_heads, names, "kv_heads")
        if layer.head is None and C % H:
            raise InputError(f"heads is {H}, expected a divisor of C = {C}")
        D = C // H if layer.head is None else self.whole(layer.head, names, "head")
        S = L if layer.keys is None else self.whole(layer.keys, names, "keys")
        part = self.part(names["weight_density"], names, "weight_density")
        density = self.part(names["activation_density"], names, "activation_density")
        bias = self.flag(layer.bias, names, "bias")
        flow = replace(flow, tensor=self.taken(flow, name))
        self._product(flow, f"{name}.qkv", (H + 2 * G) * D, part, density, bias)
        heads = f"{name}.heads"
        bits = self.bits["activation"]
        query, key, value = (
            self.tensor(heads, role, (N, count, length, D), density, bits)
            for role, count, length in (("query", H, L), ("key", G, S), ("value", G, S))
        )
        how: dict[str, Any] = {"causal": self.flag(layer.causal, names, "causal")}
        retention = self.part(layer.retention, names, "retention")
        if retention < 1:
            seed = hashlib.sha256(f"{self.seed}/{heads}.mask".encode()).digest()
            how |= {"rule": "top_k", "retention": retention, "seed": int.from_bytes(seed[:6], "little")}
        if k := self.whole(layer.rank, names, "rank", least=0):
            how |= self._detector(heads, (N, L, S, C), H, k, self.whole(layer.precision, names, "precision"))
        output = self.stored(heads, (N, H, L, D), density)
        self.add(Attention(heads, query, key, value, output=output, **how), output)
        return self._product(_Flow((N, L, H * D), density), f"{name}.out", C, part, density, bias)

    def _detector(self, name: str, sizes: tuple[int, int, int, int], H: int, k: int, precision: int) -> dict[str, Any]:
        N, L, S, C = sizes
        weights = {
            role: self.tensor(name, role, (H, k, k), 1, precision) for role in ("detector_query", "detector_key")
        }
        tokens = {"tokens": self.tensor(name, "tokens", (N, L, C), 1, 8)}
        tokens |= {"memory": self.tensor(name, "memory", (N, S, C), 1, 8)} if S != L else {}
        projection = self.tensor(name, "projection", (C, k), 1, 2)
        return {**tokens, "projection": projection, **weights, "precision": precision}

    def _embedding_bags(self, layer: schema.EmbeddingBags, flow: _Flow, name: str, names: Names) -> _Flow:
        N = flow.shape[0]
        tables, rows, F, lookups = (
            self.whole(getattr(layer, key), names, key) for key in ("tables", "rows", "features", "lookups")
        )
        skew = float(self.number(layer.skew, names, "skew"))
        if N * lookups > LARGEST:
            raise InputError(f"indices have {N} × {lookups} elements, more than 2^31")
        lengths = ValueTensor(np.full(N, lookups), bits=32)
        for number in range(tables):
            bag = f"{name}.{number}"
            table = self.tensor(bag, "table", (rows, F), 1, self.bits["weight"])
            indices = draw_lookups(rows, N * lookups, skew, table.seed)
            output = self.stored(bag, (N, F), 1)
            self.add(EmbeddingBag(bag, table, ValueTensor(indices, bits=32), lengths, output=output), output)
        self.count(name, tables * rows * F)
        return _Flow((N, tables * F), 1)

    def _aggregate(self, layer: schema.Aggregate, flow: _Flow, name: str, names: Names) -> _Flow:
        if len(flow.shape) != 2:
            raise InputError(f"its input has shape {flow.shape}, expected (nodes, F)")
        edges = self.whole(layer.edges, names, "edges")
        exponent = float(self.number(layer.exponent, names, "exponent"))
        graph = self.whole(layer.graph, names, "graph", least=0)
        density = self.part(names["activation_density"], names, "activation_density")
        output = self.stored(name, flow.shape, density)
        data = self.taken(flow, name)
        operator = SpMM(
            name, data, output=output, nonzeros=edges, exponent=exponent, seed=self.seed * 1_000_003 + graph
        )
        return self.add(operator, output)


def _said(value: str | Number, number: Number) -> str:
    return f"'{value}' = {number}" if isinstance(value, str) else repr(number)


def _listed(shapes: list[Shape]) -> str:
    return " and ".join(map(str, shapes))
