"""Technology tables: the energy of one action of each kind, with its source."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simulator.arch.shipped import list_shipped, read_shipped
from simulator.errors import InputError, nearest

COLUMNS = ("kind", "size_bytes", "width_bits", "energy_pj", "source", "note")


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


@dataclass(frozen=True)
class Technology:
    """Energies of a technology node."""

    name: str
    origin: str
    entries: Mapping[str, tuple[Entry, ...]]
    """Rows by kind, by ascending size."""

    def energy(self, kind: str, size: int = 0, width: int = 0) -> float:
        """Return picojoules of one action.

        Memories are interpolated between the rows of their kind: log-log in size, in proportion to width; beyond the
        rows the outermost slope goes on.

        Raises:
            InputError: the table has no row of that kind, has logic where memory is asked for or the
                reverse, or its rows reach to no finite energy at that size.

        """
        if kind not in self.entries:
            raise InputError(f"{self.origin}: no energy for '{kind}'{nearest(kind, self.entries)}")
        rows = self.entries[kind]
        if (size == 0) != (rows[0].size == 0):
            has, asked = ("memory", "logic, size_bytes 0") if size == 0 else ("logic", "memory, size_bytes above 0")
            raise InputError(f"{self.origin}: '{kind}' is given as {has}; expected a row of {asked}")
        if size == 0:
            return rows[0].energy_pj
        per_bit = [row.energy_pj / row.width for row in rows]
        if len(rows) == 1:
            return per_bit[0] * width
        i = min(max(bisect_left(rows, size, key=lambda row: row.size), 1), len(rows) - 1)
        along = math.log(size / rows[i - 1].size) / math.log(rows[i].size / rows[i - 1].size)
        # As a power, not through logarithms of energies: a table with every energy doubled costs exactly the double.
        try:
            return per_bit[i - 1] * math.pow(per_bit[i] / per_bit[i - 1], along) * width
        except OverflowError:
            raise InputError(
                f"{self.origin}: '{kind}' has no finite energy at {size} bytes; expected rows of sizes around it"
            ) from None


def list_technologies() -> tuple[str, ...]:
    """Return the names of the shipped tables."""
    return list_shipped("technology", ".csv")


def load_technology(name_or_path: str | Path) -> Technology:
    """Read a shipped table by name, or a ``.csv`` file.

    Raises:
        InputError: no such table, wrong columns, or a number that is none or negative.

    """
    return parse_technology(*read_shipped(name_or_path, "technology", (".csv",), "technology table"))


def parse_technology(text: str, name: str, origin: str) -> Technology:
    """Read a table from CSV text; see ``load_technology``."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        found, rows = tuple(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{origin}, line {reader.line_num}: not a CSV file: {error}") from None
    if found != COLUMNS:
        raise InputError(f"{origin}: expected the columns {', '.join(COLUMNS)}, not {', '.join(found) or 'nothing'}")
    entries: dict[str, list[Entry]] = {}
    for line, row in rows:
        where = f"{origin}, line {line}"
        try:
            size, width, energy = int(row["size_bytes"]), int(row["width_bits"]), float(row["energy_pj"])
        except (TypeError, ValueError):
            raise InputError(f"{where}: expected numbers in size_bytes, width_bits and energy_pj") from None
        if size < 0 or width < 0 or (size and not width) or not (0 <= energy < math.inf) or (size and energy == 0):
            raise InputError(f"{where}: expected a finite energy_pj and sizes, none negative")
        if not row["source"]:
            raise InputError(f"{where}: '{row['kind']}' names no source")
        others = entries.setdefault(row["kind"], [])
        if any(other.size == size or other.size == 0 or size == 0 for other in others):
            raise InputError(f"{where}: '{row['kind']}' is given before; expected one row, or different size_bytes")
        others.append(Entry(size, width, energy, row["source"], row["note"] or ""))
    return Technology(name, origin, {kind: tuple(sorted(rows, key=lambda r: r.size)) for kind, rows in entries.items()})
