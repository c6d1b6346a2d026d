"""What happens between products, on the vector unit beside the array: a tile is a chunk of rows."""

from __future__ import annotations

import numpy as np

from simulator.accelerators.systolic.chip import Chip
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer
from simulator.hardware.dram import whole_bursts
from simulator.program import Action, Counts, Macs, Program, Stage, Stream, unit_of
from simulator.trace import Rowwise
from simulator.trace.rowwise import operations


def rowwise_program(operator: Rowwise, chip: Chip) -> Program:
    """Stream rows from the input buffer through the vector unit into the output buffer.

    Raises:
        InputError: a row is too long for the buffers.

    """
    F, roles = operator.input.shape[-1], ("input",) if operator.other is None else ("input", "other")
    row = F * chip.operand
    for name, need in (("input_buffer", row * len(roles)), ("output_buffer", row)):
        if getattr(chip, name).half < need:
            raise InputError(
                f"operator '{operator.name}': a row needs {need} bytes of {name}, but half of it holds "
                f"{getattr(chip, name).half}; enlarge {name}.size"
            )
    chunk = min(chip.input_buffer.half // (row * len(roles)), chip.output_buffer.half // row)
    rows = np.diff(np.minimum(np.arange(0, operator.rows + chunk, chunk), operator.rows))
    cycles = np.array([chip.vector.cycles(operations(operator.kind, n * F, n)) for n in rows.tolist()])
    size = rows * row

    def stream(role: str) -> Stream:
        return Stream(
            role, whole_bursts(size, chip.dram.burst), cumulative(size)[:-1], operator.input.size * chip.operand
        )

    moved = {"input_buffer": size * len(roles), "output_buffer": size}
    return Program(
        operator=operator.name,
        mapping=operator.kind,
        stages=(Stage("vector", cycles, {"vector": unit_of({"busy": cycles}, 1, cycles)}),),
        reads=tuple(stream(role) for role in roles),
        writes=(stream("output"),),
        depth=2,
        actions=(
            Action("vector", "work", "mfu_cycle", cycles),
            *(_access(name, getattr(chip, name), way, of) for name, of in moved.items() for way in ("write", "read")),
        ),
        macs=Macs(0, 0, 0),
        peak=chip.pes,
        floors={"vector": int(cycles.sum())},
    )


def _access(name: str, buffer: Buffer, way: str, size: Counts) -> Action:
    count = -(-size * 8 // buffer.width_bits)
    return Action(name, way, f"sram_{way}{buffer.suffix}", count, buffer.bank, buffer.width_bits)
