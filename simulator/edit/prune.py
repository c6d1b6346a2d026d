"""Fewer non-zeros: a trace whose tensors of a role are pruned to a density."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.compress.prune import keep_largest
from simulator.edit.note import noted
from simulator.edit.select import matching
from simulator.errors import InputError, nearest
from simulator.trace import OPERATORS, DensityTensor, MaskTensor, Operator, Tensor, Trace, ValueTensor
from simulator.trace.axes import axes_of
from simulator.trace.checks import whole

__all__ = ["PERS", "Pruning", "prune"]

PERS = ("tensor", "filter", "channel")
_PRUNABLE = frozenset(
    ("a", "b", "basis", "coefficients", "dense", "input", "key", "other", "output", "query", "table", "value", "weight")
)
"""Operands. Others say which connections are kept or where an operand lies, which pruning must not change."""


@dataclass(frozen=True)
class Pruning:
    """What to prune, and how far.

    Args:
        role: of the tensors, such as ``weight``.
        density: the part that stays, 0 to 1; or
        group: (N, M): of every M consecutive channels at most N stay.
        names: pattern of the operators' names.
        per: ``tensor``: of each tensor as a whole the largest stay; ``filter`` or ``channel``: of each one of them, all
            to the same density.

    Raises:
        InputError: an unknown role, a density out of range, N above M.

    """

    role: str
    density: float | None = None
    group: tuple[int, int] | None = None
    names: str = "*"
    per: str = "tensor"

    def __post_init__(self) -> None:
        known = {role for kind in OPERATORS.values() for role in kind.roles} & _PRUNABLE
        if self.role not in known:
            raise InputError(f"there is no role '{self.role}' to prune{nearest(self.role, known)}")
        if (self.density is None) == (self.group is None):
            raise InputError("pruning needs either a density or a group N:M, exactly one of the two")
        if self.density is not None and not 0 <= self.density <= 1:
            raise InputError(f"a density lies in 0 … 1, not {self.density:g}")
        if self.group is not None and not 0 <= self.group[0] <= self.group[1] != 0:
            raise InputError(f"of a group N:M, N lies in 0 … M and M is 1 or more, not {self.group[0]}:{self.group[1]}")
        if self.per not in PERS:
            raise InputError(f"pruning is per tensor, filter or channel, not per '{self.per}'{nearest(self.per, PERS)}")
        if self.group is not None and self.per != "tensor":
            raise InputError(
                f"a group {self.group[0]}:{self.group[1]} is of channels already, it is not per {self.per}"
            )

    @classmethod
    def parse(cls, text: str, per: str = "tensor") -> Pruning:
        """Return what ``weight=0.2``, ``weight=2:4`` or ``layer1.*.weight=0.2`` says.

        Raises:
            InputError: it says none of these.

        """
        where, _, how = text.rpartition("=")
        names, _, role = where.rpartition(".")
        if group := re.fullmatch(r"(\d{1,9}):(\d{1,9})", how):
            return cls(role, group=(int(group[1]), int(group[2])), names=names or "*", per=per)
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", how) or not role:
            raise InputError(
                f"'{text}' is no pruning, expected ROLE=DENSITY or ROLE=N:M, such as weight=0.2 or weight=2:4"
            )
        return cls(role, density=float(how), names=names or "*", per=per)

    def __str__(self) -> str:
        where = self.role if self.names == "*" else f"{self.names}.{self.role}"
        how = f"{self.density}" if self.group is None else "{}:{}".format(*self.group)
        return f"{where}={how}" + (f" per {self.per}" if self.per != "tensor" else "")


def prune(trace: Trace, pruning: Pruning, seed: int = 0) -> Trace:
    """Return the trace with the tensors of a role pruned; zeros stay zeros.

    Of n elements ⌊density · n + ½⌋ stay, or all non-zeros where there are fewer: where values are known those of the
    largest magnitude (of equal ones the first), of a mask a choice drawn from the seed. Of a density tensor the density
    is lowered, so that its mask has it as nearly as before and holds no new element.

    A tensor that several operators hold is pruned for all of them. Nothing is computed again: inputs stay those of the
    model as it was, and the output of an operator whose operands changed, known for its density only, is dropped where
    no other operator reads it.

    Args:
        trace: any.
        pruning: what, and how far.
        seed: of choices, a whole number of at least 0.

    Raises:
        InputError: no such operator or tensor, a negative seed, channels that M does not divide, or a tensor without
            such an axis.

    """
    seed = whole(seed, "seed", 0)
    chosen = matching(trace.operators, pruning.names, trace.name)
    names = {id(tensor): name for name, tensor in trace.tensors.items()}
    pruned: dict[int, Tensor] = {}
    for operator in (trace.operators[place] for place in chosen):
        tensor = operator.tensors.get(pruning.role)
        if tensor is not None and id(tensor) not in pruned:
            pruned[id(tensor)] = _pruned(operator, tensor, pruning, _draws(seed, names[id(tensor)]))
    if not pruned:
        who = "has no operator" if pruning.names == "*" else f"has no operator that matches '{pruning.names}' and is"
        raise InputError(f"trace '{trace.name}' {who} with a tensor of the role '{pruning.role}'")
    drawn = any(isinstance(tensor, MaskTensor) for tensor in pruned.values())
    operators = _replaced(trace, pruned, pruning.role != "output")
    return noted(trace, operators, f"prune {pruning}" + (f", seed {seed}" if drawn else ""))


def _replaced(trace: Trace, pruned: Mapping[int, Tensor], operands: bool) -> list[Operator]:
    """Return the operators with the pruned tensors; a result of pruned operands that no other reads is dropped."""
    read = {id(t) for operator in trace.operators for role, t in operator.tensors.items() if role != "output"}
    operators = []
    for operator in trace.operators:
        changes: dict[str, Tensor | None] = {
            role: pruned[id(tensor)] for role, tensor in operator.tensors.items() if id(tensor) in pruned
        }
        output = operator.tensors.get("output")
        if operands and changes.keys() - {"output"} and output is not None and id(output) not in read:
            changes["output"] = None
        operators.append(replace(operator, **changes) if changes else operator)  # type: ignore[arg-type]
    return operators


def _draws(seed: int, name: str) -> np.random.PCG64:
    """Return the stream of a tensor: it does not depend on what else is pruned."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4")
    return np.random.PCG64([seed, *words.tolist()])


