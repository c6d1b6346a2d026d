"""Experiments in writing: for the terminal, as JSON, and as the page ``docs/reproduction.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from simulator.reproduce.outcome import Outcome, Reproduced
from simulator.reproduce.sensitivity import Bar, Tornado

if TYPE_CHECKING:
    from rich.console import Console

VERDICT = {True: "yes", False: "NO", None: ""}
MOST_BARS = 12
"""Of a tornado that are written; the figure has them all."""
HEAD = """# Published figures, and ours

Made by `skipper reproduce all --data FOLDER --page docs/reproduction.md`; `skipper reproduce NAME` prints one of them.
FOLDER holds real data that Skipper does not ship; what needs them is left out where they are not at hand.

Each table is an experiment of `experiments/`: a small YAML file that names the publication, the chips, the work, and
the expression of the runs' results that stands beside each published figure. No constant is fitted to a target.
What had to be assumed of the chips is listed below each table, with the reason; what the difference may come from
stands beside a figure that is missed. The column "within" says how near ours is asked to be, and whether it is.
"""


def print_reproduced(found: Reproduced, console: Console) -> None:
    """Print an experiment's table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"{found.name}: {found.experiment.title} ({found.experiment.source})", soft_wrap=True)
    if found.skipped:
        console.print(f"left out: {found.skipped}", soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("figure", "published", "ours", "difference", "within"):
        table.add_column(title, justify="left" if title == "figure" else "right", overflow="fold")
    for outcome in found.outcomes:
        table.add_row(*cells(outcome))
    console.print(table)
    for outcome in found.outcomes:
        if outcome.figure.why and outcome.held is not True:
            console.print(f"{outcome.figure.name}: {outcome.figure.why}", soft_wrap=True)
    if found.experiment.note:
        console.print(" ".join(found.experiment.note.split()), soft_wrap=True)
    for entry in found.tornados:
        for line in _tornado(entry):
            console.print(line, soft_wrap=True)
    by_chips: dict[str, list[str]] = {}
    for (key, value, _), chips in _shared(found).items():
        by_chips.setdefault(", ".join(chips), []).append(f"{key} = {value}")
    for names, parameters in by_chips.items():
        console.print(f"assumed of {names}: {', '.join(parameters)}", soft_wrap=True)
    console.print()


def cells(outcome: Outcome) -> tuple[str, str, str, str, str]:
    """Return figure, published, ours, difference, and whether that is near enough."""
    figure, unit = outcome.figure, f" {outcome.figure.unit}".rstrip()
    published = "–" if figure.published is None else f"{number(figure.published)}{unit}"
    if figure.bound == "at most":
        published = f"≤ {published}"
    error = "–" if outcome.error is None else f"{outcome.error:+.1%}"
    asked = "" if figure.within is None else f"{figure.within:.0%}: "
    return figure.name, published, f"{number(outcome.ours)}{unit}", error, f"{asked}{VERDICT[outcome.held]}"


def number(value: float) -> str:
    """Return a number with four digits at least; whole ones in full."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def page(experiments: Sequence[Reproduced]) -> str:
    """Return the page of all experiments."""
    held = [outcome.held for found in experiments for outcome in found.outcomes]
    total = (
        f"{held.count(True)} of the {len(held) - held.count(None)} figures with a bar are met; "
        f"{held.count(None)} more are shown."
    )
    return "\n".join([HEAD, total, "", *(line for found in experiments for line in _section(found))])


def _section(found: Reproduced) -> Iterator[str]:
    yield from (f"## {found.name}: {found.experiment.title}", "", f"{found.experiment.source}.", "")
    if found.experiment.note:
        yield from (" ".join(found.experiment.note.split()), "")
    if found.skipped:
        yield from (f"Left out: {found.skipped}.", "")
        return
    yield "| figure | published | ours | difference | within | how sure | what a difference may come from |"
    yield "|---|---:|---:|---:|---:|---|---|"
    for outcome in found.outcomes:
        sure = ", ".join(filter(None, (outcome.figure.source, outcome.figure.sure)))
        why = "" if outcome.held is True else outcome.figure.why
        yield f"| {' | '.join((*cells(outcome), sure, ' '.join(why.split())))} |"
    yield ""
    for entry in found.tornados:
        first, *rest = _tornado(entry)
        yield from (first, "", *(f"- {line.strip()}" for line in rest), "")
    said = {name: entry.why for name, entry in found.experiment.works.items()}
    said |= {name: entry.why for name, entry in found.experiment.chips.items()}
    if reasons := [f"- {name}: {' '.join(reason.split())}" for name, reason in said.items() if reason]:
        yield from ("Of this experiment:", "", *reasons, "")
    yield from _assumed(found)


def _assumed(found: Reproduced) -> Iterator[str]:
    """Yield the assumptions, those that several chips share once."""
    if shared := _shared(found):
        yield from ("<details><summary>Assumed of the chips</summary>", "")
        for (key, value, why), chips in shared.items():
            yield f"- {', '.join(chips)}: `{key}` = {value}. {why}"
        yield from ("", "</details>", "")


def _shared(found: Reproduced) -> dict[tuple[str, str, str], list[str]]:
    """Return the chips of each assumption: key, value, and why."""
    shared: dict[tuple[str, str, str], list[str]] = {}
    for entry in found.assumed:
        shared.setdefault((entry.key, entry.value, entry.why), []).append(entry.chip)
    return shared


def _tornado(entry: Tornado) -> Iterator[str]:
    asked = entry.asked
    also = f", and {' and '.join(asked.parameters)} of the works" if asked.parameters else ""
    yield (
        f"{asked.figure} is {number(entry.base)}; with each assumed parameter of {' and '.join(asked.chips)} alone "
        f"× and ÷ {asked.factor:g}, or its other choices{also}, most first:"
    )
    for bar in entry.bars[:MOST_BARS]:
        yield f"  {bar_text(bar, entry.base)}"
    idle = [bar.key for bar in entry.bars if bar.span(entry.base) <= 0.005 * abs(entry.base)]
    yield f"  {len(idle)} of the {len(entry.bars)} move it by less than 0.5 %"
    if entry.fixed:
        yield f"  no other value possible here: {', '.join(entry.fixed)}"


def bar_text(bar: Bar, base: float) -> str:
    """Say what a parameter does to the figure."""
    others = ", ".join(f"{value}: {number(figure)} ({figure / base - 1:+.1%})" for value, figure in bar.others)
    return f"{bar.key} = {bar.value} → {others}"


def document(found: Reproduced) -> dict[str, Any]:
    """Return an experiment's outcome as JSON takes it."""
    return {
        "schema_version": 1,
        "experiment": found.name,
        "title": found.experiment.title,
        "source": found.experiment.source,
        "skipped": found.skipped or None,
        "figures": [
            {
                "name": outcome.figure.name,
                "unit": outcome.figure.unit,
                "published": outcome.figure.published,
                "ours": outcome.ours,
                "error": outcome.error,
                "within": outcome.figure.within,
                "held": outcome.held,
            }
            for outcome in found.outcomes
        ],
        "assumed": [vars(entry) for entry in found.assumed],
        "sensitivity": [
            {
                "chips": entry.asked.chips,
                "figure": entry.asked.figure,
                "base": entry.base,
                "parameters": [{"key": bar.key, "value": bar.value, "others": dict(bar.others)} for bar in entry.bars],
            }
            for entry in found.tornados
        ],
    }
