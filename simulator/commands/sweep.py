"""``skipper sweep``."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from simulator.commands.common import console
from simulator.errors import InputError

BEST = ("cycles", "energy_pj")
"""What the best so far is shown of."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--workers", type=click.IntRange(1), help="Processes; as many as this machine has cores if not given.")
@click.option("--cluster", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT; or 'slurm', 'kubernetes'.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the dataset; runs/NAME if not given.")
@click.option(
    "--plans", type=click.Path(path_type=Path), help="Folder of plans kept for other sweeps; the user's cache."
)
@click.option("--schema", type=click.Path(path_type=Path), help="Write the files' JSON schema: sweeps/schema.json.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def sweep(
    file: Path | None,
    workers: int | None,
    cluster: str | None,
    out: Path | None,
    plans: Path | None,
    schema: Path | None,
    as_json: bool,
) -> None:
    """Run every design point of the sweep in FILE; what a folder holds already is not run again.

    Interrupted at any moment, the same command goes on where it was.
    """
    from platformdirs import user_cache_path

    from simulator.results.folder import writing
    from simulator.sweep import Stop, carry_out, read_sweep
    from simulator.sweep.file import schema_text

    if schema is not None:
        with writing(schema) as partial:
            partial.write_text(schema_text(), "utf-8")
        return
    if file is None:
        raise InputError("sweep: expected the FILE of a sweep")
    named = read_sweep(file)
    folder = out or Path("runs") / named.name
    stop, bar = Stop(), _Bar()
    with _ending(stop), bar:
        last = carry_out(
            named, folder, workers, cluster, str(plans or user_cache_path("skipper") / "plans"), bar.show, stop
        )
    document = {
        "schema_version": 1,
        "sweep": named.name,
        "points": last.total,
        "finished": last.done,
        "resumed": last.resumed,
        "failed": last.failed,
        "out": str(folder),
        "stopped": stop.asked,
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        click.echo(
            f"{named.name}: {last.done:,} of {last.total:,} points, {last.resumed:,} of them found there, "
            f"{last.failed:,} failed; dataset in {folder}"
        )
    if stop.asked:
        click.echo("skipper: stopped; the same command goes on where it was", err=True)
        raise SystemExit(130)


@contextmanager
def _ending(stop: Any) -> Iterator[None]:
    """End in order on SIGINT and SIGTERM."""

    def asked(*_: object) -> None:
        stop.asked = True

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Progress on a terminal: points, rate, time left, best so far."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.best: dict[str, float] = {}
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
        )
        shown = sys.stderr.isatty()
        self.progress = Progress(*columns, console=console(stderr=True), disable=not shown)
        self.task = self.progress.add_task("", total=None, rate="", best="")

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, at: Any) -> None:
        if at.row is not None and at.row["status"] == "ok":
            for key in BEST:
                self.best[key] = min(at.row[key], self.best.get(key, at.row[key]))
        task = self.progress.tasks[0]
        best = ", ".join(f"{key} {value:,.4g}" for key, value in self.best.items())
        rate = f"{task.speed:,.1f} points/s" if task.speed else ""
        self.progress.update(
            self.task, completed=at.done, total=at.total, rate=rate, best=f"least {best}" if best else ""
        )
