"""The dataset of a sweep: a folder of Parquet files, one row per design point, safe against an end at any moment.

A point that is finished is a line of ``journal.jsonl``. Every so many lines become a Parquet file of ``points/``, which
is written beside and put in place at once; then the journal is emptied. Whatever moment the process ends at, a finished
point stands in one of the two, or for an instant in both. A line that was cut short is none.

``pandas.read_parquet(folder / "points")`` opens all that is not in the journal, which is everything when a sweep has
ended in order; `read_frame` opens everything at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.results.folder import writing

if TYPE_CHECKING:
    import pandas as pd

JOURNAL, POINTS, SWEEP, MADE_WITH = "journal.jsonl", "points", "sweep.yaml", "made_with.json"
BATCH = "batch.jsonl"
KEPT = (JOURNAL, SWEEP, MADE_WITH, BATCH)
"""Files of a dataset's folder, beside those in ``points``."""
OK, FAILED = "ok", "failed"
"""What ``status`` says."""
PER_FILE = 4096
"""Rows of a Parquet file, but for the last."""

Kinds = Mapping[str, type]
"""The columns of a dataset, in order: int, float or str."""
Row = dict[str, Any]
ROW = frozenset(("point", "status"))
"""Columns of every dataset."""
READINGS = 20
"""How often a dataset is read again whose files were joined meanwhile."""


class Dataset:
    """The rows of a sweep, on disk; one process at a time.

    Args:
        folder: its own.
        columns: of every row.
        kept: name and content of the file that says what is run; the folder keeps it.
        made_with: what else every row depends on, such as the version; the folder keeps it as well.

    Raises:
        InputError: the folder holds something else, another sweep, or is in use; it cannot be written to.

    """

    def __init__(self, folder: Path, columns: Kinds, kept: tuple[str, str], made_with: Mapping[str, Any]):
        self.folder, self.columns = folder, columns
        self.failed: set[str] = set()
        try:
            said = {**made_with, "columns": list(columns)}
            self._claim(*kept, json.dumps(said, indent=1, sort_keys=True) + "\n")
            self.journal = folder / JOURNAL
            self._handle = os.open(self.journal, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{folder}: cannot keep the sweep: {error.strerror or error}") from None
        try:
            filed = self._distinct_files()
            lines = {row["point"]: row for row in self._journalled() if row["point"] not in filed}
            self._lines = list(lines.values())
            self.finished = filed | lines.keys()
            self._note_failed(self._lines)
            self._rewrite()
        except BaseException:
            self.abandon()
            raise

    def _claim(self, file: str, text: str, made_with: str) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder for the sweep, found a file")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            self._take(file, text, made_with)
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self, file: str, text: str, made_with: str) -> None:
        try:  # of the folder itself, for its files are replaced: whoever has it is the only one to look and to write
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{self.folder}: another process runs this sweep now") from None
        kept, found = self.folder / file, self.folder / MADE_WITH
        if not kept.exists():
            if not all(_of_claiming(path, file) for path in self.folder.iterdir()):
                ours = (self.folder / POINTS).is_dir()
                what = "already holds another sweep" if ours else "holds something that is no sweep"
                raise InputError(f"{self.folder}: {what}; expected a folder of its own (--out)")
            for name, content in ((MADE_WITH, made_with), (file, text)):  # the file last: with it all is there
                with writing(self.folder / name) as partial:
                    partial.write_text(content, "utf-8")
        elif kept.read_bytes() != text.encode():
            raise InputError(f"{self.folder}: already holds another sweep; expected a folder of its own (--out)")
        elif found.exists() and found.read_bytes() != made_with.encode():
            raise InputError(
                f"{self.folder}: its points were run with other chips or files, or another version of Skipper "
                f"(see {MADE_WITH}); expected a folder of its own (--out)"
            )
        (self.folder / POINTS).mkdir(exist_ok=True)
        for leftover in (*self.folder.glob(".*"), *(self.folder / POINTS).glob(".*")):
            if leftover.is_file():
                leftover.unlink()  # of an end in the middle of writing

    def _journalled(self) -> Iterator[Row]:
        for row in journalled(self.journal):
            if row.keys() == set(self.columns):
                yield row

    def _distinct_files(self) -> set[str]:
        """Return the points of all files; remove files whose points others hold: they were being joined."""
        found: set[str] = set()
        for file in sorted(self._files(), key=lambda file: (-_count(file), file.name)):
            rows = _read(file, ["point", "status"]).to_pylist()
            points = {row["point"] for row in rows}
            self.failed |= {row["point"] for row in rows if row["status"] == FAILED}
            if points <= found:
                file.unlink()
            found |= points
        return found

    def _files(self) -> list[Path]:
        return sorted((self.folder / POINTS).glob("*.parquet"))

    def _rewrite(self) -> None:
        """Bring the journal to whole lines of points that are in no file."""
        content = "".join(f"{json.dumps(row)}\n" for row in self._lines).encode()
        if self.journal.read_bytes() == content:
            return
        with writing(self.journal) as partial:
            partial.write_bytes(content)
        os.close(self._handle)
        self._handle = os.open(self.journal, os.O_RDWR | os.O_APPEND)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows.

        Raises:
            InputError: they cannot be written, the disk is full for instance; rows before them are kept.

        """
        import pyarrow.parquet  # noqa: F401  # now, while workers compute, not when all wait for the end

        self._append("".join(f"{json.dumps(row)}\n" for row in rows).encode())
        self._lines += rows
        self.finished |= {row["point"] for row in rows}
        self._note_failed(rows)
        if len(self._lines) >= PER_FILE:
            self.compact()

    def _note_failed(self, rows: Sequence[Row]) -> None:
        self.failed |= {row["point"] for row in rows if row["status"] == FAILED}

    def _append(self, content: bytes) -> None:
        end = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            while content:
                content = content[os.write(self._handle, content) :]
        except OSError as error:
            os.ftruncate(self._handle, end)  # no half line
            raise InputError(
                f"{self.folder}: {error.strerror}; what is finished is kept, the same command goes on where it was"
            ) from None

    def compact(self) -> None:
        """Put what the journal holds into a Parquet file of its own."""
        if self._lines:
            self._write(self._lines)
            os.ftruncate(self._handle, 0)  # ended in between, points stand in both, and the file counts
            self._lines = []

    def _write(self, rows: Sequence[Row]) -> Path:
        import pyarrow.parquet as pq

        ordered = sorted(rows, key=lambda row: str(row["point"]))
        name = hashlib.sha256("".join(row["point"] for row in ordered).encode()).hexdigest()[:16]
        target = self.folder / POINTS / f"{name}.parquet"
        with writing(target) as partial:
            pq.write_table(_table(ordered, self.columns), partial)
        return target

    def forget_failed(self) -> None:
        """Let go of the rows of points that failed, so that they are run again.

        Raises:
            InputError: a file cannot be written; it stays as it is.

        """
        try:
            for file in self._files():
                rows = _read(file).to_pylist()
                others = [row for row in rows if row["status"] != FAILED]
                if len(others) < len(rows):
                    if others:
                        self._write(others)
                    file.unlink()  # ended in between, the new file is removed at the next opening
        except OSError as error:
            raise InputError(f"{self.folder}: cannot keep the sweep: {error.strerror or error}") from None
        self._lines = [row for row in self._lines if row["status"] != FAILED]
        self._rewrite()
        self.finished -= self.failed
        self.failed = set()

    def close(self) -> None:
        """Put everything into files, of small ones make one, and let the folder go.

        Raises:
            InputError: they cannot be written; the journal keeps what is not in a file.

        """
        try:
            self.compact()
            small = [file for file in self._files() if _count(file) < PER_FILE]
            if len(small) > 1:
                self._join(small)
            self.journal.unlink()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let the folder go as it is."""
        for handle in (self._handle, self._lock):
            os.close(handle)

    def _join(self, files: list[Path]) -> None:
        rows = {row["point"]: row for file in files for row in _read(file).to_pylist()}
        target = self._write(list(rows.values()))
        for file in files:
            if file != target:
                file.unlink()  # ended in between, points stand in two files, of which the next opening removes one

    def rows_of(self, points: Collection[str]) -> dict[str, Row]:
        """Return the rows of some points, by their digests; those that are not there are left out."""
        found = {row["point"]: row for row in self._lines if row["point"] in points}
        for file in self._files() if len(found) < len(points) else ():
            table = _read(file, filters=[("point", "in", set(points))])
            found |= {row["point"]: row for row in table.to_pylist()}
        return found


