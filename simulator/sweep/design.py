"""What a chip takes, run or not: area, multipliers, buffers."""

from __future__ import annotations

from typing import Any

from simulator.accelerators import accelerator, parts_of
from simulator.arch import Arch, load_technology
from simulator.errors import InputError
from simulator.hardware.buffer import Buffer
from simulator.results.parts import area_by_component, total_area

OF_DESIGN = ("area_mm2", "multipliers", "buffer_bytes")
"""What constraints may name beside parameters."""


def design(arch: Arch[Any], name: str) -> float:
    """Return the area in mm², the multipliers or the bytes of all buffers of a chip."""
    model = accelerator(arch.config.accelerator)
    if name == "multipliers":
        return model.multipliers(arch.chip)
    if name == "buffer_bytes":
        return sum(part.size for _, part in arch.chip if isinstance(part, Buffer))
    area = total_area(area_by_component(parts_of(model, arch.chip), load_technology(arch.chip.technology)))
    if area is None:
        raise InputError(f"the area of {arch.name} is not known")
    return area
