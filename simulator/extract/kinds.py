"""What PyTorch's operators are: views cost nothing, movement copies, reads stop for a value, the rest computes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from simulator.extract.call import Call, tensors_in

torch: Any = import_module("torch")

__all__ = ["MOVES", "READS", "VIEWS", "is_product", "macs_of"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VIEWS: Final = _words(
    """_unsafe_view _reshape_alias lift_fresh lift detach alias empty empty_like empty_strided new_empty
    new_empty_strided
    sym_size sym_stride sym_numel sym_storage_offset resize resize_as set is_same_size
    _has_compatible_shallow_copy_type size stride is_nested _conj _neg_view"""
)
"""Besides those that their schema says are views: nothing is computed or moved."""

READS: Final = _words("_local_scalar_dense item is_nonzero equal allclose")
"""They hand a value to Python, which may choose its way by it."""

MOVES: Final = _words(
    """clone _to_copy copy cat stack constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad2d
    index_select gather index index_put _index_put_impl scatter index_copy index_fill roll flip repeat
    repeat_interleave tril triu fill zero zeros ones zeros_like ones_like full full_like arange linspace
    new_zeros new_ones new_full masked_fill where masked_select masked_scatter take take_along_dim embedding
    upsample_nearest1d upsample_nearest2d _upsample_nearest_exact2d pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle im2col col2im slice_scatter select_scatter as_strided_copy expand_copy unfold_copy
    slice_copy permute_copy view_copy split_with_sizes_copy scalar_tensor eye diag_embed to_sparse to_dense
    _to_dense _to_sparse sparse_coo_tensor _coalesce nonzero contiguous native_dropout"""
)
"""They copy or fill."""


def macs_of(call: Call, result: Any) -> int | None:
    """Return the multiply-accumulates of a call that becomes no operator; None where nobody knows."""
    if not call.name.startswith(("aten::", "prim::", "prims::")):
        return None
    if any(not tensor.numel() for tensor in call.inputs):
        return 0
    if call.op in _MACS:
        return _MACS[call.op](call, result)
    return None if is_product(call.op) else 0


def is_product(op: str) -> bool:
    """Tell whether an operator of PyTorch has multiply-accumulates, counted or unknown."""
    return op in _MACS or (bool(_PRODUCTS.search(op)) and not _NO_PRODUCTS.search(op))


_PRODUCTS: Final = re.compile(
    r"mm(_|$)|matmul|conv|attention|linear|lstm|gru|rnn|linalg_|cholesky|solve|_[cp]?dist|ormqr|geqrf|semi_structured"
    r"|_transformer_encoder_layer"
)
_NO_PRODUCTS: Final = re.compile(
    r"linear[123]d|convert_|upsample|_pack_|reorder|linalg_(_powsum|vector_norm|cross|diagonal|check_errors)"
)
"""Operators whose names say that they have multiply-accumulates, and those whose names only look so."""


def _output(result: Any) -> Any:
    return tensors_in(result)[0]


def _convolution(call: Call, result: Any) -> int:
    weight = call["weight"]
    of = call["input"] if call["transposed"] else _output(result)
    macs: int = of.numel() * math.prod(weight.shape[1:])
    return macs


def _product(call: Call, result: Any) -> int | None:
    """A product of matrices, where one of them is sparse: its stored elements times the columns of the other."""
    a, b = call.get("mat1", "batch1", "sparse", "input", "self"), call.get("mat2", "batch2", "dense", "weight", "other")
    if a is None or b is None:
        return None
    b = b.mT if call.op == "linear" else b
    if a.layout != torch.strided and b.layout != torch.strided:
        return None
    for sparse, other in ((a, b), (b, a)):
        if sparse.layout != torch.strided:
            stored: int = sparse._nnz()
            return stored * int(other.shape[-1] if sparse is a else other.shape[-2])
    return int(a.numel() * b.shape[-1])


def _vector(call: Call, result: Any) -> int:
    a = call.inputs[-2]
    macs: int = a._nnz() if a.layout != torch.strided else a.numel()
    return macs


def _trilinear(call: Call, result: Any) -> int:
    """Each product of an element of all three factors, once."""
    factors = []
    for name in ("1", "2", "3"):
        factor = call[f"i{name}"]
        for axis in sorted(call[f"expand{name}"]):
            factor = factor.unsqueeze(axis)
        factors.append(factor)
    return math.prod(torch.broadcast_shapes(*(factor.shape for factor in factors)))


_MACS: Final[dict[str, Callable[[Call, Any], int | None]]] = {
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys(
        _words("mm addmm bmm baddbmm matmul linear _sparse_mm _sparse_addmm sspaddmm addbmm _int_mm _scaled_mm"),
        _product,
    ),
    "_trilinear": _trilinear,
    **dict.fromkeys(_words("mv addmv dot vdot"), _vector),
}
