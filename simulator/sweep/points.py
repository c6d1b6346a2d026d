"""Design points: every combination of a sweep that its constraints admit, in an order in which plans are used again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from simulator import __version__
from simulator.accelerators import accelerator, load_arch
from simulator.arch import Arch, validate
from simulator.errors import InputError, nearest
from simulator.jobs import Work, open_work
from simulator.library.expression import evaluate
from simulator.library.load import is_workload, trace_parameters
from simulator.memory import choose_memory
from simulator.sweep.axes import MOST, Written, combinations
from simulator.sweep.dataset import SWEEP
from simulator.sweep.design import OF_DESIGN, design
from simulator.sweep.file import Named
from simulator.sweep.rows import columns, parameter_cells
from simulator.sweep.runs import OF_WORK, Point, Run, digests_of, sources_of
from simulator.trace import Trace, require_types

TRIED = 20_000
"""Points of a search that are tried at most to find one that constraints admit."""


class Space:
    """All points of a sweep, its chips read and its axes known to them.

    Raises:
        InputError: a chip or a work cannot be read, an axis is no parameter of theirs, a constraint is no expression.

    """

    def __init__(self, named: Named):
        self.named, self.sweep, origin = named, named.sweep, named.origin
        self.archs: dict[str, Arch[Any]] = {}
        self._numbers: dict[str, dict[str, float]] = {}
        for name, machine in self.sweep.chips.items():
            try:
                self.archs[name] = load_arch(machine.arch, {key: str(value) for key, value in machine.set.items()})
            except InputError as error:
                raise InputError(f"{origin}: chip '{name}': {error}") from None
            if not any(key.startswith(("dram.", "clock")) for key in named.varied):
                try:
                    choose_memory(self.sweep.memory, self.archs[name].chip, origin)
                except InputError as error:
                    raise InputError(f"{origin}: memory of chip '{name}': {error}") from None
        for name in self.sweep.works:
            self._require_work(name)
        for key in (*named.axes, *(key for group in named.linked for key in group)):
            self._require_known(key, f"axis '{key}'", self.sweep.chips, self.sweep.works)
        for place, job in enumerate(self.sweep.jobs, 1):
            for key in job.set:
                self._require_known(key, f"job {place}: '{key}'", (job.chip,), (job.work,))
        self.columns = columns(dict.fromkeys(("point", "chip", "work"), str), named.varied)
        self.constraints = (*map(str, self.sweep.constraints), *self._budget())
        self._require_constraints()

    @property
    def kept(self) -> tuple[str, str]:
        """The sweep file, as the dataset's folder keeps it."""
        return SWEEP, self.named.text

    @property
    def made_with(self) -> dict[str, Any]:
        """What all rows depend on beside the file."""
        chips = {name: arch.digest for name, arch in self.archs.items()}
        outside = sources_of(arch.config.accelerator for arch in self.archs.values())
        return {
            "version": __version__,
            "chips": chips,
            "accelerators": outside,
            "files": digests_of(self.named.files()),
        }

    def run(self, point: Point) -> Run:
        """Return what a worker runs of a point."""
        machine, work = self.sweep.chips[point.chip], self.sweep.works[point.work]
        of_chip = {key: str(value) for key, value in machine.set.items()}
        return Run(
            machine.arch, of_chip | point.of_chip, work.trace, work.set | point.of_work, work.without, self.sweep.memory
        )

    def heads(self, point: Point) -> list[dict[str, Any]]:
        """Return the first columns of a point's row."""
        head = {"point": point.digest, "chip": point.chip, "work": point.work}
        return [head | parameter_cells(point.settings, self.columns)]

    def _require_work(self, name: str) -> None:
        """Refuse a work that there is not, without opening it."""
        work = self.sweep.works[name]
        where = f"{self.named.origin}: work '{name}'"
        try:
            known = trace_parameters(work.trace)
            require_types(work.types_left_out)
            if not (is_workload(work.trace) or work.trace.endswith(".csv")):
                open_work(work.model_copy(update={"set": {}}))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        for key in work.set:
            if key not in known:
                raise InputError(f"{where}: there is no parameter '{key}'{_like(key, known)}")

    def _require_known(self, key: str, what: str, chips: Iterable[str], works: Iterable[str]) -> None:
        where = f"{self.named.origin}: {what}"
        if key.startswith(OF_WORK):
            for name in works:
                known = trace_parameters(self.sweep.works[name].trace)
                if (own := key.removeprefix(OF_WORK)) not in known:
                    raise InputError(f"{where}: the work '{name}' has no such parameter{_like(own, known)}")
            return
        for name in chips:
            if key not in (known_keys := self.archs[name].config.provenance):
                hint = nearest(key, known_keys).partition("; known")[0]
                raise InputError(f"{where}: the chip '{name}' has no such parameter{hint}")

    def _budget(self) -> Iterator[str]:
        for key, limit in self.sweep.budget.model_dump().items():
            if limit is not None:
                number = Written.of(limit).number
                if number is None or number <= 0:
                    raise InputError(f"{self.named.origin}: budget: {key} is '{limit}', expected a size above 0")
                yield f"{key} <= {number:.12g}"

    def _require_constraints(self) -> None:
        """Refuse what is no expression, or names what there is not, before anything else is done."""
        for chip in self.archs if self.constraints else ():
            first = next(self.all_points((chip,)), None)
            if first is not None:
                self.admits(first)

    def all_points(self, chips: Collection[str] | None = None) -> Iterator[Point]:
        """Yield every point, whether admitted or not, of some chips or of all."""
        chosen = self.sweep.chips if chips is None else chips
        if self.sweep.jobs:
            for job in self.sweep.jobs:
                if job.chip in chosen:
                    yield Point(job.chip, job.work, {key: Written.of(value) for key, value in job.set.items()})
            return
        linked = [list(_together(group)) for group in self.named.linked]
        alone = [[{key: value} for value in values] for key, values in self.named.axes.items()]
        for chip, work in product(chosen, self.sweep.works):
            for parts in product(*alone, *linked):
                yield Point(chip, work, {key: value for part in parts for key, value in part.items()})

    def admitted(self) -> list[Point]:
        """Return the points that all constraints admit.

        Raises:
            InputError: there are none, or too many to count.

        """
        sizes = [len(next(iter(group.values()), [])) for group in self.named.linked]
        size = combinations(self.named.axes) * len(self.sweep.chips) * len(self.sweep.works)
        for each in sizes:
            size *= each
        if size > MOST:
            raise InputError(f"{self.named.origin}: {size:,} points, expected at most {MOST:,}; a search tries fewer")
        points = [point for point in self.all_points() if self.admits(point)]
        if not points:
            limits = ", ".join(self.constraints)
            raise InputError(f"{self.named.origin}: not one of {size:,} points satisfies {limits}")
        return list({point.digest: point for point in points}.values())

    def require_some(self) -> None:
        """Refuse constraints that no point satisfies, where so few points that all can be tried say so.

        Raises:
            InputError: there is none.

        """
        tried = 0
        for point in self.all_points():
            if tried == TRIED or self.admits(point):
                return
            tried += 1
        raise InputError(f"{self.named.origin}: not one of {tried:,} points satisfies {', '.join(self.constraints)}")

    def admits(self, point: Point) -> bool:
        """Tell whether all constraints hold; a point that is no chip is admitted, to fail by itself.

        Raises:
            InputError: a constraint is no expression, names what there is not, or has no value at the point.

        """
        names = _Names(self, point)
        for text in self.constraints:
            try:
                if not evaluate(text, names):
                    return False
            except InputError as error:
                try:
                    self.arch(point)
                except InputError:
                    return True
                raise InputError(f"{self.named.origin}: constraint {error}") from None
        return True

    def numbers(self, chip: str) -> dict[str, float]:
        """Return the parameters of a chip that are numbers, in base units, as its configuration has them."""
        if chip not in self._numbers:
            config = self.archs[chip].config
            written = {key: Written.of(_at(config.values, key)).number for key in config.provenance}
            self._numbers[chip] = {key: number for key, number in written.items() if number is not None}
        return self._numbers[chip]

    def arch(self, point: Point) -> Arch[Any]:
        """Return the chip of a point.

        Raises:
            InputError: it is none.

        """
        base = self.archs[point.chip]
        return validate(base.config.overridden(point.of_chip), accelerator(base.config.accelerator).Chip)

    def trace(self, point: Point) -> Trace:
        """Return the work of a point."""
        work = self.sweep.works[point.work]
        return open_work(Work.model_copy(work, update={"set": {**work.set, **point.of_work}}))

    def ordered(self, points: Sequence[Point]) -> list[list[Point]]:
        """Return the points in groups that share all plans but for tiling: what matching does not see varies inside."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        seen = {name: self._seen_by_matching(name, points) for name in self.archs}
        for point in points:
            inside = tuple(v.text for k, v in point.settings.items() if k.startswith(OF_WORK) or k in seen[point.chip])
            groups.setdefault((point.chip, point.work, inside), []).append(point)
        return list(groups.values())

    def _seen_by_matching(self, chip: str, points: Sequence[Point]) -> set[str]:
        """Return the axes on which the geometry of some operator depends, judged at one point."""
        first = next((point for point in points if point.chip == chip), None)
        if first is None:
            return set()
        keys = [key for key in first.settings if not key.startswith(OF_WORK)]
        try:
            trace = self.trace(first)
            return {key for key in keys if self._depends(key, first, trace)}
        except InputError:
            return set(keys)

    def _depends(self, key: str, point: Point, trace: Trace) -> bool:
        others = {point.settings[key].text} | {value.text for value in self.named.varied[key][:3]}
        found = set()
        for text in others:
            arch = self.arch(Point(point.chip, point.work, {**point.settings, key: Written.of(text)}))
            model = accelerator(arch.config.accelerator)
            found.add(tuple(model.geometry(operator, arch.chip) for operator in trace.operators))
        return len(found) > 1


def _like(key: str, known: Collection[str]) -> str:
    return nearest(key, known) if known else "; a trace has no parameters, only a workload has"


def _together(group: Mapping[str, list[Written]]) -> Iterator[dict[str, Written]]:
    for values in zip(*group.values(), strict=True):
        yield dict(zip(group, values, strict=True))


class _Names(Mapping[str, float]):
    """What the names of a constraint stand for at a point."""

    def __init__(self, space: Space, point: Point):
        self.space, self.point = space, point

    @cached_property
    def _numbers(self) -> dict[str, float]:
        numbers: dict[str, float | None] = dict(self.space.numbers(self.point.chip))
        numbers |= {key: value.number for key, value in self.point.settings.items()}
        return {key: number for key, number in numbers.items() if number is not None}

    @cached_property
    def _arch(self) -> Arch[Any]:
        return self.space.arch(self.point)

    def __getitem__(self, name: str) -> float:
        return design(self._arch, name) if name in OF_DESIGN else self._numbers[name]

    def __contains__(self, name: object) -> bool:
        return name in OF_DESIGN or name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter((*OF_DESIGN, *self._numbers))

    def __len__(self) -> int:
        return len(OF_DESIGN) + len(self._numbers)


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
