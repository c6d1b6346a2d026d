"""Area and power of a chip, part by part, each with the rows that they come from, beside what was published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from simulator.accelerators import accelerator, load_arch, parts_of
from simulator.arch import Technology, list_configs, load_technology
from simulator.arch.published import Access, Figure, Inventory, Published, list_published, load_published
from simulator.errors import InputError
from simulator.program import Instances, logic, memory
from simulator.results.parts import full_power


@dataclass(frozen=True)
class Reference:
    """The row of the technology table that a number comes from: of a memory, the nearest."""

    kind: str
    size: int
    width: int
    source: str
    exact: bool
    """Whether size and width are the row's, or interpolated."""
    beyond: bool
    """Whether they lie beyond all rows, so that the outermost slope goes on."""


@dataclass(frozen=True)
class Line:
    """What the parts of a component that are of one kind take."""

    component: str
    kind: str
    count: int
    size: int
    """Bytes of each memory; 0 for logic."""
    width: int
    area_mm2: float | None
    dynamic_mw: float
    """At full activity."""
    leakage_mw: float
    rows: tuple[Reference, ...]


@dataclass(frozen=True)
class Compared:
    """A published figure and ours."""

    name: str
    unit: str
    published: float
    ours: float | None
    source: str
    sure: str
    why: str
    rows: tuple[Reference, ...]
    """What ours comes from."""
    counts: tuple[str, ...] = ()
    """Where the counts of parts come from that ours is estimated from on its own."""

    @property
    def difference(self) -> float | None:
        """Ours over the published one, less 1; None where ours is not known."""
        return None if self.ours is None else self.ours / self.published - 1


