"""``skipper reproduce``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from simulator.commands.common import as_json_option, console, print_json, require_figure_file, save_figure_file
from simulator.errors import InputError

VARIABLE = "SKIPPER_DATA"


@click.command()
@click.argument("name", metavar="[NAME|all]", required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help=f"Folder of the real data that some experiments need; {VARIABLE} of the environment if not given.",
)
@click.option("--figure", type=click.Path(path_type=Path), help="Draw its sensitivities: a .pdf, .svg or .png file.")
@click.option("--page", type=click.Path(path_type=Path), help="Write all as Markdown: docs/reproduction.md.")
@as_json_option
def reproduce(name: str | None, data: Path | None, figure: Path | None, page: Path | None, as_json: bool) -> None:
    """Print published figures beside simulated ones: of an experiment by NAME, of a YAML file, or of all.

    Without NAME, list the experiments.
    """
    from simulator.reproduce import list_experiments, read_experiment
    from simulator.reproduce import reproduce as carry_out
    from simulator.reproduce.figure import tornado_figure
    from simulator.reproduce.text import document, print_reproduced
    from simulator.reproduce.text import page as page_text
    from simulator.results.folder import require_file, writing

    if name is None:
        titles = {known: read_experiment(known).experiment.title for known in list_experiments()}
        if as_json:
            print_json({"experiments": [{"experiment": known, "title": title} for known, title in titles.items()]})
        else:
            click.echo("\n".join(f"{known}: {title}" for known, title in titles.items()))
        return
    folder = data or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data {folder}: there is no such folder")
    if page is not None:
        require_file(page)
    require_figure_file(figure)
    experiments = [read_experiment(known) for known in (list_experiments() if name == "all" else (name,))]
    if figure is not None and (name == "all" or not experiments[0].experiment.sensitivity):
        raise InputError(f"--figure {figure}: {name} has no sensitivities to draw")
    found = []
    with console(stderr=True).status("") as status:
        for named in experiments:
            found.append(
                carry_out(named, folder, lambda run, of=named.name: status.update(f"{of}: {run}"))  # type: ignore[misc]
            )
            if found[-1].skipped and name != "all":
                raise InputError(f"{named.origin}: {found[-1].skipped}")
    if figure is not None:
        for place, entry in enumerate(found[0].tornados):
            path = figure if place == 0 else figure.with_stem(f"{figure.stem}-{place + 1}")
            save_figure_file(tornado_figure(entry), path)
    if page is not None:
        with writing(page) as partial:
            partial.write_text(page_text(found), "utf-8")
    if as_json:
        print_json({"experiments": [document(each) for each in found]})
    else:
        for each in found:
            print_reproduced(each, console())
