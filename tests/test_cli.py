"""The command, as a user meets it."""

from __future__ import annotations

import csv
import importlib.resources
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from simulator import __version__, load_arch, load_trace, simulate
from simulator.cli import main
from simulator.program import STATES
from simulator.trace import list_traces

FILES = {
    "summary.json", "config.yaml", "cycles.svg",
    "operators.parquet", "actions.parquet", "units.parquet", "streams.parquet",
    "memory_stalls.parquet", "traffic.parquet",
}  # fmt: skip


def skipper(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def finished(small_trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    skipper("run", "escalate", small_trace, "--out", folder)
    return folder


@pytest.fixture
def summary(finished: Path) -> dict:
    return json.loads((finished / "summary.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_run_folder_holds_these_files(finished: Path) -> None:
    assert set(contents(finished)) == FILES
    assert [file.name for file in finished.parent.iterdir()] == ["run"]


def test_summary_holds_what_is_promised(summary: dict) -> None:
    assert summary["schema_version"] == 1
    assert (summary["arch"], summary["trace"], summary["verified"]) == ("escalate", "small", None)
    assert set(summary["macs"]) == {"dense", "effectual", "performed"}
    assert set(summary["dram"]) == {
        "read_bytes", "write_bytes", "bandwidth_gb_s", "peak_gb_s", "bus_bytes", "memory",
        "stall_cycles", "stall_cycles_by_stream", "stall_cycles_by_cause",
    }  # fmt: skip
    assert set(summary["bound"]) == {"cycles", "by"}
    assert set(summary["stalls"]) == {"busy", "starved", "blocked", "imbalance", "fill_drain"}
    assert set(summary["digests"]) == {"trace", "config", "version"}
    assert {"cycles", "seconds", "energy_pj", "energy_by_component_pj", "area_mm2", "utilization"} <= set(summary)


def test_summary_adds_up(summary: dict) -> None:
    assert sum(summary["stalls"].values()) == summary["cycles"]
    assert sum(summary["energy_by_component_pj"].values()) == summary["energy_pj"] > 0
    assert summary["seconds"] == summary["cycles"] / 800e6
    assert 0 < summary["bound"]["cycles"] <= summary["cycles"]
    assert 0 < summary["utilization"] <= 1
    moved = summary["dram"]["read_bytes"] + summary["dram"]["write_bytes"]
    assert summary["dram"]["bandwidth_gb_s"] == pytest.approx(moved / summary["seconds"] / 1e9)
    assert summary["macs"]["effectual"] <= summary["macs"]["performed"]


def test_operators_add_up_to_the_summary(finished: Path, summary: dict) -> None:
    table = pd.read_parquet(finished / "operators.parquet")
    assert list(table["operator"]) == ["first", "decomposed", "depthwise", "pointwise", "linear"]
    for column, total in (
        ("cycles", summary["cycles"]),
        ("macs_dense", summary["macs"]["dense"]),
        ("macs_effectual", summary["macs"]["effectual"]),
        ("macs_performed", summary["macs"]["performed"]),
        ("dram_read_bytes", summary["dram"]["read_bytes"]),
        ("dram_write_bytes", summary["dram"]["write_bytes"]),
        ("bound_cycles", summary["bound"]["cycles"]),
        *summary["stalls"].items(),
    ):
        assert table[column].dtype == "int64", column
        assert table[column].sum() == total, column
    assert table["energy_pj"].sum() == pytest.approx(summary["energy_pj"], rel=1e-12)
    assert table["seconds"].sum() == pytest.approx(summary["seconds"], rel=1e-12)
    assert (table[list(summary["stalls"])].sum(axis=1) == table["cycles"]).all()
    assert table["verified"].isna().all()


def test_the_other_tables_agree_with_the_operators(finished: Path) -> None:
    operators = pd.read_parquet(finished / "operators.parquet").set_index("operator")
    units = pd.read_parquet(finished / "units.parquet")
    assert (units[list(STATES)].sum(axis=1) == units["instances"] * units["operator"].map(operators["cycles"])).all()
    streams = pd.read_parquet(finished / "streams.parquet")
    for direction in ("read", "write"):
        by_operator = streams[streams["direction"] == direction].groupby("operator")["bytes"].sum()
        assert by_operator.to_dict() == operators[f"dram_{direction}_bytes"].to_dict()
    actions = pd.read_parquet(finished / "actions.parquet")
    assert actions["count"].dtype == "int64"
    assert actions["own_pj"].dtype == "float64"
    assert (actions["own_pj"].notna() == (actions["component"] == "dram")).all()


def test_memory_tables_agree_with_the_operators(finished: Path, summary: dict) -> None:
    operators = pd.read_parquet(finished / "operators.parquet").set_index("operator")
    stalls = pd.read_parquet(finished / "memory_stalls.parquet")
    assert stalls["cycles"].dtype == "int64"
    assert set(stalls["cause"]) == {"bandwidth", "latency"}
    waited = stalls.groupby("operator")["cycles"].sum()
    assert waited.to_dict() == operators["memory_stall_cycles"].to_dict()
    assert waited.sum() == summary["dram"]["stall_cycles"]
    traffic = pd.read_parquet(finished / "traffic.parquet")
    assert (traffic["start_cycle"].iloc[1:].to_numpy() == traffic["end_cycle"].iloc[:-1].to_numpy()).all()
    assert traffic["end_cycle"].iloc[-1] == summary["cycles"]
    for way in ("read", "write"):
        moved = traffic.groupby("operator")[f"{way}_bytes"].sum()
        assert moved.to_dict() == operators[f"dram_{way}_bytes"].to_dict()
    assert traffic["gb_s"].max() <= summary["dram"]["peak_gb_s"] * (1 + 1e-12)


@pytest.fixture(scope="module")
def detailed(small_trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a DRAM command by command; not to be written to."""
    folder = tmp_path_factory.mktemp("detailed") / "run"
    text = skipper("run", "escalate", small_trace, "--memory", "detailed", "--out", folder).output
    assert "ddr4_3200: " in text
    assert "row hits" in text
    return folder


def test_a_detailed_run_says_what_the_dram_did(detailed: Path, finished: Path, summary: dict) -> None:
    assert set(contents(detailed)) == {*FILES, "memory.yaml"}
    said = json.loads((detailed / "summary.json").read_text())
    assert said["dram"]["memory"] == "ddr4_3200"
    assert said["digests"]["config"] == summary["digests"]["config"]
    assert len(said["digests"]["memory"]) == 64
    for way in ("read_bytes", "write_bytes"):
        assert said["dram"][way] == summary["dram"][way]
    assert set(said["dram"]["commands"]) == {"activates", "reads", "writes", "precharges", "refreshes"}
    assert 0 < said["dram"]["queueing_ns"] < said["dram"]["read_latency_ns"]
    operators = pd.read_parquet(detailed / "operators.parquet")
    assert operators["dram_row_hit_rate"].between(0, 1).all()
    assert operators["dram_refreshes"].sum() == said["dram"]["commands"]["refreshes"]
    assert "conflicts" in set(pd.read_parquet(detailed / "memory_stalls.parquet")["cause"])
    actions = pd.read_parquet(detailed / "actions.parquet")
    dram = actions[actions["component"] == "dram"]
    assert set(dram["action"]) == {"activate", "read", "write", "refresh", "active standby", "idle standby"}
    counted = dram.groupby("action")["count"].sum()
    assert counted["activate"] == said["dram"]["commands"]["activates"]
    priced = (dram["count"] * dram["own_pj"]).sum()
    assert priced == pytest.approx(said["energy_by_component_pj"]["dram"], rel=1e-12)


def test_every_interval_of_traffic_has_a_length(small_trace: Path) -> None:
    """Whatever the clocks: edges that fall together within rounding are one."""
    for clock in range(1900, 2100, 5):
        machine = load_arch("escalate", {"clock": f"{clock} MHz"})
        table = simulate(load_trace(small_trace), machine, memory="lpddr5_6400").traffic
        assert all(start < end for start, end in zip(table["start_cycle"], table["end_cycle"], strict=True))


def test_the_memory_of_a_run_can_be_used_again(detailed: Path, small_trace: Path, tmp_path: Path) -> None:
    skipper(
        "run", detailed / "config.yaml", small_trace, "--memory", detailed / "memory.yaml", "--out", tmp_path / "again"
    )
    again, first = (json.loads((folder / "summary.json").read_text()) for folder in (tmp_path / "again", detailed))
    assert again == first


def test_memories_have_runs_of_their_own(small_trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for memory in ("simple", "detailed", "lpddr5_6400"):
        skipper("run", "escalate", small_trace, "--memory", memory)
    found = {folder.name for folder in (tmp_path / "runs").iterdir()}
    assert found == {"escalate-small", "escalate-small-ddr4_3200", "escalate-small-lpddr5_6400"}
    # without currents its energy is that of the chip's channel, by the bit
    actions = pd.read_parquet(tmp_path / "runs" / "escalate-small-lpddr5_6400" / "actions.parquet")
    assert set(actions[actions["component"] == "dram"]["kind"]) == {"dram_bit"}


def test_memories_are_shown_and_listed() -> None:
    assert "timing.tFAW" in skipper("show", "dota", "--memory", "detailed").output
    assert "hbm3_6400" in skipper("list").output


def test_the_same_command_gives_the_same_bytes_in_another_process(
    finished: Path, small_trace: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "simulator", "run", "escalate", str(small_trace), "--out", str(tmp_path / "again")]
    subprocess.run(command, check=True, capture_output=True)
    assert contents(tmp_path / "again") == contents(finished)


def test_a_run_goes_into_the_folder_of_the_same_run(finished: Path, small_trace: Path, tmp_path: Path) -> None:
    for _ in range(2):
        skipper("run", "escalate", small_trace, "--out", tmp_path / "run")
    assert contents(tmp_path / "run") == contents(finished)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_force_replaces_another_run(finished: Path, small_trace: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    skipper("run", "escalate", small_trace, *out, "--set", "array.blocks=4")
    assert "another run" in skipper("run", "escalate", small_trace, *out, status=2).stderr
    skipper("run", "escalate", small_trace, *out, "--force")
    assert contents(tmp_path / "run") == contents(finished)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_check_is_not_lost_without_force(finished: Path, small_trace: Path, tmp_path: Path) -> None:
    command = ("run", "escalate", small_trace, "--out", tmp_path / "run")
    skipper(*command)
    for _ in range(2):  # a check says more than what is there, or the same
        skipper(*command, "--check")
    checked = contents(tmp_path / "run")
    assert "--force to replace it unchecked" in skipper(*command, status=2).stderr
    assert contents(tmp_path / "run") == checked
    skipper(*command, "--force")
    assert contents(tmp_path / "run") == contents(finished)


def test_force_deletes_nothing_that_is_not_of_a_run(small_trace: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years of work")
    stderr = skipper("run", "escalate", small_trace, "--out", tmp_path, "--force", status=2).stderr
    assert "thesis.tex" in stderr
    assert thesis.read_text() == "years of work"


def test_results_go_under_runs_by_default(small_trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = skipper("run", "escalate", small_trace).stdout
    assert set(contents(tmp_path / "runs" / "escalate-small")) == FILES
    assert "results in runs/escalate-small" in output


def test_the_resolved_configuration_runs_again(small_trace: Path, tmp_path: Path) -> None:
    setting = ("--set", "activation_buffer.size=128 KiB", "--set", "array.slices_own=rows")
    skipper("run", "escalate", small_trace, "--out", tmp_path / "a", *setting)
    skipper("run", tmp_path / "a" / "config.yaml", small_trace, "--out", tmp_path / "b")
    a, b = (json.loads((tmp_path / run / "summary.json").read_text()) for run in "ab")
    assert a["arch"] == "escalate"
    assert a == b
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_set_changes_the_result(summary: dict, small_trace: Path, tmp_path: Path) -> None:
    output = skipper(
        "run", "escalate", small_trace, "--out", tmp_path / "r", "--json", "--set", "dram.bandwidth=1 GB/s"
    )
    slow = json.loads(output.stdout)
    assert slow == json.loads((tmp_path / "r" / "summary.json").read_text())
    assert slow["cycles"] > summary["cycles"]
    assert slow["digests"]["config"] != summary["digests"]["config"]
    assert slow["digests"]["trace"] == summary["digests"]["trace"]


@pytest.mark.parametrize("trace", ["digits_cnn", None])
def test_check_verifies_every_value(trace: str | None, small_trace: Path, tmp_path: Path) -> None:
    if trace is not None and trace not in list_traces():
        pytest.skip(f"the trace {trace} is not shipped here")
    skipper("run", "escalate", trace or small_trace, "--check", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verified"] is True
    table = pd.read_parquet(tmp_path / "run" / "operators.parquet")
    assert table["verified"].dtype == "bool"
    assert table["verified"].all()


def test_a_table_in_a_pipe_cuts_nothing_short(small_trace: Path, tmp_path: Path) -> None:
    output = skipper("run", "escalate", small_trace, "--out", tmp_path / "run", "--check").stdout
    table = output.splitlines()[:7]
    assert all(len(line) <= 140 for line in table)
    operators = pd.read_parquet(tmp_path / "run" / "operators.parquet")
    for line, (_, operator) in zip(table[2:], operators.iterrows(), strict=True):
        assert line.split()[:3] == [operator["operator"], f"{operator['cycles']:,}", f"{operator['bound_cycles']:,}"]
        assert line.split()[-2:] == [operator["mapping"], "yes"]


def test_the_figure_is_drawing_and_text(finished: Path) -> None:
    figure = (finished / "cycles.svg").read_text()
    assert "<svg" in figure
    for text in ("small on escalate", "decomposed", "bound", "starved", "blocked", "imbalance", "fill and drain"):
        assert text in figure, text
    assert "<dc:date>" not in figure


def test_a_timeline_is_written_beside_the_run(small_trace: Path, tmp_path: Path) -> None:
    skipper("run", "escalate", small_trace, "--out", tmp_path / "run", "--timeline", tmp_path / "timeline.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "timeline.json"]
    assert json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]


def test_odd_names_are_names_and_neither_paths_nor_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.trace import Conv2d, DensityTensor, Trace, save_trace

    odd = Conv2d(r"[/b] $\x$ :smile:", DensityTensor((1, 2, 4, 4), 0.5, 0), weight=DensityTensor((2, 2, 3, 3), 1, 1))
    monkeypatch.chdir(tmp_path)
    save_trace(Trace("../../$a$", (odd,)), tmp_path / "odd.safetensors")
    assert r"[/b] $\x$ :smile:" in skipper("run", "escalate", "odd.safetensors").stdout
    assert r"[/b] $\x$ :smile:" in skipper("inspect", "odd.safetensors").stdout
    assert [run.parent.name for run in tmp_path.rglob("summary.json")] == ["escalate-.._.._a_"]


def test_no_pandas_is_imported_by_a_run(small_trace: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from simulator.cli import main\n"
        f"main(['run', 'escalate', {str(small_trace)!r}, '--out', {str(tmp_path / 'run')!r},"
        f" '--timeline', {str(tmp_path / 't.json')!r}], standalone_mode=False)\n"
        "sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_library_is_imported_by_those_who_need_it(finished: Path) -> None:
    for arguments, absent in (
        (["--help"], ("pandas", "matplotlib", "pyarrow", "numpy", "rich")),
        (["shares", str(finished)], ("pandas", "matplotlib", "simpy", "numba")),
    ):
        code = (
            "import sys; from simulator.cli import main\n"
            f"main({arguments!r}, standalone_mode=False)\n"
            f"sys.exit(sorted({{*{absent!r}}} & {{*sys.modules}}) or 0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


class TestPrice:
    @pytest.fixture
    def doubled(self, tmp_path: Path) -> Path:
        source = (
            importlib.resources.files("simulator.arch_configs").joinpath("technology", "45nm.csv").read_text("utf-8")
        )
        rows = list(csv.DictReader(source.splitlines()))
        with (tmp_path / "doubled.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(row | {"energy_pj": 2 * float(row["energy_pj"])} for row in rows)
        return tmp_path / "doubled.csv"

    def test_same_table_same_price(self, finished: Path, summary: dict) -> None:
        priced = json.loads(skipper("price", finished, "--technology", "45nm", "--json").stdout)
        assert priced["energy_pj"] == summary["energy_pj"]
        assert priced["energy_by_component_pj"] == summary["energy_by_component_pj"]

    def test_doubled_table_doubled_price_on_chip_and_nothing_simulated(
        self, finished: Path, summary: dict, doubled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("simulator.simulation.simulate", None)
        before = contents(finished)
        priced = json.loads(skipper("price", finished, "--technology", doubled, "--json").stdout)
        expected = {
            component: energy if component == "dram" else 2 * energy
            for component, energy in summary["energy_by_component_pj"].items()
        }
        assert priced["energy_by_component_pj"] == expected
        assert contents(finished) == before

    def test_a_run_with_that_table_costs_the_same(
        self, finished: Path, doubled: Path, small_trace: Path, tmp_path: Path
    ) -> None:
        priced = json.loads(skipper("price", finished, "--technology", doubled, "--json").stdout)
        command = (
            "run",
            "escalate",
            small_trace,
            "--out",
            tmp_path / "run",
            "--json",
            "--set",
            f"technology={doubled}",
        )
        assert json.loads(skipper(*command).stdout)["energy_pj"] == priced["energy_pj"]

    def test_prints_a_line(self, finished: Path) -> None:
        assert "energy (45nm): " in skipper("price", finished, "--technology", "45nm").stdout


def test_show_names_every_parameter_and_its_source() -> None:
    from simulator.arch import read_config

    output = skipper("show", "escalate", "--set", "array.blocks=16").stdout
    for key in read_config("escalate").provenance:
        assert key in output
    line = next(line for line in output.splitlines() if line.strip().startswith("array.blocks"))
    assert line.split()[1:3] == ["16", "user"]


def test_list_names_what_is_shipped() -> None:
    words = skipper("list").stdout.split()
    assert {"escalate", "45nm", *list_traces()} <= set(words)


def test_inspect_shows_operators_and_provenance(small_trace: Path) -> None:
    output = skipper("inspect", small_trace).stdout
    for text in ("first", "decomposed", "depthwise", "pointwise", "linear", "24×16×4", "tests/conftest.py"):
        assert text in output


def test_convert_makes_a_trace_that_runs(small_trace: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "part.safetensors", tmp_path / "again.safetensors"
    how = ("--only", "d*", "--only", "point*", "--prune", "weight=0.25", "--prune", "de*.coefficients=0.2", "--per",
           "filter", "--name", "part")  # fmt: skip
    said = skipper("convert", small_trace, "-o", out, *how).stdout
    made = load_trace(out)
    assert said.startswith(f"{out}: part, 3 operators, {made.macs:,} MACs, digest {made.digest[:12]}")
    assert [operator.name for operator in made.operators] == ["decomposed", "depthwise", "pointwise"]
    assert (made.operators[0].coefficients.mask().sum(axis=(1, 2)) <= 13).all()
    assert made.provenance["convert 2"] == "select names d* point*"
    assert "already" in skipper("convert", small_trace, "-o", out, *how, status=2).stderr
    skipper("convert", small_trace, "-o", again, *how)
    assert out.read_bytes() == again.read_bytes()
    skipper("convert", small_trace, "-o", out, "--layers", "first", "--force")
    assert len(load_trace(out).operators) == 1
    skipper("run", "escalate", again, "--check", "--out", tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "part.safetensors", "run"]


def test_convert_merges_what_it_cut(small_trace: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"{place}.safetensors" for place in range(2)]
    for part, layers in zip(parts, (":2", "depthwise:linear"), strict=True):
        skipper("convert", small_trace, "-o", part, "--layers", layers)
    skipper("convert", *parts, "-o", tmp_path / "whole.safetensors")
    whole = load_trace(tmp_path / "whole.safetensors")
    assert [o.digest for o in whole.operators] == [o.digest for o in load_trace(small_trace).operators]
    skipper("convert", "digits_cnn", small_trace, "-o", tmp_path / "both.safetensors", "--name", "both")
    assert load_trace(tmp_path / "both.safetensors").name == "both"


def test_the_readme_works_as_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1]
    start, _, use = re.findall(r"```sh\n(.*?)```", (root / "README.md").read_text("utf-8"), re.DOTALL)
    for folder in ("traces", "sweeps"):
        (tmp_path / folder).symlink_to(root / folder)
    monkeypatch.chdir(tmp_path)
    assert ".venv/bin/skipper run" in start
    activate, *commands = use.splitlines()
    assert activate == "source .venv/bin/activate"
    for command in (start.rpartition("&& .venv/bin/")[2], *commands):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "skipper"
        skipper(*arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"traces", "sweeps", "runs"}  # and runs/ is ignored by git


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["result"].verified is True


def test_a_cache_keeps_matches_for_the_next_run(small_trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator import PlanCache, load_arch, load_trace, simulate
    from simulator.accelerators import accelerator

    model, matched = accelerator("escalate"), []
    match = model.match

    def counting(operator: Any, *rest: Any) -> Any:
        matched.append(operator.name)
        return match(operator, *rest)

    monkeypatch.setattr(model, "match", counting)
    trace, cache = load_trace(small_trace), PlanCache()
    alone = [simulate(trace, load_arch("escalate", {"dram.latency": latency})) for latency in ("1 ns", "1 us")]
    assert len(matched) == 2 * len(trace.operators)
    sweep = [simulate(trace, load_arch("escalate", {"dram.latency": ns}), cache=cache) for ns in ("1 ns", "1 us")]
    assert len(matched) == 3 * len(trace.operators)
    assert [result.summary for result in sweep] == [result.summary for result in alone]


@pytest.mark.parametrize("command", ["", "run", "show", "list", "inspect", "convert", "price", "shares", "kept"])
def test_help(command: str) -> None:
    output = skipper(*command.split(), "--help").stdout
    assert output.startswith("Usage: ")
    assert len(output.splitlines()) > 4


def test_version() -> None:
    assert skipper("--version").stdout == f"skipper, version {__version__}\n"
