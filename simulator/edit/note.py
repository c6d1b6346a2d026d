"""What was done to a trace, told in its provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable

from simulator.trace import Operator, Trace


def noted(trace: Trace, operators: Iterable[Operator], what: str) -> Trace:
    """Return the trace with other operators, and what was done as the next of the keys ``convert 1``, ``convert 2``."""
    found = (re.fullmatch(r"convert (\d{1,9})", key) for key in trace.provenance)
    step = 1 + max((int(match[1]) for match in found if match), default=0)
    return Trace(trace.name, tuple(operators), trace.provenance | {f"convert {step}": what})
