"""Kernels: how long the SMs take for one, and what it moves, by formulas.

A matrix product is cut into tiles, one thread block (CTA) each, and these run in waves over the SMs. A wave fills the
pipeline of its CTAs, multiplies, and writes what it has; CTAs resident on an SM share its tensor cores. All else goes
over elements or rows with as many instructions as its functions take. DRAM is not in these times: the engine plays a
kernel's traffic beside them.

Sources: NVIDIA, CUTLASS documentation (tile shapes, threadblock rasterisation, split-K); NVIDIA, "Matrix multiplication
background" (tile and wave quantisation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from simulator.accelerators.gpu.chip import Chip

Call = Literal["library", "native", "compiled"]


@dataclass(frozen=True)
class Kernel:
    """One kernel of an operator."""

    name: str
    call: Call
    """What starts it."""
    cycles: int
    """Of the SMs, without the launch and as if DRAM kept up."""
    busy: int
    """SM-cycles in which tensor cores or lanes work."""
    filling: int
    """SM-cycles in which pipelines fill or drain."""
    performed: int
    """Multiply-accumulates done, those of the padding to whole tiles included."""
    reads: Mapping[str, int]
    """Bytes from DRAM by stream."""
    writes: Mapping[str, int]
    """Bytes to DRAM by stream."""
    tile: str = ""
    """The tile chosen."""


@dataclass(frozen=True)
class Tile:
    """A tile of a matrix product, as CUTLASS and cuBLAS have them."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    resident: int
    """CTAs that an SM's registers and shared memory hold."""


TILES = (
    Tile(256, 128, 64, 64, 1),
    Tile(128, 256, 64, 64, 1),
    Tile(128, 128, 64, 64, 2),
    Tile(128, 64, 64, 32, 3),
    Tile(64, 128, 32, 64, 3),
    Tile(64, 64, 32, 32, 4),
)
"""CUTLASS's default shapes for tensor cores; residency by accumulators of 4 bytes in 256 KiB of registers."""
STEP = 32
"""Reduction of a main loop's step."""
STAGES = 4
"""Steps that are loaded before the first is multiplied."""
SPLITS = (1, 2, 4, 8, 16, 32)
LEAST_SPLIT = 256
"""A reduction is not split finer."""


@dataclass(frozen=True)
class Product:
    """C (rows × columns) = A (rows × reduction) · B (reduction × columns), a batch of it."""

    batch: int
    rows: int
    columns: int
    reduction: int
    a: int
    """Bytes of all A as stored."""
    b: int
    """Bytes of all B as stored."""
    c: int
    """Bytes of all C as stored."""
    sparse: bool = False
    """Whether half of A is left out, N of M (its bytes in ``a`` are those left)."""
    prunes: bool = False
    """Whether the epilogue keeps N of M."""


@dataclass(frozen=True)
class Timed:
    """A way to run a product."""

    cycles: int
    ctas: int
    busy: int
    filling: int
    tile: Tile
    split: int
    at_once: int
    """CTAs of a full wave."""


def product(
    name: str,
    work: Product,
    chip: Chip,
    reads: tuple[str, str] = ("input", "weight"),
    write: str = "output",
    on_chip: frozenset[str] = frozenset(),
) -> Kernel:
    """Return a matrix product in the fastest of the library's tiles and splits.

    Args:
        name: of the kernel.
        work: what is multiplied.
        chip: the GPU.
        reads: streams of A and B.
        write: stream of C.
        on_chip: streams that stay in the L2 cache.

    """
    best = min((_timed(work, tile, split, chip) for tile in TILES for split in _splits(work)), key=lambda t: t.cycles)
    again = _readings(work, best, chip)
    moved = {reads[0]: work.a * again[0], reads[1]: work.b * again[1]}
    tile = best.tile
    padded = _up(work.rows, tile.rows) * _up(work.columns, tile.columns) * _up(work.reduction, 8)
    return Kernel(
        name=name,
        call="library",
        cycles=best.cycles,
        busy=best.busy,
        filling=best.filling,
        performed=work.batch * padded // (2 if work.sparse else 1),
        reads={stream: size for stream, size in moved.items() if stream not in on_chip},
        writes={} if write in on_chip else {write: work.c},
        tile=f"{tile.rows}x{tile.columns}" + (f" split {best.split}" if best.split > 1 else ""),
    )


def _splits(work: Product) -> list[int]:
    return [split for split in SPLITS if split == 1 or work.reduction >= split * LEAST_SPLIT]


