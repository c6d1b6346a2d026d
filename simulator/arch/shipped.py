"""Text files that come with Skipper and are called by name, or are the user's own and called by path."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path, PurePosixPath

from simulator.errors import InputError, nearest


def list_shipped(folder: str, suffix: str) -> tuple[str, ...]:
    """Return the names of the files with ``suffix`` in ``arch_configs`` or a folder of it (``''``, ``technology``)."""
    entries = files("simulator.arch_configs").joinpath(folder).iterdir()
    return tuple(sorted(entry.name.removesuffix(suffix) for entry in entries if entry.name.endswith(suffix)))


def read_shipped(name_or_path: str | Path, folder: str, suffixes: tuple[str, ...], what: str) -> tuple[str, str, str]:
    """Return text, name, and origin (for messages) of a file called by name, or by a path that ends in a suffix.

    Shipped files end in the first suffix.

    Raises:
        InputError: there is none of that name (the nearest is named), or the file cannot be read.

    """
    path = Path(name_or_path)
    suffix = suffixes[0]
    if path.suffix in suffixes:
        try:
            return path.read_text("utf-8"), path.stem, str(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"{path}: cannot read the {what}: {reason}") from None
    name, known = str(name_or_path), list_shipped(folder, suffix)
    if name not in known:
        raise InputError(f"'{name}' is no {what}{nearest(name, known)}, or a {suffix} file")
    origin = PurePosixPath(folder, f"{name}{suffix}")
    return files("simulator.arch_configs").joinpath(str(origin)).read_text("utf-8"), name, str(origin)
