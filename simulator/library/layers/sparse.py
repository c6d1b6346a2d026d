"""Look-ups in embedding tables, and sums over the neighbours in a graph."""

from __future__ import annotations

import numpy as np

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, number, part, whole
from simulator.library.lookups import draw_lookups
from simulator.library.maker import Flow, Maker
from simulator.trace import EmbeddingBag, SpMM, ValueTensor


def embedding_bags(maker: Maker, layer: schema.EmbeddingBags, flow: Flow, name: str, names: Names) -> Flow:
    """Make one embedding bag per table; (N, …) becomes (N, tables · features)."""
    N = flow.shape[0]
    tables, rows, F, lookups = (
        whole(getattr(layer, key), names, key) for key in ("tables", "rows", "features", "lookups")
    )
    skew = float(number(layer.skew, names, "skew"))
    maker.require_lookups(N * lookups * tables)
    lengths = ValueTensor(np.full(N, lookups), bits=32)
    for place in range(tables):
        bag = f"{name}.{place}"
        table = maker.tensor(bag, "table", (rows, F), 1, maker.bits["weight"])
        indices = draw_lookups(rows, N * lookups, skew, table.seed)
        output = maker.stored(bag, (N, F), 1)
        maker.add(EmbeddingBag(bag, table, ValueTensor(indices, bits=32), lengths, output=output), output)
    maker.count(name, tables * rows * F)
    return Flow((N, tables * F), 1)


def aggregate(maker: Maker, layer: schema.Aggregate, flow: Flow, name: str, names: Names) -> Flow:
    """Make the product of a drawn adjacency matrix with (nodes, F)."""
    if len(flow.shape) != 2:
        raise InputError(f"its input has shape {flow.shape}, expected (nodes, F)")
    edges = whole(layer.edges, names, "edges")
    exponent = float(number(layer.exponent, names, "exponent"))
    graph = whole(layer.graph, names, "graph", least=0)
    density = part(names["activation_density"], names, "activation_density")
    output = maker.stored(name, flow.shape, density)
    seed = maker.seed * 1_000_003 + graph
    data = maker.taken(flow, name)
    return maker.add(SpMM(name, data, output=output, nonzeros=edges, exponent=exponent, seed=seed), output)
