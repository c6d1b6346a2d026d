"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.arch import Arch
from simulator.results.result import Result, energy_by

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from simulator.library.page import Count
    from simulator.results.inspection import InspectedTensor, Inspection

STALL_TITLES = {"busy": "busy", "starved": "starv.", "blocked": "block.", "imbalance": "imbal.", "fill_drain": "fill"}
LONGEST_UNIT = 14
VERDICT = {True: "yes", False: "NO", None: "-"}


def print_result(result: Result, console: Console, folder: Path) -> None:
    """Print the run layer by layer, then in total."""
    columns = _columns(result)
    everything = console.options.update(max_width=10_000)
    while console.measure(table := _fixed(columns), options=everything).maximum > console.width and len(columns) > 2:
        columns.pop()  # the last says least; operators.parquet has them all
    console.print(table)
    s = result.summary
    console.print(
        f"{result.trace} on {result.arch}: {s['cycles']:,} cycles = {s['seconds'] * 1e6:,.1f} µs "
        f"at {result.clock / 1e6:,.0f} MHz; "
        f"bound {s['bound']['cycles']:,} (mostly {s['bound']['by']}), "
        f"{s['bound']['cycles'] / s['cycles']:.0%} of it reached",
        soft_wrap=True,
    )
    console.print(
        f"MACs: {s['macs']['dense']:,} dense, {s['macs']['effectual']:,} effectual, "
        f"{s['macs']['performed']:,} performed; "
        f"utilisation {s['utilization']:.1%}",
        soft_wrap=True,
    )
    console.print(
        f"DRAM: {s['dram']['read_bytes']:,} bytes read, {s['dram']['write_bytes']:,} written, "
        f"{s['dram']['bandwidth_gb_s']:.2f} of {s['dram']['peak_gb_s']:.2f} GB/s",
        soft_wrap=True,
    )
    print_memory(s["dram"], s["cycles"], console)
    if s["phases"]:
        inside = sum(o.cycles for o in result.operators if o.phases)
        listed = ", ".join(f"{phase} {share:.1%}" for phase, share in s["phases"].items())
        console.print(f"inside {inside:,} of the cycles: {listed}", soft_wrap=True)
    print_energy(s["energy_by_component_pj"], s["technology"], console)
    if s["area_mm2"] is not None:
        print_area(s["area_by_component_mm2"], s["technology"], console)
    if result.left_out is not None:
        console.print(result.left_out.sentence, soft_wrap=True)
    console.print(f"verified against NumPy: {VERDICT[s['verified']]}; results in {folder}", soft_wrap=True)


def _columns(result: Result) -> list[tuple[str, JustifyMethod, list[str]]]:
    """Return title, alignment and cells of the columns, the most telling first."""
    operators = result.operators
    energy = energy_by(result.actions, result.energies, "operator")
    columns: list[tuple[str, JustifyMethod, list[str]]] = [
        ("operator", "left", [o.name for o in operators]),
        ("cycles", "right", [f"{o.cycles:,}" for o in operators]),
        ("bound", "right", [f"{o.bound[0]:,}" for o in operators]),
        ("bound by", "left", [_short(o.bound[1]) for o in operators]),
        ("critical unit", "left", [_short(o.critical) for o in operators]),
    ]
    for state, title in STALL_TITLES.items():
        columns.append((title, "right", [f"{o.stalls[state] / o.cycles:.0%}" for o in operators]))
    columns += [
        ("util.", "right", [f"{o.utilization:.1%}" for o in operators]),
        ("µJ", "right", [f"{energy[o.name] / 1e6:,.2f}" for o in operators]),
        ("DRAM KiB", "right", [f"{(o.read_bytes + o.write_bytes) / 1024:,.1f}" for o in operators]),
        ("mapping", "left", [o.program.mapping for o in operators]),
    ]
    if any(o.verified is not None for o in operators):
        columns.append(("check", "left", [VERDICT[o.verified] for o in operators]))
    return columns


def _short(unit: str) -> str:
    return unit if len(unit) <= LONGEST_UNIT else f"{unit[: LONGEST_UNIT - 1]}…"


def _fixed(columns: list[tuple[str, JustifyMethod, list[str]]]) -> Table:
    """Lay columns out as wide as they are: a name or a number cut short is of no use."""
    table = _table()
    table.padding, table.show_edge = (0, 1, 0, 0), False
    for title, justify, _ in columns:
        table.add_column(title, justify=justify, no_wrap=True)
    for row in zip(*(cells for *_, cells in columns), strict=True):
        table.add_row(*row)
    return table


def print_memory(dram: dict[str, Any], cycles: int, console: Console) -> None:
    """Print for which part of the cycles a run waited for its memory alone, for what and why; and rows and queues."""
    if dram["stall_cycles"]:
        streams, causes = (
            ", ".join(f"{name} {n / cycles:.1%}" for name, n in sorted(by.items(), key=lambda item: -item[1]))
            for by in (dram["stall_cycles_by_stream"], dram["stall_cycles_by_cause"])
        )
        console.print(
            f"waits for DRAM alone: {dram['stall_cycles'] / cycles:.1%} of the cycles: {causes}; {streams}",
            soft_wrap=True,
        )
    if dram.get("row_hit_rate") is not None:
        latency, queueing = dram["read_latency_ns"], dram["queueing_ns"]
        reads = "" if queueing is None else f", reads take {latency:.0f} ns, {queueing:.0f} of them in queues"
        console.print(
            f"{dram['memory']}: {dram['row_hit_rate']:.1%} row hits, {dram['commands']['activates']:,} activates, "
            f"{dram['commands']['refreshes']:,} refreshes{reads}{_priced(dram)}",
            soft_wrap=True,
        )


