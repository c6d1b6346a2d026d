"""What came of an extraction: the trace, and what is not in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from simulator.trace import Trace

__all__ = ["Extraction", "Kind", "NotCaptured", "Rounding", "extraction_document"]

Kind = Literal["products", "elements", "movement"]
"""Products are multiply-accumulates; elements are computed one by one; movement only copies."""


@dataclass(frozen=True)
class NotCaptured:
    """Work that the model did and the trace lacks: one kind of operation in one module."""

    op: str
    """As PyTorch calls it: ``aten::avg_pool2d``."""
    module: str
    """Path of the module, empty for the model itself."""
    kind: Kind
    count: int
    macs: int | None
    """Multiply-accumulates of all calls; None where nobody knows."""
    elements: int
    """Elements of the results of all calls."""
    bytes: int
    """Bytes of the results of all calls, as PyTorch holds them."""


@dataclass(frozen=True)
class Rounding:
    """What quantisation did to small values: how many numbers that are not zero became zero, of how many."""

    lost: int
    nonzero: int

    @property
    def share(self) -> float:
        """Of the numbers that are not zero, 0 to 1."""
        return self.lost / self.nonzero if self.nonzero else 0.0


@dataclass(frozen=True, eq=False)
class Extraction:
    """A trace and what it lacks."""

    trace: Trace
    """Its tensors are read from a temporary file; ``save_trace`` keeps them."""
    not_captured: tuple[NotCaptured, ...]
    """Most multiply-accumulates first, then most bytes."""
    data_dependent: tuple[str, ...]
    """Where the model read a value of its data, so that other data may have taken another way."""
    weights: Rounding
    activations: Rounding

    @property
    def macs_left_out(self) -> int:
        """Multiply-accumulates that are not in the trace, as far as they are known."""
        return sum(each.macs or 0 for each in self.not_captured)

    @property
    def captured(self) -> float:
        """Share of the known multiply-accumulates that are in the trace, 0 to 1."""
        total = self.trace.macs + self.macs_left_out
        return self.trace.macs / total if total else 1.0

    @property
    def captured_in_words(self) -> str:
        """That share in per cent; `at most` so much where nobody knows how many something else has."""
        unknown = any(each.macs is None for each in self.not_captured)
        return f"{'at most ' if unknown else ''}{self.captured:.4%}"


def extraction_document(found: Extraction) -> dict[str, Any]:
    """Return what ``skipper extract --json`` prints of a trace and of what it lacks."""
    return {
        "trace": found.trace.name,
        "digest": found.trace.digest,
        "operators": len(found.trace.operators),
        "macs": found.trace.macs,
        "captured": found.captured,
        "captured_at_most": any(each.macs is None for each in found.not_captured),
        "rounded_to_zero": {"weights": found.weights.share, "activations": found.activations.share},
        "data_dependent": list(found.data_dependent),
        "not_captured": [asdict(row) for row in by_op(found.not_captured)],
    }


def by_op(not_captured: Iterable[NotCaptured]) -> list[NotCaptured]:
    """Add up what the modules have in common; the module is then the first one, and how many others."""
    groups: dict[str, list[NotCaptured]] = {}
    for each in not_captured:
        groups.setdefault(each.op, []).append(each)
    return ordered(
        NotCaptured(
            op,
            (group[0].module or "the model") + (f" and {len(group) - 1} more" if len(group) > 1 else ""),
            group[0].kind,
            sum(each.count for each in group),
            None if any(each.macs is None for each in group) else sum(each.macs or 0 for each in group),
            sum(each.elements for each in group),
            sum(each.bytes for each in group),
        )
        for op, group in groups.items()
    )


def ordered(not_captured: Iterable[NotCaptured]) -> list[NotCaptured]:
    """Sort: unknown and most multiply-accumulates first, then most bytes, then by name."""
    return sorted(
        not_captured, key=lambda each: (each.macs is not None, -(each.macs or 0), -each.bytes, each.op, each.module)
    )


def as_text(not_captured: Iterable[NotCaptured]) -> str:
    """Return what the provenance of a trace holds: JSON, one list for each entry."""
    rows: list[list[Any]] = [[n.op, n.module, n.kind, n.count, n.macs, n.elements, n.bytes] for n in not_captured]
    return json.dumps([["op", "module", "kind", "count", "macs", "elements", "bytes"], *rows], separators=(",", ":"))
