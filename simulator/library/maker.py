"""Operators as they are made: tensors of known density, each from a seed of its own, and what the layers learn."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from simulator.errors import InputError
from simulator.library.densities import LARGEST, Densities
from simulator.library.fields import Names, whole
from simulator.trace import DensityTensor, Operator, Tensor
from simulator.trace.checks import Shape

MOST_OPERATORS = 100_000
MOST_LOOKUPS = 2**28
"""Look-ups in embedding tables that a workload draws, of all tables: 2 GiB of indices."""


@dataclass(frozen=True)
class Flow:
    """What goes from one layer to the next."""

    shape: Shape
    density: float
    tensor: Tensor | None = None
    """The tensor that was stored, where an operator stored it."""

    @property
    def channels(self) -> int:
        """C of (N, C, H, W), else the last axis."""
        return self.shape[1] if len(self.shape) == 4 else self.shape[-1]


class Maker:
    """Collects operators and counts parameters."""

    def __init__(self, values: Names, densities: Densities | None) -> None:
        self.operators: list[Operator] = []
        self.parameters: dict[str, int] = {}
        self.densities = densities
        self._lookups = 0
        self.seed = whole(values["seed"], values, "seed", least=0)
        self.bits = {key: whole(values[f"{key}_bits"], values, f"{key}_bits") for key in ("weight", "activation")}
        self.bases = whole(values["bases"], values, "bases", least=0)

    def seed_of(self, name: str, role: str) -> int:
        """Return the seed of what is drawn for an operator, which other layers do not change."""
        digest = hashlib.sha256(f"{self.seed}/{name}.{role}".encode()).digest()
        return int.from_bytes(digest[:6], "little")

    def tensor(self, name: str, role: str, shape: Shape, density: float, bits: int) -> DensityTensor:
        """Return a tensor of an operator.

        Raises:
            InputError: it has more than 2^31 elements.

        """
        if math.prod(shape) > LARGEST:
            sizes = " × ".join(map(str, shape))
            raise InputError(f"{role} has {sizes} = {math.prod(shape)} elements, more than 2^31")
        return DensityTensor(shape, density, self.seed_of(name, role), bits)

    def taken(self, flow: Flow, name: str, role: str = "input") -> Tensor:
        """Return the tensor of what flows: the one that was stored, or a new one."""
        return flow.tensor or self.tensor(name, role, flow.shape, flow.density, self.bits["activation"])

    def stored(self, name: str, shape: Shape, density: float) -> DensityTensor:
        """Return the tensor of a result."""
        return self.tensor(name, "output", shape, density, self.bits["activation"])

    def weights(self, name: str, shape: Shape, density: float, decomposes: bool) -> dict[str, Any]:
        """Return the weight of a layer, or basis and coefficients, by role."""
        if self.bases and decomposes and math.prod(shape[2:]) >= self.bases:
            basis = self.tensor(name, "basis", (self.bases, *shape[2:]), 1, 8)
            return {
                "basis": basis,
                "coefficients": self.tensor(name, "coefficients", (*shape[:2], self.bases), density, 1),
            }
        ternary = self.bases and (len(shape) == 2 or math.prod(shape[2:]) == 1)
        return {"weight": self.tensor(name, "weight", shape, density, 1 if ternary else self.bits["weight"])}

    def add(self, operator: Operator, output: Tensor) -> Flow:
        """Keep an operator and go on with its output."""
        if len(self.operators) >= MOST_OPERATORS:
            raise InputError(f"the workload has more than {MOST_OPERATORS} operators")
        self.operators.append(operator)
        return Flow(output.shape, output.density, output)

    def require_lookups(self, count: int) -> None:
        """Refuse more look-ups than are drawn."""
        self._lookups += count
        if self._lookups > MOST_LOOKUPS:
            raise InputError(f"the workload has {self._lookups} look-ups in tables, more than the 2^28 that are drawn")

    def count(self, name: str, parameters: int) -> None:
        """Count what a layer learns."""
        if parameters:
            self.parameters[name] = self.parameters.get(name, 0) + parameters
