"""``skipper diff``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.commands.common import as_json_option, console, print_json
from simulator.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

REGRESSED = 1
"""Exit status."""


@click.command()
@click.argument("before", metavar="BEFORE", type=click.Path(path_type=Path))
@click.argument("after", metavar="AFTER", type=click.Path(path_type=Path))
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME",
    help="Compare this one, several times for several; cycles, seconds, energy_pj, area_mm2, dram_bytes if not given.",
)  # fmt: skip
@click.option(
    "--tolerance", type=click.FloatRange(0), default=0.0, show_default=True, help="A change counts beyond: 0.01 is 1 %."
)
@click.option("--worst", type=click.IntRange(0), default=5, show_default=True, help="Points listed of each kind.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write every point of either as CSV.")
@as_json_option
def diff(
    before: Path,
    after: Path,
    metrics: tuple[str, ...],
    tolerance: float,
    worst: int,
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Compare the results in two folders, each of a sweep, a batch or a run, point by point.

    Points are the same where chip, work and parameters are. Exit status: 0; 1 where a metric of some point is worse
    beyond the tolerance, or a point fails that did not; 2 where the folders cannot be compared.
    """
    from simulator.results.folder import require_file, writing
    from simulator.sweep import diff as compared_of
    from simulator.sweep.difference import DEFAULT, document

    if not math.isfinite(tolerance):
        raise InputError(f"--tolerance {tolerance}: expected a number")
    if csv_file is not None:
        require_file(csv_file, before, after)
    chosen = tuple(dict.fromkeys(metrics)) or DEFAULT
    compared = compared_of(before, after, chosen)
    found = document(compared, chosen, tolerance, worst)
    if csv_file is not None:
        with writing(csv_file) as partial_file:
            compared.to_csv(partial_file, index=False)
    if as_json:
        print_json({"before": str(before), "after": str(after), **found})
    else:
        _print(found, console())
    if found["regressed"]:
        raise SystemExit(REGRESSED)


def _print(found: Mapping[str, Any], to: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    say = partial(to.print, soft_wrap=True)
    say(f"{found['matched']:,} points in both, {found['failing']:,} of them failing in both")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("metric", "compared", "changed", "worse", "better", "lowest", "highest", "geometric mean"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for row in found["metrics"]:
        counts = (f"{row[key]:,}" for key in ("compared", "changed", "worse", "better"))
        table.add_row(row["metric"], *counts, *(_change(row[key]) for key in ("lowest", "highest", "geometric_mean")))
    to.print(table)
    for key, title in (("regressions", "worst regressions"), ("improvements", "largest improvements")):
        if found[key]:
            say(f"{title}:")
        for row in found[key]:
            say(
                f"  {row['metric']} {_change(row['ratio'])} ({row['before']:,.6g} → {row['after']:,.6g}): {_point(row)}"
            )
    for key, title in (
        ("newly_failing", "newly failing"),
        ("newly_passing", "newly passing"),
        ("only_before", "only in the first"),
        ("only_after", "only in the second"),
    ):
        _list(found[key], title, say)


def _list(found: Mapping[str, Any], title: str, say: Any) -> None:
    points: Sequence[Mapping[str, Any]] = found["first"]
    if found["points"]:
        more = f", of which {len(points):,}" if 0 < len(points) < found["points"] else ""
        say(f"{title}: {found['points']:,}{more}")
    for row in points:
        say(f"  {_point(row)}{': ' + row['error'] if row.get('error') else ''}")


def _change(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio - 1:+.2%}"


def _point(row: Mapping[str, Any]) -> str:
    settings = (
        f"{key}={f'{value:.12g}' if isinstance(value, float) else value}" for key, value in row["settings"].items()
    )
    name = [f"'{row['name']}'"] if "name" in row else []
    return " ".join([*name, row["chip"], row["work"], *settings])
