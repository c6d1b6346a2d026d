"""Searches: the same points again, few of them, and near the best of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.report import hypervolume
from simulator.sweep import Stop, carry_out, read_sweep, sweep
from tests.sweep.sweeps import assert_same, results, written

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install '.[search]'")

GRID = """\
skipper: 1
chips: {escalate: {arch: escalate}}
works: {digits: {trace: digits_cnn}}
axes:
  array.blocks: [1, 2, 4, 8, 16]
  array.slices: [2, 3, 6]
  activation_buffer.size: [8 KiB, 16 KiB, 32 KiB, 64 KiB]
  channel_accumulation.adders: [4, 8, 16]
  dram.bandwidth: {from: 1 GB/s, to: 32 GB/s, points: 6, scale: log}
"""
OBJECTIVES = ["cycles", "energy_pj", "area_mm2"]


def search(method: str, trials: int = 24, population: int = 8, objectives: str = "cycles, area_mm2") -> str:
    return (
        f"{GRID}search: {{method: {method}, objectives: [{objectives}], trials: {trials}, "
        f"population: {population}, seed: 4}}\n"
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize("method", ["nsga2", *(pytest.param(each, marks=SLOW) for each in ("tpe", "nsga3", "random"))])
def test_a_search_is_the_same_again(method: str, tmp_path: Path) -> None:
    file = written(tmp_path, search(method))
    found = [sweep(file, tmp_path / f"{n}", workers=1, plans=tmp_path / "plans") for n in (1, 2)]
    assert 8 < len(found[0]) <= 24
    assert_same(results(tmp_path / "1"), results(tmp_path / "2"))


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    file = written(tmp_path, search("nsga2"))
    sweep(file, tmp_path / "whole", workers=1, plans=tmp_path / "plans")
    stop = Stop()
    ends = []
    for limit in (5, 12, 10**6):
        stop = Stop()

        def show(at: Any, stop: Stop = stop, limit: int = limit) -> None:
            stop.asked = at.done >= limit

        ends.append(carry_out(read_sweep(file), tmp_path / "parts", 1, None, str(tmp_path / "plans"), show, stop))
    assert ends[0].resumed == 0
    assert ends[2].resumed >= 12
    assert_same(results(tmp_path / "parts"), results(tmp_path / "whole"))


def test_constraints_hold_in_a_search(tmp_path: Path) -> None:
    text = search("tpe") + "constraints: [array.blocks * array.slices <= 12]\n"
    found = sweep(written(tmp_path, text), tmp_path / "out", workers=1)
    assert len(found)
    assert (found["array.blocks"] * found["array.slices"] <= 12).all()


@pytest.mark.slow
def test_nsga2_finds_the_front_with_few_points(tmp_path: Path) -> None:
    every = sweep(written(tmp_path, GRID), tmp_path / "grid", plans=tmp_path / "plans")
    assert (every.status == "ok").all()
    worst, best = every[OBJECTIVES].max(), every[OBJECTIVES].min()

    def volume(found: pd.DataFrame) -> float:
        scaled = ((found[OBJECTIVES] - best) / (worst - best)).to_numpy(float)
        return hypervolume(scaled, np.full(len(OBJECTIVES), 1.1))

    whole = volume(every)
    text = search("nsga2", trials=len(every) * 15 // 100, population=20, objectives=", ".join(OBJECTIVES))
    for seed in range(5):
        out = tmp_path / f"search {seed}"
        found = sweep(written(tmp_path, text.replace("seed: 4", f"seed: {seed}")), out, plans=tmp_path / "plans")
        share = volume(found) / whole
        print(f"seed {seed}: {len(found)} of {len(every)} points, {share:.4f} of the hypervolume")
        assert len(found) <= 0.15 * len(every)
        assert share >= 0.98
