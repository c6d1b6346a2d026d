"""What happens between products on DOTA: a tile is a chunk of rows, dealt out to the lanes' multi-function units."""

from __future__ import annotations

import numpy as np

from simulator.accelerators.dota.chip import OPERAND, Chip, sram_actions, stream
from simulator.dataflow.token_parallel import RowwiseMatch, deal
from simulator.errors import InputError
from simulator.program import Action, Macs, Program, Stage, unit_of
from simulator.trace.rowwise import operations


def rowwise_program(match: RowwiseMatch, chip: Chip) -> Program:
    """Stream rows through the multi-function units of all lanes.

    Raises:
        InputError: a row is too long for a lane's SRAM.

    """
    operator = match.operator
    F, inputs = operator.input.shape[-1], ("input",) if operator.other is None else ("input", "other")
    row = F * OPERAND * (len(inputs) + 1)
    if chip.sram.size < 2 * row:
        raise InputError(
            f"operator '{operator.name}': two rows take {2 * row} bytes of each lane's SRAM, which holds "
            f"{chip.sram.size}; enlarge sram.size"
        )
    held = np.concatenate([np.diff(bounds) for bounds in deal(operator.input.shape, chip.dense_geometry)])
    chunk = min(int(held.max()), chip.sram.size // (2 * row))
    rows = np.clip(held - chunk * np.arange(-(-int(held.max()) // chunk))[:, None], 0, chunk)  # (tiles, lanes)
    needed = {n: chip.mfu.cycles(operations(operator.kind, n * F, n)) for n in np.unique(rows).tolist()}
    working = np.vectorize(needed.__getitem__, otypes=[np.int64])(rows)
    busy, cycles = working.sum(axis=1), working.max(axis=1)
    size, whole = rows.sum(axis=1) * F * OPERAND, operator.input.size * OPERAND
    reads = tuple(stream(role, size, whole, chip) for role in inputs)
    writes = (stream("output", size, whole, chip),)
    held_bytes = (len(inputs) + 1) * size
    return Program(
        operator=operator.name,
        mapping=operator.kind,
        stages=(Stage("mfu", cycles, {"mfu": unit_of({"busy": busy}, chip.all_lanes, cycles)}),),
        reads=reads,
        writes=writes,
        depth=2,
        actions=(
            Action("mfu", "work", "mfu_cycle", busy),
            *sram_actions(held_bytes, held_bytes, chip),
        ),
        macs=Macs(operator.macs, 0, 0),
        peak=chip.pe_rows * chip.rmmu.width,
        floors={"mfu": -(-int(busy.sum()) // chip.all_lanes)},
    )
