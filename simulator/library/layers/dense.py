"""Fully connected layers and other matrix products, and the densities of every layer with a weight."""

from __future__ import annotations

import math

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, flag, part, whole
from simulator.library.maker import Flow, Maker
from simulator.trace import Linear, MatMul


def weighted(
    maker: Maker,
    layer: schema.Weighted,
    flow: Flow,
    name: str,
    names: Names,
    shape: tuple[int, int, int, int] | None = None,
) -> tuple[Flow, float, float]:
    """Return the input, the density of the weight and that of the output.

    Args:
        maker: holds the table of densities, which comes before what the layer says.
        layer: what is written.
        flow: what it takes.
        name: of the operator.
        names: what names in expressions stand for.
        shape: (R, S, C/groups, K) of a convolution, to compare with the table's.

    """
    weight = layer.weight_density if layer.weight_density is not None else names["weight_density"]
    output = layer.density if layer.density is not None else names["activation_density"]
    density = part(weight, names, "weight_density")
    if layer.input_density is not None:
        flow = Flow(flow.shape, part(layer.input_density, names, "input_density"))
    measured = maker.densities.of(name, shape) if maker.densities else None
    if measured is not None:
        density = measured.weight
        flow = flow if flow.density == measured.input else Flow(flow.shape, measured.input)
    return flow, density, part(output, names, "density")


def linear(maker: Maker, layer: schema.Linear, flow: Flow, name: str, names: Names) -> Flow:
    """Make a fully connected layer on the last axis."""
    out = whole(layer.out, names, "out")
    flow, density, stored = weighted(maker, layer, flow, name, names)
    flags = {key: flag(getattr(layer, key), names, key) for key in ("bias", "tied", "norm")}
    return product(maker, flow, name, out, density, stored, **flags)


def product(
    maker: Maker,
    flow: Flow,
    name: str,
    out: int,
    density: float,
    stored: float,
    bias: bool = False,
    tied: bool = False,
    norm: bool = False,
) -> Flow:
    """Make the product with a weight (out, features) of a density, whose result is stored with another."""
    shape = (out, flow.shape[-1])
    data, kept = maker.taken(flow, name), maker.weights(name, shape, density, False)
    maker.count(name, math.prod(shape) * (not tied) + out * bias + 2 * out * norm)
    output = maker.stored(name, (*flow.shape[:-1], out), stored)
    return maker.add(Linear(name, data, output=output, **kept), output)


def matmul(maker: Maker, layer: schema.MatMul, flow: Flow, name: str, names: Names) -> Flow:
    """Make the products of (…, m, k) with other activations (…, k, n)."""
    if len(flow.shape) < 2:
        raise InputError(f"its input has shape {flow.shape}, expected (…, m, k)")
    *batch, m, k = flow.shape
    n = whole(layer.out, names, "out")
    usual = names["activation_density"]
    other, stored = (
        part(usual if density is None else density, names, key)
        for key, density in (("other_density", layer.other_density), ("density", layer.density))
    )
    b = maker.tensor(name, "b", (*batch, k, n), other, maker.bits["activation"])
    output = maker.stored(name, (*batch, m, n), stored)
    return maker.add(MatMul(name, maker.taken(flow, name, "a"), b, output=output), output)
