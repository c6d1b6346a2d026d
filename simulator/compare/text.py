"""The comparison in writing: for the terminal, as CSV, as a table for LaTeX, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simulator.compare.comparison import MEAN, Comparison, Entry
from simulator.compare.resources import NORMALISATIONS
from simulator.memory import SIMPLE
from simulator.results.text import VERDICT

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = {
    "arch": ("chip", "{}"),
    "multipliers": ("MACs", "{:,}"),
    "area_mm2": ("mm²", "{:,.2f}"),
    "cycles": ("cycles", "{:,}"),
    "seconds": ("time µs", "{:,.1f}"),
    "energy_pj": ("energy µJ", "{:,.2f}"),
    "dram_bytes": ("DRAM KiB", "{:,.1f}"),
    "utilization": ("util.", "{:.1%}"),
    "speedup": ("speed-up", "{:.3g}×"),
    "energy_ratio": ("energy ratio", "{:.3g}×"),
    "bound_by": ("bound by", "{}"),
}
"""Titles and formats of the columns printed."""
SCALES = {"seconds": 1e6, "energy_pj": 1e-6, "dram_bytes": 1 / 1024}
OF_OPERATORS = {"operator": ("operator", "{}"), **COLUMNS}


def print_comparison(comparison: Comparison, console: Console, by_operator: bool) -> None:
    """Print what was made equal, and the table; with ``by_operator`` also that of operators."""
    console.print(sentence(comparison), soft_wrap=True)
    for chip in comparison.chips:
        if chip.settings:
            console.print(f"{chip.arch.name}: {_settings(chip.settings)}", soft_wrap=True)
    if len({row["technology"] for row in comparison.rows if row["technology"]}) > 1:
        nodes = ", ".join(f"{chip.arch.name} {chip.arch.chip.technology}" for chip in comparison.chips)
        console.print(f"energies and areas are of different technologies: {nodes}", soft_wrap=True)
    memories = {entry.chip.arch.name: _memory(entry) for entry in comparison.entries}
    if len(set(memories.values())) > 1:
        listed = ", ".join(f"{name} {memory}" for name, memory in memories.items())
        console.print(f"energies are of different DRAMs: {listed}", soft_wrap=True)
    for trace, left in comparison.left_out.items():
        console.print(f"{trace}: {left.sentence}", soft_wrap=True)
    if any(row["verified"] is not None for row in comparison.rows):
        for trace in comparison.traces:
            rows = [row for row in comparison.rows if row["trace"] == trace]
            said = ", ".join(f"{row['arch']} {VERDICT[row['verified']]}" for row in rows)
            console.print(f"{trace} verified against NumPy: {said}", soft_wrap=True)
    for trace in (*comparison.traces, *([MEAN] if len(comparison.traces) > 1 else [])):
        _print(trace, [row for row in comparison.rows if row["trace"] == trace], COLUMNS, console)
        if by_operator and trace != MEAN:
            rows = [row for row in comparison.operator_rows if row["trace"] == trace]
            order = list(dict.fromkeys(row["operator"] for row in rows))
            rows.sort(key=lambda row: order.index(row["operator"]))
            _print(f"{trace}, operator by operator", rows, OF_OPERATORS, console)


def _memory(entry: Entry) -> str:
    """Return what the energy of a chip's DRAM depends on."""
    name: str = entry.summary["dram"]["memory"]
    return f"{entry.chip.arch.chip.dram.energy_pj_per_bit:g} pJ per bit" if name == SIMPLE else name


def sentence(comparison: Comparison) -> str:
    """Say what the chips have in common, and what ratios are to."""
    first = comparison.chips[0].arch.name
    if comparison.how == ("none",) or not comparison.how:
        return f"every chip as its file has it; ratios are to {first}"
    equal = ", ".join(NORMALISATIONS[word] for word in comparison.how)
    return f"{equal} as {first} has, or as near as a chip can come; ratios are to {first}"


def _settings(settings: Any) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


def _print(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, tuple[str, str]], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    shown = [key for key in columns if any(row.get(key) is not None for row in rows)]
    for key in shown:
        justify = "left" if key in ("arch", "operator", "bound_by") else "right"
        table.add_column(columns[key][0], justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(formatted(row, key, columns[key][1]) for key in shown))
    wide = console.options.update(max_width=10_000)
    width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table, width=width, crop=False, overflow="ignore")


def formatted(row: dict[str, Any], key: str, form: str) -> str:
    """Return a cell as it is printed."""
    value = row.get(key)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return form.format(value * SCALES[key] if key in SCALES else value)


def csv_text(comparison: Comparison, by_operator: bool) -> str:
    """Return the rows, or those of operators, as CSV with units in the names of the columns."""
    import pandas as pd

    rows = pd.DataFrame(comparison.operator_rows if by_operator else comparison.rows)
    text: str = rows.convert_dtypes().to_csv(index=False)  # whole numbers stay whole beside gaps
    return text


def latex_text(comparison: Comparison) -> str:
    """Return the table as LaTeX (package booktabs), numbers as they are printed."""
    from jinja2 import Template

    keys = [key for key in COLUMNS if any(row[key] is not None for row in comparison.rows)]
    many = len(comparison.traces) > 1
    titles = [*(["trace"] if many else []), *(COLUMNS[key][0] for key in keys)]
    lines = [
        [*([row["trace"]] if many else []), *(formatted(row, key, COLUMNS[key][1]) for key in keys)]
        for row in comparison.rows
    ]
    escaped = [[_escaped(cell) for cell in line] for line in (titles, *lines)]
    align = "l" * (1 + many) + "r" * (len(keys) - 1)
    text: str = Template(_LATEX, trim_blocks=True).render(note=sentence(comparison), lines=escaped, align=align)
    return text


_LATEX = r"""% {{ note }}
\begin{tabular}{ {{- align -}} }
\toprule
{% for line in lines %}
{{ line | join(" & ") }} \\
{% if loop.first %}
\midrule
{% endif %}
{% endfor %}
\bottomrule
\end{tabular}
"""


def _escaped(text: str) -> str:
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs = {"×": r"$\times$", "µ": r"\textmu{}", "²": r"\textsuperscript{2}"}
    plain = {mark: f"\\{mark}" for mark in "&%$#_{}"}
    return "".join({**marks, **signs, **plain}.get(letter, letter) for letter in text)


def document(comparison: Comparison, by_operator: bool) -> dict[str, Any]:
    """Return the comparison as JSON takes it; what is not a number is null."""
    chips = [
        {
            "arch": chip.arch.name,
            "settings": dict(chip.settings),
            "multipliers": chip.multipliers,
            "area_mm2": chip.area,
            "config_digest": chip.arch.digest,
        }
        for chip in comparison.chips
    ]
    rows = {"rows": _plain(comparison.rows)}
    left = {trace: left.summary for trace, left in comparison.left_out.items()}
    if by_operator:
        rows["operators"] = _plain(comparison.operator_rows)
    return {"schema_version": 1, "normalised": list(comparison.how), "chips": chips, "left_out": left, **rows}


def _plain(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]
