"""The run folder: all of a result on disk, written at once or not at all.

``summary.json``, ``operators.parquet``, ``actions.parquet``, ``units.parquet``, ``streams.parquet``, ``config.yaml`` (resolved, with
provenance) and ``cycles.png``. Every table opens with ``pandas.read_parquet``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.results.result import Result

SUMMARY = "summary.json"
TABLES = ("operators", "actions", "units", "streams")


def require_free(folder: Path, result_digests: dict[str, str] | None, force: bool) -> None:
    """Refuse a folder that holds anything but the same run, unless ``force``.

    Raises:
        InputError: the folder, or a file of that name, is in the way.

    """
    if not folder.exists() or force and folder.is_dir():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for the results, found a file")
    if not any(folder.iterdir()):
        return
    if result_digests is None or _digests(folder) != result_digests:
        raise InputError(f"{folder}: already holds another run or other files; use --force to replace it, or another --out")


def _digests(folder: Path) -> Any:
    try:
        return json.loads((folder / SUMMARY).read_text("utf-8"))["digests"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_run(result: Result, folder: Path, force: bool = False) -> None:
    """Write the run folder: into a temporary one beside it first, so that no reader ever sees half a run.

    Raises:
        InputError: the folder holds another run, or cannot be written.

    """
    require_free(folder, dict(result.digests), force)
    with _replacing(folder) as partial:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from simulator.results.figure import draw_cycles

        (partial / SUMMARY).write_text(json.dumps(result.summary, indent=2) + "\n", "utf-8")
        (partial / "config.yaml").write_text(result.config.dump(), "utf-8")
        for name, table in zip(TABLES, (result.table, result.actions, result.units, result.streams), strict=True):
            pq.write_table(pa.table(table), partial / f"{name}.parquet")
        draw_cycles(result, partial / "cycles.png")


class _replacing:  # noqa: N801 - reads as a verb where it is used
    """Give a temporary folder beside ``folder``; put it in its place at the end, or remove every trace of it."""

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.made: list[Path] = []

    def __enter__(self) -> Path:
        try:
            missing = [p for p in (self.folder.parent, *self.folder.parent.parents) if not p.exists()]
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.made = missing
            self.partial = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        except OSError as error:
            raise self._refusal(error) from None
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
        for folder in self.made:
            try:
                folder.rmdir()
            except OSError:
                break
        if isinstance(error, OSError):
            raise self._refusal(error) from None

    def _put_in_place(self) -> None:
        if not self.folder.exists():
            os.rename(self.partial, self.folder)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        os.rename(self.folder, old / "replaced")
        os.rename(self.partial, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _refusal(self, error: OSError) -> InputError:
        return InputError(f"{self.folder}: cannot write the results: {error.strerror or error}; nothing was written")


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write one file whole: into a temporary one beside it, then in its place.

    Raises:
        InputError: it cannot be written; nothing is left behind.

    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}; nothing was written") from None
    finally:
        partial.unlink(missing_ok=True)
