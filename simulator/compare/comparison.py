"""Several chips on the same traces: a row for each chip and trace, one for each operator, ratios to the first chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from simulator.accelerators import accelerator
from simulator.arch import Arch
from simulator.compare.resources import Equalised, equalise
from simulator.errors import InputError
from simulator.memory import SIMPLE
from simulator.simulation import simulate
from simulator.trace import LeftOut, Operator, Trace

MEAN = "geometric mean"
"""What stands in the place of the trace in the rows over all traces."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What one chip makes of one trace."""

    chip: Equalised
    trace: str
    summary: Mapping[str, Any]
    """See `simulator.results.result.Result.summary`."""
    operators: Mapping[str, list[Any]]
    """See `simulator.results.result.Result.table`."""

    @property
    def dram_pj(self) -> float:
        """Energy of the DRAM."""
        energy: float = self.summary["energy_by_component_pj"].get("dram", 0.0)
        return energy


@dataclass(frozen=True, eq=False)
class Comparison:
    """Chips × traces; ratios are to the first chip on the same trace, above 1 where a chip is faster or needs less."""

    entries: tuple[Entry, ...]
    """Trace by trace, in each the chips in their order."""
    how: tuple[str, ...]
    """What was made equal."""
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """What was left out of each trace before."""

    @property
    def chips(self) -> tuple[Equalised, ...]:
        """The chips, in order."""
        return tuple({entry.chip.arch.name: entry.chip for entry in self.entries}.values())

    @property
    def traces(self) -> tuple[str, ...]:
        """The traces, in order."""
        return tuple(dict.fromkeys(entry.trace for entry in self.entries))

    @cached_property
    def first(self) -> Mapping[str, Entry]:
        """The first chip's entry of each trace."""
        name = self.entries[0].chip.arch.name
        return {entry.trace: entry for entry in self.entries if entry.chip.arch.name == name}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each chip and trace; of several traces also the geometric means of the ratios."""
        rows = [self._row(entry) for entry in self.entries]
        if len(self.traces) == 1:
            return rows
        for chip in self.chips:
            own = [row for row in rows if row["arch"] == chip.arch.name]
            ratios = {key: geometric_mean([row[key] for row in own]) for key in ("speedup", "energy_ratio")}
            rows.append({**dict.fromkeys(own[0]), "trace": MEAN, "arch": chip.arch.name, **ratios})
        return rows

    def _row(self, entry: Entry) -> dict[str, Any]:
        summary, first = entry.summary, self.first[entry.trace].summary
        return {
            "trace": entry.trace,
            "arch": entry.chip.arch.name,
            "multipliers": entry.chip.multipliers,
            "area_mm2": entry.chip.area,
            "technology": summary["technology"],
            "clock_hz": entry.chip.arch.chip.clock,
            "peak_gb_s": summary["dram"]["peak_gb_s"],
            "cycles": summary["cycles"],
            "seconds": summary["seconds"],
            "energy_pj": summary["energy_pj"],
            "dram_pj": entry.dram_pj,
            "dram_bytes": summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"],
            "macs_effectual": summary["macs"]["effectual"],
            "macs_performed": summary["macs"]["performed"],
            "utilization": summary["utilization"],
            "speedup": first["seconds"] / summary["seconds"],
            "energy_ratio": first["energy_pj"] / summary["energy_pj"] if summary["energy_pj"] else math.nan,
            "bound_by": summary["bound"]["by"],
            "verified": summary["verified"],
        }

    @cached_property
    def operator_rows(self) -> list[dict[str, Any]]:
        """One row for each operator of each chip and trace, with the ratios to the first chip's."""
        columns = ("cycles", "seconds", "energy_pj", "dram_read_bytes", "dram_write_bytes", "utilization", "bound_by")
        rows = []
        for entry in self.entries:
            own, first = entry.operators, self.first[entry.trace].operators
            for place, name in enumerate(own["operator"]):
                row = {"trace": entry.trace, "operator": name, "arch": entry.chip.arch.name}
                row |= {column: own[column][place] for column in columns}
                row["speedup"] = first["seconds"][place] / own["seconds"][place]
                row["energy_ratio"] = (
                    first["energy_pj"][place] / own["energy_pj"][place] if own["energy_pj"][place] else math.nan
                )
                rows.append(row)
        return rows


def compare(
    archs: Sequence[Arch[Any]],
    traces: Sequence[Trace],
    how: Sequence[str] = ("none",),
    check: bool = False,
    memory: str | Path | Arch[Any] = SIMPLE,
    progress: Callable[[str, Operator], None] = lambda arch, operator: None,
) -> Comparison:
    """Run every trace through every chip.

    Args:
        archs: the chips; ratios are to the first.
        traces: the work.
        how: what is made equal to the first chip's, see `simulator.compare.resources.equalise`.
        check: compare values with plain NumPy, see `simulator.simulation.simulate`.
        memory: likewise.
        progress: called with the chip's name and each operator before it is run.

    Raises:
        InputError: as `equalise` and `simulate`; or two chips or two traces are of one name.

    """
    for what, names in (("chips", [arch.name for arch in archs]), ("traces", [trace.name for trace in traces])):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two {what} are called '{twice[0]}'; expected {what} of different names")
    chips = equalise(archs, how)
    runs = [(trace, chip) for trace in traces for chip in chips]
    for trace, chip in runs:
        _require_run(trace, chip.arch)  # before any is run
    entries = []
    for trace, chip in runs:
        shown = partial(progress, chip.arch.name)
        with _naming(trace, chip.arch):
            result = simulate(trace, chip.arch, check, shown, memory=memory)
        entries.append(Entry(chip, trace.name, result.summary, result.table))
    return Comparison(tuple(entries), tuple(how))


def _require_run(trace: Trace, arch: Arch[Any]) -> None:
    model = accelerator(arch.config.accelerator)
    with _naming(trace, arch):
        for operator in trace.operators:
            model.geometry(operator, arch.chip)


@contextmanager
def _naming(trace: Trace, arch: Arch[Any]) -> Iterator[None]:
    """Say of a refusal which run it is of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{trace.name} on {arch.name}: {error}") from None


def geometric_mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
