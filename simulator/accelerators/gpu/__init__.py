"""A GPU as an analytical chip: kernels of which the time follows from formulas, not from their data.

``chip`` is its configuration, ``kernels`` times matrix products and passes over rows, ``layers``, ``rowwise`` and
``attention`` say which kernels an operator takes. A kernel is cut into slices; the engine plays their DRAM traffic
beside the SMs' time. A few numbers are calibrated, none of them by shape: see docs/gpu.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from simulator.accelerators.gpu.attention import Kept, count, effectual, kernels_of
from simulator.accelerators.gpu.chip import Chip
from simulator.accelerators.gpu.kernels import Kernel
from simulator.accelerators.gpu.layers import effectual_of, layer_kernel
from simulator.accelerators.gpu.program import program_of
from simulator.accelerators.gpu.rowwise import bag_kernel, rowwise_kernel, spmm_kernel
from simulator.dataflow.layers import layer_of
from simulator.errors import InputError
from simulator.program import Program
from simulator.trace import Attention, Conv2d, EmbeddingBag, Linear, MatMul, Operator, Rowwise, SpMM, not_run
from simulator.trace.effectual import effectual_macs

__all__ = ["ANALYTICAL", "DEEPER", "WIDER", "Chip", "geometry", "match", "multipliers", "resized", "tile"]

ANALYTICAL = True
"""Cycles are formulas of shapes and of how much is kept; no operands are paired."""
DEEPER = ()
"""There are no queues."""
WIDER = ("sm.count",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""

RUNS = (Attention, Conv2d, EmbeddingBag, Linear, MatMul, Rowwise, SpMM)


@dataclass(frozen=True, eq=False)
class Match:
    """What a GPU needs to know of an operator's data."""

    operator: Operator
    kept: Kept
    """Of attention; of all else the effectual multiply-accumulates."""
    output: None = None


def multipliers(chip: Chip) -> int:
    """Return the multiply-accumulates of all SMs per cycle at the chip's precision, dense."""
    return chip.sm.count * chip.tensor_rate


def resized(chip: Chip, multipliers: int) -> dict[str, str]:
    """Return the number of SMs that comes nearest to that many multipliers."""
    return {"sm.count": str(max(1, round(multipliers / chip.tensor_rate)))}


def geometry(operator: Operator, chip: Chip) -> Hashable:
    """Return what matching depends on: queries of a column vector, 0 where there are none.

    Raises:
        InputError: the GPU does not run the operator, or not at the precision or in the mode that is asked for.

    """
    if not isinstance(operator, RUNS):
        raise not_run(operator, "the GPU", [kind.type for kind in RUNS])
    if not chip.tensor_rate:
        raise InputError(
            f"operator '{operator.name}': the tensor cores do not multiply {chip.precision}; expected another precision"
        )
    if not isinstance(operator, Attention):
        return 0
    if chip.attention.mode == "n_m" and (not chip.tensor.sparse or chip.precision == "fp32"):
        raise InputError(
            f"operator '{operator.name}': attention.mode is n_m, but there are no sparse tensor cores for "
            f"{chip.precision}; expected dense, flash or vector"
        )
    return chip.attention.vector if chip.attention.mode == "vector" else 0


def match(operator: Operator, geometry: int, check: bool) -> Match:
    """Count what is kept or effectual.

    Raises:
        InputError: what only the data show, see ``simulator.trace.Attention.kept``.

    """
    if isinstance(operator, Attention):
        return Match(operator, count(operator, geometry))
    if isinstance(operator, SpMM):
        return Match(operator, Kept(operator.macs, 0))
    if isinstance(operator, Conv2d) and operator.is_decomposed:
        return Match(operator, Kept(effectual_of(layer_of(operator)), 0))
    counted = effectual_macs(operator)
    assert counted is not None  # of what else multiplies all are
    return Match(operator, Kept(counted, 0))


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Time the operator's kernels and cut them into slices."""
    if isinstance(operator, Attention):
        kernels = tuple(kernels_of(operator, match.kept, chip))
        return program_of(operator, chip.attention.mode, kernels, effectual(operator, match.kept, chip), chip)
    kernel = _kernel(operator, chip)
    return program_of(operator, kernel.tile or kernel.name, (kernel,), match.kept.pairs, chip)


def _kernel(operator: Operator, chip: Chip) -> Kernel:
    if isinstance(operator, Rowwise):
        return rowwise_kernel(operator, chip)
    if isinstance(operator, EmbeddingBag):
        return bag_kernel(operator, chip)
    if isinstance(operator, SpMM):
        return spmm_kernel(operator, chip)
    return layer_kernel(layer_of(operator), chip)
