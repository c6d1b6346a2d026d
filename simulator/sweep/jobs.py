"""Batches: unrelated runs, one per line of a CSV or JSON Lines file.

    name,arch,trace,array.blocks,work.bases
    half,escalate,digits_cnn,8,
    other,arch_configs/scnn.yaml,traces/digits_cnn.safetensors,,

``arch`` and ``trace`` are as for ``skipper run``; ``name``, ``without`` and ``memory`` may be there; any other column
is a parameter as axes of sweeps name them. An empty cell, and null, set nothing. What a line names is looked at when
it is run: a chip or a trace that there is not is a failed run, not an unusable file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from simulator import __version__
from simulator.accelerators import OUTSIDE
from simulator.arch import read_config
from simulator.arch.shipped import read_shipped
from simulator.errors import InputError, nearest
from simulator.memory import SIMPLE
from simulator.sweep.axes import MOST, Written
from simulator.sweep.dataset import BATCH, Kinds
from simulator.sweep.rows import columns, parameter_cells
from simulator.sweep.runs import Point, Run, digests_of, sources_of

CSV, JSON_LINES = (".csv",), (".jsonl", ".ndjson")
ARCH, TRACE, NAME, WITHOUT, MEMORY = "arch", "trace", "name", "without", "memory"
HEAD: Kinds = {"point": str, "name": str, "line": int, "chip": str, "work": str}
TOGETHER = 64
"""Points of small groups that are given out together: one by one, workers would wait for the next."""
RESERVED = frozenset(columns(HEAD, {})) - {NAME}
"""Columns of the dataset, which are no parameters."""


@dataclass(frozen=True)
class Line:
    """A job: where it stands, what it is called, and what it is."""

    number: int
    name: str | None
    point: Point
    """Of the chip ``arch`` and the work ``trace``; ``without`` and ``memory`` stand among its settings."""


@dataclass(frozen=True)
class Batch:
    """All jobs of a file; lines that say the same are one point."""

    name: str
    origin: str
    lines: tuple[Line, ...]

    @cached_property
    def points(self) -> list[Point]:
        """Each job once."""
        return list({line.point.digest: line.point for line in self.lines}.values())

    @cached_property
    def _lines_of(self) -> Mapping[str, list[Line]]:
        """The lines of each point that are rows: all with a name, or else the first."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.point.digest, []).append(line)
        return {digest: [line for line in same if line.name] or same[:1] for digest, same in found.items()}

    @cached_property
    def columns(self) -> Kinds:
        """Of the dataset, with what each holds."""
        varied: dict[str, list[Written]] = {}
        for point in self.points:
            for key, value in point.settings.items():
                varied.setdefault(key, []).append(value)
        of_words = [key for key in (MEMORY, WITHOUT) if key in varied]
        return columns({**HEAD, **dict.fromkeys(of_words, str)}, {k: v for k, v in varied.items() if k not in of_words})

    @cached_property
    def kept(self) -> tuple[str, str]:
        """The jobs as the dataset's folder keeps them."""
        return BATCH, "".join(f"{json.dumps(_document(line))}\n" for line in self.lines)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """What all rows depend on beside the jobs: the version, and the files that they name."""
        words = {word for point in self.points for word in (point.work, *point.of_work.values())}
        words |= {point.settings[MEMORY].text for point in self.points}
        files = digests_of(sorted(filter(_is_readable, words)))
        texts = {arch: _text(arch) for arch in {point.chip for point in self.points}}
        return {
            "version": __version__,
            "chips": {arch: text and hashlib.sha256(text.encode()).hexdigest() for arch, text in texts.items()},
            "accelerators": dict(_outside(arch) for arch, text in texts.items() if text and OUTSIDE in text),
            "files": files,
        }

    def run(self, point: Point) -> Run:
        """Return what a worker runs of a point."""
        of_chip = point.of_chip
        without = of_chip.pop(WITHOUT, None)
        memory = of_chip.pop(MEMORY)
        return Run(point.chip, of_chip, point.work, dict(point.of_work), without, memory)

    def heads(self, point: Point) -> list[dict[str, Any]]:
        """Return the first columns of the row of each name that a point has."""
        cells = parameter_cells(point.settings, self.columns)
        return [
            {"point": _row_digest(line), "name": line.name, "line": line.number, "chip": point.chip, "work": point.work}
            | cells
            for line in self._lines_of[point.digest]
        ]

    def ordered(self, points: Sequence[Point]) -> list[list[Point]]:
        """Return points in groups that share chip and work, small ones of them together."""
        same: dict[tuple[Any, ...], list[Point]] = {}
        for point in points:
            same.setdefault((point.work, *sorted(point.of_work.items()), point.chip), []).append(point)
        groups: list[list[Point]] = [[]]
        for group in same.values():
            if len(groups[-1]) + len(group) > TOGETHER:
                groups.append([])
            groups[-1] += group
        return [group for group in groups if group]


def _row_digest(line: Line) -> str:
    if line.name is None:
        return line.point.digest
    return hashlib.sha256(json.dumps([line.point.digest, line.name]).encode()).hexdigest()[:24]


def _document(line: Line) -> dict[str, Any]:
    said = {"line": line.number, NAME: line.name, ARCH: line.point.chip, TRACE: line.point.work}
    return said | {key: value.text for key, value in line.point.settings.items()}


def _is_readable(word: str) -> bool:
    return os.path.isfile(word) and os.access(word, os.R_OK)


