"""The file that ``skipper convert`` writes, looked at before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from simulator.errors import InputError
from simulator.results.folder import require_file
from simulator.trace.file import trace_path

__all__ = ["require_target"]


def require_target(output: Path, sources: Iterable[str], force: bool) -> None:
    """Refuse an output that is no trace's name, in the place of what it is made of, or in the way of another file.

    Raises:
        InputError: so it is.

    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: expected a trace, a file that ends in .safetensors, not '{output.suffix}'")
    require_file(output)
    for source in sources:
        if output.exists() and _is_same(source, output):
            raise InputError(f"{output}: this is a trace to convert, which is not written over; expected another file")
    if output.exists() and not force:
        raise InputError(f"{output}: the file exists already; --force replaces it")


def _is_same(source: str, output: Path) -> bool:
    try:
        path = trace_path(source)
    except InputError:  # said by who loads it
        return False
    return path.exists() and os.path.samefile(path, output)
