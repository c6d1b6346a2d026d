"""Attention on a GPU: as products and softmax, fused, pruned N:M, or on column vectors.

``match`` counts what the trace keeps; of column vectors also those that hold a kept connection: of ``v`` consecutive
queries and a key, one of which keeps it. ``kernels_of`` says what each kernel of a mode does.

Sources: Liu, Qu et al., DSA (arXiv 2110.11299), column vectors; Chen, Qu et al., Dfss (PPoPP 2023), N:M pruned in the
epilogue of Q·Kᵀ, which writes the non-zeros and their metadata; Dao, FlashAttention-2 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from simulator.accelerators.gpu.chip import Chip
from simulator.accelerators.gpu.kernels import SPLITS, Kernel, Pass, Product, adding_cycles, over, product
from simulator.accelerators.gpu.rowwise import softmax_instructions
from simulator.trace import Attention
from simulator.trace.connections import Words, allowed_keys, count_kept
from simulator.trace.effectual import effectual_macs

FLASH_ROWS = 128
"""Queries of a CTA of fused attention (FlashAttention-2)."""
FLASH_KEYS = 64
"""Keys of its steps."""
MMA_ROWS = 8
"""Rows of the smallest product of tensor cores: vectors of fewer queries leave the rest of it unused."""
INDEX = 4
"""Bytes of a vector's column."""
LOAD = 16
"""Bytes that a thread loads at once."""
GATHER = 4
"""Instructions for a gathered vector beside its loads: column, address, loop. Assumed."""
SELECT = 16
"""Instructions for an estimated score in the selection of the largest (radix select in passes). Assumed."""


@dataclass(frozen=True)
class Kept:
    """What an attention operator keeps."""

    pairs: int
    """Connections of all images and heads."""
    vectors: int
    """Column vectors with a kept connection; 0 where the mode needs none."""