def _priced(dram: dict[str, Any]) -> str:
    return (
        ""
        if dram["priced_by"] == "command"
        else "; no currents, so its energy is that of the chip's channel, by the bit"
    )


def print_energy(by_component: dict[str, float], technology: str, console: Console) -> None:
    """Print energy by component, the largest first."""
    total = sum(by_component.values())
    console.print(f"energy ({technology}): {total / 1e6:,.3f} µJ: {_shares(by_component)}", soft_wrap=True)


def print_area(by_component: dict[str, float], technology: str, console: Console) -> None:
    """Print area by component, the largest first."""
    total = sum(by_component.values())
    console.print(f"area ({technology}): {total:,.3f} mm²: {_shares(by_component)}", soft_wrap=True)


def _shares(by_component: dict[str, float]) -> str:
    total = sum(by_component.values())
    parts = sorted(by_component.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {part / total:.1%}" for name, part in parts if total)


def arch_document(arch: Arch[Any]) -> dict[str, Any]:
    """Return what ``skipper show --json`` prints: every parameter with its provenance."""
    return {
        "name": arch.name,
        "accelerator": arch.config.accelerator,
        "description": arch.config.description.strip(),
        "digest": arch.digest,
        "parameters": [
            {"key": key, "value": _at(arch.config.values, key), "source": given.source, "why": given.why}
            for key, given in arch.config.provenance.items()
        ],
    }


def print_arch(arch: Arch[Any], console: Console) -> None:
    """Print every parameter with its provenance."""
    console.print(f"{arch.name} (accelerator {arch.config.accelerator}), digest {arch.digest[:12]}")
    console.print(arch.config.description.strip(), soft_wrap=True)
    table = _table("parameter", "value", "source")
    table.add_column("why", overflow="fold")
    for key, given in arch.config.provenance.items():
        table.add_row(key, str(_at(arch.config.values, key)), given.source, given.why)
    console.print(table)


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print the operators of a trace, then how large its tensors are and how evenly their non-zeros lie."""
    table = _table("operator", "type", right=("MACs", "effectual"))
    for title in ("tensor", "shape", "known", "bits"):
        table.add_column(title, overflow="fold")
    table.add_column("density", justify="right")
    for operator in inspection.operators:
        effectual = "-" if operator.effectual_macs is None else f"{operator.effectual_macs:,}"
        first = (operator.operator, operator.type, f"{operator.macs:,}", effectual)
        for tensor in operator.tensors:
            shape = "×".join(map(str, tensor.shape))
            table.add_row(*first, tensor.role, shape, tensor.kind, str(tensor.bits), f"{tensor.density:.1%}")
            first = ("", "", "", "")
    console.print(table)
    right = ("KiB dense", "KiB non-zero", "fullest filter", "variation", "fullest channel", "variation")
    table = _table("tensor", right=right)
    for tensor in inspection.tensors:
        parts = [*_imbalance(tensor, "filter"), *(_imbalance(tensor, "channel") or _imbalance(tensor, "row"))]
        table.add_row(tensor.tensor, _kib(tensor.dense_bytes), _kib(tensor.nonzero_bytes), *parts)
    console.print(table)
    console.print(
        "fullest: non-zeros of the filter or channel (of an attention mask: the row) that has most ÷ their mean; "
        "variation: standard deviation ÷ mean",
        soft_wrap=True,
    )
    console.print(
        f"{inspection.trace}: {len(inspection.operators)} operators, {inspection.macs:,} MACs, "
        f"digest {inspection.digest[:12]}",
        soft_wrap=True,
    )
    if inspection.known_macs:
        share = inspection.effectual_macs / inspection.known_macs
        of = (
            "" if inspection.known_macs == inspection.macs else f" of the {inspection.known_macs:,} where that is known"
        )
        console.print(f"effectual: {inspection.effectual_macs:,} MACs, {share:.1%}{of}", soft_wrap=True)
    tensors = inspection.tensors
    console.print(
        f"{len(tensors)} tensors: {_kib(sum(t.dense_bytes for t in tensors))} KiB dense, "
        f"{_kib(sum(t.nonzero_bytes for t in tensors))} KiB of non-zeros",
        soft_wrap=True,
    )
    for key, value in inspection.provenance.items():
        console.print(f"  {key}: {value}", soft_wrap=True)


def print_counts(counts: Sequence[Count], console: Console) -> None:
    """Print what workloads compute and learn, and what others published of them."""
    table = _table("workload", right=("operators", "MACs", "parameters"))
    table.add_column("published")
    for count in counts:
        known = "; ".join(f"{k.value} {k.of}" + ("" if k.agrees else " (differs)") for k in count.published)
        table.add_row(count.name, f"{count.operators:,}", f"{count.macs:,}", f"{count.parameters:,}", known)
    console.print(table)


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f}"


def _imbalance(tensor: InspectedTensor, of: str) -> tuple[str, str] | tuple[()]:
    for part in tensor.imbalance:
        if part.of == of and part.most_over_mean is not None and part.variation is not None:
            return f"{part.most_over_mean:.2f}", f"{part.variation:.2f}"
    return ("", "") if of != "channel" else ()


def _table(*left: str, right: tuple[str, ...] = ()) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in left:
        table.add_column(title, overflow="fold")
    for title in right:
        table.add_column(title, justify="right")
    return table
