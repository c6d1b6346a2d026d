"""The run folder: all of a result on disk, written at once or not at all.

``summary.json``, ``operators.parquet``, ``actions.parquet``, ``units.parquet``, ``streams.parquet``,
``memory_stalls.parquet``, ``traffic.parquet``, ``config.yaml`` (resolved, with provenance), ``memory.yaml`` (the
same, of a detailed memory) and ``cycles.svg``. Every table opens with ``pandas.read_parquet``.
The same run gives the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.results.result import Result

SUMMARY, CONFIG, MEMORY, FIGURE = "summary.json", "config.yaml", "memory.yaml", "cycles.svg"
TABLES = ("operators", "actions", "units", "streams", "memory_stalls", "traffic")
FILES = frozenset((SUMMARY, CONFIG, MEMORY, FIGURE, *(f"{name}.parquet" for name in TABLES)))


def require_free(folder: Path, result_digests: Mapping[str, str], force: bool, checked: bool) -> None:
    """Refuse a folder that cannot be written or holds anything but the same run; with ``force``, but any run.

    The same run that was checked is not replaced by one that is not, which would say less.

    Raises:
        InputError: the folder, or a file of that name, is in the way.

    """
    _require_writable(folder, "for the results")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for the results, found a file")
    found = {file.name for file in folder.iterdir()}
    if foreign := sorted(found - FILES):
        # The folder is replaced as a whole; what is not of a run is nobody's to delete, --force or not.
        raise InputError(f"{folder}: holds '{foreign[0]}', which is not of a run; expected a folder of its own (--out)")
    if not found or force:
        return
    summary = _summary(folder)
    if summary.get("digests") != result_digests:
        raise InputError(f"{folder}: already holds another run; use --force to replace it, or another --out")
    if summary.get("verified") is not None and not checked:
        raise InputError(
            f"{folder}: already holds this run with its values checked; use --check to check them again, "
            "--force to replace it unchecked, or another --out"
        )


def _summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def _require_writable(path: Path, what: str) -> None:
    """Refuse early what could not be written late, after a long simulation."""
    parent = next(p for p in path.absolute().parents if os.path.lexists(p))
    if not parent.is_dir():
        raise InputError(f"{path}: expected a path {what}, but {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: expected a path {what}, but {parent} cannot be written to")


def write_run(result: Result, folder: Path, force: bool = False) -> None:
    """Write the run folder: into a temporary one beside it first, so that no reader ever sees half a run.

    Raises:
        InputError: the folder holds another run, or this one with more known of it, or cannot be written.

    """
    require_free(folder, result.digests, force, result.verified is not None)
    with _Replacing(folder) as partial:
        import pyarrow.parquet as pq

        from simulator.results.figure import draw_cycles

        (partial / SUMMARY).write_text(json.dumps(result.summary, indent=2) + "\n", "utf-8")
        (partial / CONFIG).write_text(result.config.dump(), "utf-8")
        if result.memory.detailed is not None:
            (partial / MEMORY).write_text(result.memory.detailed.config.dump("memory"), "utf-8")
        tables = (result.table, result.actions, result.units, result.streams, result.stalls_on_memory, result.traffic)
        for name, columns in zip(TABLES, tables, strict=True):
            pq.write_table(_arrow(columns), partial / f"{name}.parquet")
        draw_cycles(result, partial / FIGURE)


def _arrow(columns: Mapping[str, list[Any]]) -> Any:
    """Return columns as an Arrow table, by way of JSON: ``pyarrow.table`` would import pandas, a third of a second."""
    import pyarrow as pa
    from pyarrow.json import ParseOptions, read_json

    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(), type(None): pa.null()}
    known = {name: next((value for value in column if value is not None), None) for name, column in columns.items()}
    schema = pa.schema([(name, types[type(value)]) for name, value in known.items()])
    if not any(columns.values()):
        return schema.empty_table()
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    lines = "\n".join(map(json.dumps, rows)).encode()
    return read_json(BytesIO(lines), parse_options=ParseOptions(explicit_schema=schema))


class _Replacing:
    """Give a temporary folder beside ``folder``; put it in its place at the end, or remove every trace of it."""

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.made: list[Path] = []

    def __enter__(self) -> Path:
        try:
            self.made = [p for p in (self.folder.parent, *self.folder.parent.parents) if not p.exists()]
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.partial = self._temporary()
        except OSError as error:
            self._remove_made()
            raise _refusal(self.folder, error) from None
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            try:
                self.partial.chmod(0o755)
                self._put_in_place()
                return
            except OSError as late:
                error = late
        shutil.rmtree(self.partial, ignore_errors=True)
        self._remove_made()
        if isinstance(error, OSError):
            raise _refusal(self.folder, error) from None

    def _put_in_place(self) -> None:
        if not self.folder.exists():
            os.rename(self.partial, self.folder)
            return
        old = self._temporary()
        try:
            os.rename(self.folder, old / "replaced")
            try:
                os.rename(self.partial, self.folder)
            except OSError:
                os.rename(old / "replaced", self.folder)
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)

    def _temporary(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))

    def _remove_made(self) -> None:
        for folder in self.made:
            try:
                folder.rmdir()
            except OSError:  # not empty, or not made
                continue


def require_file(path: Path, *folders: Path) -> None:
    """Refuse a path at which no file can be written, or inside a run folder (which is replaced as a whole).

    Raises:
        InputError: the folder is missing or cannot be written to, or the path is a folder.

    """
    for folder in folders:
        if folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(f"{path}: expected a file outside the folder for the results, {folder}")
    if path.is_dir():
        raise InputError(f"{path}: expected the name of a file, found a folder")
    if not path.absolute().parent.exists():
        raise InputError(f"{path}: expected a file in a folder that exists; there is no {path.absolute().parent}")
    _require_writable(path, "of a file")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path``; put it in its place at the end, or remove it.

    Raises:
        InputError: it cannot be written; nothing is left behind.

    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise _refusal(path, error) from None
    finally:
        partial.unlink(missing_ok=True)


def _refusal(path: Path, error: OSError) -> InputError:
    reason = os.strerror(error.errno) if error.errno else error  # Arrow wraps the system's reason in a text of its own
    return InputError(f"{path}: cannot write the results: {reason}; nothing was written")
