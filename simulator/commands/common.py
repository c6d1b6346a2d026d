"""What commands share: settings, figures, the console."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simulator.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from simulator.trace import LeftOut, Operator, Trace


JSON_VERSION = 1
"""Of the documents that commands print; one that changes its shape says another of its own."""

STDOUT = "simulator.stdout"
"""Where the context of a command that prints JSON keeps stdout."""


def _for_one_document(context: click.Context, _: click.Parameter, asked: bool) -> bool:
    """Send to stderr what anything else prints, such as a user's own model or accelerator."""
    if asked:
        context.meta[STDOUT] = sys.stdout
        context.with_resource(redirect_stdout(sys.stderr))
    return asked


as_json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_for_one_document, help="Print one JSON document instead."
)
"""Every command has it."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print a command's one document: its ``schema_version`` first, and null where a number is none or infinite."""
    whole = _finite({"schema_version": JSON_VERSION, **document})
    context = click.get_current_context(silent=True)
    stdout = None if context is None else context.meta.get(STDOUT)
    click.echo(json.dumps(whole, indent=2, allow_nan=False, default=str), file=stdout)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def pairs(settings: tuple[str, ...]) -> Mapping[str, str]:
    """Return what ``--set KEY=VALUE`` says, several times."""
    given = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise InputError(f"--set {setting}: expected KEY=VALUE, such as array.blocks=16")
        given[key] = value
    return given


def require_figure_file(path: Path | None, *folders: Path) -> None:
    """Refuse early a figure that could not be written late."""
    if path is not None:
        from simulator.results.drawing import require_figure
        from simulator.results.folder import require_file

        require_file(path, *folders)
        require_figure(path)


def save_figure_file(figure: Figure, path: Path) -> None:
    """Write a figure as its path ends, at once or not at all."""
    from simulator.results.drawing import save_figure
    from simulator.results.folder import writing

    with writing(path) as partial:
        save_figure(figure, partial, path.suffix)


def operator_name(operator: Operator | None) -> str | None:
    """Return what a progress bar shows."""
    return None if operator is None else operator.name


def console(stderr: bool = False) -> Console:
    """Return the console to print tables on."""
    from rich.console import Console

    # A table in a file or a pipe keeps its width; on a terminal it fits the window.
    # Names of operators are no markup.
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 140
    return Console(highlight=False, markup=False, emoji=False, width=width, stderr=stderr)


def left_out(work: Trace, types: str | None) -> tuple[Trace, LeftOut | None]:
    """Leave out what ``--without TYPES`` names."""
    if types is None:
        return work, None
    from simulator.trace import without

    try:
        return without(work, [kind.strip() for kind in types.split(",")])
    except InputError as error:
        raise InputError(f"--without {types}: {error}") from None
