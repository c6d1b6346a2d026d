"""DOTA (Qu et al., ASPLOS 2022): weak attentions are detected, cheaply, and omitted.

Lanes hold tokens (``simulator.dataflow.token_parallel``), and all operators of a transformer run on the same units.
``chip`` is its configuration; ``attention``, ``dense`` and ``rowwise`` say how operators are cut into tiles that fit
the lanes' SRAM, what each tile moves, what every unit does meanwhile, and what costs energy.
"""

from __future__ import annotations

from simulator.accelerators.dota.attention import attention_program
from simulator.accelerators.dota.chip import Chip
from simulator.accelerators.dota.cut import cut_queries
from simulator.accelerators.dota.dense import dense_program
from simulator.accelerators.dota.rowwise import rowwise_program
from simulator.dataflow.token_parallel import (
    OPERAND_BITS,
    AttentionMatch,
    Geometry,
    LinearMatch,
    Match,
    match,
    variant,
)
from simulator.errors import InputError
from simulator.program import Instances, Program
from simulator.trace import Attention, Linear, Operator, Rowwise, not_run

__all__ = ["DEEPER", "SCALE", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "tile"]

DEEPER = ()
"""Parameters of which more never makes a run slower: all queues are double buffers."""
WIDER = ("lanes.count",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""
SCALE = "lanes.count"
"""Parameter in proportion to which the chip has multipliers."""


def multipliers(chip: Chip) -> int:
    """Return the multipliers of all PE rows."""
    return chip.pe_rows * chip.rmmu.width


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chips are made of."""
    lanes = chip.all_lanes
    return (
        Instances("rmmu", "mac_fx16", chip.pe_rows * chip.rmmu.width),
        Instances("filter", "filter_cycle", lanes),
        Instances("scheduler", "scheduler_cycle", lanes),
        Instances("mfu", "mfu_cycle", lanes),
        Instances("accumulator", "accumulate", chip.chips.count * chip.accumulator.per_cycle),
        Instances("sram", "sram_leakage", -(-lanes * chip.sram.size // 1024), static=True),
    )


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator, or a sequence is too long for its SRAM.

    """
    if not isinstance(operator, Attention | Linear | Rowwise):
        raise not_run(operator, "DOTA", ("attention", "linear", "rowwise"))
    computed = variant(operator, chip.attention.retention) if isinstance(operator, Attention) else operator
    for role, tensor in computed.tensors.items():
        if role != "output" and tensor.bits > OPERAND_BITS:  # an output is stored as an operand of the next operator
            raise InputError(
                f"operator '{operator.name}': {role} has {tensor.bits} bits, but operands have at most {OPERAND_BITS}"
            )
    if isinstance(computed, Attention):
        cut_queries(computed, chip)
        return chip.attention_geometry
    return chip.dense_geometry


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Cut a match into tiles that fit the lanes' SRAM, and say what each tile moves and does.

    Raises:
        InputError: the smallest tile does not fit.

    """
    if isinstance(match, AttentionMatch):
        return attention_program(match, chip)
    if isinstance(match, LinearMatch):
        return dense_program(match, chip)
    return rowwise_program(match, chip)
