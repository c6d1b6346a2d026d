"""Small random operators with real values, of every kind that a chip may meet."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from simulator.trace import (
    Attention,
    Conv2d,
    EmbeddingBag,
    Linear,
    MaskTensor,
    MatMul,
    Operator,
    Rowwise,
    SpMM,
    Tensor,
    Trace,
    ValueTensor,
)
from simulator.trace.rowwise import OPERATIONS


def values(rng: np.random.Generator, shape: tuple[int, ...], density: float, bits: int = 8) -> ValueTensor:
    """Draw integers, a share of them non-zero; one bit is a ternary sign."""
    high = 1 if bits == 1 else 127
    drawn = rng.integers(1, high + 1, shape) * rng.choice((-1, 1), shape)
    return ValueTensor((drawn * (rng.random(shape) < density)).astype(np.int64), bits=bits)


@st.composite
def convolutions(draw: st.DrawFn, kinds: tuple[str, ...] = ("decomposed", "pointwise", "depthwise", "dense")) -> Conv2d:
    """Draw a convolution: decomposed, 1×1 ternary, depthwise or plain; any stride, padding, dilation, groups."""
    kind = draw(st.sampled_from(kinds))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from((0.0, 0.05, 0.3, 0.7, 1.0)))
    sparse = draw(st.sampled_from((0.0, 0.05, 0.2, 0.6, 1.0)))
    groups = draw(st.sampled_from((1, 1, 1, 2))) if kind in ("decomposed", "pointwise", "dense") else 1
    per_group = draw(st.integers(1, 6) if kind == "dense" else st.integers(1, 80))
    channels = groups * per_group
    outputs = groups * draw(st.integers(1, 12))
    if kind == "depthwise":
        groups, per_group = channels, 1
        outputs = channels * draw(st.integers(1, 2))
    kernel = (1, 1) if kind == "pointwise" else (draw(st.integers(1, 5)), draw(st.integers(2, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 12))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    images = draw(st.integers(1, 2))
    attributes = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    data = values(rng, (images, channels, *size), density)
    if kind == "decomposed":
        bases = draw(st.integers(1, 8))
        return Conv2d(
            "conv",
            data,
            basis=values(rng, (bases, *kernel), 0.9),
            coefficients=values(rng, (outputs, per_group, bases), sparse, bits=1),
            **attributes,
        )
    bits = 1 if kind == "pointwise" else 8
    return Conv2d("conv", data, weight=values(rng, (outputs, per_group, *kernel), sparse, bits), **attributes)


@st.composite
def linears(draw: st.DrawFn) -> Linear:
    """Draw a fully connected layer with ternary weights over one or more leading axes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inputs, outputs = draw(st.integers(1, 200)), draw(st.integers(1, 30))
    leading = draw(st.lists(st.integers(1, 4), min_size=0, max_size=2))
    return Linear(
        "linear",
        values(rng, (*leading, inputs), draw(st.sampled_from((0.0, 0.3, 1.0)))),
        weight=values(rng, (outputs, inputs), draw(st.sampled_from((0.0, 0.1, 1.0))), bits=1),
    )


@st.composite
def matmuls(draw: st.DrawFn) -> MatMul:
    """Draw a product of two activations."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    m, k, n = (draw(st.integers(1, 20)) for _ in range(3))
    return MatMul("matmul", values(rng, (m, k), 0.5), values(rng, (k, n), 0.5))


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    """Draw attention: connections by a detector (often with ties), a mask, a draw or all; any heads, causal or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    images, groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    queries, causal, crossed = draw(st.integers(1, 40)), draw(st.booleans()), draw(st.booleans())
    keys = queries + draw(st.integers(0, 100)) if crossed else queries
    width, size = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    heads, bits = groups * per_group, draw(st.sampled_from((8, 16)))

    def drawn(*shape: int) -> ValueTensor:
        top = draw(st.sampled_from((1, 100, 2 ** (bits - 1) - 1)))
        return ValueTensor(rng.integers(-top, top + 1, shape), float(rng.choice((0.001, 1 / top))), bits=bits)

    data = {
        "query": drawn(images, heads, queries, width),
        "key": drawn(images, groups, keys, width),
        "value": drawn(images, groups, keys, size),
        "causal": causal,
    }
    kind = draw(st.sampled_from(("full", "mask", "drawn", "top_k", "threshold")))
    if kind == "mask":
        mask = rng.random((images, heads, queries, keys)) < rng.random()
        mask &= np.tri(queries, keys, keys - queries if causal else keys, dtype=bool)
        mask[..., 0] |= ~mask.any(axis=-1)
        return Attention("attention", **data, mask=MaskTensor.of(mask))
    if kind == "full":
        return Attention("attention", **data)
    balance = draw(
        st.sampled_from(({"retention": 0.1}, {"retention": 1.0}, {"keys_per_row": int(rng.integers(keys)) + 1}))
    )
    if kind == "drawn":
        return Attention("attention", **data, rule="top_k", seed=int(rng.integers(1000)), **balance)
    precision, features = draw(st.sampled_from((2, 4, 8))), draw(st.integers(1, 30))
    rank, low = draw(st.integers(1, features)), -(2 ** (precision - 1))
    detector = {
        "tokens": values(rng, (images, queries, features), 0.9),
        "memory": values(rng, (images, keys, features), 0.9) if crossed else None,
        "projection": ValueTensor(rng.integers(-1, 2, (features, rank)), bits=2),
        "detector_query": ValueTensor(rng.integers(low, -low, (heads, rank, rank)), bits=precision),
        "detector_key": ValueTensor(rng.integers(low, -low, (heads, rank, rank)), bits=precision),
        "precision": precision,
        "projection_shift": draw(st.integers(0, 8)),
        "query_shift": draw(st.integers(0, 6)),
        "key_shift": draw(st.integers(0, 6)),
    }
    if kind == "threshold":
        return Attention("attention", **data, **detector, rule="threshold", threshold=draw(st.integers(-20, 60)))
    return Attention("attention", **data, **detector, rule="top_k", **balance)