def _timed(work: Product, tile: Tile, split: int, chip: Chip) -> Timed:
    """Return what a product takes: waves, each of which fills, multiplies and writes."""
    sm, width = chip.sm, chip.width
    slots = sm.count * tile.resident
    ctas = work.batch * _tiles(work.rows, tile.rows) * _tiles(work.columns, tile.columns) * split
    depth = _up(-(-work.reduction // split), 8)
    rows, columns = min(tile.rows, work.rows), min(tile.columns, work.columns)
    steps = min(depth, STAGES * STEP)
    # One operand of a cluster's CTAs is loaded once for all of them.
    line = (rows * (0.5 if work.sparse else 1.0) + columns / sm.cluster) * width
    stored = rows * columns * (4 if split > 1 else work.c / (work.batch * work.rows * work.columns))
    multiply = _multiply_cycles(work, tile, depth, chip)
    pruning = math.ceil(tile.rows * tile.columns * chip.instructions.prune / sm.lanes) if work.prunes else 0
    full, last = divmod(ctas, slots)
    cycles = filling = 0
    for waves, size in ((full, slots), (1, last)):
        if not size or not waves:
            continue
        each = -(-size // sm.count)
        main = max(each * multiply, _l2_cycles(size, each, depth * line, chip))
        staged = each * 2 * math.ceil(tile.rows * tile.columns * 4 / sm.shared_bytes_per_cycle)
        around = (
            sm.latency
            + _l2_cycles(size, each, steps * line, chip)
            + staged
            + each * pruning
            + _l2_cycles(size, each, stored, chip)
        )
        cycles += waves * (main + around)
        filling += waves * min(size, sm.count) * around
    cycles += adding_cycles(work.batch * work.rows * work.columns, split, chip)
    busy = min(ctas * multiply, sm.count * cycles - filling)
    return Timed(cycles, ctas, busy, filling, tile, split, slots)


def adding_cycles(outputs: int, split: int, chip: Chip) -> int:
    """Return the cycles of the kernel that adds the parts of a split reduction up, its launch included; 0 of one part.

    The parts are in FP32 and, as the first kernel has just written them, in the L2 cache.
    """
    if split == 1:
        return 0
    return chip.cycles(chip.launch.device) + chip.sm.latency + -(-outputs * (split + 1) * 4 // chip.l2.bytes_per_cycle)


def _multiply_cycles(work: Product, tile: Tile, depth: int, chip: Chip) -> int:
    """Return the cycles in which an SM multiplies a tile: tensor cores, or the shared memory that feeds them."""
    rate = chip.tensor_rate * chip.tensor.achieved * (chip.tensor.sparse if work.sparse else 1)
    warps = tile.rows * tile.columns / (tile.warp_rows * tile.warp_columns)
    fed = warps * (tile.warp_rows + tile.warp_columns) * chip.width * depth / chip.sm.shared_bytes_per_cycle
    return math.ceil(max(tile.rows * tile.columns * depth / rate, fed))


def _l2_cycles(ctas: int, each: int, size: float, chip: Chip) -> int:
    """Return the cycles in which so many CTAs, ``each`` on an SM at most, exchange ``size`` bytes each with the L2."""
    return math.ceil(max(ctas * size / chip.l2.bytes_per_cycle, each * size / chip.sm.port_bytes_per_cycle))


def _readings(work: Product, best: Timed, chip: Chip) -> tuple[int, int]:
    """Return how often A and B cross the DRAM channel.

    The CTAs of a wave cover a patch of tiles, as near to a square as it can be; what is not kept in the L2 cache
    crosses again for the next patch.
    """
    rows, columns = _tiles(work.rows, best.tile.rows), _tiles(work.columns, best.tile.columns)
    side = math.isqrt(max(1, best.at_once * best.tile.columns // best.tile.rows))
    down = min(rows, max(1, side))
    across = min(columns, max(1, best.at_once // down))
    down = min(rows, max(1, best.at_once // across))
    again_a = 1 if work.a // work.batch <= chip.resident else -(-columns // across)
    again_b = 1 if work.b // work.batch <= chip.resident else -(-rows // down)
    return again_a, again_b


@dataclass(frozen=True)
class Pass:
    """A kernel that goes over elements or rows."""

    elements: int
    """Handled by all SMs together."""
    rows: int
    """Each handled by one SM; as many as there are elements where any SM may handle any."""
    instructions: int
    """FP32-lane instructions of an element."""
    readings: int = 1
    """How often a row is read, one after the other."""
    call: Call = "native"
    reads: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each stream as stored."""
    writes: Mapping[str, int] = field(default_factory=dict)
    block: int = 0
    """Threads that handle a row; 0: a warp or less, whose row stays in registers."""
    performed: int = 0


def over(name: str, work: Pass, chip: Chip) -> Kernel:
    """Return a kernel that is bound by memory or by instructions.

    Rows that are read more than once come from DRAM again where those in flight, with what is written, do not fit the
    L2 cache.
    """
    sm = chip.sm
    share = -(-work.rows // sm.count)
    instructions = math.ceil(share * work.elements * work.instructions / (work.rows * sm.lanes))
    size = sum(work.reads.values()) + sum(work.writes.values())
    inside = sum(work.reads.values()) * (work.readings - 1) + size
    cycles = max(instructions, -(-inside // chip.l2.bytes_per_cycle)) + work.readings * sm.latency
    again = 1
    if work.readings > 1 and work.block:
        in_flight = min(work.rows, sm.count * max(1, sm.threads // work.block)) * size // work.rows
        again = work.readings if in_flight > chip.l2.usable else 1
    working = min(sm.count, work.rows)
    filling = working * work.readings * sm.latency
    busy = min(math.ceil(work.elements * work.instructions / sm.lanes), sm.count * cycles - filling)
    return Kernel(
        name,
        work.call,
        cycles,
        busy,
        filling,
        work.performed,
        {stream: amount * again for stream, amount in work.reads.items()},
        work.writes,
    )


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
