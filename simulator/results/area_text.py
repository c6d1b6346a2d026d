"""The table of a chip's area and power for the terminal, and as a page of the documentation.

``python -m simulator.results.area_text`` writes ``docs/area.md`` for every chip.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

import simulator
from simulator.accelerators import accelerator, list_accelerators
from simulator.arch.published import list_published
from simulator.results.area import AreaReport, Compared, Line, Reference, chip_report

if TYPE_CHECKING:
    from rich.console import Console

PAGE = Path(simulator.__file__).parents[1] / "docs" / "area.md"
"""In a checkout; an installed package has no documentation beside it."""
HEAD = """# Area and power

What each chip takes, part by part, beside what was published of it. Made by `python -m simulator.results.area_text`;
`skipper show ARCH --area` prints the same for any configuration, `--technology` for another node; what differs from
the published chip in parts, clock or node is not compared with it.

An area is a count times the area of a row of a technology table; leakage goes on all the time. Power at full activity
is the sum of the parts listed at one action each per cycle. That is no workload's power and bounds none: wires, clock
trees and control are in no row, and a chip may draw more (the measured Eyeriss does). Nor is placement at less than
full density, so that areas made of rows are too small, as a rule. The letters name the rows below each table: of a
memory the nearest one, for size and width are interpolated log-log between rows, and beyond them the outermost slope
goes on, which is then said. How the tables are made says [energy.md](energy.md). No constant is fitted to a published
figure: where one is missed, the difference stands beside it, with what may cause it.
"""
EXTENTS = {
    "butterfly": ("lanes", "bit"),
    "token_scheduler": ("keys", "tokens"),
    "channel_accumulation_unit": ("lanes", "adders"),
    "mac_row_unit": ("multipliers", "bit"),
}
"""What size and width of a row are, by how its kind begins; of all others, which are memories, bytes and bits."""
TITLES = ("component", "kind", "count", "area mm²", "share", "dynamic mW", "leakage mW", "rows")


def print_report(report: AreaReport, console: Console) -> None:
    """Print area and power line by line, the rows they come from, and what was published."""
    from rich import box
    from rich.table import Table

    def table(*titles: str, left: int) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, title in enumerate(titles):
            made.add_column(title, justify="left" if i < left or title == "rows" else "right")
        return made

    letters = _letters(report)
    if report.lines:
        parts = table(*TITLES, left=2)
        for cells in _cells(report, letters):
            parts.add_row(*cells)
        console.print(parts)
    for text in (*report.counts, *(f"{letter}: {_row(reference)}" for reference, letter in letters.items())):
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    console.print(_total(report), soft_wrap=True, highlight=False)
    for text in filter(None, ("" if report.unlike else report.note, "" if report.compared else _nothing(report))):
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    if not report.compared:
        return
    beside = table("published", "figure", "ours", "difference", "rows", left=1)
    for compared in report.compared:
        beside.add_row(*_beside(compared, letters))
    console.print(beside)
    for compared in report.compared:
        text = f"{compared.name}: {compared.source} ({compared.sure}). {_why(compared)}"
        console.print(text, soft_wrap=True, markup=False, highlight=False)


def page() -> str:
    """Return the page of all chips of which parts are known."""
    made = (name for name in list_accelerators() if hasattr(accelerator(name), "parts"))
    names = sorted({*made, *list_published()})
    return "\n".join([HEAD, *(line for name in names for line in _section(chip_report(name)))])


def _section(report: AreaReport) -> Iterator[str]:
    yield from (f"## {report.chip}", "", f"{report.title}.", "")
    letters = _letters(report)
    yield _markdown(*TITLES)
    yield "|---|---|---:|---:|---:|---:|---:|---|"
    yield from (_markdown(*cells) for cells in _cells(report, letters))
    yield from ("", _total(report), "")
    if report.counts:
        yield from ("Counts:", "", *(f"- {text}" for text in report.counts), "")
    if report.note:
        yield from (report.note, "")
    if report.compared:
        yield _markdown("published", "figure", "ours", "difference", "rows", "source", "what may cause the difference")
        yield "|---|---:|---:|---:|---|---|---|"
        for c in report.compared:
            yield _markdown(*_beside(c, letters), f"{c.source} ({c.sure})", _why(c))
        yield ""
    elif text := _nothing(report):
        yield from (text, "")
    yield from ("Rows:", "", *(f"- {letter}: {_row(reference)}" for reference, letter in letters.items()), "")


def _markdown(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _letters(report: AreaReport) -> dict[Reference, str]:
    """Return a short name for every row that the report rests on: a, b, … z, aa, …"""
    return {
        row: ("" if n < 26 else chr(96 + n // 26)) + chr(97 + n % 26)  # more than 26² rows no report has
        for n, row in enumerate(report.rows)
    }


def _why(c: Compared) -> str:
    return " ".join((c.why, *(f"Ours is of {count}." for count in c.counts)))


def _cells(report: AreaReport, letters: dict[Reference, str]) -> Iterator[tuple[str, ...]]:
    total = report.totals["area_mm2"]
    for line in report.lines:
        share = f"{line.area_mm2 / total:.1%}" if total and line.area_mm2 is not None else "–"
        yield (
            line.component,
            _kind(line),
            f"{line.count:,}",
            _number(line.area_mm2),
            share,
            f"{line.dynamic_mw:,.2f}",
            f"{line.leakage_mw:,.4g}",
            " ".join(letters[reference] for reference in line.rows),
        )


def _kind(line: Line) -> str:
    return line.kind + _extent(line)


def _extent(row: Line | Reference) -> str:
    """Return size and width with what they are of."""
    size, width = next((names for kind, names in EXTENTS.items() if row.kind.startswith(kind)), ("B", "bit"))
    return f" {row.size} {size} × {row.width} {width}" if row.size else ""


def _row(reference: Reference) -> str:
    where = _extent(reference)
    near = " (nearest; beyond the rows)" if reference.beyond else "" if reference.exact else " (nearest)"
    return f"{reference.kind}{where}{near}: {reference.source}"


def _total(report: AreaReport) -> str:
    t = report.totals
    return (
        f"{report.chip} at {report.technology}, {report.clock / 1e6:,.0f} MHz: {_number(t['area_mm2'])} mm²; "
        f"{_number(t['dynamic_mw'])} mW at full activity, and {_number(t['leakage_mw'])} mW of leakage."
    )


def _nothing(report: AreaReport) -> str:
    if report.unlike:
        return f"Not compared with what was published, for this has {'; '.join(report.unlike)}."
    return "" if report.note else "Nothing to compare with."


def _beside(c: Compared, letters: dict[Reference, str]) -> tuple[str, str, str, str, str]:
    difference = "–" if c.difference is None else f"{c.difference:+.1%}".replace("-0.0%", "+0.0%")
    rows = " ".join(letters[row] for row in c.rows)
    return c.name, f"{c.published:,.6g} {c.unit}".rstrip(), f"{_number(c.ours)} {c.unit}".rstrip(), difference, rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.2f}"


@click.command(help="Write docs/area.md anew.")
def main() -> None:
    """Write the page."""
    if not PAGE.is_file():
        click.echo(f"Error: {PAGE}: there is no such page; expected Skipper in a checkout, with its docs", err=True)
        raise SystemExit(2)
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
