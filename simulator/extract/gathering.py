"""What gathers: bags of embeddings, and products with sparse matrices."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from simulator.extract.call import Call
from simulator.extract.draft import Origin
from simulator.extract.recorder import Recorder

torch: Any = import_module("torch")

__all__ = ["HANDLERS", "sparse_product"]

_MODES: Final = ("sum", "mean", "max")
_SPARSE: Final = ("mm", "_sparse_mm", "_sparse_addmm", "addmm", "mv")
_LAYOUTS: Final = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def _embedding_bag(recorder: Recorder, call: Call) -> Origin | None:
    """Begin an embedding bag; one whose rows are weighted is not captured."""
    table, indices, offsets = call["weight"], call["indices"], call["offsets"]
    if call.get("per_sample_weights") is not None or indices.numel() == 0:
        return None
    ends = offsets[1:] if call["include_last_offset"] else torch.cat([offsets[1:], offsets.new_tensor([len(indices)])])
    starts = offsets[: len(ends)]
    if call["padding_idx"] >= 0:
        kept = indices != call["padding_idx"]
        before = torch.cat([kept.new_zeros(1, dtype=offsets.dtype), kept.cumsum(0).to(offsets.dtype)])
        starts, ends, indices = before[starts], before[ends], indices[kept]
        if indices.numel() == 0:
            return None
    roles = {
        "table": recorder.values("its table", table),
        "indices": recorder.tensors.integers(indices),
        "lengths": recorder.tensors.integers(ends - starts),
    }
    shape = (len(ends), table.shape[1])
    draft = recorder.draft("embedding_bag", "embedding_bag", shape, roles, mode=_MODES[int(call["mode"])])
    return Origin(draft)


def sparse_product(recorder: Recorder, call: Call) -> Origin | None:
    """Begin the product of a sparse matrix with a dense one; other calls with sparse tensors are not captured."""
    if call.op not in _SPARSE:
        return None
    a, b = call.get("mat1", "sparse", "self"), call.get("mat2", "dense", "other")
    b = call["vec"][:, None] if call.op == "mv" else b
    if a is None or b is None or a.layout not in _LAYOUTS:
        return None
    if b.layout != torch.strided or a.dim() != 2 or b.dim() != 2 or not a._nnz():
        return None
    handles = recorder.tensors.place(a).handles
    if ("rows",) not in handles:
        rows = (a.coalesce() if a.layout == torch.sparse_coo else a).to_sparse_csr()
        handles[("rows",)] = recorder.tensors.integers(rows.crow_indices())
        handles[("columns",)] = recorder.tensors.integers(rows.col_indices())
        if not bool((rows.values() == 1).all()):
            handles[("values",)] = recorder.values("its matrix", rows.values())
    roles = {"dense": recorder.values("its input", b), "indptr": handles[("rows",)], "indices": handles[("columns",)]}
    if ("values",) in handles:
        roles["values"] = handles[("values",)]
    return Origin(recorder.draft("spmm", "spmm", (a.shape[0], b.shape[1]), roles))


HANDLERS: Final[dict[str, Callable[[Recorder, Call], Origin | None]]] = dict.fromkeys(
    ("_embedding_bag", "_embedding_bag_forward_only"), _embedding_bag
)
