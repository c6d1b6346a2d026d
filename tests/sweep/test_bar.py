"""What is shown while a sweep runs."""

from __future__ import annotations

from simulator.commands.many import Bar
from simulator.sweep import Progress

ROW = {"status": "ok", "cycles": 10_960, "energy_pj": 3.236e7}


def test_points_that_come_many_at_once_make_no_rate_of_their_own() -> None:
    now = 0.0
    bar = Bar(lambda: now)
    bar.show(Progress(100, 100_000, 100, 0, None))
    assert bar.progress.tasks[0].description == ""
    now = 4.0
    for done in range(101, 141):
        bar.show(Progress(done, 100_000, 100, 0, ROW))
    said = bar.progress.tasks[0].description
    assert said == "10/s 2:46:26 left least 1.096e+04 cycles, 3.236e+07 pJ"
    assert len(said) + len(" 100000/100000 ") + 10 <= 80


def test_failed_points_are_no_best_ones() -> None:
    bar = Bar(lambda: 0.0)
    bar.show(Progress(1, 2, 0, 1, {"status": "failed", "cycles": None, "energy_pj": None}))
    assert bar.progress.tasks[0].description == ""