def _text(arch: str) -> str | None:
    """Return a configuration's text; None where it cannot be read, at which its runs fail."""
    try:
        text, *_ = read_shipped(arch, "", (".yaml", ".yml"), "architecture")
    except InputError:
        return None
    return text


def _outside(arch: str) -> tuple[str, str | None]:
    """Return a chip's accelerator, which may be the user's module, and its digest; None where its runs fail."""
    try:
        name = read_config(arch).accelerator
        return name, sources_of([name]).get(name)
    except InputError:
        return arch, None


def read_batch(path: str | Path, memory: str = SIMPLE) -> Batch:
    """Read a file of jobs.

    Args:
        path: a ``.csv`` or a ``.jsonl`` file.
        memory: of jobs that name none.

    Raises:
        InputError: it cannot be read as jobs; the sentence names the line.

    """
    path = Path(path)
    if path.suffix.lower() not in (*CSV, *JSON_LINES):
        raise InputError(f"{path}: expected jobs in a .csv or .jsonl file")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: cannot read the jobs: {reason}") from None
    return parse_batch(text, path.stem, str(path), path.suffix.lower() in CSV, memory)


def parse_batch(text: str, name: str, origin: str, as_csv: bool, memory: str = SIMPLE) -> Batch:
    """Read jobs from text: CSV or else JSON Lines; see `read_batch`."""
    lines: list[Line] = []
    at: dict[str, int] = {}
    for number, said in (_of_csv if as_csv else _of_json_lines)(text, origin):
        where = f"{origin}, line {number}"
        _require_keys(said, where)
        for key, value in said.items():
            if not (key.isprintable() and value.text.isprintable()):
                raise InputError(f"{where}: {key!r} is {value.text!r}; expected printable text in one line")
        for key in (ARCH, TRACE):
            if key not in said:
                raise InputError(f"{where}: '{key}' is not set; expected one, as for 'skipper run'")
        called = said.get(NAME)
        own = None if called is None else called.text
        if own is not None and at.setdefault(own, number) != number:
            raise InputError(f"{where}: the name '{own}' stands in line {at[own]} already")
        settings = {key: value for key, value in said.items() if key not in (ARCH, TRACE, NAME)}
        settings = {MEMORY: Written.of(memory)} | settings
        lines.append(Line(number, own, Point(said[ARCH].text, said[TRACE].text, settings)))
        if len(lines) > MOST:
            raise InputError(f"{origin}: more than {MOST:,} jobs; expected fewer in one file")
    if not lines:
        raise InputError(f"{origin}: holds no jobs; expected one per line")
    return Batch(name, origin, tuple(lines))


def _require_keys(keys: Iterable[str], where: str) -> None:
    for key in keys:
        if key in RESERVED:
            hint = {"chip": "; did you mean 'arch'?", "work": "; did you mean 'trace'?"}.get(key, "")
            raise InputError(f"{where}: '{key}' is a column of the results and no parameter{hint}")


def _of_csv(text: str, origin: str) -> Iterator[tuple[int, dict[str, Written]]]:
    """Yield the line and what is set of each job."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    begin = 1
    while True:
        where = f"{origin}, line {begin}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{where}: not CSV: {error}") from None
        number, begin = begin, reader.line_num + 1
        if not any(cells):
            continue
        if not header:
            header = cells
            _require_header(header, where)
            continue
        if len(cells) != len(header):
            raise InputError(f"{where}: {len(cells)} cells; expected {len(header)}, as many as there are columns")
        yield number, {key: Written.of(cell) for key, cell in zip(header, cells, strict=True) if cell}


def _require_header(header: Sequence[str], where: str) -> None:
    for key in header:
        if not key:
            raise InputError(f"{where}: a column has no name")
        if header.count(key) > 1:
            raise InputError(f"{where}: there are two columns '{key}'")
    _require_keys(header, where)
    for key in (ARCH, TRACE):
        if key not in header:
            raise InputError(f"{where}: there is no column '{key}'{_meant(key, header)}")


def _meant(key: str, found: Collection[str]) -> str:
    like = nearest(key, found).partition("; known")[0]
    return like if "did you mean" in like else f"; expected the columns {ARCH} and {TRACE}"


def _of_json_lines(text: str, origin: str) -> Iterator[tuple[int, dict[str, Written]]]:
    """Yield the line and what is set of each job."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{origin}, line {number}"
        try:
            said = json.loads(line, object_pairs_hook=_Pairs, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON: {error}") from None
        if not isinstance(said, _Pairs):
            raise InputError(f'{where}: expected an object, such as {{"arch": "escalate", "trace": "digits_cnn"}}')
        found: dict[str, Written] = {}
        given: set[str] = set()
        for key, value in said:
            if key in given:
                raise InputError(f"{where}: the key '{key}' stands twice")
            given.add(key)
            if not key.strip():
                raise InputError(f"{where}: a key has no name")
            if not isinstance(value, str | int | float | None):
                raise InputError(f"{where}: '{key}' is no value; expected a number, a text, true or false")
            if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
                raise InputError(f"{where}: '{key}' is too large a number")
            if value is not None and (not isinstance(value, str) or value.strip()):
                found[key] = Written.of(value.strip() if isinstance(value, str) else value)
        yield number, found


class _Pairs(list[tuple[str, Any]]):
    """An object's keys with their values, twice where they stand twice."""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
