"""Finished runs: priced again, side by side."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.commands.common import as_json_option, console, print_json, require_figure_file, save_figure_file


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--technology", required=True, help="Name of a shipped table, or a CSV file.")
@as_json_option
def price(folder: Path, technology: str, as_json: bool) -> None:
    """Price a finished RUN (its folder) with another technology table, without simulating again."""
    from simulator.arch import load_technology
    from simulator.results.pricing import reprice
    from simulator.results.text import print_energy

    table = load_technology(technology)
    energy = reprice(folder, table)
    if as_json:
        total = sum(energy.values())
        print_json({"technology": table.name, "energy_pj": total, "energy_by_component_pj": energy})
    else:
        print_energy(energy, table.name, console())


@click.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it to this file, a .svg, .pdf or .png file.")
@as_json_option
def shares(folders: tuple[Path, ...], figure: Path | None, as_json: bool) -> None:
    """Show what each family of operators takes of a finished RUN (its folder), or of several, side by side.

    Operators whose dotted names differ in numbers only are a family. Ratios are to the first run.
    """
    from simulator.results.shares import read_runs, shares, shares_document

    require_figure_file(figure, *folders)
    runs = shares(read_runs(folders))
    if figure is not None:
        from simulator.results.shares_figure import shares_figure

        save_figure_file(shares_figure(runs), figure)
    if as_json:
        print_json(shares_document(runs))
    else:
        from simulator.results.comparison import print_shares

        print_shares(runs, console())
