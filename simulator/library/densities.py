"""Tables of measured densities, one row per layer, such as those of SCNN."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from simulator.errors import InputError, nearest
from simulator.trace import Conv2d, DensityTensor, Trace

_NEEDED = ("layer", "weight_density", "input_density")
_SHAPE = ("R", "S", "P", "Q", "C", "K")


@dataclass(frozen=True)
class Row:
    """What a table says of a layer."""

    weight: float
    input: float
    output: float | None
    shape: tuple[int, ...] | None
    """R, S, P, Q, C, K."""


@dataclass
class Densities:
    """A table by layer. Those that are asked for are remembered."""

    origin: str
    rows: dict[str, Row]
    used: set[str] = field(default_factory=set)

    def of(self, name: str) -> Row | None:
        """Return the row of a layer: of its name, or of that behind a network's prefix such as ``VGG_``."""
        if name in self.rows:
            self.used.add(name)
            return self.rows[name]
        behind = [layer for layer in self.rows if layer.endswith(f"_{name}")]
        if len(behind) > 1:
            raise InputError(
                f"{self.origin}: both {behind[0]} and {behind[1]} may be '{name}'; keep one network's rows"
            )
        self.used.update(behind)
        return self.rows[behind[0]] if behind else None

    def require_used(self, names: Iterable[str]) -> None:
        """Refuse a table of which no row is a layer."""
        if not self.used:
            first = next(iter(self.rows))
            raise InputError(f"{self.origin}: no row is a layer of the workload: '{first}'{nearest(first, names)}")


def read_densities(path: str | Path) -> Densities:
    """Read a CSV file with the columns layer, weight_density, input_density, and if known output_density, R S P Q C K.

    Raises:
        InputError: the file cannot be read, a column is missing, a layer stands twice, a density is none.

    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "not a CSV file in UTF-8"
        raise InputError(f"{path}: cannot read the density table: {reason}") from None
    found = list(lines[0]) if lines else []
    for column in _NEEDED:
        if column not in found:
            hint = nearest(column, map(str, found)) if found else "; the table is empty"
            raise InputError(f"{path}: the density table lacks the column '{column}'{hint}")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 2):
        where = f"{path}, line {number}"
        if line["layer"] in rows:
            raise InputError(f"{where}: the layer '{line['layer']}' stands twice")
        shape = tuple(_count(line[c], f"{where}: {c}") for c in _SHAPE) if all(line.get(c) for c in _SHAPE) else None
        output = line.get("output_density")
        rows[line["layer"]] = Row(
            _part(line["weight_density"], f"{where}: weight_density"),
            _part(line["input_density"], f"{where}: input_density"),
            _part(output, f"{where}: output_density") if output else None,
            shape,
        )
    return Densities(str(path), rows)


def table_trace(path: str | Path, prefix: str = "", seed: int = 0) -> Trace:
    """Return the convolutions of a table that gives their shapes: stride 1, the input as large as their reach.

    Args:
        path: the CSV file.
        prefix: only layers whose names begin so, such as ``VGG_``.
        seed: of the masks.

    Raises:
        InputError: as `read_densities`, no layer of that prefix, or a row without a shape.

    """
    table = read_densities(path)
    operators = []
    for number, (name, row) in enumerate(table.rows.items()):
        if not name.startswith(prefix):
            continue
        if row.shape is None:
            raise InputError(f"{path}: the layer '{name}' has no shape; expected the columns {' '.join(_SHAPE)}")
        R, S, P, Q, C, K = row.shape
        first = 1_000_003 * seed + 3 * number
        data = DensityTensor((1, C, P + R - 1, Q + S - 1), row.input, first)
        output = None if row.output is None else DensityTensor((1, K, P, Q), row.output, first + 2)
        operators.append(Conv2d(name, data, DensityTensor((K, C, R, S), row.weight, first + 1), output=output))
    if not operators:
        raise InputError(f"{path}: no layer begins with '{prefix}'{nearest(prefix, table.rows)}")
    return Trace(Path(path).stem, tuple(operators), {"density table": str(path), "layers": f"{prefix}*"})


def _part(text: str | None, what: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise InputError(f"{what} is '{text}', expected a number from 0 to 1")
    return number


def _count(text: str, what: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{what} is '{text}', expected a whole number of at least 1")
    return int(text)
