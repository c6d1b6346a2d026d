"""Which points a sweep has: the grid, linked axes, constraints, budgets, jobs."""

from __future__ import annotations

from simulator.sweep.design import design
from simulator.sweep.file import parse_sweep
from simulator.sweep.points import Space
from simulator.sweep.runs import Point

HEAD = """\
skipper: 1
chips: {escalate: {arch: escalate}}
works: {digits: {trace: digits_cnn}}
"""


def space(rest: str, head: str = HEAD) -> Space:
    return Space(parse_sweep(head + rest, "small", "small.yaml"))


def chosen(rest: str) -> list[dict[str, str]]:
    return [{key: value.text for key, value in point.settings.items()} for point in space(rest).admitted()]


def test_a_grid_is_every_combination() -> None:
    found = chosen("axes: {array.blocks: [2, 4, 8], tiling.rows: [1, 2]}")
    assert found == [{"array.blocks": b, "tiling.rows": r} for b in ("2", "4", "8") for r in ("1", "2")]


def test_no_axes_are_one_point_of_each_chip_and_work() -> None:
    assert chosen("") == [{}]


def test_linked_axes_go_together() -> None:
    found = chosen("axes: {tiling.rows: [1, 2]}\nlinked: [{array.blocks: [2, 4], array.slices: [6, 3]}]")
    assert found == [
        {"tiling.rows": r, "array.blocks": b, "array.slices": s} for r in "12" for b, s in (("2", "6"), ("4", "3"))
    ]


def test_constraints_are_over_axes_other_parameters_and_the_design() -> None:
    axes = "axes: {array.blocks: [2, 4, 8, 16], activation_buffer.size: [8 KiB, 64 KiB]}\n"
    found = chosen(axes + "constraints: ['array.blocks * activation_buffer.size <= 64 * 1024', array.blocks > 2]")
    assert found == [
        {"array.blocks": "4", "activation_buffer.size": "8 KiB"},
        {"array.blocks": "8", "activation_buffer.size": "8 KiB"},
    ]
    assert len(chosen(axes + "constraints: ['array.slices >= 1']")) == 8
    limit = design(space(axes).arch(space(axes).admitted()[0]), "multipliers")
    assert len(chosen(axes + f"constraints: ['multipliers <= {limit}']")) == 2


def test_budgets_are_limits_of_the_design() -> None:
    axes = "axes: {array.blocks: [2, 4], activation_buffer.size: [8 KiB, 64 KiB, 1 MiB]}\n"
    every = space(axes)
    points = every.admitted()

    def of(point: Point, name: str) -> float:
        return design(every.arch(point), name)

    for name in ("area_mm2", "buffer_bytes", "multipliers"):
        limit = sorted(of(point, name) for point in points)[2]
        kept = {point.digest for point in points if of(point, name) <= limit}
        text = str(int(limit)) if name == "multipliers" else repr(limit + 1e-9) if name == "area_mm2" else f"{limit} B"
        assert {p.digest for p in space(axes + f"budget: {{{name}: {text}}}").admitted()} == kept


def test_a_plain_list_of_jobs() -> None:
    jobs = "jobs: [{chip: escalate, work: digits}, {chip: escalate, work: digits, set: {array.blocks: 4}}]"
    assert chosen(jobs) == [{}, {"array.blocks": "4"}]


def test_a_point_that_is_no_chip_is_admitted_to_fail_by_itself() -> None:
    found = chosen("axes: {array.blocks: [0, 4]}\nconstraints: ['multipliers > 0']")
    assert found == [{"array.blocks": "0"}, {"array.blocks": "4"}]


def test_points_are_told_apart_by_what_is_set() -> None:
    points = space("axes: {array.blocks: [2, 4], tiling.rows: [1, 2]}").admitted()
    assert len({point.digest for point in points}) == 4


def test_points_are_ordered_so_that_matches_are_used_again() -> None:
    every = space("axes: {dram.bandwidth: [1 GB/s, 2 GB/s], channel_accumulation.look_ahead: [2, 3]}")
    groups = every.ordered(every.admitted())
    assert [[point.settings["channel_accumulation.look_ahead"].text for point in group] for group in groups] == [
        ["2", "2"],
        ["3", "3"],
    ]
