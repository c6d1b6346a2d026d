"""Accelerators: whole chips, one module each. A module that defines ``Chip`` is registered by being here.

One that lies elsewhere on Python's import path is called ``module:NAME``.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Hashable, Mapping
from functools import cache
from importlib import import_module, invalidate_caches
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from simulator.arch import Arch, Part, read_config, validate
from simulator.errors import InputError, nearest
from simulator.hardware.dram import Memory
from simulator.program import Instances, Program
from simulator.trace import Operator

OUTSIDE = "module:"
"""What the name of an accelerator that lies elsewhere begins with; the rest is how Python imports it."""
REQUIRED = ("Chip", "multipliers", "geometry", "match", "tile")
"""What no accelerator does without."""


class AnyChip(Protocol):
    """What the simulator needs of any chip's configuration."""

    @property
    def clock(self) -> int:
        """Core clock in hertz."""

    @property
    def technology(self) -> str:
        """Technology table."""

    @property
    def dram(self) -> Memory:
        """The memory channel."""


class AnyMatch(Protocol):
    """What the simulator needs of any match."""

    @property
    def operator(self) -> Operator:
        """What was computed: the operator of the trace, or the variant of it that the configuration asks for."""

    @property
    def output(self) -> Any:
        """What the chip's own loops computed, as `Operator.agrees` takes it, or None where that was not asked for."""


class Accelerator(Protocol):
    """The interface of a chip's module: pure functions from an operator to its Program.

    A module whose chip's area or leakage is known also defines ``parts(chip) -> tuple[Instances, ...]``, see
    ``parts_of``; one whose cycles are formulas that pair no operands says ``ANALYTICAL = True``, see ``is_analytical``.
    """

    Chip: type[Part]
    DEEPER: tuple[str, ...]
    """Dotted keys of parameters of which more never makes a run slower (queues)."""
    WIDER: tuple[str, ...]
    """Dotted keys of parameters of which twice as much never makes a run slower, where the work divides evenly."""

    def multipliers(self, chip: Any) -> int:
        """Return the multiply-accumulates that the chip does per cycle at most."""

    def geometry(self, operator: Operator, chip: Any) -> Hashable:
        """Return all that matching depends on beside the operator."""

    def match(self, operator: Operator, geometry: Any, check: bool) -> Any:
        """Walk the operator's data once."""

    def tile(self, operator: Operator, match: Any, chip: Any) -> Program:
        """Cut the match into tiles."""


def list_accelerators() -> tuple[str, ...]:
    """Return the names of all accelerators."""
    return tuple(m.name for m in iter_modules(__path__) if not m.name.startswith("_"))


def accelerator(name: str) -> Accelerator:
    """Return an accelerator's module, Skipper's own by its name, any other as ``module:NAME``.

    Raises:
        InputError: there is none of that name; a module of the user's cannot be imported, or is no accelerator.

    """
    return _outside(name) if is_outside(name) else _own(name)


def is_outside(name: str) -> bool:
    """Tell whether an accelerator is not Skipper's: the version of Skipper then does not tell what it does."""
    return name.startswith(OUTSIDE)


def source_digest(name: str) -> str:
    """Return the SHA-256 of an accelerator's module, or of all modules of its package, as their files stand."""
    file = Path(str(getattr(accelerator(name), "__file__", "")))
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return hashlib.sha256(b"\0".join(each.read_bytes() for each in files)).hexdigest()


def _outside(name: str) -> Accelerator:
    path = name.removeprefix(OUTSIDE)
    if path not in sys.modules:
        invalidate_caches()  # the file may have been written a moment ago
    try:
        model = import_module(path)
    except Exception as error:  # a module of the user's may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"'{name}' cannot be imported ({reason}); expected a module on Python's import path") from None
    if missing := [each for each in REQUIRED if not hasattr(model, each)]:
        raise InputError(f"'{name}' defines no {', '.join(missing)}; expected what docs/accelerators.md lists")
    if not {"SCALE", "resized"} & set(dir(model)):
        raise InputError(f"'{name}' defines neither SCALE nor resized; expected what makes the chip larger")
    return cast(Accelerator, model)


@cache
def _own(name: str) -> Accelerator:
    if name not in list_accelerators():
        raise InputError(f"'{name}' is no accelerator{nearest(name, list_accelerators())}")
    return cast(Accelerator, import_module(f"{__name__}.{name}"))


def parts_of(model: Accelerator, chip: Any) -> tuple[Instances, ...]:
    """Return the parts of a chip that have an area or leak; none where its module does not define them."""
    parts = getattr(model, "parts", None)
    return () if parts is None else tuple(parts(chip))


def resized(model: Accelerator, chip: Any, multipliers: int) -> Mapping[str, str]:
    """Return the settings (by dotted key) that give a chip as nearly that many multipliers as it can have.

    A module names the parameter that they are in proportion to, ``SCALE``, or defines ``resized(chip, multipliers)``.
    """
    own = getattr(model, "resized", None)
    if own is not None:
        return dict(own(chip, multipliers))
    key: str = getattr(model, "SCALE")  # noqa: B009 - a module has the one or the other
    value = chip
    for part in key.split("."):
        value = getattr(value, part)
    return {key: str(max(1, round(multipliers * value / model.multipliers(chip))))}


def is_analytical(model: Accelerator) -> bool:
    """Tell whether an accelerator's cycles are formulas: it computes no values, so there is nothing to check."""
    return bool(getattr(model, "ANALYTICAL", False))


def load_arch(name_or_path: str | Path, settings: Mapping[str, str] | None = None) -> Arch[Any]:
    """Load a configuration by name or file, with parameters set by dotted key (``{"array.blocks": "16"}``).

    Raises:
        InputError: see ``simulator.arch.read_config`` and ``validate``.

    """
    config = read_config(name_or_path)
    known = list_accelerators()
    if is_outside(config.accelerator):
        try:
            accelerator(config.accelerator)
        except InputError as error:
            raise InputError(f"{config.origin}: key 'accelerator': {error}") from None
    elif config.accelerator not in known:
        hint = nearest(config.accelerator, known)
        raise InputError(f"{config.origin}: key 'accelerator' names '{config.accelerator}', which is none{hint}")
    return validate(config.overridden(settings or {}), accelerator(config.accelerator).Chip)
