"""What was published of chips' area, power and energy, to print beside ours (``arch_configs/published``)."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.shipped import list_shipped
from simulator.arch.units import Hertz


class Inventory(Part):
    """A part of a chip that is known from what was published."""

    component: str
    kind: str
    """Row of the technology table; ``sram`` for banks of memory."""
    count: Annotated[int, Field(ge=1)]
    active: int | None = None
    """Actions per cycle at full activity, of logic; all of it if not said."""
    size: int = 0
    """Bytes of a bank."""
    width: int = 0
    """Bits per access of a bank."""
    ports: Literal["1rw", "1r1w", "2rw", "4rw"] = "1rw"
    why: str
    """Where the count comes from."""


class Figure(Part):
    """A published figure."""

    name: str
    quantity: Literal["area", "power", "leakage"]
    """mm²; mW, beside which ours is at full activity, leakage included; mW."""
    value: float
    of: tuple[str, ...] = ()
    """The components of ours that it is compared with, …"""
    parts: tuple[Inventory, ...] = ()
    """… or parts to estimate it from on their own."""
    source: str
    sure: str
    why: str
    """What may cause the difference."""


class Access(Part):
    """Some accesses, by the technology table."""

    kind: str
    size: int = 0
    width: int = 0
    times: float = 1
    """How many of them."""


class Ratio(Access):
    """A published ratio of the energy of accesses to that of another."""

    name: str
    value: float
    source: str
    sure: str
    why: str


class Ratios(Part):
    """Published ratios of energies."""

    base: Access
    """What they are in proportion to."""
    to: tuple[Ratio, ...]


class Published(Part):
    """What was published of a chip."""

    title: str
    technology: str
    """Table of the node it was published for."""
    clock: Hertz
    note: str = ""
    """What is to be known of the publication as a whole."""
    parts: tuple[Inventory, ...] = ()
    """Of a chip that Skipper has no module for; a module knows its own."""
    figures: tuple[Figure, ...]
    ratios: Ratios | None = None


def list_published() -> tuple[str, ...]:
    """Return the names of the chips of which something was published."""
    return list_shipped("published", ".yaml")


def load_published(name: str) -> Published:
    """Read what was published of a chip, one of ``list_published``."""
    from ruamel.yaml import YAML

    text = files("simulator.arch_configs").joinpath(f"published/{name}.yaml").read_text("utf-8")
    return Published.model_validate(YAML(typ="safe", pure=True).load(text))
