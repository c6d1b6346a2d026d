"""Tables for the terminal of shares and of kept connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.results.drawing import shortened
from simulator.results.kept import OperatorKept
from simulator.results.shares import Shares, all_families

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

    Columns = list[tuple[str, JustifyMethod, list[str]]]
    """Title, alignment and cells."""

QUANTITIES = {"cycles": ("cycles", 1, 0), "energy_pj": ("µJ", 1e6, 2), "dram_bytes": ("DRAM KiB", 1024, 1)}
"""Title, unit and decimal places."""


def print_shares(runs: Sequence[Shares], console: Console) -> None:
    """Print runs by families: one in a table; of several a table per quantity, side by side."""
    names = all_families(runs)
    for run in runs:
        console.print(
            f"{run.run + ': ' if len(runs) > 1 else ''}{run.trace} on {run.arch} ({run.technology}): "
            f"{run.cycles:,} cycles = {run.seconds * 1e6:,.1f} µs, {run.energy_pj / 1e6:,.3f} µJ, "
            f"{run.dram_bytes / 1024:,.1f} KiB over DRAM",
            soft_wrap=True,
        )
    parts = [[_titled(run, runs, _taken(run, runs[0], quantity, names)) for run in runs] for quantity in QUANTITIES]
    parts.append([_titled(run, runs, _limits(run, names)) for run in runs])
    parts[0].insert(0, [("operators", "right", _counts(runs, names))])
    for tables in [parts] if len(runs) == 1 else [[part] for part in parts]:
        columns = [column for part in tables for run in part for column in run]
        _print([("family", "left", [*names, "total"]), *columns], console, total=True)


def _titled(run: Shares, runs: Sequence[Shares], columns: Columns) -> Columns:
    """Put the name of the run above its first column, where there are several."""
    (title, justify, cells), *rest = columns
    return columns if len(runs) == 1 else [(f"{shortened(run.run)}\n{title}", justify, cells), *rest]


def _counts(runs: Sequence[Shares], names: Sequence[str]) -> list[str]:
    """Return operators per family and in total: one number where all runs have as many, else one per run."""
    counts = [[run.families[name].operators if name in run.families else 0 for run in runs] for name in names]
    counts.append([sum(column) for column in zip(*counts, strict=True)])
    return [", ".join(map(str, row if len(set(row)) > 1 else row[:1])) for row in counts]


def _taken(run: Shares, first: Shares, quantity: str, names: Sequence[str]) -> Columns:
    """Return what each family takes of a quantity and what the run does, the shares, and their ratios to the first."""
    title, unit, places = QUANTITIES[quantity]
    families = [*names, None]
    columns: Columns = [
        (title, "right", [f"{run.taken(quantity, name) / unit:,.{places}f}" for name in families]),
        ("share", "right", [*(f"{run.share(quantity, name):.1%}" for name in names), ""]),
    ]
    if run is not first:
        ratios = (run.ratio(first, quantity, name) for name in families)
        columns.append(("ratio", "right", ["-" if ratio is None else f"{ratio:.3f}" for ratio in ratios]))
    return columns


def _limits(run: Shares, names: Sequence[str]) -> Columns:
    """Return what limits the longest operator of each family."""
    found = [run.families.get(name) for name in names]
    return [
        ("critical unit", "left", [*(family.critical_unit if family else "-" for family in found), ""]),
        ("bound by", "left", [*(family.bound_by if family else "-" for family in found), ""]),
    ]


def print_kept(name: str, operators: Sequence[OperatorKept], console: Console) -> None:
    """Print what the heads of a trace's attention operators keep."""
    heads = [(operator, head) for operator in operators for head in operator.heads]
    places = 0 if all(head.pairs.is_integer() for _, head in heads) else 1
    columns: Columns = [
        ("operator", "left", [operator.operator if head is operator.heads[0] else "" for operator, head in heads]),
        ("head", "right", [str(head.head) for _, head in heads]),
        ("kept pairs", "right", [f"{head.pairs:,.{places}f}" for _, head in heads]),
        ("of allowed", "right", [f"{head.of_allowed:.2%}" for _, head in heads]),
        ("of the map", "right", [f"{head.of_map:.2%}" for _, head in heads]),
        ("fewest keys", "right", [f"{head.fewest:,}" for _, head in heads]),
        ("most keys", "right", [f"{head.most:,}" for _, head in heads]),
        ("row balance", "right", [f"{head.balance:.3f}" for _, head in heads]),
    ]
    _print(columns, console)
    kept, allowed = sum(head.pairs for _, head in heads), sum(operator.allowed for operator, _ in heads)
    console.print(
        f"{name}: {kept / allowed:.2%} of the {allowed:,} connections (per image) kept that the heads may look at; "
        f"{len(operators)} attention operator{'s' if len(operators) > 1 else ''}, {len(heads)} heads",
        soft_wrap=True,
    )


def _print(columns: Columns, console: Console, total: bool = False) -> None:
    """Print a table as wide as it is: a name or a number cut short is of no use."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for title, justify, _ in columns:
        table.add_column(title, justify=justify, no_wrap=True, vertical="bottom")
    rows = list(zip(*(cells for *_, cells in columns), strict=True))
    for row in rows:
        if total and row is rows[-1] and any(row[1:]):
            table.add_section()
        if any(row[1:]):
            table.add_row(*row)
    wide = console.options.update(max_width=10_000)
    width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table, width=width, crop=False, no_wrap=True, overflow="ignore")
    console.print()