def _pruned(operator: Operator, tensor: Tensor, pruning: Pruning, draws: np.random.PCG64) -> Tensor:
    axis = _axis(operator, tensor, pruning)
    if isinstance(tensor, DensityTensor) and pruning.density is not None:
        return replace(tensor, density=min(pruning.density, tensor.density))
    values = tensor.values()
    mask = tensor.mask() if values is None else values != 0
    if values is not None:
        weight = np.abs(values.astype(np.int64))
    else:
        weight = np.where(mask, (draws.random_raw(tensor.size) >> np.uint64(2)).reshape(tensor.shape) + 1, 0)
        weight = weight.astype(np.int64)
    if pruning.group is None:
        kept = mask & keep_largest(weight, pruning.density or 0.0, axis)
    else:
        kept = mask & _largest_of_groups(weight, *pruning.group, axis or 0)
    if isinstance(tensor, ValueTensor) and values is not None:
        return ValueTensor(np.where(kept, values, values.dtype.type(0)), tensor.scale, tensor.bits)
    return MaskTensor.of(kept, tensor.bits)


def _axis(operator: Operator, tensor: Tensor, pruning: Pruning) -> int | None:
    """Return the axis along which is pruned, None for the tensor as a whole."""
    if pruning.per == "tensor" and pruning.group is None:
        return None
    axes = axes_of(operator, pruning.role)
    axis = axes.filters if pruning.per == "filter" else axes.channels
    where = f"operator '{operator.name}' ({operator.type}): {pruning.role} has shape {tensor.shape}"
    if axis is None:
        raise InputError(f"{where} and no axis of {'filters' if pruning.per == 'filter' else 'channels'}")
    if pruning.group is not None and tensor.shape[axis] % pruning.group[1]:
        N, M = pruning.group
        raise InputError(
            f"{where}, whose {tensor.shape[axis]} channels are no multiple of {M}; expected a pattern of operators "
            f"that {N}:{M} fits, such as --prune 'conv*.{pruning.role}={N}:{M}'"
        )
    return axis


def _largest_of_groups(weight: NDArray[np.int64], N: int, M: int, axis: int) -> NDArray[np.bool_]:
    """Return the mask of the N largest of every M consecutive elements of an axis, of equal ones the first."""
    last = np.moveaxis(weight, axis, -1)
    order = np.argsort(-last.reshape(-1, M), axis=1, kind="stable")
    kept = np.zeros(order.shape, np.bool_)
    np.put_along_axis(kept, order[:, :N], True, axis=1)
    return np.moveaxis(kept.reshape(last.shape), -1, axis)
