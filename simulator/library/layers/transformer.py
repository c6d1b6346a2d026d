"""Attention with its projections, and what transformers do between products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, flag, part, whole
from simulator.library.layers.dense import product
from simulator.library.maker import Flow, Maker
from simulator.trace import Attention, Rowwise


def rowwise(maker: Maker, layer: schema.Rowwise, flow: Flow, name: str, names: Names) -> Flow:
    """Make a row-wise operator of one operand."""
    usual = {"layer_norm": 2, "rms_norm": 1}.get(layer.kind, 0)
    affine = usual if layer.affine is None else whole(layer.affine, names, "affine", least=0)
    maker.count(name, affine * flow.shape[-1])
    density = names["activation_density"] if layer.kind == "relu" else flow.density
    density = part(density if layer.density is None else layer.density, names, "density")
    data, output = maker.taken(flow, name), maker.stored(name, flow.shape, density)
    return maker.add(Rowwise(name, data, output=output, kind=layer.kind), output)


def attention(maker: Maker, layer: schema.Attention, flow: Flow, name: str, names: Names) -> Flow:
    """Make the projections of (N, L, C), the attention, and the projection of its result."""
    if len(flow.shape) != 3:
        raise InputError(f"its input has shape {flow.shape}, expected (N, L, C)")
    N, L, C = flow.shape
    H, G, D, S = _sizes(layer, L, C, names)
    weight = part(names["weight_density"], names, "weight_density")
    density = part(names["activation_density"], names, "activation_density")
    bias = flag(layer.bias, names, "bias")
    flow = replace(flow, tensor=maker.taken(flow, name))
    product(maker, flow, f"{name}.qkv", (H + 2 * G) * D, weight, density, bias)
    heads = f"{name}.heads"
    query, key, value = (
        maker.tensor(heads, role, (N, count, length, D), density, maker.bits["activation"])
        for role, count, length in (("query", H, L), ("key", G, S), ("value", G, S))
    )
    how = {"causal": flag(layer.causal, names, "causal"), **_chosen(maker, layer, heads, names)}
    if k := whole(layer.rank, names, "rank", least=0):
        how |= _detector(maker, heads, (N, L, S, C), H, k, whole(layer.precision, names, "precision"))
    output = maker.stored(heads, (N, H, L, D), density)
    maker.add(Attention(heads, query, key, value, output=output, **how), output)
    return product(maker, Flow((N, L, H * D), density), f"{name}.out", C, weight, density, bias)


def _sizes(layer: schema.Attention, L: int, C: int, names: Names) -> tuple[int, int, int, int]:
    """Return heads of queries, heads of keys, features of a head, and keys."""
    H = whole(layer.heads, names, "heads")
    G = H if layer.kv_heads is None else whole(layer.kv_heads, names, "kv_heads")
    if layer.head is None and C % H:
        raise InputError(f"heads is {H}, expected a divisor of C = {C}")
    D = C // H if layer.head is None else whole(layer.head, names, "head")
    return H, G, D, L if layer.keys is None else whole(layer.keys, names, "keys")


def _chosen(maker: Maker, layer: schema.Attention, name: str, names: Names) -> dict[str, Any]:
    """Return how connections are chosen, where not all are kept."""
    retention = part(layer.retention, names, "retention")
    return {"rule": "top_k", "retention": retention, "seed": maker.seed_of(name, "mask")} if retention < 1 else {}


def _detector(
    maker: Maker, name: str, sizes: tuple[int, int, int, int], H: int, k: int, precision: int
) -> dict[str, Any]:
    """Return the tensors of a detector of rank k, for N images of L queries and S keys of C features."""
    N, L, S, C = sizes
    weights = {role: maker.tensor(name, role, (H, k, k), 1, precision) for role in ("detector_query", "detector_key")}
    tokens = {"tokens": maker.tensor(name, "tokens", (N, L, C), 1, 8)}
    tokens |= {"memory": maker.tensor(name, "memory", (N, S, C), 1, 8)} if S != L else {}
    projection = maker.tensor(name, "projection", (C, k), 1, 2)
    return {**tokens, "projection": projection, **weights, "precision": precision}
