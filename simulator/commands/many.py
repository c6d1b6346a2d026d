"""What ``skipper sweep`` and ``skipper batch`` share: where they run, progress, ends in order, exit status."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simulator.commands.common import console
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.sweep import Batch, Named, Progress, Stop

BEST = {"cycles": "cycles", "energy_pj": "pJ"}
"""What the best so far is shown of, and in which unit."""
FAILED = 1
"""Exit status where all was run and something failed."""
OF_SIGNAL = 128
"""Exit status where a signal ended it, but for the signal's number."""
AT_ONCE = "skipper: ended at once; what is finished is kept, the same command goes on where it was"
"""Said at a second signal."""


WHERE = (
    click.option(
        "--workers", type=click.IntRange(1), help="Processes; as many as this machine has cores if not given."
    ),
    click.option("--cluster", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT; or 'slurm', 'kubernetes'."),
    click.option("--out", type=click.Path(path_type=Path), help="Folder of the dataset; runs/NAME if not given."),
    click.option(
        "--plans", type=click.Path(path_type=Path), help="Folder of plans kept for other sweeps; the user's cache."
    ),
    click.option("--retry-failed", is_flag=True, help="Run again what failed, and is kept so in the folder."),
)
"""Options that say where runs are made, and which."""


def where_it_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `WHERE`."""
    for option in reversed(WHERE):
        command = option(command)
    return command


def carried_out(
    named: Named | Batch,
    folder: Path,
    workers: int | None,
    cluster: str | None,
    plans: Path | None,
    retry_failed: bool,
) -> tuple[Progress, Stop]:
    """Run what a folder does not hold yet, with progress on a terminal; end in order on SIGINT and SIGTERM.

    At a second signal it ends at once; what workers are at is lost.
    """
    from platformdirs import user_cache_path

    from simulator.sweep import Stop, carry_out

    if plans is not None and plans.exists() and not plans.is_dir():
        raise InputError(f"--plans {plans}: expected a folder, found a file")
    stop, bar = Stop(), Bar()
    kept = str(plans or user_cache_path("skipper") / "plans")
    with _ending(stop), bar:
        return carry_out(named, folder, workers, cluster, kept, bar.show, stop, retry_failed), stop


def end(last: Progress, stop: Stop) -> None:
    """Say whether it was stopped, and end with the status: 0, 1 where something failed, 128 + the signal's number.

    Raises:
        SystemExit: the status is not 0.

    """
    if stop.asked:
        click.echo("skipper: stopped; the same command goes on where it was", err=True)
        raise SystemExit(OF_SIGNAL + stop.signal)
    if last.failed:
        raise SystemExit(FAILED)


@contextmanager
def _ending(stop: Stop) -> Iterator[None]:
    def asked(number: int, _: object) -> None:
        at_once = stop.asked or not stop.begun
        stop.asked, stop.signal = True, number
        if at_once:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        click.echo(AT_ONCE if stop.begun else "skipper: stopped before anything was run", err=True)
        raise SystemExit(OF_SIGNAL + stop.signal) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bar:
    """Progress on a terminal of 80 columns: points, rate, time left, best so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.best: dict[str, float] = {}
        self.begun: float | None = None
        self.clock = clock
        columns = (BarColumn(bar_width=10), MofNCompleteColumn(), TextColumn("{task.description}"))
        shown = sys.stderr.isatty()
        self.progress = Progress(*columns, console=console(stderr=True), disable=not shown)
        self.task = self.progress.add_task("", total=None)

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, at: Progress) -> None:
        """Show where a sweep stands; the first time, before anything of it runs."""
        self.begun = self.clock() if self.begun is None else self.begun
        if at.row is not None and at.row["status"] == "ok":
            for key in BEST:
                self.best[key] = min(at.row[key], self.best.get(key, at.row[key]))
        self.progress.update(self.task, completed=at.done, total=at.total, description=self._said(at))

    def _said(self, at: Progress) -> str:
        """Say the rate since the beginning, for points come many at once; what was found there took no time."""
        ran, spent = at.done - at.resumed, self.clock() - (self.begun or 0.0)
        said = []
        if ran and spent > 0:
            left = timedelta(seconds=round((at.total - at.done) * spent / ran))
            said.append(f"{ran / spent:,.3g}/s {left} left")
        if self.best:
            said.append("least " + ", ".join(f"{value:,.4g} {BEST[key]}" for key, value in self.best.items()))
        return " ".join(said)
