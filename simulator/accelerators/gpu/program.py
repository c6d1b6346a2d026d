"""The Program of some kernels: each is launched, then worked on slice by slice, with its DRAM traffic beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simulator.accelerators.gpu.chip import Chip
from simulator.accelerators.gpu.kernels import Kernel
from simulator.dataflow.windows import cumulative
from simulator.program import Action, Counts, Macs, Program, Stage, Stream, unit_of
from simulator.trace import Operator

SLICES = 64
"""Of a kernel at most."""
IN_FLIGHT = 4
"""Slices on their way at once: enough to hide the latency of DRAM."""
INTERMEDIATE = frozenset(
    {"scores", "scores_read", "weights", "weights_read", "estimated", "estimated_read", "index", "index_again"}
)
"""Streams between kernels: another mode does without them, so none of their bytes is compulsory."""


def program_of(operator: Operator, mapping: str, kernels: Sequence[Kernel], effectual: int, chip: Chip) -> Program:
    """Return the Program of an operator's kernels, one after the other.

    Args:
        operator: what is computed.
        mapping: the way in which it runs, in a word.
        kernels: in order.
        effectual: multiply-accumulates that the data require.
        chip: the GPU.

    """
    slices = [_slices(kernel, chip) for kernel in kernels]
    host = _host(kernels, chip)
    cycles, busy, filling = [], [], []
    for kernel, count in zip(kernels, slices, strict=True):
        launch = chip.cycles(chip.launch.device) + host.pop(0)
        each = _split(kernel.cycles, count)
        cycles.append(np.concatenate(([launch], each)))
        busy.append(np.concatenate(([0], _share(each, kernel.busy, kernel.cycles))))
        filling.append(np.concatenate(([chip.sm.count * launch], _share(each, kernel.filling, kernel.cycles))))
    held, working, filled = (np.concatenate(parts) for parts in (cycles, busy, filling))
    reads = tuple(_streams(operator, kernels, slices, chip, write=False))
    writes = tuple(_streams(operator, kernels, slices, chip, write=True))
    crossing = sum(int(stream.size.sum()) for stream in (*reads, *writes))
    spent = max(int(held.sum()), chip.dram.at_least(crossing, chip.clock))
    return Program(
        operator=operator.name,
        mapping=mapping,
        stages=(Stage("kernel", held, {"sm": unit_of({"busy": working, "fill_drain": filled}, chip.sm.count, held)}),),
        reads=reads,
        writes=writes,
        depth=IN_FLIGHT,
        actions=(Action("board", "cycle", "board_cycle", np.array([spent]), own_pj=_board_pj(chip)),),
        macs=Macs(operator.macs, effectual, sum(kernel.performed for kernel in kernels)),
        peak=chip.sm.count * chip.tensor_rate,
        floors={"sm": -(-int(working.sum()) // chip.sm.count), "launch": sum(int(part[0]) for part in cycles)},
    )


def _host(kernels: Sequence[Kernel], chip: Chip) -> list[int]:
    """Return the host's cycles before each kernel."""
    if not chip.launch.synchronised:
        return [0] * len(kernels)
    return [chip.cycles(getattr(chip.launch, kernel.call)) for kernel in kernels]


def _board_pj(chip: Chip) -> float:
    """Return the energy of a cycle at full load, without what the DRAM channel's bits are charged at their peak."""
    dram = chip.dram.bandwidth * 8 * chip.dram.energy_pj_per_bit
    return max(0.0, chip.board_watts * 1e12 - dram) / chip.clock


def _slices(kernel: Kernel, chip: Chip) -> int:
    """Return the slices of a kernel: as many as its traffic has of what is in flight at once."""
    crossing = sum(kernel.reads.values()) + sum(kernel.writes.values())
    return int(np.clip(-(-crossing // chip.slice), 1, SLICES))


def _split(total: int, count: int) -> Counts:
    parts: Counts = np.diff(total * np.arange(count + 1) // count)
    return parts


def _share(each: Counts, part: int, whole: int) -> Counts:
    """Return of each slice the share that ``part`` has of ``whole``, rounded down."""
    return np.array([int(cycles) * part // max(1, whole) for cycles in each], np.int64)


def _streams(
    operator: Operator, kernels: Sequence[Kernel], slices: Sequence[int], chip: Chip, write: bool
) -> Iterator[Stream]:
    moved = [kernel.writes if write else kernel.reads for kernel in kernels]
    names = list(dict.fromkeys(name for streams in moved for name in streams))
    for name in names:
        rows = []
        for streams, count in zip(moved, slices, strict=True):
            bursts = -(-streams.get(name, 0) // chip.dram.burst)
            rows.append(np.concatenate(([0], _split(bursts, count) * chip.dram.burst)))
        size = np.concatenate(rows).astype(np.int64)
        least = 0 if name in INTERMEDIATE else _stored(operator, name, chip)
        compulsory = int(size.sum()) if least is None else least
        offset = cumulative(size)[:-1] % max(chip.dram.burst, -(-compulsory // chip.dram.burst) * chip.dram.burst)
        yield Stream(name, size, offset, compulsory)


def _stored(operator: Operator, name: str, chip: Chip) -> int | None:
    """Return the bytes of a tensor as stored, once; None where its stream is as long as what crosses."""
    role = "a" if name == "input" and "a" in operator.tensors else name
    role = "b" if name == "weight" and "b" in operator.tensors else role
    if role == "output":
        return int(np.prod(operator.output_shape)) * chip.width
    if role in ("table", "indices", "index") or role not in operator.tensors:
        return None
    return operator.tensors[role].size * chip.width
