"""Families add up to the run, exactly; the figure stays readable and within its edges."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.results.drawing import save_figure
from simulator.results.folder import write_run
from simulator.results.result import Result
from simulator.results.shares import Run, all_families, families, family_names, read_runs, shares, shares_document
from simulator.results.shares_figure import OTHERS, shares_figure

LAYER = ("attention.norm", "attention.qkv", "attention.heads", "attention.out", "ffn.norm", "ffn.up", "ffn.down")


def made_run(name: str, operators: dict[str, int], scale: float = 1.0) -> Run:
    """A run of these operators and cycles; energy and bytes go with the cycles."""
    rows = range(len(operators))
    columns: dict[str, list[Any]] = {
        "operator": list(operators),
        "cycles": list(operators.values()),
        "energy_pj": [scale * 1e3 * cycles for cycles in operators.values()],
        "dram_read_bytes": [2 * cycles for cycles in operators.values()],
        "dram_write_bytes": list(operators.values()),
        "critical_unit": [f"unit{row}" for row in rows],
        "bound_by": [f"cause{row}" for row in rows],
    }
    cycles, energy = sum(columns["cycles"]), math.fsum(columns["energy_pj"])
    summary = {"arch": "chip", "trace": "work", "technology": "45nm", "cycles": cycles, "seconds": 1e-9 * cycles}
    return Run(name, columns, summary | {"energy_pj": energy})


def transformer(name: str = "dense", layers: int = 3, factor: int = 1, extra: int = 0) -> Run:
    operators = {"embedding": 50}
    for layer in range(layers):
        operators |= {f"layers.{layer}.{part}": 100 * (i + 1) * factor + layer for i, part in enumerate(LAYER)}
    return made_run(name, operators | {f"head.part{i}": 10 + i for i in range(extra)})


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    trace = load_trace("digits_cnn")
    return {
        "32": simulate(trace, load_arch("escalate")),
        "8": simulate(trace, load_arch("escalate", {"array.blocks": "8"})),
    }


@pytest.fixture(scope="module")
def folders(results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders; not to be written to."""
    parent = tmp_path_factory.mktemp("runs")
    for name, result in results.items():
        write_run(result, parent / name)
    return [parent / name for name in results]


def test_a_family_is_a_name_without_its_numbers() -> None:
    names = ["stem", "layers.0.ffn.up", "layers.11.ffn.up", "layers.1.conv2.3", "7", "0.5", "a.b1"]
    expected = ["stem", "layers.ffn.up", "layers.ffn.up", "layers.conv2", "7", "0.5", "a.b1"]
    assert family_names(names) == dict(zip(names, expected, strict=True))


def test_a_first_part_that_all_share_says_nothing() -> None:
    assert set(family_names(["layers.0.ffn.up", "layers.0.attention.qkv"]).values()) == {"ffn.up", "attention.qkv"}
    assert set(family_names(["layers.0", "layers.0.up"]).values()) == {"layers", "layers.up"}
    assert family_names([]) == {}


@given(st.lists(st.lists(st.sampled_from(["0", "12", "a", "b", "c"]), min_size=1, max_size=4).map(".".join)))
def test_operators_of_one_family_differ_in_numbers_only(names: list[str]) -> None:
    found = family_names(names)
    for one, other in itertools.combinations(found, 2):
        words = [[part for part in name.split(".") if not part.isdecimal()] or [name] for name in (one, other)]
        assert (found[one] == found[other]) == (words[0] == words[1])


def test_the_longest_operator_says_what_limits_its_family() -> None:
    run = made_run("r", {"a.0": 3, "b": 50, "a.1": 9, "a.2": 9})
    found = families(run.operators, family_names(run.operators["operator"]))
    assert list(found) == ["a", "b"]
    a = found["a"]
    assert (a.operators, a.cycles, a.energy_pj, a.dram_bytes) == (3, 21, 21e3, 63)
    assert (a.longest, a.critical_unit, a.bound_by) == ("a.1", "unit2", "cause2")


@pytest.mark.parametrize("name", ["32", "8"])
def test_families_add_up_to_the_run(results: dict[str, Result], name: str) -> None:
    result = results[name]
    (found,) = shares([Run.of(result, name)])
    assert sum(family.cycles for family in found.families.values()) == found.cycles == result.summary["cycles"]
    assert found.energy_pj == result.summary["energy_pj"]
    dram = result.summary["dram"]
    assert found.dram_bytes == dram["read_bytes"] + dram["write_bytes"]
    assert sum(family.operators for family in found.families.values()) == len(result.operators)
    for quantity in ("cycles", "energy_pj", "dram_bytes"):
        assert math.fsum(found.share(quantity, family) for family in found.families) == pytest.approx(1, rel=1e-12)


def test_a_folder_says_what_the_result_says(results: dict[str, Result], folders: list[Path]) -> None:
    read = shares_document(shares(read_runs(folders)))
    assert read == shares_document(shares([Run.of(result, name) for name, result in results.items()]))
    assert [run["run"] for run in read["runs"]] == ["32", "8"]


