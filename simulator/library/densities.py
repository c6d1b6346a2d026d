"""Tables of measured densities, one row per layer, such as those of SCNN."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulator.errors import InputError, nearest
from simulator.trace import Conv2d, DensityTensor, Trace

_NEEDED = ("layer", "weight_density", "input_density")
_SHAPE = ("R", "S", "P", "Q", "C", "K")
_DIGITS = 10
LARGEST = 2**31
"""Elements that one tensor may have."""


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

    def of(self, name: str, shape: tuple[int, int, int, int] | None = None) -> Row | None:
        """Return the row of a layer, if there is one.

        Args:
            name: of the layer, or what stands behind a network's prefix such as ``VGG_``.
            shape: (R, S, C/groups, K) of a convolution, which must be those of the row where it has any.

        Raises:
            InputError: rows of several networks may be meant, or the row is of another shape.

        """
        found = [layer for layer in self.rows if layer == name or layer.endswith(f"_{name}")]
        if len(found) > 1:
            rows = f"'{found[0]}' and '{found[1]}'"
            raise InputError(
                f"{self.origin}: both {rows} may be '{name}'; --set layers=PREFIX chooses one network's rows"
            )
        if not found:
            return None
        row = self.rows[found[0]]
        if shape is not None and row.shape is not None and (*row.shape[:2], *row.shape[4:]) != shape:
            sizes = (*row.shape[:2], *row.shape[4:])
            raise InputError(
                f"{self.origin}: '{found[0]}' has R, S, C, K = {sizes}, expected those of '{name}', {shape}"
            )
        self.used.add(found[0])
        return row

    def beginning(self, prefix: str) -> Densities:
        """Return the rows of the layers that begin so.

        Raises:
            InputError: there are none.

        """
        rows = {layer: row for layer, row in self.rows.items() if layer.startswith(prefix)}
        if not rows:
            raise InputError(f"{self.origin}: no layer begins with '{prefix}'{nearest(prefix, self.rows)}")
        return Densities(self.origin, rows)

    def require_used(self, names: Iterable[str]) -> None:
        """Refuse a table of which no row is a layer."""
        if not self.used:
            first = next(iter(self.rows))
            raise InputError(f"{self.origin}: no row is a layer of the workload: '{first}'{nearest(first, names)}")


def read_densities(path: str | Path) -> Densities:
    """Read a CSV file with the columns layer, weight_density, input_density, and if known output_density, R S P Q C K.

    Raises:
        InputError: the file cannot be read, a column is missing or there twice, a line is too short or too long, a
            layer stands twice, a density is none.

    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found, lines = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "not a CSV file in UTF-8"
        raise InputError(f"{path}: cannot read the density table: {reason}") from None
    _require_columns(found, str(path))
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 2):
        where, layer = f"{path}, line {number}", line["layer"]
        if not layer or not layer.isprintable():
            raise InputError(f"{where}: layer is {layer!r}, expected a printable name")
        if layer in rows:
            raise InputError(f"{where}: the layer '{layer}' stands twice")
        if None in line or None in line.values():
            raise InputError(f"{where}: expected {len(found)} fields, one for each column")
        rows[layer] = _row(line, where)
    if not rows:
        raise InputError(f"{path}: the density table has no layer, expected one or more")
    return Densities(str(path), rows)


def _require_columns(found: Sequence[str], path: str) -> None:
    for column in _NEEDED:
        if column not in found:
            hint = nearest(column, found) if found else "; the table is empty"
            raise InputError(f"{path}: the density table lacks the column '{column}'{hint}")
    for column in (*_NEEDED, *_SHAPE, "output_density"):
        if found.count(column) > 1:
            raise InputError(f"{path}: the density table has the column '{column}' twice")


def _row(line: Mapping[str, str], where: str) -> Row:
    output = line.get("output_density")
    return Row(
        part(line["weight_density"], f"{where}: weight_density"),
        part(line["input_density"], f"{where}: input_density"),
        part(output, f"{where}: output_density") if output else None,
        tuple(_count(line[c], f"{where}: {c}") for c in _SHAPE) if all(line.get(c) for c in _SHAPE) else None,
    )


def table_trace(
    path: str | Path, prefix: str = "", seed: int = 0, padded: bool = False, density: float | None = None
) -> Trace:
    """Return the convolutions of a table that gives their shapes: stride 1, the input as large as their reach.

    Args:
        path: the CSV file.
        prefix: only layers whose names begin so, such as ``VGG_``.
        seed: of the masks.
        padded: make the input as large as the output instead, with half a kernel of padding around it.
        density: of all weights, inputs and outputs in the place of the table's.

    Raises:
        InputError: as `read_densities`, no layer of that prefix, a row without a shape, or a kernel of an even size
            that is to be padded.

    """
    operators = []
    for number, (name, row) in enumerate(read_densities(path).beginning(prefix).rows.items()):
        if row.shape is None:
            raise InputError(f"{path}: the layer '{name}' has no shape; expected the columns {' '.join(_SHAPE)}")
        R, S, P, Q, C, K = row.shape
        if padded and not (R % 2 and S % 2):
            raise InputError(f"{path}: the layer '{name}' has a kernel of {R}×{S}; expected odd sizes to be padded")
        first = 1_000_003 * seed + 3 * number
        around = (R // 2, S // 2) if padded else (0, 0)
        size = (P + R - 1 - 2 * around[0], Q + S - 1 - 2 * around[1])
        weight, given, made = (row.weight, row.input, row.output) if density is None else (density,) * 3
        data = DensityTensor((1, C, *size), given, first)
        output = None if made is None else DensityTensor((1, K, P, Q), made, first + 2)
        elements = max(data.size, K * C * R * S, K * P * Q)
        if elements > LARGEST:
            raise InputError(f"{path}: the layer '{name}' has a tensor of {elements} elements, more than 2^31")
        kernels = DensityTensor((K, C, R, S), weight, first + 1)
        operators.append(Conv2d(name, data, kernels, padding=around, output=output))
    return Trace(Path(path).stem, tuple(operators), {"density table": str(path), "layers": f"{prefix}*"})


def part(text: str | None, what: str) -> float:
    """Read a number from 0 to 1; ``what`` begins the sentence that refuses another."""
    try:
        number = float(text or "")
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise InputError(f"{what} is '{text}', expected a number from 0 to 1")
    return number


def _count(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > _DIGITS or int(text) < 1:
        raise InputError(f"{what} is '{text}', expected a whole number of at least 1 and {_DIGITS} digits")
    return int(text)
