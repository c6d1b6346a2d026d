"""The dataset of a sweep: a folder of Parquet files, one row per design point, safe against an end at any moment.

A point that is finished is a line of ``journal.jsonl``, on disk before the next is counted. Every so many lines become
a Parquet file of ``points/``, which is written beside and put in place at once; then the journal begins anew. Whatever
moment the process ends at, a finished point stands in one of the two, or for an instant in both. A line that was cut
short is none.

``pandas.read_parquet(folder / "points")`` opens all that is not in the journal; `Dataset.frame` opens everything.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.results.folder import writing

if TYPE_CHECKING:
    import pandas as pd

JOURNAL, POINTS, SWEEP = "journal.jsonl", "points", "sweep.yaml"
PER_FILE = 4096
"""Rows of a Parquet file, but for the last."""
_INTEGERS = "cycles multipliers buffer_bytes dram_bytes macs_dense macs_effectual macs_performed bound_cycles"
INTEGERS = frozenset(_INTEGERS.split())
_TEXTS = "point chip work status error bound_by trace_digest config_digest version host started"
TEXTS = frozenset(_TEXTS.split())


class Dataset:
    """The rows of a sweep, on disk.

    Args:
        folder: its own.
        columns: of every row.
        text: the sweep file's content, which the folder keeps.

    Raises:
        InputError: the folder holds something else, or another sweep.

    """

    def __init__(self, folder: Path, columns: Sequence[str], text: str):
        self.folder, self.columns = folder, list(columns)
        self._claim(text)
        self.journal = folder / JOURNAL
        self._lines = list(self._journalled())
        self.finished = {row["point"] for row in self._lines} | self._in_files()
        self._rewrite()

    def _claim(self, text: str) -> None:
        kept = self.folder / SWEEP
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder for the sweep, found a file")
        if kept.exists():
            if kept.read_text("utf-8") != text:
                raise InputError(f"{self.folder}: already holds another sweep; expected a folder of its own (--out)")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder}: holds something that is no sweep; expected a folder of its own (--out)")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            with writing(kept) as partial:
                partial.write_text(text, "utf-8")
        (self.folder / POINTS).mkdir(exist_ok=True)
        for leftover in (*self.folder.glob(".*"), *(self.folder / POINTS).glob(".*")):
            leftover.unlink()  # of an end in the middle of writing

    def _journalled(self) -> Iterator[dict[str, Any]]:
        if not self.journal.exists():
            return
        for line in self.journal.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # cut short
            if isinstance(row, dict) and row.keys() == set(self.columns):
                yield row

    def _in_files(self) -> set[str]:
        import pyarrow.parquet as pq

        found: set[str] = set()
        for file in self._files():
            found.update(pq.read_table(file, columns=["point"])["point"].to_pylist())
        return found

    def _files(self) -> list[Path]:
        return sorted((self.folder / POINTS).glob("*.parquet"))

    def _rewrite(self) -> None:
        """Bring the journal to whole lines of points that are in no file."""
        filed = self._in_files()
        self._lines = list({row["point"]: row for row in self._lines if row["point"] not in filed}.values())
        with writing(self.journal) as partial:
            partial.write_text("".join(f"{json.dumps(row)}\n" for row in self._lines), "utf-8")
        self._handle = os.open(self.journal, os.O_WRONLY | os.O_APPEND)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row.

        Raises:
            OSError: the disk is full, for instance; the rows before are kept.

        """
        self._append(f"{json.dumps(row)}\n".encode())
        self._lines.append(row)
        self.finished.add(row["point"])
        if len(self._lines) >= PER_FILE:
            self.compact()

    def _append(self, line: bytes) -> None:
        end = os.lseek(self._handle, 0, os.SEEK_END)
        while line:
            try:
                line = line[os.write(self._handle, line) :]
            except OSError:
                os.ftruncate(self._handle, end)  # no half line
                raise

    def compact(self) -> None:
        """Put what the journal holds into a Parquet file of its own."""
        if not self._lines:
            return
        import pyarrow.parquet as pq

        rows = sorted(self._lines, key=lambda row: str(row["point"]))
        name = hashlib.sha256("".join(row["point"] for row in rows).encode()).hexdigest()[:16]
        with writing(self.folder / POINTS / f"{name}.parquet") as partial:
            pq.write_table(_table(rows, self.columns), partial)
        os.close(self._handle)
        self._lines = []
        self._rewrite()

    def close(self) -> None:
        """Put everything into files; of small ones make one."""
        self.compact()
        files = self._files()
        small = [file for file in files if _rows(file) < PER_FILE]
        if len(small) > 1:
            self._join(small)
        os.close(self._handle)
        self.journal.unlink(missing_ok=True)

    def _join(self, files: list[Path]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
        rows = sorted({row["point"]: row for row in table}.values(), key=lambda row: str(row["point"]))
        name = hashlib.sha256("".join(row["point"] for row in rows).encode()).hexdigest()[:16]
        target = self.folder / POINTS / f"{name}.parquet"
        with writing(target) as partial:
            pq.write_table(_table(rows, self.columns), partial)
        for file in files:
            if file != target:
                file.unlink()  # ended in between, points stand in two files, and are read once

    def rows_of(self, points: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of some points, by their digests; those that are not there are left out."""
        import pyarrow.parquet as pq

        found = {row["point"]: row for row in self._lines if row["point"] in points}
        for file in self._files() if len(found) < len(points) else ():
            table = pq.read_table(file, filters=[("point", "in", set(points))])
            found |= {row["point"]: row for row in table.to_pylist()}
        return found

    def frame(self) -> pd.DataFrame:
        """Return all rows, in the order of their points' digests."""
        return read_frame(self.folder)


def _rows(file: Path) -> int:
    import pyarrow.parquet as pq

    count: int = pq.read_metadata(file).num_rows
    return count


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Any:
    """Return rows as an Arrow table; a parameter that is a number in every row is a column of numbers."""
    import pyarrow as pa

    def kind(name: str) -> Any:
        if name in TEXTS:
            return pa.string()
        if name in INTEGERS:
            return pa.int64()
        return pa.string() if any(isinstance(row[name], str) for row in rows) else pa.float64()

    def cell(value: Any, of: Any) -> Any:
        return str(value) if of == pa.string() and value is not None and not isinstance(value, str) else value

    kinds = {name: kind(name) for name in columns}
    return pa.table(
        {name: pa.array([cell(row[name], of) for row in rows], of) for name, of in kinds.items()},
        schema=pa.schema(list(kinds.items())),
    )


def read_frame(folder: Path) -> pd.DataFrame:
    """Return the dataset of a sweep, finished or not, in the order of the points' digests.

    Raises:
        InputError: the folder holds no sweep.

    """
    import pandas as pd

    if not (folder / POINTS).is_dir():
        raise InputError(f"{folder}: holds no sweep; expected the folder of one")
    files = sorted((folder / POINTS).glob("*.parquet"))
    frames = [pd.read_parquet(file) for file in files]
    journal = folder / JOURNAL
    if journal.exists():
        lines = [line for line in journal.read_text("utf-8").split("\n") if line.endswith("}")]
        frames.append(pd.DataFrame([json.loads(line) for line in lines]))
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame()
    merged = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return merged.drop_duplicates("point").sort_values("point", ignore_index=True)
