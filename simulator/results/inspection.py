"""What a trace holds: how much is known of each tensor, how large it is, how evenly its non-zeros lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.trace import DensityTensor, Operator, Tensor, Trace
from simulator.trace.axes import axes_of
from simulator.trace.effectual import effectual_macs

__all__ = ["Imbalance", "InspectedOperator", "InspectedTensor", "Inspection", "inspect_trace", "inspection_document"]


@dataclass(frozen=True)
class Imbalance:
    """How unevenly the non-zeros lie in the channels, filters or rows of a tensor."""

    of: str
    """``filter``, ``channel`` or ``row``."""
    parts: int
    """How many of these there are."""
    most_over_mean: float | None
    """Non-zeros of the part that has most, over the mean; 1 where all have equally many. None without non-zeros."""
    variation: float | None
    """Standard deviation of the non-zeros of a part, over the mean. None without non-zeros."""


@dataclass(frozen=True)
class InspectedTensor:
    """A tensor of an operator."""

    role: str
    tensor: str
    """Its name in the file: where another operator held it first, that operator's."""
    shape: tuple[int, ...]
    kind: str
    bits: int
    elements: int
    nonzeros: int
    """Of a density tensor, which is not drawn for it, the number expected."""
    density: float
    dense_bytes: int
    """All elements, ``bits`` each."""
    nonzero_bytes: int
    """The non-zeros alone, ``bits`` each: what is stored at least, without saying where they are."""
    imbalance: tuple[Imbalance, ...]
    """Empty for a density tensor, which is even by nature, and where no axis counts channels, filters or rows."""


@dataclass(frozen=True)
class InspectedOperator:
    """An operator and its tensors."""

    operator: str
    type: str
    macs: int
    effectual_macs: int | None
    """See `simulator.trace.effectual.effectual_macs`."""
    output_shape: tuple[int, ...]
    tensors: tuple[InspectedTensor, ...]


@dataclass(frozen=True)
class Inspection:
    """A trace and its operators."""

    trace: str
    digest: str
    operators: tuple[InspectedOperator, ...]
    provenance: dict[str, str]

    @property
    def macs(self) -> int:
        """Of all operators, zeros included."""
        return sum(operator.macs for operator in self.operators)

    @property
    def known_macs(self) -> int:
        """Of the operators whose effectual ones are known, zeros included."""
        return sum(operator.macs for operator in self.operators if operator.effectual_macs is not None)

    @property
    def effectual_macs(self) -> int:
        """Of the operators of which they are known."""
        return sum(operator.effectual_macs or 0 for operator in self.operators)

    @property
    def tensors(self) -> tuple[InspectedTensor, ...]:
        """Each tensor once."""
        found = {tensor.tensor: tensor for operator in self.operators for tensor in operator.tensors}
        return tuple(found.values())


def inspect_trace(trace: Trace) -> Inspection:
    """Return what a trace holds. One tensor at a time is in memory.

    Raises:
        InputError: the file holds something else than it says.

    """
    names = {id(tensor): name for name, tensor in trace.tensors.items()}
    operators = tuple(_operator(operator, names) for operator in trace.operators)
    return Inspection(trace.name, trace.digest, operators, trace.provenance)


def _operator(operator: Operator, names: dict[int, str]) -> InspectedOperator:
    tensors = tuple(_tensor(operator, role, tensor, names[id(tensor)]) for role, tensor in operator.tensors.items())
    effectual = effectual_macs(operator)
    return InspectedOperator(
        operator.name, operator.type, operator.macs, effectual, tuple(operator.output_shape), tensors
    )


def _tensor(operator: Operator, role: str, tensor: Tensor, name: str) -> InspectedTensor:
    imbalance: tuple[Imbalance, ...] = ()
    if isinstance(tensor, DensityTensor):
        nonzeros, density = round(tensor.density * tensor.size), tensor.density
    else:
        mask = tensor.mask()
        nonzeros = int(np.count_nonzero(mask))
        density = nonzeros / tensor.size
        imbalance = tuple(_imbalance(of, counts) for of, counts in _parts(operator, role, mask))
    return InspectedTensor(
        role, name, tensor.shape, tensor.kind, tensor.bits, tensor.size, nonzeros, density,
        _bytes(tensor.size, tensor.bits), _bytes(nonzeros, tensor.bits), imbalance,
    )  # fmt: skip


def _bytes(elements: int, bits: int) -> int:
    return -(-elements * bits // 8)


def _parts(operator: Operator, role: str, mask: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield what a tensor has parts of, and the non-zeros of each part."""
    axes = axes_of(operator, role)
    for of, axis in (("filter", axes.filters), ("channel", axes.channels)):
        if axis is not None:
            others = tuple(place for place in range(mask.ndim) if place != axis % mask.ndim)
            yield of, mask.sum(axis=others, dtype=np.int64)
    if axes.is_map:
        yield "row", mask.sum(axis=-1, dtype=np.int64).reshape(-1)


def _imbalance(of: str, counts: NDArray[np.int64]) -> Imbalance:
    mean = float(counts.mean())
    if mean == 0:
        return Imbalance(of, len(counts), None, None)
    return Imbalance(of, len(counts), int(counts.max()) / mean, float(counts.std()) / mean)


def inspection_document(inspection: Inspection) -> dict[str, Any]:
    """Return what ``skipper inspect --json`` prints."""
    tensors = inspection.tensors
    return {
        "trace": inspection.trace,
        "digest": inspection.digest,
        "macs": {
            "dense": inspection.macs,
            "effectual": inspection.effectual_macs,
            "dense_of_effectual": inspection.known_macs,
        },
        "bytes": {
            "dense": sum(tensor.dense_bytes for tensor in tensors),
            "nonzero": sum(tensor.nonzero_bytes for tensor in tensors),
        },
        "operators": [asdict(operator) for operator in inspection.operators],
        "provenance": inspection.provenance,
    }
