"""``skipper sweep``."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.commands.common import as_json_option, print_json
from simulator.commands.many import carried_out, end, where_it_runs
from simulator.errors import InputError


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@where_it_runs
@click.option("--schema", type=click.Path(path_type=Path), help="Write the files' JSON schema: sweeps/schema.json.")
@as_json_option
def sweep(
    file: Path | None,
    workers: int | None,
    cluster: str | None,
    out: Path | None,
    plans: Path | None,
    retry_failed: bool,
    schema: Path | None,
    as_json: bool,
) -> None:
    """Run every design point of the sweep in FILE; what a folder holds already is not run again.

    Interrupted at any moment, the same command goes on where it was. Exit status: 0; 1 where points failed; 2 where
    FILE or the folder cannot be used; 130 or 143 where Ctrl-C or SIGTERM ended it.
    """
    from simulator.results.folder import writing
    from simulator.sweep import read_sweep
    from simulator.sweep.file import schema_text

    if schema is not None:
        with writing(schema) as partial:
            partial.write_text(schema_text(), "utf-8")
        if as_json:
            print_json({"written": [str(schema)]})
        return
    if file is None:
        raise InputError("sweep: expected the FILE of a sweep")
    named = read_sweep(file)
    folder = out or Path("runs") / named.name
    last, stop = carried_out(named, folder, workers, cluster, plans, retry_failed)
    if as_json:
        print_json(
            {
                "sweep": named.name,
                "points": last.total,
                "finished": last.done,
                "resumed": last.resumed,
                "failed": last.failed,
                "out": str(folder),
                "stopped": stop.asked,
            }
        )
    else:
        click.echo(
            f"{named.name}: {last.done:,} of {last.total:,} points, {last.resumed:,} of them found there, "
            f"{last.failed:,} failed; dataset in {folder}"
        )
    end(last, stop)
