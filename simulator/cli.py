"""The command ``skipper``: its commands are in ``simulator.commands``, one module for each kind."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from simulator import __version__
from simulator.commands.batch import batch
from simulator.commands.chips import list_all, show
from simulator.commands.compare import compare
from simulator.commands.diff import diff
from simulator.commands.extract import extract
from simulator.commands.report import report
from simulator.commands.reproduce import reproduce
from simulator.commands.run import run
from simulator.commands.runs import price, shares
from simulator.commands.sweep import sweep
from simulator.commands.traces import convert, inspect, kept, profile, workloads
from simulator.errors import InputError, LawViolation


class Group(click.Group):
    """Commands that end in one sentence and status 2 where the input is unusable, 130 after Ctrl-C; no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command chosen."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            _refuse(ctx, str(error))
        except LawViolation as error:
            click.echo(f"skipper: the simulator breaks one of its laws, which is a defect: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("skipper: stopped", err=True)
            ctx.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:
            _refuse(ctx, f"{error.filename or 'a file'}: {error.strerror or error}")


def _refuse(ctx: click.Context, sentence: str) -> None:
    click.echo(f"skipper: {' '.join(sentence.split())}", err=True)
    ctx.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="skipper")
def main() -> None:
    """Skipper: a cycle-level simulator of accelerators that skip work.

    A trace of the work and a configuration of the chip go in; cycles, energy and bandwidth come out, and the
    reasons for them.
    """


for command in (
    run, compare, reproduce, sweep, batch, report, diff, extract, inspect, convert, profile, kept, workloads, show,
    list_all, price, shares,
):  # fmt: skip
    main.add_command(command)
