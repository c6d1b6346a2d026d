"""``skipper report``."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.commands.common import as_json_option, print_json
from simulator.errors import InputError


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page; DIR/report.html if not given.")
@as_json_option
def report(folder: Path, out: Path | None, as_json: bool) -> None:
    """Show what the sweep in DIR found, as one page that works offline.

    Pareto fronts, which parameter matters, parallel coordinates, the roofline; also of a sweep that has not ended.
    """
    from simulator.report import read_study, report_page
    from simulator.report.quantities import finished
    from simulator.results.folder import require_file, writing
    from simulator.sweep.dataset import KEPT, POINTS

    study = read_study(folder)
    page = out or folder / "report.html"
    require_file(page, folder / POINTS)
    if page.resolve() in {(folder / name).resolve() for name in KEPT}:
        raise InputError(f"{page}: is a file of the sweep; expected another name for the page")
    text = report_page(study)
    with writing(page) as partial:
        partial.write_text(text, "utf-8")
    points, done = len(study.frame), len(finished(study.frame))
    if as_json:
        print_json({"sweep": study.name, "points": points, "failed": points - done, "out": str(page)})
    else:
        click.echo(f"{study.name}: {points:,} points, {points - done:,} failed; report in {page}")