@st.composite
def rowwises(draw: st.DrawFn) -> Rowwise:
    """Draw what happens between products."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(list(OPERATIONS)))
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    other = values(rng, shape, 0.5) if kind in ("add", "multiply") else None
    return Rowwise("rowwise", values(rng, shape, 0.5), other=other, kind=kind)


@st.composite
def embedding_bags(draw: st.DrawFn) -> EmbeddingBag:
    """Draw look-ups in a table, some bags empty, some rows looked up twice."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = np.array(draw(st.lists(st.integers(0, 6), min_size=1, max_size=10).filter(any)))
    rows, features = draw(st.integers(1, 50)), draw(st.integers(1, 40))
    indices = rng.integers(0, rows, int(lengths.sum()))
    return EmbeddingBag(
        "bag",
        values(rng, (rows, features), draw(st.sampled_from((0.0, 0.5, 1.0)))),
        ValueTensor(indices, bits=32),
        ValueTensor(lengths, bits=32),
        mode=draw(st.sampled_from(("sum", "mean", "max"))),
    )


@st.composite
def sparse_products(draw: st.DrawFn) -> SpMM:
    """Draw a sparse matrix times a dense one: given, with values or ones and rows that may be empty, or drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, columns, features = draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(1, 40))
    dense = values(rng, (columns, features), draw(st.sampled_from((0.0, 0.4, 1.0))))
    if draw(st.booleans()):
        nonzeros = draw(st.integers(1, rows * columns))
        exponent = draw(st.sampled_from((0.0, 2.5)))
        return SpMM("spmm", dense, rows=rows, nonzeros=nonzeros, exponent=exponent, seed=draw(st.integers(0, 99)))
    matrix = rng.integers(-127, 128, (rows, columns)) * (rng.random((rows, columns)) < rng.random())
    matrix[rng.integers(rows), rng.integers(columns)] = 3
    return SpMM.of("spmm", matrix if draw(st.booleans()) else matrix != 0, dense)


def operators() -> st.SearchStrategy[Operator]:
    """Draw any operator."""
    products = (convolutions(), convolutions(), linears(), matmuls(), attentions())
    return st.one_of(*products, rowwises(), embedding_bags(), sparse_products())


DECIDING = {
    "attention": ("mask", "tokens", "memory", "projection", "detector_query", "detector_key"),
    "embedding_bag": ("indices", "lengths"),
    "spmm": ("indptr", "indices"),
}
"""Tensors whose values say what is kept or where it lies."""


def masked(operator: Operator, decides: tuple[str, ...] = ()) -> Operator:
    """Return the same operator with what is known of its tensors reduced to masks.

    ``decides``: roles of attention whose values decide, on the chip, what is kept.
    """

    def mask(tensor: Tensor) -> MaskTensor:
        return MaskTensor.of(tensor.mask(), bits=tensor.bits)

    deciding = (*DECIDING.get(operator.type, ()), *(decides if isinstance(operator, Attention) else ()))
    tensors = {role: tensor if role in deciding else mask(tensor) for role, tensor in operator.tensors.items()}
    return type(operator)(operator.name, **tensors, **operator.attributes)


def trace_of(*operators: Operator) -> Trace:
    """Make a trace of some operators."""
    return Trace("test", operators)
