"""What sweeps and batches share: points, and of each the run that a worker makes of it and the rows that it fills."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from simulator.accelerators import is_outside, source_digest
from simulator.sweep.axes import Written

OF_WORK = "work."
"""How keys of the work's parameters begin; all others are the chip's."""


@dataclass(frozen=True)
class Point:
    """A design point: one chip, one work, and what is set of them."""

    chip: str
    work: str
    settings: Mapping[str, Written]
    """By the axes' keys."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (the first 24 hexadecimal digits) of what is set."""
        written = {key: value.text for key, value in self.settings.items()}
        text = json.dumps([self.chip, self.work, written], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def of_chip(self) -> dict[str, str]:
        """Parameters of the chip, as they are written."""
        return {key: value.text for key, value in self.settings.items() if not key.startswith(OF_WORK)}

    @property
    def of_work(self) -> dict[str, str]:
        """Parameters of the work."""
        return {k.removeprefix(OF_WORK): v.text for k, v in self.settings.items() if k.startswith(OF_WORK)}


@dataclass(frozen=True)
class Run:
    """One simulation, with all that a worker must know of it: it reads no sweep file."""

    arch: str
    """Name or file of the chip's configuration."""
    of_chip: Mapping[str, str]
    """Parameters of the chip, by dotted key."""
    trace: str
    """As for ``skipper run``."""
    of_work: Mapping[str, str | int | float]
    """Parameters of the workload."""
    without: str | None
    """Types of operators left out."""
    memory: str
    """As of ``skipper run``."""


class Source(Protocol):
    """Where points come from: a sweep's `Space`, or a batch."""

    @property
    def kept(self) -> tuple[str, str]:
        """Name and content of the file that the dataset's folder keeps of it."""

    @property
    def columns(self) -> Mapping[str, type]:
        """Of the dataset, with what each holds."""

    @property
    def made_with(self) -> Mapping[str, Any]:
        """What else all rows depend on."""

    def run(self, point: Point) -> Run:
        """Return what a worker runs of a point."""

    def heads(self, point: Point) -> list[dict[str, Any]]:
        """Return the first columns of each row that a point fills; ``point`` tells all rows apart."""

    def ordered(self, points: Sequence[Point]) -> list[list[Point]]:
        """Return points in groups that share plans."""


def digests_of(files: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the content of each file."""
    found = {}
    for name in files:
        digest = hashlib.sha256()
        with open(name, "rb") as content:
            while block := content.read(2**20):
                digest.update(block)
        found[name] = digest.hexdigest()
    return found


def sources_of(accelerators: Iterable[str]) -> dict[str, str]:
    """Return the digests of accelerators' modules that are not Skipper's, whose version says nothing of them."""
    return {name: source_digest(name) for name in sorted(set(accelerators)) if is_outside(name)}
