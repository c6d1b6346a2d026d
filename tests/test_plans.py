"""Plans kept: the same program comes back, whoever wrote it, and what is damaged is made again."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator import PlanCache, load_arch, load_trace, simulate
from simulator.plans import PlanStore, decode, encode, program_key
from simulator.program import Program

TRACES = {"escalate": "digits_cnn", "dota": "char_transformer"}


def programs(chip: str) -> list[Program]:
    return [operator.program for operator in simulate(load_trace(TRACES[chip]), load_arch(chip)).operators]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and bool((a == b).all())
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(equal(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    return bool(a == b)


@pytest.mark.parametrize("chip", TRACES)
def test_a_program_survives_its_bytes(chip: str) -> None:
    for program in programs(chip):
        assert equal(decode(encode(program)), program)


@pytest.mark.parametrize("chip", TRACES)
def test_runs_with_plans_kept_are_the_same(chip: str, tmp_path: Path) -> None:
    trace = load_trace(TRACES[chip])
    for bandwidth in ("3 GB/s", "25.6 GB/s", "500 GB/s"):
        arch = load_arch(chip, {"dram.bandwidth": bandwidth})
        kept = PlanCache(store=PlanStore(tmp_path))
        assert simulate(trace, arch, cache=kept).summary == simulate(trace, arch).summary
    assert len(list(tmp_path.glob("*/*.plan"))) == len({operator.name for operator in trace.operators})


def test_a_key_is_of_all_that_matters() -> None:
    trace = load_trace("digits_cnn")
    chip = load_arch("escalate").chip
    first, second = trace.operators[:2]
    key = program_key(first, "escalate", chip)
    assert key != program_key(second, "escalate", chip)
    assert key != program_key(first, "escalate", load_arch("escalate", {"tiling.rows": "4"}).chip)
    assert key == program_key(first, "escalate", load_arch("escalate", {"dram.bandwidth": "1 GB/s"}).chip)


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    trace, arch = load_trace("digits_cnn"), load_arch("escalate")
    summary = simulate(trace, arch, cache=PlanCache(store=PlanStore(tmp_path))).summary
    files = sorted(tmp_path.glob("*/*.plan"))
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].write_bytes(b"")
    files[2].write_bytes(files[2].read_bytes()[:40] + b"!" + files[2].read_bytes()[41:])
    assert simulate(trace, arch, cache=PlanCache(store=PlanStore(tmp_path))).summary == summary
    assert all(len(file.read_bytes()) > 100 for file in files)


def test_the_folder_keeps_to_its_size(tmp_path: Path) -> None:
    program = programs("escalate")[0]
    size = len(encode(program)) + 32
    store = PlanStore(tmp_path, limit=10 * size)
    for number in range(40):
        store.save(f"{number:064x}", program)
        os.utime(tmp_path / f"{number:064x}"[:2] / f"{number:064x}.plan", (number, number))
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*.plan")) <= 10 * size
    assert store.load(f"{39:064x}") is not None
    assert store.load(f"{0:064x}") is None


def _run(folder: Path) -> dict[str, Any]:
    return simulate(load_trace("digits_cnn"), load_arch("escalate"), cache=PlanCache(store=PlanStore(folder))).summary


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(_run, [tmp_path] * 4))
    assert all(summary == found[0] for summary in found)
    assert not list(tmp_path.glob("**/*.partial"))
