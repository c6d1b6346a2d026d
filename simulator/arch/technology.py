"""Technology tables: energy of one action of each kind and area of what does it, with their source."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from simulator.arch.shipped import list_shipped, read_shipped
from simulator.errors import InputError, nearest

COLUMNS = ("kind", "size_bytes", "width_bits", "energy_pj", "area_mm2", "source", "note")
WITHOUT_AREA = tuple(column for column in COLUMNS if column != "area_mm2")
"""The columns of a table of energies alone, which is read with every area unknown."""
MOST_TO_LIST = 20
"""Kinds that a message lists; more would fill the screen."""


@dataclass(frozen=True)
class Entry:
    """One row of a table."""

    size: int
    """Bytes of the memory; 0 for logic."""
    width: int
    """Bits per access; 0 for logic."""
    energy_pj: float
    source: str
    note: str
    area_mm2: float | None = None
    """Of one instance of what does such an action; None where it is not known."""


@dataclass(frozen=True)
class Technology:
    """Energies and areas of a technology node."""

    name: str
    origin: str
    entries: Mapping[str, tuple[Entry, ...]]
    """Rows by kind, by ascending size and width."""
    _energies: dict[tuple[str, int, int], float] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Found so far: every run asks for the same ones, once per operator."""

    def energy(self, kind: str, size: int = 0, width: int = 0) -> float:
        """Return picojoules of one action.

        Memories are interpolated between the rows of their kind, log-log in size and in width; beyond the rows the
        outermost slope goes on. Where no size is given at two widths, energy is in proportion to width.

        Raises:
            InputError: the table has no row of that kind, has logic where memory is asked for or the
                reverse, or its rows reach to no finite energy at that size.

        """
        asked = (kind, size, width)
        if asked not in self._energies:
            self._energies[asked] = self._energy(kind, size, width)
        return self._energies[asked]

    def _energy(self, kind: str, size: int, width: int) -> float:
        rows = self._rows(kind, size)
        if size == 0:
            return rows[0].energy_pj
        try:
            if _has_widths(rows):
                return _between_widths(size, width, [(row.size, row.width, row.energy_pj) for row in rows])
            return _between_sizes(size, [(row.size, row.energy_pj / row.width) for row in rows]) * width
        except OverflowError:
            raise self._too_far(kind, size, "energy") from None

    def area(self, kind: str, size: int = 0, width: int = 0) -> float | None:
        """Return mm² of one instance of what does such an action; None where the table does not know.

        Memories are interpolated between the rows of their kind that give an area as energy is (those of the least
        width where ``width`` is 0); where no size is given at two widths, width does not count, and a single area
        counts in proportion to size.

        Raises:
            InputError: as for ``energy``.

        """
        rows = self._rows(kind, size)
        if size == 0:
            return rows[0].area_mm2
        known = [(row.size, row.width, row.area_mm2) for row in rows if row.area_mm2 is not None]
        if not known:
            return None
        if len(known) == 1:
            return known[0][2] * size / known[0][0]
        try:
            if _has_widths(rows):
                return _between_widths(size, width or min(at for _, at, _ in known), known)
            return _between_sizes(size, [(at, area) for at, _, area in known])
        except OverflowError:
            raise self._too_far(kind, size, "area") from None

    def row(self, kind: str, size: int = 0, width: int = 0) -> Entry:
        """Return the row of ``kind`` nearest to a memory of that size and width: the one to name as the source.

        Raises:
            InputError: as for ``energy``.

        """
        rows = self._rows(kind, size)
        if size == 0:
            return rows[0]
        return min(rows, key=lambda r: abs(math.log(r.size / size)) + abs(math.log(r.width / (width or r.width))))

    def beyond(self, kind: str, size: int = 0, width: int = 0) -> bool:
        """Return whether a memory of that size and width lies beyond the rows of ``kind``: the slope goes on.

        Raises:
            InputError: as for ``energy``.

        """
        rows = self._rows(kind, size)
        if size == 0:
            return False
        least, most = min(row.width for row in rows), max(row.width for row in rows)
        if not least <= (width := width or least) <= most:
            return True
        lines = [[row.size for row in rows]]
        if _has_widths(rows):  # sizes count along the widths on either side
            beside = (max(r.width for r in rows if r.width <= width), min(r.width for r in rows if r.width >= width))
            lines = [[row.size for row in rows if row.width == at] for at in beside]
        return any(not min(line) <= size <= max(line) for line in lines)

    def _rows(self, kind: str, size: int) -> tuple[Entry, ...]:
        if kind not in self.entries:
            hint = nearest(kind, self.entries)
            hint = hint if len(self.entries) <= MOST_TO_LIST else hint.partition("; known")[0]
            raise InputError(f"{self.origin}: no energy for '{kind}'{hint}")
        rows = self.entries[kind]
        if (size == 0) != (rows[0].size == 0):
            has, asked = ("memory", "logic, size_bytes 0") if size == 0 else ("logic", "memory, size_bytes above 0")
            raise InputError(f"{self.origin}: '{kind}' is given as {has}; expected a row of {asked}")
        return rows

    def _too_far(self, kind: str, size: int, what: str) -> InputError:
        return InputError(
            f"{self.origin}: '{kind}' has no finite {what} at {size} bytes; expected rows of sizes around it"
        )


