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
    ends = [_ends(kernel, chip) for kernel in kernels]
    launches = [chip.cycles(chip.launch.device) + host for host in _host(kernels, chip)]
    cycles, busy, filling = [], [], []
    for kernel, until, launch in zip(kernels, ends, launches, strict=True):
        each = _split(kernel.cycles, until)
        cycles.append(_after(launch, each))
        busy.append(_after(0, _share(each, kernel.busy, kernel.cycles)))
        filling.append(_after(chip.sm.count * launch, _share(each, kernel.filling, kernel.cycles)))
    held, working, filled = (np.concatenate(parts) for parts in (cycles, busy, filling))
    reads = tuple(_streams(operator, kernels, ends, chip, write=False))
    writes = tuple(_streams(operator, kernels, ends, chip, write=True))
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
        floors={"sm": -(-int(working.sum()) // chip.sm.count), "launch": sum(launches)},
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


def _ends(kernel: Kernel, chip: Chip) -> list[int]:
    """Return where each slice of a kernel ends, in bytes of its traffic (at least 1).

    The first is what is in flight at once, for no more has to come before work begins; the others are equal.
    """
    crossing = max(1, sum(kernel.reads.values()) + sum(kernel.writes.values()))
    first, rest = min(chip.slice, crossing), max(0, crossing - chip.slice)
    count = min(-(-rest // chip.slice), SLICES - 1)
    return [first] + [first + rest * (index + 1) // count for index in range(count)]


def _after(launch: int, each: Counts) -> Counts:
    """Put a kernel's launch before its slices, and as many empty ones that the first slice is not loaded before it."""
    return np.concatenate(([launch], np.zeros(IN_FLIGHT - 1, np.int64), each))


def _split(total: int, ends: Sequence[int]) -> Counts:
    """Return what each slice has of a total."""
    return np.diff([total * end // ends[-1] for end in (0, *ends)])


def _share(each: Counts, part: int, whole: int) -> Counts:
    """Return of each slice the share that ``part`` has of ``whole``, rounded down."""
    return np.array([int(cycles) * part // max(1, whole) for cycles in each], np.int64)


def _streams(
    operator: Operator, kernels: Sequence[Kernel], ends: Sequence[Sequence[int]], chip: Chip, write: bool
) -> Iterator[Stream]:
    moved = [kernel.writes if write else kernel.reads for kernel in kernels]
    names = list(dict.fromkeys(name for streams in moved for name in streams))
    for name in names:
        rows = []
        for streams, until in zip(moved, ends, strict=True):
            bursts = -(-streams.get(name, 0) // chip.dram.burst)
            rows.append(_after(0, _split(bursts, until) * chip.dram.burst))
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