def test_ratios_are_to_the_first_run() -> None:
    dense, half = shares([transformer(), transformer("twice", factor=2, extra=1)])
    heads = "layers.attention.heads"
    assert half.ratio(dense, "cycles", heads) == (3 * 600 + 3) / (3 * 300 + 3)
    assert half.ratio(dense, "cycles") == half.cycles / dense.cycles
    assert dense.ratio(dense, "energy_pj") == 1
    assert half.ratio(dense, "cycles", "head.part0") is None  # the first run has none
    assert dense.ratio(half, "cycles", "head.part0") == 0
    assert all_families([dense, half])[-1] == "head.part0"


def test_nothing_has_no_share() -> None:
    run = made_run("free", {"a": 5, "b": 6}, scale=0)
    (found,) = shares([run])
    assert found.share("energy_pj", "a") == 0
    assert found.ratio(found, "energy_pj") is None
    FigureCanvasAgg(shares_figure([found])).draw()


def test_runs_are_called_by_folders_or_by_paths_where_these_are_the_same(folders: list[Path]) -> None:
    assert [run.name for run in read_runs([folders[0], folders[1], folders[0]])] == [
        str(folders[0]),
        "8",
        str(folders[0]),
    ]


@pytest.mark.parametrize(("count", "extra"), [(1, 0), (2, 3), (6, 20)])
def test_nothing_overlaps_or_leaves_the_page(count: int, extra: int) -> None:
    runs = shares([transformer(f"run {'long ' * i}{i}", factor=i + 1, extra=extra) for i in range(count)])
    figure = shares_figure(runs)
    FigureCanvasAgg(figure).draw()
    page, legend = figure.bbox, figure.legends[0].get_window_extent()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    title = figure.texts[0].get_window_extent()
    heights = [(title.y0, title.y1), *((box.y0, box.y1) for box in boxes), (legend.y0, legend.y1)]
    assert all(above[0] >= below[1] for above, below in itertools.pairwise(heights))
    assert heights[0][1] <= page.y1
    assert heights[-1][0] >= 0
    assert min(legend.x0, *(box.x0 for box in boxes)) >= 0
    assert max(legend.x1, *(box.x1 for box in boxes)) <= page.x1
    for axes in figure.axes:
        bars = [bar.get_window_extent() for container in axes.containers for bar in container]
        written = [text for text in axes.texts if text.get_text() and text.get_ha() == "center"]
        assert written
        for text in written:
            box = text.get_window_extent()
            assert any(bar.x0 <= box.x0 and box.x1 <= bar.x1 and bar.y0 <= box.y0 <= box.y1 <= bar.y1 for bar in bars)


def test_bars_are_the_families() -> None:
    runs = shares([transformer(extra=4), transformer("twice", factor=2, extra=4)])
    figure = shares_figure(runs)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-1] == OTHERS
    assert len(set(legend)) == 10
    for axes, quantity, unit in zip(figure.axes, ("cycles", "energy_pj"), (1, 1e6), strict=True):
        for row, run in enumerate(runs):
            widths = dict(zip(legend, (container[row].get_width() for container in axes.containers), strict=True))
            assert sum(widths.values()) == pytest.approx(run.taken(quantity) / unit)
            for name in legend[:-1]:
                assert widths[name] == pytest.approx(run.taken(quantity, name) / unit)
    colours = {container[0].get_facecolor() for container in figure.axes[0].containers}
    assert len(colours) == len(legend)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_runs_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in "ab":
        save_figure(shares_figure(shares([transformer("$a_{$")])), tmp_path / name, suffix)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


def test_the_command_prints_one_run_in_a_table(folders: list[Path], results: dict[str, Result]) -> None:
    output = CliRunner().invoke(main, ["shares", str(folders[0])]).stdout
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    result = results["32"]
    for operator in result.operators:
        share = f"{operator.cycles / result.cycles:.1%}"
        assert lines[operator.name][1:4] == ["1", f"{operator.cycles:,}", share]
        assert lines[operator.name][-2:] == [operator.critical, operator.bound[1]]
    assert lines["total"][1:3] == [str(len(result.operators)), f"{result.cycles:,}"]


def test_the_command_puts_runs_side_by_side(folders: list[Path], results: dict[str, Result], tmp_path: Path) -> None:
    figure = tmp_path / "shares.svg"
    done = CliRunner().invoke(main, ["shares", *map(str, folders), "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    few, many = results["8"].cycles, results["32"].cycles
    (total, *_) = [line.split() for line in done.stdout.splitlines() if line.startswith("total")]
    assert total == ["total", "8", f"{many:,}", f"{few:,}", f"{few / many:.3f}"]
    drawn = figure.read_text("utf-8")
    assert all(text in drawn for text in ("conv2", "linear", "cycles", "energy", f"({few / many:.3g}×)"))
    assert [file.name for file in tmp_path.iterdir()] == ["shares.svg"]


def test_the_command_prints_json(folders: list[Path]) -> None:
    done = CliRunner().invoke(main, ["shares", *map(str, folders), "--json"])
    assert json.loads(done.stdout) == {"schema_version": 1, **shares_document(shares(read_runs(folders)))}


def test_what_the_page_shows_runs(results: dict[str, Result], capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/results.md", "exec"), {"result": results["32"]})
    assert capsys.readouterr().out == f"{results['32'].operators[2].cycles / results['32'].cycles} broadcast\n"