def count(operator: Attention, vector: int) -> Kept:
    """Count what an operator keeps; with ``vector`` > 0 also column vectors of so many queries.

    Raises:
        InputError: what only the data show, see ``simulator.trace.Attention.kept``.

    """
    cheap = effectual_macs(operator)
    size = operator.head_size + operator.value_size
    if cheap is not None and not vector:
        return Kept(cheap // size, 0)
    pairs = vectors = 0
    for image, head in np.ndindex(operator.images, operator.heads):
        words = operator.kept(image, head)
        pairs += int(count_kept(words).sum())
        if vector:
            vectors += int(count_kept(coarsened(words, vector)).sum())
    return Kept(pairs, vectors)


def coarsened(words: Words, vector: int) -> Words:
    """Return which keys each group of ``vector`` consecutive queries keeps: (L, W) words → (⌈L/vector⌉, W)."""
    groups: Words = np.bitwise_or.reduceat(words, np.arange(0, len(words), vector), axis=0)
    return groups


def kernels_of(operator: Attention, kept: Kept, chip: Chip) -> Iterator[Kernel]:
    """Yield the kernels of an attention operator."""
    mode = chip.attention.mode
    if mode == "flash":
        yield _flash(operator, chip)
    elif mode == "vector":
        if operator.projection is not None:
            yield from _detection(operator, chip)
        yield from _vectors(operator, kept, chip)
    else:
        yield from _products(operator, chip, pruned=mode == "n_m")


def effectual(operator: Attention, kept: Kept, chip: Chip) -> int:
    """Return the MACs that the kept connections take; pruned N:M, of A·V no more than are left."""
    rows = operator.images * operator.heads * operator.query_count
    left = rows * -(-operator.key_count // 2) if chip.attention.mode == "n_m" else kept.pairs
    return kept.pairs * operator.head_size + min(kept.pairs, left) * operator.value_size


@dataclass(frozen=True)
class _Shape:
    """The products of an operator: heads that share keys and values are rows of one product."""

    batch: int
    rows: int
    query: int
    key: int
    value: int
    output: int
    scores: int


def _shape(operator: Attention, width: int) -> _Shape:
    N, H, L, _ = operator.query.shape
    G, S, E = operator.groups, operator.key_count, operator.value_size
    return _Shape(
        N * G, L * H // G, operator.query.size * width, operator.key.size * width, operator.value.size * width,
        N * H * L * E * width, N * H * L * S * width,
    )  # fmt: skip


def _products(operator: Attention, chip: Chip, pruned: bool) -> Iterator[Kernel]:
    shape, S = _shape(operator, chip.width), operator.key_count
    half = -(-S // 2) if pruned else S
    kept = shape.scores * half // S
    metadata = shape.scores // chip.width * (2 if chip.width == 2 else 4) // 16 if pruned else 0
    names = ("scores", "scores_read", "weights", "weights_read")
    on_chip = frozenset(names) if kept + metadata <= chip.resident else frozenset()
    scores = Product(shape.batch, shape.rows, S, operator.head_size, shape.query, shape.key, kept + metadata)
    yield product("scores", replace(scores, prunes=pruned), chip, ("query", "key"), "scores", on_chip)
    for _ in range(0 if pruned else chip.attention.passes):
        yield over("pass", _over_scores(shape, chip, on_chip), chip)
    softmax = Pass(
        elements=kept // chip.width,
        rows=shape.batch * shape.rows,
        instructions=softmax_instructions(half, chip),
        readings=1 if half <= 1024 else 3,
        reads={} if on_chip else {"scores_read": kept},
        writes={} if on_chip else {"weights": kept},
        block=0 if half <= 1024 else min(1024, half // 8),
    )
    yield over("softmax", softmax, chip)
    context = Product(
        shape.batch, shape.rows, operator.value_size, S, kept + metadata, shape.value, shape.output, sparse=pruned
    )
    yield product("context", context, chip, ("weights_read", "value"), "output", on_chip)


def _over_scores(shape: _Shape, chip: Chip, on_chip: frozenset[str]) -> Pass:
    """Return an element-wise kernel that reads and writes all scores."""
    elements = shape.scores // chip.width
    moved = 0 if on_chip else shape.scores
    streams = ({"scores_read": moved}, {"scores": moved}) if moved else ({}, {})
    return Pass(elements, elements, 3, reads=streams[0], writes=streams[1])


def _flash(operator: Attention, chip: Chip) -> Kernel:
    """Return the fused kernel: a CTA's products and its exponentials follow each other, step by step (assumed)."""
    shape, S = _shape(operator, chip.width), operator.key_count
    allowed = allowed_keys(operator.query_count, S, operator.causal)
    last = np.minimum(np.arange(FLASH_ROWS, operator.query_count + FLASH_ROWS, FLASH_ROWS), operator.query_count) - 1
    steps = -(-allowed[last] // FLASH_KEYS)
    heads = operator.images * operator.heads
    size = operator.head_size + operator.value_size
    macs = FLASH_ROWS * FLASH_KEYS * size
    step = math.ceil(macs / (chip.tensor_rate * chip.tensor.achieved))
    step += math.ceil(FLASH_ROWS * FLASH_KEYS * chip.instructions.flash / chip.sm.lanes)
    total, longest = heads * int(steps.sum()), int(steps.max())
    options = []
    for split in SPLITS:
        ctas = heads * len(last) * split
        mean = total / ctas
        spent = math.ceil(max(-(-ctas // chip.sm.count) * mean, longest / split) * step) + 2 * chip.sm.latency
        options.append(spent + adding_cycles(shape.output // chip.width, split, chip))
    cycles = min(options)
    return Kernel(
        "flash", "library", cycles, min(total * step, chip.sm.count * cycles), 0, total * macs,
        {"query": shape.query, "key": shape.key, "value": shape.value}, {"output": shape.output},
    )  # fmt: skip


def _vectors(operator: Attention, kept: Kept, chip: Chip) -> Iterator[Kernel]:
    """Yield DSA's kernels: each vector gathers its key (value) from the L2 cache and multiplies it with all queries."""
    shape, v, width = _shape(operator, chip.width), chip.attention.vector, chip.width
    values = kept.vectors * v * width
    indices = kept.vectors * INDEX
    names = ("scores", "scores_read", "weights", "weights_read")
    on_chip = values + indices <= chip.resident
    elements = kept.vectors * v

    def stream(name: str, size: int) -> dict[str, int]:
        return {} if on_chip and name in names else {name: size}

    yield _gathered(
        "sddmm", kept.vectors, operator.head_size, chip,
        {"query": shape.query, "key": shape.key, "index": indices}, stream("scores", values),
    )  # fmt: skip
    row = max(1, elements // max(1, operator.images * operator.heads * operator.query_count))
    softmax = Pass(
        elements=elements,
        rows=operator.images * operator.heads * operator.query_count,
        instructions=softmax_instructions(row, chip),
        reads=stream("scores_read", values),
        writes=stream("weights", values),
    )
    yield over("softmax", softmax, chip)
    reads = {**stream("weights_read", values), "value": shape.value, "index_again": indices}
    yield _gathered("spmm", kept.vectors, operator.value_size, chip, reads, {"output": shape.output})


def _gathered(name: str, vectors: int, size: int, chip: Chip, reads: dict[str, int], writes: dict[str, int]) -> Kernel:
    rows = max(chip.attention.vector, MMA_ROWS)
    macs = vectors * rows * size
    multiply = macs / (chip.tensor_rate * chip.tensor.achieved)
    loads = -(-size * chip.width // LOAD)
    instructions = vectors * (2 * loads + GATHER) / chip.sm.lanes
    gathered = vectors * (size * chip.width + INDEX) + sum(writes.values())
    each = max(multiply, instructions) / chip.sm.count
    cycles = math.ceil(max(each, gathered / chip.l2.bytes_per_cycle)) + 2 * chip.sm.latency
    busy = min(math.ceil(max(multiply, instructions)), chip.sm.count * cycles)
    return Kernel(name, "library", cycles, busy, 0, macs, reads, writes)


def _detection(operator: Attention, chip: Chip) -> Iterator[Kernel]:
    """Yield the detector's kernels: X·P, Q̃ and K̃, S̃ = Q̃·K̃ᵀ at the chip's precision, and the selection."""
    assert operator.tokens is not None
    assert operator.projection is not None
    assert operator.rank is not None
    width, rank = chip.width, operator.rank
    (N, L, C), S, H = operator.tokens.shape, operator.key_count, operator.heads
    sources = [("tokens", N * L, operator.tokens)]
    if operator.memory is not None:
        sources.append(("memory", N * S, operator.memory))
    weight = operator.projection.size * width
    hidden = frozenset({"projected", "estimates"})
    for role, rows, tensor in sources:
        work = Product(1, rows, rank, C, tensor.size * width, weight, rows * rank * width)
        yield product(f"project {role}", work, chip, (role, "projection"), "projected", hidden)
    for role, rows in (("detector_query", N * L), ("detector_key", N * S)):
        work = Product(H, rows, rank, rank, rows * rank * width, H * rank * rank * width, H * rows * rank * width)
        yield product(role, work, chip, ("projected", role), "estimates", hidden)
    scores = N * H * L * S * width
    on_chip = hidden | ({"estimated", "estimated_read"} if scores <= chip.resident else set())
    work = Product(N * H, L, S, rank, N * H * L * rank * width, N * H * S * rank * width, scores)
    yield product("estimated", work, chip, ("estimates", "estimates"), "estimated", on_chip)
    selection = Pass(
        N * H * L * S, N * H * L, SELECT,
        reads={} if "estimated_read" in on_chip else {"estimated_read": scores},
    )  # fmt: skip
    yield over("select", selection, chip)
