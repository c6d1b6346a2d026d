"""What came of an extraction, for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from simulator.extract.report import Extraction, by_op

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_extraction"]


def print_extraction(found: Extraction, console: Console, path: str) -> None:
    """Print what is in the trace and what is not."""
    trace = found.trace
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(o.type for o in trace.operators).most_common())
    console.print(f"{trace.name}: {len(trace.operators)} operators ({kinds}), {trace.macs:,} MACs", soft_wrap=True)
    console.print(
        f"{found.captured_in_words} of the MACs are captured; "
        f"rounded to zero: {found.weights.share:.2%} of the weights and {found.activations.share:.2%} of the "
        "activations that are not zero",
        soft_wrap=True,
    )
    for place in found.data_dependent:
        console.print(f"the way may depend on the data: {place} reads a value; other ways are not in the trace")
    if rows := by_op(found.not_captured):
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False, title="not captured", title_justify="left")
        for title, right in (("operation", 0), ("kind", 0), ("calls", 1), ("MACs", 1), ("bytes", 1), ("module", 0)):
            table.add_column(title, justify="right" if right else "left", overflow="fold")
        for row in rows:
            macs = "unknown" if row.macs is None else f"{row.macs:,}"
            table.add_row(row.op, row.kind, f"{row.count:,}", macs, f"{row.bytes:,}", row.module)
        console.print(table)
    console.print(f"wrote {path}", soft_wrap=True)
