"""What a GPU does between products: one kernel each, by instructions of an element.

Counted from what the functions compute (PyTorch's softmax: a pass of its own for maximum, sum and result where a row
has more than 1024 elements; Inductor's layer norm: Welford's mean and variance, then the result), one instruction for
each addition, product, comparison and conversion; exponentials, divisions and hyperbolic tangents are parameters.
"""

from __future__ import annotations

from simulator.accelerators.gpu.chip import Chip
from simulator.accelerators.gpu.kernels import Kernel, Pass, over
from simulator.trace import EmbeddingBag, Rowwise, SpMM

PERSISTENT = 1024
"""Elements of a row that stay in a warp's registers."""
BLOCK = 512
"""Threads that reduce a longer row (Inductor's kernels)."""
SECTOR = 32
"""Bytes of the least that is gathered."""


def softmax_instructions(row: int, chip: Chip) -> int:
    """Return the instructions of an element of softmax in rows of so many elements."""
    cost = chip.instructions
    convert = compare = add = 1
    last = cost.divide + convert
    if row <= PERSISTENT:
        return convert + compare + add + cost.exp + add + last
    return (convert + compare) + (convert + add + cost.exp + add) + (convert + add + cost.exp + last)


def _instructions(kind: str, row: int, chip: Chip) -> tuple[int, int]:
    """Return the instructions of an element, and how often a row is read."""
    cost = chip.instructions
    if kind == "softmax":
        return softmax_instructions(row, chip), 1 if row <= PERSISTENT else 3
    if kind == "layer_norm":
        statistics = 5 if row <= PERSISTENT else 6 + cost.divide  # mean and variance, or Welford's with a division
        return statistics + 5, 1 if row <= PERSISTENT else 2
    if kind == "rms_norm":
        return 5, 1 if row <= PERSISTENT else 2
    if kind == "gelu":
        return 8 + cost.tanh, 1
    if kind == "silu":
        return 3 + cost.exp + cost.divide, 1
    return (3 if kind == "relu" else 4), 1


def rowwise_kernel(operator: Rowwise, chip: Chip) -> Kernel:
    """Return the kernel of an operator between products."""
    row = operator.input.shape[-1]
    instructions, readings = _instructions(operator.kind, row, chip)
    whole = operator.kind in ("softmax", "layer_norm", "rms_norm")
    size = operator.elements * chip.width
    work = Pass(
        elements=operator.elements,
        rows=operator.rows if whole else operator.elements,
        instructions=instructions,
        readings=readings,
        call="native" if operator.kind == "softmax" else "compiled",
        reads={role: size for role in ("input", "other") if role in operator.tensors},
        writes={"output": size},
        block=_block(operator.kind, row) if readings > 1 else 0,
    )
    return over(operator.kind, work, chip)


def _block(kind: str, row: int) -> int:
    return min(1024, row // 8) if kind == "softmax" else BLOCK


def bag_kernel(operator: EmbeddingBag, chip: Chip) -> Kernel:
    """Return the kernel that gathers and reduces rows of a table: those touched once, where the L2 cache keeps them."""
    known = operator.bags_of_rows()
    touched = min(operator.lookups, operator.rows) if known is None else len(set(known[0].tolist()))
    row = -(-operator.features * chip.width // SECTOR) * SECTOR
    crossing = touched if touched * row <= chip.l2.usable else operator.lookups
    indices = (operator.lookups + operator.bags) * 4
    output = operator.bags * operator.features * chip.width
    return _gather("embedding_bag", operator.lookups, operator.features, crossing * row, "table", indices, output, chip)


def spmm_kernel(operator: SpMM, chip: Chip) -> Kernel:
    """Return the kernel that multiplies a sparse matrix: rows of the dense one are gathered, non-zero by non-zero."""
    row = -(-operator.features * chip.width // SECTOR) * SECTOR
    fits = operator.columns * row <= chip.l2.usable
    crossing = operator.columns if fits else max(operator.columns, operator.nonzeros)
    indices = (operator.nonzeros + operator.rows + 1) * 4 + (
        operator.nonzeros * chip.width if operator.values is not None else 0
    )
    output = operator.rows * operator.features * chip.width
    return _gather(
        "spmm", operator.nonzeros, operator.features, crossing * row, "dense", indices, output, chip, multiplies=True
    )


def _gather(
    name: str,
    lookups: int,
    features: int,
    crossing: int,
    stream: str,
    indices: int,
    output: int,
    chip: Chip,
    multiplies: bool = False,
) -> Kernel:
    elements = max(1, lookups * features)
    work = Pass(
        elements,
        elements,
        instructions=3,
        reads={stream: crossing, "indices": indices},
        writes={"output": output},
        performed=lookups * features if multiplies else 0,
    )
    return over(name, work, chip)
