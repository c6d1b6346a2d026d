"""The end-to-end picture: what each family of operators takes of a run, and of several runs of the same work.

A family is all operators whose dotted names differ in numbers only: ``layers.0.ffn.up`` and ``layers.1.ffn.up`` are
``layers.ffn.up``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.results.result import Result

_EXPECTED = "expected the folder of a finished run"
_COLUMNS = {
    "operator": str,
    "cycles": int,
    "energy_pj": float,
    "dram_read_bytes": int,
    "dram_write_bytes": int,
    "critical_unit": str,
    "bound_by": str,
}
_SUMMARY = {"arch": str, "trace": str, "technology": str, "cycles": int, "seconds": float, "energy_pj": float}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, as far as shares need it."""

    name: str
    operators: Mapping[str, Sequence[Any]]
    """One entry per operator in every column: ``Result.table``, or what ``operators.parquet`` holds."""
    summary: Mapping[str, Any]

    @classmethod
    def of(cls, result: Result, name: str) -> Run:
        """Return the run of a result in memory."""
        return cls(name, result.table, result.summary)


@dataclass(frozen=True)
class Family:
    """What the operators of one family take together, in one run."""

    name: str
    operators: int
    cycles: int
    energy_pj: float
    dram_bytes: int
    """Read and written."""
    longest: str
    """The operator with most cycles, of equal ones the first; the two that follow are its own."""
    critical_unit: str
    bound_by: str


@dataclass(frozen=True, eq=False)
class Shares:
    """A run by families, in the order in which they first run."""

    run: str
    arch: str
    trace: str
    technology: str
    cycles: int
    seconds: float
    energy_pj: float
    dram_bytes: int
    families: Mapping[str, Family]

    def share(self, quantity: str, family: str) -> float:
        """Return the part, 0 to 1, of ``cycles``, ``energy_pj`` or ``dram_bytes`` that a family takes; 0 of nothing."""
        share: float = self.taken(quantity, family) / (self.taken(quantity) or 1)
        return share

    def taken(self, quantity: str, family: str | None = None) -> Any:
        """Return ``cycles``, ``energy_pj`` or ``dram_bytes`` of a family (0 if the run has none), None: of the run."""
        return getattr(self if family is None else self.families.get(family), quantity, 0)

    def ratio(self, first: Shares, quantity: str, family: str | None = None) -> float | None:
        """Return how many times what ``first`` takes this run takes; None where ``first`` takes nothing."""
        before = first.taken(quantity, family)
        return self.taken(quantity, family) / before if before else None


def family_names(operators: Iterable[str]) -> dict[str, str]:
    """Return the family of each operator: its dotted name without the numbers, and without a first part all share."""
    parts = {name: [part for part in name.split(".") if not part.isdecimal()] or [name] for name in operators}
    shared = len({words[0] for words in parts.values()}) == 1 and all(len(words) > 1 for words in parts.values())
    return {name: ".".join(words[shared:]) for name, words in parts.items()}


def families(operators: Mapping[str, Sequence[Any]], names: Mapping[str, str]) -> dict[str, Family]:
    """Add operators up by family.

    Args:
        operators: columns by name, one entry per operator: ``operator``, ``cycles``, ``energy_pj``,
            ``dram_read_bytes``, ``dram_write_bytes``, ``critical_unit`` and ``bound_by``.
        names: the family of each operator.

    """
    members: dict[str, list[int]] = {}
    for row, operator in enumerate(operators["operator"]):
        members.setdefault(names[operator], []).append(row)
    found = {}
    for name, rows in members.items():
        total = {key: sum(operators[key][row] for row in rows) for key in _COLUMNS if _COLUMNS[key] is not str}
        longest = max(rows, key=lambda row: operators["cycles"][row])
        found[name] = Family(
            name, len(rows), total["cycles"], float(total["energy_pj"]),
            total["dram_read_bytes"] + total["dram_write_bytes"],
            *(operators[key][longest] for key in ("operator", "critical_unit", "bound_by")),
        )  # fmt: skip
    return found


