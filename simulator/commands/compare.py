"""``skipper compare``."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from simulator.commands.common import (
    as_json_option,
    console,
    left_out,
    print_json,
    require_figure_file,
    save_figure_file,
)
from simulator.errors import InputError, LawViolation


@click.command()
@click.argument("archs", metavar="ARCH...", nargs=-1, required=True)
@click.option("--trace", "-t", "traces", multiple=True, required=True, help="The work; several times for several.")
@click.option(
    "--normalise",
    default="none",
    show_default=True,
    metavar="WHAT",
    help="Give every chip as much as the first has: macs, area, bandwidth, dram, clock, technology, several with "
    "commas between; or none.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="[ARCH:]KEY=VALUE", help="Set a parameter of a chip, or of workloads."
)
@click.option("--without", metavar="TYPES", help="Leave out operators of these types, such as rowwise,matmul.")
@click.option("--memory", default="simple", show_default=True, metavar="MEMORY", help="As of 'skipper run'.")
@click.option("--check", is_flag=True, help="Compute real values, too, and compare them with plain NumPy.")
@click.option("--by-operator", is_flag=True, help="Show every operator, too.")
@click.option(
    "--figure", "figures", multiple=True, type=click.Path(path_type=Path), help="Draw it: a .pdf, .svg or .png file."
)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write the rows, or operators', as CSV.")
@click.option("--latex", "latex_file", type=click.Path(path_type=Path), help="Write the table as LaTeX.")
@as_json_option
def compare(
    archs: tuple[str, ...],
    traces: tuple[str, ...],
    normalise: str,
    settings: tuple[str, ...],
    without: str | None,
    memory: str,
    check: bool,
    by_operator: bool,
    figures: tuple[Path, ...],
    csv_file: Path | None,
    latex_file: Path | None,
    as_json: bool,
) -> None:
    """Run the same traces through several chips, side by side; ratios are to the first ARCH.

    Each ARCH is a name or a YAML file, each trace as for 'skipper run'.
    """
    from simulator.accelerators import load_arch
    from simulator.compare import compare as run_all
    from simulator.compare.figure import comparison_figure
    from simulator.compare.text import csv_text, document, latex_text, print_comparison
    from simulator.library.load import load_trace
    from simulator.results.folder import require_file, writing

    for path in figures:
        require_figure_file(path)
    for file in filter(None, (csv_file, latex_file)):
        require_file(file)
    of_chips, of_work = _shared(settings, archs, traces)
    machines = [load_arch(arch, of_chips[arch]) for arch in archs]
    parts = [left_out(load_trace(trace, of_work[trace]), without) for trace in traces]
    work = [trace for trace, _ in parts]
    with click.progressbar(
        length=len(archs) * sum(len(trace.operators) for trace in work),
        file=sys.stderr, hidden=not sys.stderr.isatty(), item_show_func=lambda at: at,
    ) as bar:  # fmt: skip
        found = run_all(
            machines, work, [word.strip() for word in normalise.split(",")], check, memory,
            lambda arch, operator: bar.update(1, f"{operator.name} on {arch}"),
        )  # fmt: skip
    found = replace(found, left_out={trace.name: left for trace, left in parts if left is not None})
    for path in figures:
        save_figure_file(comparison_figure(found), path)
    for table, text in ((csv_file, partial(csv_text, found, by_operator)), (latex_file, partial(latex_text, found))):
        if table is not None:
            with writing(table) as unfinished:
                unfinished.write_text(text(), "utf-8")
    if as_json:
        print_json(document(found, by_operator))
    else:
        print_comparison(found, console(), by_operator)
    if any(row["verified"] is False for row in found.rows):
        raise LawViolation("a chip's own loops and plain NumPy give different values; see the column 'verified'")


Settings = dict[str, dict[str, str]]


def _shared(settings: tuple[str, ...], archs: tuple[str, ...], traces: tuple[str, ...]) -> tuple[Settings, Settings]:
    """Part settings into those of each chip, ``ARCH:KEY=VALUE``, and those of the workloads that have the key."""
    from simulator.library.load import trace_parameters

    of_chips: Settings = {arch: {} for arch in archs}
    of_work: Settings = {trace: {} for trace in traces}
    for setting in settings:
        key, separator, value = setting.partition("=")
        arch, colon, own = key.rpartition(":")
        having = [of_chips[arch]] if arch in of_chips else []
        if not colon:
            having = [of_work[trace] for trace in traces if own in trace_parameters(trace)]
        if not separator or not having:
            raise InputError(
                f"--set {setting}: expected KEY=VALUE with a parameter of one of the workloads, or ARCH:KEY=VALUE "
                f"with one of a chip that is compared, such as {archs[0]}:clock='1 GHz'"
            )
        for known in having:
            known[own] = value
    return of_chips, of_work
