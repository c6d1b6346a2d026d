"""The values that expressions name, each run made when it is first asked for.

``CHIP.WORK.QUANTITY`` of a whole run: ``cycles``, ``seconds``, ``ms``, ``us``, ``energy_pj``, ``dram_bytes``,
``dram_read_bytes``, ``dram_write_bytes``, ``utilization``, ``watts``, ``macs_dense``, ``macs_effectual``,
``macs_performed``, ``actions_KIND`` (how often an action of that kind of the technology table was done) and
``energy_pj_COMPONENT``. ``CHIP.WORK.OPERATOR.QUANTITY`` is of one operator: the columns of
``operators.parquet``, ``ms``, ``us``, ``dram_bytes``, ``STAGE_ms`` and ``STAGE_cycles`` (how long its tiles hold a
stage), ``chip_pj`` (without the DRAM's energy) and ``accesses_COMPONENT_ACTION``. ``CHIP.multipliers``,
``CHIP.area_mm2`` are of the chip.
``layers.CHIP.OTHER.WORK`` is the mean over the operators of a work of CHIP's cycles ÷ OTHER's: OTHER's mean speed-up.
``errors.median`` is the median of how far ours are from the published figures that say ``within``, as parts of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.accelerators import load_arch
from simulator.arch import Arch
from simulator.compare.resources import Equalised, equalise
from simulator.errors import InputError, nearest
from simulator.jobs import Machine, Work, open_work
from simulator.library.expression import evaluate
from simulator.plans import PlanCache
from simulator.reproduce.experiment import Experiment
from simulator.results.result import Result
from simulator.simulation import simulate
from simulator.trace import Trace

DATA = "data:"
HERE = "here:"
MEDIAN = "errors.median"
LAYERS = "layers."


class DataMissingError(InputError):
    """An experiment needs a file of real data that is not at hand."""


@dataclass(eq=False)
class Values(Mapping[str, float]):
    """The values of an experiment by dotted name; runs are made once and kept."""

    experiment: Experiment
    data: Path | None
    """Folder of the real data."""
    here: Path
    """Folder of the experiment's own files."""
    progress: Callable[[str], None] = lambda run: None
    changed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further settings, chip by chip."""
    cache: PlanCache = field(default_factory=PlanCache)
    traces: dict[str, Trace] = field(default_factory=dict)
    """Work that is opened already, by name."""
    runs: dict[tuple[str, str], Result] = field(default_factory=dict)
    """Runs that are made already, by work and digest of the chip."""
    _chips: dict[str, Equalised] = field(default_factory=dict)
    _evaluating: list[str] = field(default_factory=list)
    _results: dict[tuple[str, str], Result] = field(default_factory=dict)

    def changing(self, chips: Sequence[str], settings: Mapping[str, str]) -> Values:
        """Return the values with some chips set otherwise; traces, matches and runs of unchanged chips are shared."""
        merged = {**self.changed, **{chip: {**self.changed.get(chip, {}), **settings} for chip in chips}}
        return Values(self.experiment, self.data, self.here, self.progress, merged, self.cache, self.traces, self.runs)

    def scaling(self, parameter: str, factor: float) -> Values:
        """Return the values with a parameter of all works that set it multiplied; matches are shared."""

        def scaled(work: Work) -> Work:
            value = work.set.get(parameter)
            if not isinstance(value, int | float):
                return work
            return work.model_copy(update={"set": {**work.set, parameter: value * factor}})

        works = {name: scaled(work) for name, work in self.experiment.works.items()}
        experiment = self.experiment.model_copy(update={"works": works})
        return Values(experiment, self.data, self.here, self.progress, self.changed, self.cache)

    @property
    def chips(self) -> Mapping[str, Equalised]:
        """The chips, their resources made equal where the experiment asks for it."""
        if not self._chips:
            archs = [self._arch(name, machine) for name, machine in self.experiment.chips.items()]
            equal = equalise(archs, self.experiment.normalise or ("none",))
            self._chips.update(zip(self.experiment.chips, equal, strict=True))
        return self._chips

    def _arch(self, name: str, machine: Machine) -> Arch[Any]:
        settings = {key: str(value) for key, value in machine.set.items()}
        return load_arch(machine.arch, settings | dict(self.changed.get(name, {})))

    def trace(self, name: str) -> Trace:
        """Return the work of that name."""
        if name not in self.traces:
            self.traces[name] = open_work(self.experiment.works[name], self._located)
        return self.traces[name]

    def _located(self, name: str) -> str:
        if name.startswith(HERE):
            return str(self.here / name.removeprefix(HERE))
        if not name.startswith(DATA):
            return name
        file = name.removeprefix(DATA)
        if self.data is None or not (self.data / file).exists():
            where = "no folder of real data is given" if self.data is None else f"{self.data} holds no such file"
            raise DataMissingError(f"it needs '{file}' of the real data, but {where}; --data FOLDER names it")
        return str(self.data / file)

    def result(self, chip: str, work: str) -> Result:
        """Return the run of a work on a chip."""
        if (chip, work) not in self._results:
            arch = self.chips[chip].arch
            known = work, arch.digest
            if known not in self.runs:
                self.progress(f"{work} on {chip}")
                try:
                    self.runs[known] = simulate(self.trace(work), arch, cache=self.cache)
                except InputError as error:
                    raise InputError(f"{work} on {chip}: {error}") from None
            self._results[chip, work] = self.runs[known]
        return self._results[chip, work]

    def __getitem__(self, name: str) -> float:
        if name in self.experiment.values:
            return self._alone(name, lambda: float(evaluate(self.experiment.values[name], self)))
        if name == MEDIAN:
            return self._alone(name, self._median_error)
        if name.startswith(LAYERS):
            return self._of_layers(name)
        chip, _, rest = name.partition(".")
        self._require_chip(chip)
        if rest in ("multipliers", "area_mm2"):
            return self._of_chip(chip, rest)
        work, _, path = rest.partition(".")
        self._require_work(work, name)
        operator, _, quantity = path.rpartition(".")
        result = self.result(chip, work)
        known = _of_operator(result, operator) if operator else _of_run(result)
        if quantity not in known:
            raise InputError(f"'{name}': there is no quantity '{quantity}'{nearest(quantity, known)}")
        return known[quantity]

    def _require_chip(self, chip: str) -> None:
        if chip not in self.experiment.chips:
            raise InputError(f"there is no chip '{chip}'{nearest(chip, self.experiment.chips)}")

    def _require_work(self, work: str, name: str) -> None:
        if work not in self.experiment.works:
            raise InputError(f"'{name}': there is no work '{work}'{nearest(work, self.experiment.works)}")

    def _of_layers(self, name: str) -> float:
        """Return the mean of the operators' ratios of cycles, of those that take any on the second chip."""
        try:
            chip, other, work = name.removeprefix(LAYERS).split(".")
        except ValueError:
            raise InputError(f"'{name}': expected 'layers.CHIP.OTHER.WORK'") from None
        self._require_chip(chip)
        self._require_chip(other)
        self._require_work(work, name)
        cycles, others = (self.result(each, work).table["cycles"] for each in (chip, other))
        ratios = [own / rival for own, rival in zip(cycles, others, strict=True) if rival]
        if not ratios:
            raise InputError(f"'{name}': no operator of the work takes a cycle on {other}")
        return statistics.fmean(ratios)

    def _alone(self, name: str, value: Callable[[], float]) -> float:
        """Return a value that others are made of, unless it is made of itself."""
        if name in self._evaluating:
            raise InputError(f"the value '{name}' is made of itself")
        self._evaluating.append(name)
        try:
            return value()
        finally:
            self._evaluating.pop()

    def _median_error(self) -> float:
        found = [
            abs(evaluate(figure.ours, self) / figure.published - 1)
            for figure in self.experiment.figures
            if figure.published and figure.within is not None
        ]
        if not found:
            raise InputError(f"'{MEDIAN}': no figure says both 'published' and 'within'")
        return statistics.median(found)

    def _of_chip(self, chip: str, quantity: str) -> float:
        equal = self.chips[chip]
        if quantity == "multipliers":
            return equal.multipliers
        if equal.area is None:
            raise InputError(f"the area of {chip} is not known")
        return equal.area

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and ("." in name or name in self.experiment.values)

    def __iter__(self) -> Iterator[str]:
        return iter((*self.experiment.values, *self.experiment.chips))

    def __len__(self) -> int:
        return len(self.experiment.values) + len(self.experiment.chips)