@dataclass(frozen=True)
class AreaReport:
    """The table of a chip."""

    chip: str
    title: str
    """The publication; empty where there is none."""
    note: str
    """What is to be known of it as a whole."""
    technology: str
    clock: int
    lines: tuple[Line, ...]
    compared: tuple[Compared, ...]
    counts: tuple[str, ...] = ()
    """Where the counts of the parts come from, where that is not the configuration."""
    unlike: tuple[str, ...] = ()
    """How this differs from the chip whose figures were published; they are left out where it does."""

    @property
    def rows(self) -> tuple[Reference, ...]:
        """Return all rows that the report rests on, in order."""
        rows = [row for line in self.lines for row in line.rows] + [row for c in self.compared for row in c.rows]
        return tuple(dict.fromkeys(rows))

    @property
    def totals(self) -> dict[str, float | None]:
        """Return area, dynamic power and leakage of all lines; no area where one is not known."""
        return {
            "area_mm2": _area(self.lines),
            "dynamic_mw": sum(line.dynamic_mw for line in self.lines),
            "leakage_mw": sum(line.leakage_mw for line in self.lines),
        }

    def document(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return {
            "chip": self.chip,
            "title": self.title,
            "note": self.note,
            "technology": self.technology,
            "clock_hz": self.clock,
            "totals": self.totals,
            "counts": list(self.counts),
            "lines": [asdict(line) for line in self.lines],
            "comparable": not self.unlike,
            "unlike": list(self.unlike),
            "published": [{**asdict(c), "difference": c.difference} for c in self.compared],
        }


def chip_report(name: str, settings: Mapping[str, str] | None = None, technology: str | None = None) -> AreaReport:
    """Return the table of a chip by name or file, or of one that is known from publications only.

    Raises:
        InputError: there is none, a setting is unusable, or the technology table lacks a kind of part.

    """
    known = list_published()
    if name in known and name not in list_configs():
        if settings:
            raise InputError(f"--set: {name} is known from publications only and has no parameters")
        published = load_published(name)
        table = load_technology(published.technology if technology is None else technology)
        return area_report(name, (), table, published.clock, published)
    arch = load_arch(name, settings)
    of = arch.config.accelerator
    model = accelerator(of)
    parts = parts_of(model, arch.chip)
    table = load_technology(arch.chip.technology if technology is None else technology)
    shipped = parts_of(model, load_arch(of).chip) if of in known else parts
    unlike = () if parts == shipped else (f"parts other than those of the shipped {of}.yaml",)
    return area_report(arch.name, parts, table, arch.chip.clock, load_published(of) if of in known else None, unlike)


def area_report(
    chip: str,
    parts: Iterable[Instances],
    technology: Technology,
    clock: int,
    published: Published | None,
    unlike: tuple[str, ...] = (),
) -> AreaReport:
    """Return the table of a chip of ``parts``, or of the inventory of what was published where there are none.

    ``unlike`` says in what the parts differ from the published chip's. Figures are compared where neither they nor
    technology and clock do.

    Raises:
        InputError: the technology table lacks a kind of part.

    """
    listed = published.parts if published else ()
    own = tuple(parts)
    lines = tuple(part_lines(own or inventory(listed), technology, clock))
    counts = () if own else _counts(listed)
    if published is None:
        return AreaReport(chip, "", "", technology.name, clock, lines, (), counts)
    has_figures = bool(published.figures or published.ratios)
    unlike = (*_unlike(published, technology, clock), *unlike) if has_figures else ()
    compared = () if unlike else tuple(compare(published, lines, technology, clock))
    return AreaReport(chip, published.title, published.note, technology.name, clock, lines, compared, counts, unlike)


def _unlike(published: Published, technology: Technology, clock: int) -> Iterator[str]:
    if technology.entries != load_technology(published.technology).entries:
        yield f"the technology table {technology.origin}, not that of {published.technology}"
    if clock != published.clock:
        yield f"a clock of {clock / 1e6:,.6g} MHz, not {published.clock / 1e6:,.6g} MHz"


def _counts(entries: Iterable[Inventory]) -> tuple[str, ...]:
    return tuple(f"{entry.component}, {entry.count:,} × {entry.kind}: {entry.why}" for entry in entries)


def inventory(entries: Iterable[Inventory]) -> Iterator[Instances]:
    """Yield the parts of an inventory."""
    for entry in entries:
        if entry.kind == "sram":
            suffix = "" if entry.ports == "1rw" else f"_{entry.ports}"
            yield from memory(entry.component, entry.count, entry.size, entry.width, ports=suffix)
        else:
            yield from logic(entry.component, entry.kind, entry.count, entry.active, entry.size, entry.width)


def part_lines(parts: Iterable[Instances], technology: Technology, clock: int) -> Iterator[Line]:
    """Yield a line for the parts of a component that are of one kind: what works and what leaks."""
    groups: dict[tuple[str, str, int, int], list[Instances]] = {}
    for part in parts:
        # What leaks is a bank; what works are its reads and writes.
        stem = part.kind.replace("sram_bank_leakage", "sram").replace("sram_read", "sram").replace("sram_write", "sram")
        stem = stem if stem == part.kind == "sram_leakage" else stem.removesuffix("_leakage")
        groups.setdefault((part.component, stem, part.size, part.width), []).append(part)
    for (component, kind, size, width), group in groups.items():
        areas = [(p.count, technology.area(p.kind, p.size, p.width)) for p in group if not p.overlaps]
        yield Line(
            component,
            kind,
            max(part.count for part in group if not part.overlaps),
            size,
            width,
            None if any(area is None for _, area in areas) else sum(count * (area or 0.0) for count, area in areas),
            full_power([part for part in group if not part.static], technology, clock),
            full_power([part for part in group if part.static], technology, clock),
            tuple(dict.fromkeys(_reference(part, technology) for part in group)),
        )


def _reference(part: Instances | Access, technology: Technology) -> Reference:
    row = technology.row(part.kind, part.size, part.width)
    exact = (row.size, row.width) == (part.size, part.width)
    beyond = technology.beyond(part.kind, part.size, part.width)
    return Reference(part.kind, row.size, row.width, row.source, exact, beyond)


def compare(published: Published, lines: tuple[Line, ...], technology: Technology, clock: int) -> Iterator[Compared]:
    """Yield every published figure with ours."""
    for figure in published.figures:
        estimated = tuple(part_lines(inventory(figure.parts), technology, clock))
        yield _compared(figure, estimated or tuple(line for line in lines if line.component in figure.of))
    if published.ratios:
        base = published.ratios.base
        for ratio in published.ratios.to:
            ours = _energy(ratio, technology) / _energy(base, technology)
            rows = tuple(_reference(access, technology) for access in (ratio, base))
            yield Compared(f"{ratio.name} : MAC", "", ratio.value, ours, ratio.source, ratio.sure, ratio.why, rows)


def _compared(figure: Figure, lines: tuple[Line, ...]) -> Compared:
    leakage = sum(line.leakage_mw for line in lines)
    ours = {
        "area": _area(lines),
        "power": leakage + sum(line.dynamic_mw for line in lines),
        "leakage": leakage,
    }[figure.quantity]
    unit = "mm²" if figure.quantity == "area" else "mW"
    rows = tuple(dict.fromkeys(row for line in lines for row in line.rows))
    counts = _counts(figure.parts)
    return Compared(figure.name, unit, figure.value, ours, figure.source, figure.sure, figure.why, rows, counts)


def _energy(access: Access, technology: Technology) -> float:
    return access.times * technology.energy(access.kind, access.size, access.width)


def _area(lines: Iterable[Line]) -> float | None:
    areas = [line.area_mm2 for line in lines]
    return None if None in areas else sum(area for area in areas if area is not None)
