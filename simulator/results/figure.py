"""The figure of a run: cycles per operator, split by cause, with the bound."""

from __future__ import annotations

from pathlib import Path

from simulator.results.result import STALLS, Result

COLOURS = {
    "busy": "#3b6ea5",
    "starved": "#e0a030",
    "blocked": "#c0504d",
    "imbalance": "#8064a2",
    "fill_drain": "#a6a6a6",
}
LABELS = {
    "busy": "busy",
    "starved": "starved (waits for input)",
    "blocked": "blocked (waits for room)",
    "imbalance": "imbalance (waits for a sibling)",
    "fill_drain": "fill and drain",
}


def draw_cycles(result: Result, path: Path) -> None:
    """Draw one bar per operator: what its critical unit did, and the bound as a line; PNG by the path's ending."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    operators = result.operators
    figure = Figure(figsize=(8.0, max(2.5, 0.28 * len(operators) + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    positions = range(len(operators))
    left = [0] * len(operators)
    for state in STALLS:
        width = [operator.stalls[state] for operator in operators]
        axes.barh(positions, width, left=left, color=COLOURS[state], label=LABELS[state], height=0.7)
        left = [a + b for a, b in zip(left, width, strict=True)]
    for position, operator in zip(positions, operators, strict=True):
        axes.plot([operator.bound[0]] * 2, [position - 0.42, position + 0.42], color="black", linewidth=1.4)
        axes.annotate(
            f" {operator.critical}", (operator.cycles, position), va="center", fontsize=6.5, color="#444444"
        )
    axes.plot([], [], color="black", linewidth=1.4, label="bound (work ÷ peak, bytes ÷ bandwidth)")
    axes.set_yticks(positions, [operator.name for operator in operators], fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("cycles of the critical unit (named at the bar's end)")
    axes.set_title(f"{result.trace} on {result.arch}: {result.cycles:,} cycles", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    figure.savefig(path, dpi=130, format=path.suffix[1:])