def _of_run(result: Result) -> dict[str, float]:
    summary = result.summary
    dram = summary["dram"]
    values: dict[str, float] = {key: summary[key] for key in ("cycles", "seconds", "energy_pj", "utilization")}
    values |= {f"macs_{kind}": count for kind, count in summary["macs"].items()}
    values |= {f"dram_{way}_bytes": dram[f"{way}_bytes"] for way in ("read", "write")}
    values |= {f"energy_pj_{component}": pj for component, pj in summary["energy_by_component_pj"].items()}
    for kind, count in zip(result.actions["kind"], result.actions["count"], strict=True):
        values[f"actions_{kind}"] = values.get(f"actions_{kind}", 0) + count
    return _with_units(values)


def _of_operator(result: Result, operator: str) -> dict[str, float]:
    table = result.table
    if operator not in table["operator"]:
        raise InputError(f"{result.trace} has no operator '{operator}'{nearest(operator, table['operator'])}")
    place = table["operator"].index(operator)
    row = {key: column[place] for key, column in table.items()}
    for stage in result.operators[place].program.stages:
        row[f"{stage.name}_cycles"] = int(stage.cycles.sum())
        row[f"{stage.name}_ms"] = int(stage.cycles.sum()) / result.clock * 1e3
    row["chip_pj"] = row["energy_pj"] - _dram_energy(result, operator)
    for action, count in _actions(result, operator).items():
        row[f"accesses_{action}"] = count
    return _with_units({k: v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)})


def _dram_energy(result: Result, operator: str) -> float:
    """Return the picojoules of an operator's DRAM."""
    columns = (result.actions["operator"], result.actions["component"], result.energies)
    return sum(pj for name, component, pj in zip(*columns, strict=True) if (name, component) == (operator, "dram"))


def _actions(result: Result, operator: str) -> dict[str, int]:
    """Return how often each component did each action."""
    found: dict[str, int] = {}
    columns = (result.actions[name] for name in ("operator", "component", "action", "count"))
    for name, component, action, count in zip(*columns, strict=True):
        if name == operator:
            key = f"{component}_{action}".replace(" ", "_").replace("-", "_")
            found[key] = found.get(key, 0) + count
    return found


def _with_units(values: dict[str, float]) -> dict[str, float]:
    seconds = values["seconds"]
    return values | {
        "ms": seconds * 1e3,
        "us": seconds * 1e6,
        "watts": values["energy_pj"] * 1e-12 / seconds if seconds else 0.0,
        "dram_bytes": values["dram_read_bytes"] + values["dram_write_bytes"],
    }
