"""A trace without some of its operators, and what that leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.errors import InputError, nearest
from simulator.trace.operator import OPERATORS, Operator
from simulator.trace.trace import Trace

__all__ = ["LeftOut", "not_run", "without"]


@dataclass(frozen=True)
class LeftOut:
    """Operators of a trace that are not run."""

    types: tuple[str, ...]
    operators: int
    macs: int
    share: float
    """Of the multiply-accumulates of the whole trace, 0 to 1."""

    @property
    def sentence(self) -> str:
        """What the terminal shows."""
        types = ", ".join(self.types)
        return f"left out: {self.operators} operators ({types}) with {self.share:.2%} of the trace's MACs"

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return {"types": list(self.types), "operators": self.operators, "macs": self.macs, "macs_share": self.share}


def require_types(types: Iterable[str]) -> tuple[str, ...]:
    """Return types of operators, each once.

    Raises:
        InputError: one is unknown.

    """
    found = tuple(dict.fromkeys(types))
    for kind in found:
        if kind not in OPERATORS:
            raise InputError(f"unknown type of operators '{kind}'{nearest(kind, OPERATORS)}")
    return found


def without(trace: Trace, types: Iterable[str]) -> tuple[Trace, LeftOut]:
    """Return the trace without the operators of these types, and what was left out.

    Raises:
        InputError: a type is unknown, or no operator remains.

    """
    unwanted = require_types(types)
    kept = tuple(operator for operator in trace.operators if operator.type not in unwanted)
    if not kept:
        raise InputError(f"trace '{trace.name}' has no operators but those of type {', '.join(unwanted)}")
    macs = trace.macs - sum(operator.macs for operator in kept)
    left = LeftOut(unwanted, len(trace.operators) - len(kept), macs, macs / trace.macs if trace.macs else 0.0)
    return Trace(trace.name, kept, trace.provenance), left


def not_run(operator: Operator, chip: str, runs: Sequence[str]) -> InputError:
    """Return the refusal of an operator by a chip that runs those of other types only, and how to go without it."""
    listed = " and ".join([", ".join(runs[:-1]), runs[-1]] if len(runs) > 1 else runs)
    others = ",".join(sorted(OPERATORS.keys() - set(runs)))
    return InputError(
        f"operator '{operator.name}' is of type {operator.type}, which {chip} does not run; it runs {listed} "
        f"(leave out what else there is: --without {others})"
    )
