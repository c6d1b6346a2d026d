"""Equal resources: chips resized to the multipliers, the area or the bandwidth of the first of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from simulator.accelerators import accelerator, parts_of
from simulator.accelerators import resized as resized_to
from simulator.arch import Arch, Technology, load_technology, validate
from simulator.errors import InputError, nearest
from simulator.results.parts import area_by_component, total_area

NORMALISATIONS = {
    "macs": "multipliers",
    "area": "area (of all in the technology of the first)",
    "bandwidth": "DRAM bandwidth",
    "dram": "DRAM",
    "clock": "clock",
    "technology": "technology table",
    "none": "nothing",
}
"""What can be made equal to the first chip's, and how it is called in a sentence."""
MOST = 2**20
"""Multipliers that a chip may get at most."""


@dataclass(frozen=True)
class Equalised:
    """A chip at the resources of the first."""

    arch: Arch[Any]
    settings: Mapping[str, str]
    """What was set to get there, by dotted key."""
    multipliers: int
    area: float | None
    """mm² in its own technology, or in that of the first where areas are made equal; None where it is not known."""


def equalise(archs: Sequence[Arch[Any]], how: Sequence[str] = ("none",)) -> tuple[Equalised, ...]:
    """Bring chips to the resources of the first of them.

    Args:
        archs: the chips.
        how: of `NORMALISATIONS`; "macs" and "area" exclude each other.

    Raises:
        InputError: no such normalisation, two that contradict, or an area that is not known.

    """
    for word in how:
        if word not in NORMALISATIONS:
            raise InputError(f"'{word}' is nothing to normalise by{nearest(word, NORMALISATIONS)}")
    if {"macs", "area"} <= set(how) or ("none" in how and len(set(how)) > 1):
        raise InputError(f"normalising by {' and '.join(how)} at once is a contradiction; expected one of them")
    first = archs[0]
    return tuple(_equalised(arch, first, how) if arch is not first else _as_it_is(arch) for arch in archs)


def _as_it_is(arch: Arch[Any]) -> Equalised:
    return Equalised(arch, {}, _multipliers(arch), _area(arch, load_technology(arch.chip.technology)))


def _equalised(arch: Arch[Any], first: Arch[Any], how: Sequence[str]) -> Equalised:
    settings: dict[str, str] = {}
    if "technology" in how:
        settings["technology"] = first.chip.technology
    if "clock" in how:
        settings["clock"] = f"{first.chip.clock} Hz"
    if "bandwidth" in how or "dram" in how:
        settings["dram.bandwidth"] = f"{first.chip.dram.bandwidth} B/s"
    if "dram" in how:
        settings |= {
            "dram.latency": f"{first.chip.dram.latency} ps",
            "dram.burst": f"{first.chip.dram.burst} B",
            "dram.energy_pj_per_bit": str(first.chip.dram.energy_pj_per_bit),
        }
    model = accelerator(arch.config.accelerator)
    if "macs" in how:
        settings |= resized_to(model, arch.chip, _multipliers(first))
    elif "area" in how:
        settings |= _resized_to_area(arch, first)
    changed = {key: value for key, value in settings.items() if not _is(arch, key, value)}
    resized = _set(arch, changed)
    priced = first if "area" in how else resized
    return Equalised(resized, changed, _multipliers(resized), _area(resized, load_technology(priced.chip.technology)))


def _is(arch: Arch[Any], key: str, value: str) -> bool:
    """Tell whether a parameter has a value already, however it is written."""
    return _set(arch, {key: value}).digest == arch.digest


def _set(arch: Arch[Any], settings: Mapping[str, str]) -> Arch[Any]:
    if not settings:
        return arch
    return validate(arch.config.overridden(settings), accelerator(arch.config.accelerator).Chip)


def _multipliers(arch: Arch[Any]) -> int:
    return accelerator(arch.config.accelerator).multipliers(arch.chip)


def _area(arch: Arch[Any], technology: Technology) -> float | None:
    return total_area(area_by_component(parts_of(accelerator(arch.config.accelerator), arch.chip), technology))


def _resized_to_area(arch: Arch[Any], first: Arch[Any]) -> Mapping[str, str]:
    """Return the settings with which a chip comes nearest to the area of the first, both in its technology."""
    technology = load_technology(first.chip.technology)
    model = accelerator(arch.config.accelerator)

    def known(of: Arch[Any]) -> float:
        if (area := _area(of, technology)) is None:
            raise InputError(f"the area of {of.name} at {technology.name} is not known; normalise by macs instead")
        return area

    @cache
    def area(multipliers: int) -> float:
        try:
            resized = _set(arch, resized_to(model, arch.chip, multipliers))
        except InputError:
            return math.inf  # more than a configuration may have
        return known(resized)

    wanted = known(first)
    beyond = _first_where(lambda multipliers: area(multipliers) >= wanted)
    nearest_ = min((max(1, beyond - 1), beyond), key=lambda multipliers: abs(area(multipliers) - wanted))
    return resized_to(model, arch.chip, nearest_)


def _first_where(holds: Callable[[int], bool]) -> int:
    """Return the first whole number up to `MOST` for which something holds that then holds for all beyond."""
    low, high = 1, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