def _of_claiming(path: Path, file: str) -> bool:
    """Tell whether a path is what an end in the middle of the first writing leaves."""
    return path.name == MADE_WITH or path.name.startswith((f".{MADE_WITH}.", f".{file}."))


def journalled(journal: Path) -> Iterator[Row]:
    """Yield the whole lines of a journal; the last may be cut short."""
    if not journal.exists():
        return
    for line in journal.read_bytes().split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut short, and written after
        if isinstance(row, dict) and row.keys() >= ROW and isinstance(row["point"], str):
            yield row


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Say which file it is that Arrow cannot read."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise InputError(f"{file}: is damaged ({error}); remove it, and its points are run again") from None


def _read(file: Path, columns: list[str] | None = None, filters: Any = None) -> Any:
    import pyarrow.parquet as pq

    with _reading(file):
        return pq.read_table(file, columns=columns, filters=filters)


def _frame(file: Path) -> pd.DataFrame:
    import pandas as pd

    with _reading(file):
        frame = pd.read_parquet(file)
    if not set(frame.columns) >= ROW:
        raise InputError(f"{file}: is no file of a sweep; expected the points of one")
    return frame


def _frames(folder: Path) -> list[pd.DataFrame]:
    """Return the rows of all files and of the journal, of a sweep that may be running."""
    import pandas as pd

    for left in reversed(range(READINGS)):
        rows = list(journalled(folder / JOURNAL))  # first: what leaves it meanwhile is in a file
        try:
            frames = [_frame(file) for file in sorted((folder / POINTS).glob("*.parquet"))]
        except FileNotFoundError:
            if not left:
                raise
        else:
            return [*frames, pd.DataFrame(rows)] if rows else frames
    raise AssertionError("unreachable")


def _count(file: Path) -> int:
    import pyarrow.parquet as pq

    with _reading(file):
        count: int = pq.read_metadata(file).num_rows
    return count


def _table(rows: Sequence[Row], columns: Kinds) -> Any:
    """Return rows as an Arrow table."""
    import pyarrow as pa

    arrow = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.table(
        {name: pa.array([row[name] for row in rows], arrow[kind]) for name, kind in columns.items()},
        schema=pa.schema([(name, arrow[kind]) for name, kind in columns.items()]),
    )


def read_frame(folder: str | Path) -> pd.DataFrame:
    """Return the dataset of a sweep, finished or not, in the order of the points' digests.

    Raises:
        InputError: the folder holds no sweep, or a damaged file.

    """
    import pandas as pd

    folder = Path(folder)
    if not (folder / POINTS).is_dir():
        raise InputError(f"{folder}: holds no sweep; expected the folder of one")
    frames = _frames(folder)
    if not frames:
        return pd.DataFrame()
    merged = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return merged.drop_duplicates("point").sort_values("point", ignore_index=True)
