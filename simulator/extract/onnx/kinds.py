"""What ONNX's operators are that become none: they copy, or have multiply-accumulates, or compute one by one."""

from __future__ import annotations

import math
from typing import Any, Final

from simulator.extract.onnx.node import Node
from simulator.extract.report import Kind

__all__ = ["FREE", "STATIC", "kind_of", "macs_of"]

FREE: Final = frozenset(("Identity", "Dropout", "Shape", "Size", "Constant", "QuantizeLinear", "DequantizeLinear"))
"""Nothing is computed that the chip does not do while it stores."""
STATIC: Final = frozenset(("Shape", "Size", "Constant"))
"""The same whatever the inputs hold."""
_MOVES: Final = frozenset(
    [
        "Cast",
        "CastLike",
        "Concat",
        "Pad",
        "Gather",
        "GatherElements",
        "GatherND",
        "Scatter",
        "ScatterElements",
        "ScatterND",
        "Reshape",
        "Flatten",
        "Transpose",
        "Expand",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
        "Tile",
        "Where",
        "ConstantOfShape",
        "Range",
        "EyeLike",
        "OneHot",
        "Trilu",
        "NonZero",
        "DepthToSpace",
        "SpaceToDepth",
        "ReverseSequence",
        "Compress",
        "Unique",
        "Upsample",
        "Col2Im",
        "BitCast",
        "TensorScatter",
        "ConcatFromSequence",
        "SequenceConstruct",
        "SequenceAt",
        "SplitToSequence",
        "SequenceEmpty",
        "SequenceInsert",
    ]
)
_UNKNOWN: Final = frozenset(["Loop", "Scan", "SequenceMap", "CausalConvWithState", "LinearAttention", "Det"])


def kind_of(node: Node, macs: int | None) -> Kind:
    """Return what a node that becomes no operator is listed as."""
    return "products" if macs != 0 else "movement" if node.op in _MOVES else "elements"


def macs_of(node: Node) -> int | None:
    """Return the multiply-accumulates of a node that becomes no operator; None where nobody knows."""
    op = node.op
    shapes: list[tuple[int, ...]] = [tuple(getattr(value.array, "shape", ())) for value in node.given]
    made: tuple[int, ...] = next((tuple(result.shape) for result in node.results if hasattr(result, "shape")), ())
    if op in ("Conv", "ConvInteger", "QLinearConv"):
        weight = shapes[3] if op == "QLinearConv" else shapes[1]
        return math.prod(made) * math.prod(weight[1:])
    if op in ("ConvTranspose", "DeformConv"):
        return math.prod(shapes[0] if op == "ConvTranspose" else made) * math.prod(shapes[1][1:])
    if op in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"):
        inner = shapes[0][0] if node.attributes.get("transA") else shapes[0][-1]
        return math.prod(made) * inner
    if op == "Einsum":
        return _einsum(node, shapes)
    if op in ("LSTM", "GRU", "RNN"):
        return _recurrent(shapes)
    if op == "Attention" and shapes:
        return _attention(node, shapes)
    if op in _FUSED and not node.attributes.get("transA") and not node.attributes.get("transBatchA"):
        return math.prod(made) * (math.prod(shapes[1][1:]) if op.endswith("Conv") else shapes[0][-1])
    if "::" in op or op in _UNKNOWN:
        return 0 if op in _KNOWN else None
    return 0


_FUSED: Final = frozenset(
    f"com.microsoft::{name}"
    for name in [
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "MatMulNBits",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    ]
)
"""Products with something else done at once."""
_KNOWN: Final = frozenset(
    f"com.microsoft::{name}"
    for name in [
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "Gelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "Inverse",
        "BiasSoftmax",
        "RotaryEmbedding",
        "QuantizeLinear",
        "DequantizeLinear",
        "EmbedLayerNormalization",
        "QLinearAdd",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearLeakyRelu",
        "QLinearSoftmax",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "QLinearConcat",
        "QLinearWhere",
        "QLinearReduceMean",
        "BiasAdd",
        "BiasSplitGelu",
        "GroupNorm",
        "SkipGroupNorm",
        "Pad",
        "Trilu",
        "Unique",
    ]
)
"""Without multiply-accumulates."""


def _einsum(node: Node, shapes: list[tuple[int, ...]]) -> int | None:
    equation = str(node.attributes.get("equation", "")).replace(" ", "").partition("->")[0]
    if "." in equation or len(shapes) < 2:
        return None if "." in equation else 0
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.split(","), shapes, strict=True):
        sizes |= dict(zip(letters, shape, strict=True))
    return math.prod(sizes.values())


def _recurrent(shapes: list[tuple[int, ...]]) -> int:
    """Each step multiplies the weights of its input and of its state."""
    length, batch = shapes[0][:2]
    return length * batch * (math.prod(shapes[1]) + math.prod(shapes[2]))


def _attention(node: Node, shapes: list[tuple[int, ...]]) -> int:
    query, key, value = shapes[:3]
    past = node.get(4)
    seen = key[-2] + (past.array.shape[-2] if past is not None else 0)
    if len(query) == 4:
        return math.prod(query[:3]) * seen * (query[-1] + value[-1])
    heads = int(node.attributes["q_num_heads"])
    groups = int(node.attributes["kv_num_heads"])
    return query[0] * query[1] * seen * (query[-1] + heads * (value[-1] // groups))


def bytes_of(results: list[Any]) -> tuple[int, int]:
    """Return elements and bytes of the results of a node."""
    arrays = [result for result in results if hasattr(result, "nbytes")]
    return sum(a.size for a in arrays), sum(a.nbytes for a in arrays)
