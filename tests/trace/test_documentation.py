"""What docs/traces.md shows is true."""

import json
import re
from pathlib import Path

from simulator.trace import OPERATORS, load_trace
from simulator.trace.operator import build
from simulator.trace.tensor import DensityTensor

PAGE = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL).group(1)


def test_a_trace_in_ten_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    namespace = {}
    exec(compile(code, "docs/traces.md", "exec"), namespace)
    trace = load_trace("tiny.safetensors")
    assert [operator.name for operator in trace.operators] == ["conv1", "conv2"]
    assert trace.operators[0].output is trace.operators[1].input
    assert trace.operators[0].digest == namespace["conv1"].digest


def test_the_header_shown_is_one():
    header = json.loads(block("json"))
    assert (header["format"], header["version"]) == ("skipper-trace", 1)
    for entry in header["operators"]:
        tensors = {
            role: DensityTensor(header["tensors"][name]["shape"], 0.5, 0) for role, name in entry["tensors"].items()
        }
        operator = build(entry["type"], entry["name"], tensors, entry["attributes"])
        assert json.loads(json.dumps(operator.attributes)) == entry["attributes"]


def test_all_operators_are_described():
    for name, kind in OPERATORS.items():
        assert f"| `{name}` | `{kind.__name__}` |" in PAGE