def shares(runs: Sequence[Run]) -> tuple[Shares, ...]:
    """Return each run by families; a family has the same name in all of them."""
    names = family_names(operator for run in runs for operator in run.operators["operator"])
    found = []
    for run in runs:
        parts = families(run.operators, names)
        dram = sum(family.dram_bytes for family in parts.values())
        known = {key: run.summary[key] for key in _SUMMARY}
        found.append(Shares(run=run.name, dram_bytes=dram, families=parts, **known))
    return tuple(found)


def all_families(runs: Iterable[Shares]) -> tuple[str, ...]:
    """Return the families of all runs, in order of first appearance."""
    return tuple(dict.fromkeys(family for run in runs for family in run.families))


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished runs, each called by its folder's name, or by the path given where two would have the same.

    Raises:
        InputError: there is no such folder, it holds no run, or one that cannot be read or contradicts itself.

    """
    names = [folder.resolve().name for folder in folders]
    return [
        read_run(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def read_run(folder: Path, name: str) -> Run:
    """Read one finished run; raises as `read_runs`."""
    if not folder.is_dir():
        found = "found a file" if folder.exists() else "there is none"
        raise InputError(f"{folder}: {_EXPECTED}, {found}")
    summary_file, table_file = folder / "summary.json", folder / "operators.parquet"
    for file in (summary_file, table_file):
        if not file.is_file():
            raise InputError(f"{folder}: {_EXPECTED}, but it holds no {file.name}")
    summary, operators = _read_summary(summary_file), _read_operators(table_file)
    for key in ("cycles", "energy_pj"):
        total, sum_of_rows = summary[key], sum(operators[key])
        if not math.isclose(total, sum_of_rows, rel_tol=1e-9 if key == "energy_pj" else 0):
            raise InputError(
                f"{table_file}: its {key} sum to {sum_of_rows:,}, but summary.json says {total:,}; "
                f"{_EXPECTED}, all files of the same one"
            )
    return Run(name, operators, summary)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: cannot be read as JSON; {_EXPECTED}") from None
    if not isinstance(summary, dict):
        raise InputError(f"{path}: holds no document of keys and values; {_EXPECTED}")
    for key, kind in _SUMMARY.items():
        if not _is(summary.get(key), kind):
            raise InputError(f"{path}: '{key}' must be {_KINDS[kind]}, not {summary.get(key)!r:.40}; {_EXPECTED}")
    return summary


def _read_operators(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        with pq.ParquetFile(path) as file:
            columns: dict[str, list[Any]] = file.read().to_pydict()
    except (OSError, ArrowException, ValueError):
        raise InputError(f"{path}: cannot be read as a Parquet table; {_EXPECTED}") from None
    for key, kind in _COLUMNS.items():
        if not columns.get(key):
            lack = f"lacks the column '{key}'" if key not in columns else "has no rows"
            raise InputError(f"{path}: {lack}; {_EXPECTED}")
        if wrong := [value for value in columns[key] if not _is(value, kind)]:
            raise InputError(f"{path}: '{key}' must be {_KINDS[kind]} in every row, not {wrong[0]!r:.40}; {_EXPECTED}")
    return columns


_KINDS = {str: "a text", int: "a whole number, 0 or more", float: "a finite number, 0 or more"}


def _is(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    is_number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


def shares_document(runs: Sequence[Shares]) -> dict[str, Any]:
    """Return what ``skipper shares --json`` prints: per run its totals and families; ratios are to the first run."""
    first = runs[0]

    def numbers(run: Shares, family: str | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, quantity in (("cycles", "cycles"), ("energy", "energy_pj"), ("dram", "dram_bytes")):
            found[quantity] = run.taken(quantity, family)
            if family is not None:
                found[f"{key}_share"] = run.share(quantity, family)
            found[f"{key}_ratio"] = run.ratio(first, quantity, family)
        return found

    return {
        "runs": [
            {
                "run": run.run,
                "arch": run.arch,
                "trace": run.trace,
                "technology": run.technology,
                "seconds": run.seconds,
                **numbers(run),
                "families": [
                    {
                        "family": name,
                        "operators": family.operators,
                        **numbers(run, name),
                        "longest": family.longest,
                        "critical_unit": family.critical_unit,
                        "bound_by": family.bound_by,
                    }
                    for name, family in run.families.items()
                ],
            }
            for run in runs
        ]
    }
