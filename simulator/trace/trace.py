"""A trace: the operators of one piece of work, in order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import InputError
from simulator.trace.checks import label
from simulator.trace.operator import Operator
from simulator.trace.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Trace:
    """The operators of one piece of work, in the order in which they run.

    A tensor object that several operators hold (the output of one is the input of the next) is one tensor.

    Args:
        name: how tables call it.
        operators: one or more, their names unique.
        provenance: where it comes from: model, data set, recipe, … as text.

    Raises:
        InputError: no operator, a name twice, provenance that is not text.

    """

    name: str
    operators: tuple[Operator, ...]
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        label(self.name, "the name of a trace")
        if isinstance(self.operators, Operator):
            raise InputError(f"trace '{self.name}' needs a list of operators, not one operator")
        object.__setattr__(self, "operators", tuple(self.operators))
        if not self.operators:
            raise InputError(f"trace '{self.name}' has no operators, expected one or more")
        for operator in self.operators:
            if not isinstance(operator, Operator):
                raise InputError(f"trace '{self.name}' holds a {type(operator).__name__}, expected operators only")
        name, count = Counter(operator.name for operator in self.operators).most_common(1)[0]
        if count > 1:
            raise InputError(f"trace '{self.name}' has {count} operators called '{name}', expected unique names")
        if not isinstance(self.provenance, dict) or not all(
            isinstance(word, str) for item in self.provenance.items() for word in item
        ):
            raise InputError(f"the provenance of trace '{self.name}' must map texts to texts")
        object.__setattr__(self, "provenance", dict(self.provenance))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators, zeros included."""
        return sum(operator.macs for operator in self.operators)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Each tensor once, called by the operator and the role in which it appears first."""
        names: dict[int, str] = {}
        tensors: dict[str, Tensor] = {}
        for operator in self.operators:
            for role, tensor in operator.tensors.items():
                if id(tensor) not in names:
                    names[id(tensor)] = f"{operator.name}.{role}"
                    tensors[names[id(tensor)]] = tensor
        return tensors

    def header(self) -> dict[str, Any]:
        """Return what a trace file says beside the contents of the tensors."""
        tensors = self.tensors
        names = {id(tensor): name for name, tensor in tensors.items()}
        operators = [
            {
                "type": operator.type,
                "name": operator.name,
                "attributes": operator.attributes,
                "tensors": {role: names[id(tensor)] for role, tensor in operator.tensors.items()},
            }
            for operator in self.operators
        ]
        return {
            "name": self.name,
            "operators": operators,
            "tensors": {name: tensor.header() for name, tensor in tensors.items()},
            "provenance": self.provenance,
        }

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the header and the tensors: the same in memory and from a file."""
        digests = {name: tensor.digest for name, tensor in self.tensors.items()}
        text = json.dumps([self.header(), digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
