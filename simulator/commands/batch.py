"""``skipper batch``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from simulator.commands.common import as_json_option, print_json
from simulator.commands.many import carried_out, end, where_it_runs

SHOWN = 5
"""Failed jobs that are named."""


@click.command()
@click.argument("jobs", type=click.Path(path_type=Path))
@where_it_runs
@click.option(
    "--memory", default="simple", show_default=True, metavar="MEMORY", help="As of 'skipper run', of jobs without one."
)
@as_json_option
def batch(
    jobs: Path,
    workers: int | None,
    cluster: str | None,
    out: Path | None,
    plans: Path | None,
    retry_failed: bool,
    memory: str,
    as_json: bool,
) -> None:
    """Run every job of JOBS, a .csv or .jsonl file: one run per line, with its arch, its trace and its parameters.

    Interrupted at any moment, the same command goes on where it was. Exit status: 0; 1 where jobs failed, each a row
    with its error; 2 where JOBS or the folder cannot be used; 130 or 143 where Ctrl-C or SIGTERM ended it.
    """
    from simulator.sweep import read_batch

    named = read_batch(jobs, memory)
    folder = out or Path("runs") / named.name
    last, stop = carried_out(named, folder, workers, cluster, plans, retry_failed)
    document = {
        "batch": named.name,
        "lines": len(named.lines),
        "jobs": last.total,
        "finished": last.done,
        "ok": last.done - last.failed,
        "failed": last.failed,
        "resumed": last.resumed,
        "stopped": stop.asked,
        "out": str(folder),
    }
    if last.failed:
        _name_failed(folder)
    if as_json:
        print_json(document)
    else:
        words = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in document.items()}
        click.echo(" ".join(f"{key}={shlex.quote(value)}" for key, value in words.items()))
    end(last, stop)


def _name_failed(folder: Path) -> None:
    """Say which jobs failed, the first of them, on stderr."""
    from simulator.sweep import read_frame

    frame = read_frame(folder)
    failed = frame[frame.status == "failed"].sort_values("line")
    for row in failed.head(SHOWN).itertuples():
        called = f" ({row.name})" if isinstance(row.name, str) else ""
        click.echo(f"line {row.line}{called} failed: {row.error}", err=True)
    if len(failed) > SHOWN:
        click.echo(f"and {len(failed) - SHOWN:,} more failed; the dataset has all errors", err=True)
