"""A dense systolic array with SRAM for inputs, weights and outputs: it skips nothing, so others are measured by it.

The array and its cycles are those of SCALE-Sim (``simulator.hardware.systolic_array``); its buffers, each
double-buffered, how folds fill them and what each tile moves are in ``tiles``. Every pair of operands is multiplied,
zeros and padding included. Attention is two dense products for each head; what happens
between products, softmax among it, takes a vector unit.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.accelerators.systolic.attention import attention_program
from simulator.accelerators.systolic.chip import BUFFERS, PARTIAL, Chip
from simulator.accelerators.systolic.rowwise import rowwise_program
from simulator.accelerators.systolic.tiles import product_program
from simulator.dataflow import folds
from simulator.dataflow.dense_attention import AttentionGeometry, AttentionMatch, match_attention
from simulator.dataflow.token_parallel import RowwiseMatch
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer, banks_of
from simulator.hardware.grid import grid
from simulator.hardware.systolic_array import SystolicArray
from simulator.program import Instances, Program, logic
from simulator.trace import Attention, Conv2d, Linear, MatMul, Operator, Rowwise, not_run

__all__ = ["DEEPER", "WIDER", "Chip", "geometry", "match", "multipliers", "parts", "resized", "tile"]

RUNS = (Attention, Conv2d, Linear, MatMul, Rowwise)
AnyMatch = folds.Match | AttentionMatch | RowwiseMatch

DEEPER: tuple[str, ...] = ()
"""There are no queues."""
WIDER = ()
"""Parameters of which twice as much never makes a run slower: none; the first fold of a wider array waits for more."""


def multipliers(chip: Chip) -> int:
    """Return the number of PEs."""
    return chip.pes


def resized(chip: Chip, multipliers: int) -> dict[str, str]:
    """Return rows and columns, at most twice as many of the one as of the other, and the banks that feed them."""
    rows, columns = grid(multipliers)
    settings = {"array.rows": str(rows), "array.columns": str(columns)}
    for name, asked in zip(BUFFERS, chip.asked(rows, columns), strict=True):
        buffer: Buffer = getattr(chip, name)
        banks = -(-asked * 8 // (buffer.ports * buffer.width_bits))
        settings[f"{name}.banks"] = str(max(banks, buffer.banks))
    return settings


def parts(chip: Chip) -> tuple[Instances, ...]:
    """Return what the chip is made of; without control, clock tree and wires."""
    return tuple(_parts(chip))


def _parts(chip: Chip) -> Iterator[Instances]:
    pes, held = chip.pes, 2 * chip.operand + PARTIAL
    yield from logic("pe", f"multiply_{chip.pe.operand_bits}b", pes)
    yield from logic("pe", "add_32b", pes)
    yield from logic("pe_registers", "register_8b", pes * held, pes * 2 * held)
    yield Instances("vector", "mfu_cycle", 1)
    for name in BUFFERS:
        yield from banks_of(name, getattr(chip, name))


def geometry(operator: Operator, chip: Chip) -> SystolicArray | AttentionGeometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    if not isinstance(operator, RUNS):
        raise not_run(operator, "the systolic array", [kind.type for kind in RUNS])
    attends = isinstance(operator, Attention)
    ignored = ("output",) if not attends else tuple(set(operator.roles) - {"query", "key", "value"})
    widest = max(tensor.bits for role, tensor in operator.tensors.items() if role not in ignored)
    if widest > chip.pe.operand_bits:
        raise InputError(
            f"operator '{operator.name}' has operands of {widest} bits, but the PEs multiply {chip.pe.operand_bits}; "
            "set pe.operand_bits to 16"
            if widest <= 16
            else f"operator '{operator.name}' has operands of {widest} bits, but the PEs multiply 16 at most"
        )
    return AttentionGeometry(chip.array, chip.pe.operand_bits) if attends else chip.array


def match(operator: Operator, geometry: SystolicArray | AttentionGeometry, check: bool) -> AnyMatch:
    """Walk the folds of an operator: see ``simulator.dataflow.folds`` and, of attention, ``dense_attention``."""
    if isinstance(operator, Attention):
        assert isinstance(geometry, AttentionGeometry)
        return match_attention(operator, geometry, check)
    assert isinstance(geometry, SystolicArray)
    if isinstance(operator, Rowwise):
        return RowwiseMatch(operator)
    return folds.match(operator, geometry, check)


def tile(operator: Operator, match: AnyMatch, chip: Chip) -> Program:
    """Gather folds into tiles that fit the buffers, and say what each tile moves and does.

    Raises:
        InputError: not even one step of a fold fits the buffers, or they cannot keep up with the array.

    """
    if isinstance(match, RowwiseMatch):
        return rowwise_program(match.operator, chip)
    _require_banks(operator, chip)
    return attention_program(match, chip) if isinstance(match, AttentionMatch) else product_program(match, chip)


def _require_banks(operator: Operator, chip: Chip) -> None:
    for name, asked in zip(BUFFERS, chip.asked(chip.array.rows, chip.array.columns), strict=True):
        given = getattr(chip, name).bytes_per_cycle
        if given < asked:
            raise InputError(
                f"operator '{operator.name}': the array asks {name} for {asked} bytes per cycle, but it gives {given}; "
                f"enlarge {name}.banks"
            )