def _has_widths(rows: tuple[Entry, ...]) -> bool:
    """Return whether some size is given at two widths or more."""
    return len({row.size for row in rows}) < len(rows)


def _between_widths(size: int, width: int, points: list[tuple[int, int, float]]) -> float:
    """Interpolate log-log over (size, width, value): along the sizes of each width, then across the widths."""
    lines = {at: [(s, value) for s, w, value in points if w == at] for at in sorted({w for _, w, _ in points})}
    return _between_sizes(width, [(at, _between_sizes(size, line)) for at, line in lines.items()])


def _between_sizes(at: int, line: list[tuple[int, float]]) -> float:
    """Interpolate log-log over (place, value), by ascending place; beyond them the outermost slope goes on.

    One value counts everywhere.
    """
    if len(line) == 1:
        return line[0][1]
    places, values = zip(*line, strict=True)
    i = min(max(bisect_left(places, at), 1), len(places) - 1)
    along = math.log(at / places[i - 1]) / math.log(places[i] / places[i - 1])
    # As a power, not through logarithms of values: a table with every energy doubled costs exactly the double.
    return float(values[i - 1] * math.pow(values[i] / values[i - 1], along))


def list_technologies() -> tuple[str, ...]:
    """Return the names of the shipped tables."""
    return list_shipped("technology", ".csv")


def load_technology(name_or_path: str | Path) -> Technology:
    """Read a shipped table by name, or a ``.csv`` file.

    Raises:
        InputError: no such table, wrong columns, or a number that is none or negative.

    """
    return parse_technology(*read_shipped(name_or_path, "technology", (".csv",), "technology table"))


@lru_cache(maxsize=32)
def parse_technology(text: str, name: str, origin: str) -> Technology:
    """Read a table from CSV text, with or without the column ``area_mm2``; see ``load_technology``."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        found, rows = tuple(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{origin}, line {reader.line_num}: not a CSV file: {error}") from None
    if found not in (COLUMNS, WITHOUT_AREA):
        raise InputError(f"{origin}: expected the columns {', '.join(COLUMNS)}, not {', '.join(found) or 'nothing'}")
    entries: dict[str, list[Entry]] = {}
    for line, row in rows:
        where = f"{origin}, line {line}"
        try:
            size, width, energy = int(row["size_bytes"]), int(row["width_bits"]), float(row["energy_pj"])
        except (TypeError, ValueError):
            raise InputError(f"{where}: expected numbers in size_bytes, width_bits and energy_pj") from None
        area = _area(row.get("area_mm2"), size, where)
        if size < 0 or width < 0 or (size and not width) or not (0 <= energy < math.inf) or (size and energy == 0):
            raise InputError(f"{where}: expected a finite energy_pj and sizes, none negative")
        if not row["source"]:
            raise InputError(f"{where}: '{row['kind']}' names no source")
        others = entries.setdefault(row["kind"], [])
        if any((other.size, other.width) == (size, width) or other.size == 0 or size == 0 for other in others):
            raise InputError(
                f"{where}: '{row['kind']}' is given before; expected one row, or different size_bytes or width_bits"
            )
        others.append(Entry(size, width, energy, row["source"], row["note"] or "", area))
    return Technology(
        name, origin, {kind: tuple(sorted(rows, key=lambda r: (r.size, r.width))) for kind, rows in entries.items()}
    )


def _area(written: str | None, size: int, where: str) -> float | None:
    """Read mm²; nothing written is an area not known. That of a memory is above 0, so that it can be interpolated."""
    if not written:
        return None
    try:
        area = float(written)
    except ValueError:
        raise InputError(f"{where}: expected a number in area_mm2, or nothing where it is not known") from None
    if not (0 <= area < math.inf) or (size and area == 0):
        raise InputError(f"{where}: expected a finite area_mm2, not negative (above 0 for a memory)")
    return area
