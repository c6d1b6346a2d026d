"""Transformer layers of published shapes, their connections drawn."""

from __future__ import annotations

from simulator.trace import Attention, DensityTensor, Linear, Rowwise, Trace


def bert_large(n: int, retention: float = 0.1, rank: int = 16) -> Trace:
    """Return one encoder layer of BERT-large (16 heads, d = 1024, FFN 4096) on a sequence of ``n`` tokens.

    Row-balanced masks are drawn; the INT4 detector is known by its shape.
    """
    heads, d, hidden = 16, 1024, 4096

    def of(*shape: int, bits: int = 16) -> DensityTensor:
        return DensityTensor(shape, 1.0, 0, bits=bits)

    tokens, maps = of(1, n, d), [of(1, heads, n, d // heads) for _ in range(3)]
    attention = Attention(
        "layer.attention.heads",
        *maps,
        tokens=of(1, n, d, bits=8),
        projection=of(d, rank, bits=2),
        detector_query=of(heads, rank, rank, bits=4),
        detector_key=of(heads, rank, rank, bits=4),
        rule="top_k",
        retention=retention,
    )
    return Trace(
        f"bert_large_{n}",
        (
            Linear("layer.attention.qkv", tokens, weight=of(3 * d, d)),
            attention,
            Linear("layer.attention.out", tokens, weight=of(d, d)),
            Rowwise("layer.attention.add", tokens, other=tokens, kind="add"),
            Rowwise("layer.attention.norm", tokens, kind="layer_norm"),
            Linear("layer.ffn.up", tokens, weight=of(hidden, d)),
            Rowwise("layer.ffn.gelu", of(1, n, hidden), kind="gelu"),
            Linear("layer.ffn.down", of(1, n, hidden), weight=of(d, hidden)),
            Rowwise("layer.ffn.add", tokens, other=tokens, kind="add"),
            Rowwise("layer.ffn.norm", tokens, kind="layer_norm"),
        ),
    )
