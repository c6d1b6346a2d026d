"""Plans kept: matches and programs in memory, programs on disk as well, for every run that needs the same again.

A program depends on the operator, on the chip but for the rates of its memory and its table of energies (every
accelerator is tested for that), and on the version of the simulator. On disk each is a file named by the digest of
these, written at once or not at all, with a checksum; a file that is not what it was is left out and made again.
Several processes may share the folder. It keeps to a size: what was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simulator import __version__
from simulator.program import Action, Macs, Phase, Program, Stage, Stream, Unit
from simulator.trace import Operator

RATES = ("bandwidth", "latency", "energy_pj_per_bit", "detailed")
"""Of the DRAM channel: a program does not depend on them."""
FORMAT = 1
SUFFIX = ".plan"
STALE = 60.0
"""Seconds after which a file that is being written was left; writing one takes milliseconds."""


@dataclass(eq=False)
class PlanCache:
    """Matches and programs of earlier runs, those used longest ago dropped first. Not for several threads."""

    capacity: int = 256
    """Matches in memory; a run of a network has one per operator."""
    programs: int = 4096
    """Programs in memory."""
    store: PlanStore | None = None
    """Programs on disk."""
    _matches: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    _programs: OrderedDict[str, Program] = field(default_factory=OrderedDict)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what is kept under ``key``, made now if it is not."""
        return _kept(self._matches, self.capacity, key, make)

    def program(self, key: str, make: Callable[[], Program]) -> Program:
        """Return the program kept under ``key``, in memory or on disk, made now if it is not."""

        def found() -> Program:
            program = None if self.store is None else self.store.load(key)
            if program is None:
                program = make()
                if self.store is not None:
                    self.store.save(key, program)
            return program

        made: Program = _kept(self._programs, self.programs, key, found)
        return made


def _kept(kept: OrderedDict[Any, Any], capacity: int, key: Hashable, make: Callable[[], Any]) -> Any:
    if key in kept:
        kept.move_to_end(key)
    else:
        kept[key] = make()
        if len(kept) > capacity:
            kept.popitem(last=False)
    return kept[key]


def program_key(operator: Operator, accelerator: str, chip: Any) -> str:
    """Return the digest of all that a program depends on."""
    text = json.dumps([FORMAT, __version__, accelerator, operator.name, operator.digest, _plan_digest(chip)])
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=8)
def _plan_digest(chip: Any) -> str:
    """Return the digest of what programs depend on of a chip; every operator of a run asks for the same."""
    document = chip.model_dump(mode="json", exclude={"technology": True, "dram": set(RATES)})
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@dataclass
class PlanStore:
    """Programs on disk."""

    folder: Path
    limit: int = 2**30
    """Bytes of all files together."""
    _written: int = 0
    """Bytes since the folder was last measured."""

    def load(self, key: str) -> Program | None:
        """Return a program, or None where there is none that is whole."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            path.unlink(missing_ok=True)
            return None
        return decode(content[32:])

    def save(self, key: str, program: Program) -> None:
        """Keep a program; where the disk has no room for it, it is not kept."""
        body = encode(program)
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(body).digest() + body)
                os.replace(name, path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError:
            return
        self._written += len(body)
        if self._written > self.limit // 8:
            self._written = 0
            self.trim()

    def trim(self) -> None:
        """Remove what was used longest ago until the rest takes seven eighths of the limit."""
        self.remove_partial()
        found = []
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            try:
                status = path.stat()
            except OSError:
                continue  # another process was faster
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit * 7 // 8:
                break
            path.unlink(missing_ok=True)
            total -= size

    def remove_partial(self, age: float = STALE) -> None:
        """Remove what processes that were killed did not finish writing, by its age in seconds."""
        for path in self.folder.glob("*/.*.partial"):
            with suppress(OSError):  # another process was faster
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"


def encode(program: Program) -> bytes:
    """Return a program as bytes: a line of JSON, and its arrays of 64-bit integers one after the other."""
    arrays: list[Any] = []

    def packed(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(np.ascontiguousarray(value, "<i8"))
            return {"array": value.shape}
        if isinstance(value, dict):
            return {"map": {key: packed(each) for key, each in value.items()}}
        if isinstance(value, tuple):
            return [packed(each) for each in value]
        if type(value).__name__ in _KINDS:
            fields = {name: packed(getattr(value, name)) for name in value.__dataclass_fields__}
            return {"kind": type(value).__name__, "fields": fields}
        return value.item() if isinstance(value, np.generic) else value

    head = json.dumps(packed(program)).encode()
    return b"\n".join((head, b"".join(array.tobytes() for array in arrays)))


_KINDS = {kind.__name__: kind for kind in (Program, Stage, Unit, Stream, Phase, Action, Macs)}


def decode(body: bytes) -> Program:
    """Return the program of which `encode` made bytes."""
    head, _, data = body.partition(b"\n")
    numbers, at = np.frombuffer(data, "<i8"), 0

    def unpacked(value: Any) -> Any:
        nonlocal at
        if isinstance(value, list):
            return tuple(unpacked(each) for each in value)
        if not isinstance(value, dict):
            return value
        if "array" in value:
            size = int(np.prod(value["array"]))
            array, at = numbers[at : at + size].reshape(value["array"]), at + size
            return array
        if "map" in value:
            return {key: unpacked(each) for key, each in value["map"].items()}
        return _KINDS[value["kind"]](**{name: unpacked(each) for name, each in value["fields"].items()})

    program: Program = unpacked(json.loads(head))
    return program
