"""`skipper extract FILE.onnx`; whatever it cannot use ends in one sentence and status 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.errors import InputError
from simulator.extract import capture_onnx
from simulator.trace import load_trace
from tests.extract.onnx_graphs import FLOAT, INT64, built, helper, node, normal, onnx

IMAGES = {"x": ["N", 3, 8, 8]}


def cnn(**more: object) -> Path:
    nodes = [node("Conv", "x w", "h"), node("Relu", "h", "r"), node("Flatten", "r", "f"), node("MatMul", "f v")]
    weights = {"w": normal(4, 3, 3, 3), "v": normal(144, 5)}
    return built(Path("cnn.onnx"), nodes, IMAGES, weights, **more)


def skipper(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["extract", *arguments, "-o", "out.safetensors"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_becomes_a_trace(desk):
    cnn()
    code, out, err = skipper("cnn.onnx", "--input", "x=2x3x8x8", "--bits", "6")
    assert code == 0, err
    assert "100.0000% of the MACs" in out
    trace = load_trace("out.safetensors")
    assert [each.type for each in trace.operators] == ["conv2d", "linear"]
    assert trace.operators[0].tensors["output"] is not None
    assert trace.provenance["model"] == "cnn.onnx, opset 20"
    assert "onnxruntime" in trace.provenance["extracted with"]


def written(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def small(op: str, size: list[object] | None = None, **attributes: object) -> str:
    return str(built(Path("m.onnx"), [node(op, "x w", **attributes)], {"x": size or [2, 4]}, {"w": normal(4, 4)}))


def beside(change: Callable[[Path], object]) -> str:
    path = cnn(save_as_external_data=True, location="cnn.data", size_threshold=0)
    change(Path("cnn.data"))
    return str(path)


def of_opset(version: int) -> str:
    path = cnn()
    model = onnx.load(str(path))
    model.opset_import[0].version = version
    onnx.save(model, str(path))
    return str(path)


def broken(change: Callable[[object], object]) -> str:
    path = cnn()
    model = onnx.load(str(path))
    change(model)
    onnx.save(model, str(path))
    return str(path)


def custom() -> str:
    graph = helper.make_graph(
        [helper.make_node("Mystery", ["x"], ["y"], domain="com.example")], "g",
        [helper.make_tensor_value_info("x", FLOAT, [2, 4])], [helper.make_tensor_value_info("y", FLOAT, [2, 4])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), "custom.onnx")
    return "custom.onnx"


def saved(array: np.ndarray) -> str:
    np.save("in.npy", array)
    return "in.npy"


def words() -> str:
    weights = {"t": normal(9, 4), "w": normal(4, 4)}
    nodes = [node("Gather", "t x", "h"), node("MatMul", "h w")]
    return str(built(Path("words.onnx"), nodes, {"x": (INT64, [1, 3])}, weights))


def large(name: str) -> str:
    with Path(name).open("wb") as file:
        file.truncate(2**31)  # a hole
    return name


def of_type(kind: int) -> str:
    small("MatMul")
    model = onnx.load("m.onnx")
    for info in (model.graph.input[0], model.graph.output[0]):
        info.type.tensor_type.elem_type = kind
    weight = helper.make_tensor("w", kind, (4, 4), np.ones(16).tolist())
    model.graph.initializer[0].CopyFrom(weight)
    onnx.save(model, "m.onnx")
    return "m.onnx"


CASES: dict[str, tuple[Callable[[], tuple[str, ...]], tuple[str, ...]]] = {
    "no such file": (lambda: ("absent.onnx", "--input", "1x3"), ("absent.onnx", "no such file")),
    "no model": (lambda: (written("m.onnx", b"hello world"), "--input", "1x3"), ("m.onnx", "not an ONNX file")),
    "an empty file": (lambda: (written("m.onnx", b""), "--input", "1x3"), ("m.onnx", "not an ONNX file")),
    "a file cut short": (
        lambda: (written("m.onnx", cnn().read_bytes()[:400]), "--input", "1x3x8x8"), ("m.onnx", "ONNX"),
    ),
    "data missing": (lambda: (beside(Path.unlink), "--input", "1x3x8x8"), ("'w'", "missing", "cnn.data")),
    "data cut short": (
        lambda: (beside(lambda path: path.write_bytes(b"1234")), "--input", "1x3x8x8"), ("'w'", "cut short"),
    ),
    "too old": (lambda: (of_opset(12), "--input", "1x3x8x8"), ("operator set 12", "13")),
    "too new": (lambda: (of_opset(999), "--input", "1x3x8x8"), ("operator set 999", "newer", "onnx")),
    "a graph with a gap": (
        lambda: (broken(lambda model: model.graph.node.pop(1)), "--input", "1x3x8x8"), ("rules of ONNX",),
    ),
    "too large a weight": (
        lambda: (broken(lambda model: model.graph.initializer[0].dims.append(2**31)), "--input", "1x3x8x8"), ("2^31",),
    ),
    "no nodes": (
        lambda: (broken(lambda model: model.graph.ClearField("node")), "--input", "1x3x8x8"), ("without any operator",),
    ),
    "a shape that does not fit": (lambda: (str(cnn()), "--input", "1x4x8x8"), ("(1, 4, 8, 8)", "(Nx3x8x8:float32)")),
    "another number of axes": (lambda: (str(cnn()), "--input", "3x8x8"), ("(3, 8, 8)", "Nx3x8x8")),
    "another type": (lambda: (str(cnn()), "--input", "1x3x8x8:float64"), ("of float64", "float32")),
    "words for images": (lambda: (words(), "--input", "1x3"), ("'x'", "float32", "int64")),
    "words out of range": (lambda: (words(), "--input", "1x3:int64:1000"), ("onnxruntime cannot run Gather",)),
    "too many inputs": (
        lambda: (str(cnn()), "--input", "1x3x8x8", "--input", "1x2"), ("2 inputs are given", "the model has 1"),
    ),
    "an unknown name": (lambda: (str(cnn()), "--input", "images=1x3x8x8"), ("no input 'images'", "x")),
    "a name twice": (lambda: (str(cnn()), "--input", "1x3x8x8", "--input", "x=1x3x8x8"), ("given twice",)),
    "too large an input": (lambda: (str(cnn()), "--input", "1x3x100000x100000"), ("2^31",)),
    "an input that is not finite": (
        lambda: (str(cnn()), "--input", saved(np.full((1, 3, 8, 8), np.nan, np.float32))), ("192", "NaN"),
    ),
    "an input of complex numbers": (
        lambda: (str(cnn()), "--input", saved(np.ones((1, 3, 8, 8), complex))), ("complex128",),
    ),
    "too large a file": (lambda: (large("m.onnx"), "--input", "1x3"), ("2147483648 bytes", "external data")),
    "bfloat16": (lambda: (of_type(16), "--input", "2x4:bfloat16"), ("bfloat16", "cannot be drawn")),
    "weights of complex numbers": (
        lambda: (of_type(14), "--input", saved(np.ones((2, 4), np.complex64))), ("complex64", "real numbers"),
    ),
    "weights that are not finite": (
        lambda: (broken(lambda m: m.graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(np.full((4, 3, 3, 3), np.inf, np.float32), "w"))), "--input", "1x3x8x8"),
        ("its weight", "108 of 108 elements", "infinite"),
    ),
    "an unknown operator": (lambda: (custom(), "--input", "2x4"), ("com.example::Mystery", "onnxruntime cannot run")),
    "no product": (lambda: (small("Add", [4, 4]), "--input", "4x4"), ("no operator with multiply-accumulates",)),
    "sizes that do not fit each other": (
        lambda: (small("MatMul", ["a", "b"]), "--input", "2x3"), ("onnxruntime cannot run MatMul", "(2, 3)"),
    ),
    "weights beside it": (lambda: (str(cnn()), "--input", "1x3x8x8", "--weights", "w.pt"), ("--weights", "its own")),
    "bits": (lambda: (str(cnn()), "--input", "1x3x8x8", "--bits", "40"), ("bits", "at most 16")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input(desk, name):
    arguments, expected = CASES[name][0](), CASES[name][1]
    code, out, err = skipper(*arguments)
    assert code == 2, out + err
    assert out == ""
    (line,) = err.strip().splitlines()
    assert line.startswith("skipper: ")
    for word in expected:
        assert word in line
    assert not Path("out.safetensors").exists()


def test_an_input_that_is_missing(desk):
    with pytest.raises(InputError, match=r"'x' \(Nx3x8x8:float32\) is missing; N may be any number: give a shape"):
        capture_onnx(cnn(), {})


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_without_onnx(desk, monkeypatch, module):
    cnn()
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = skipper("cnn.onnx", "--input", "1x3x8x8")
    assert code == 2
    assert f"{module} is not installed: pip install 'skipper-simulator[onnx]'" in err


def test_pytorch_is_not_needed(desk):
    cnn()
    code = (
        "import sys; sys.modules['torch'] = None; from simulator.cli import main; "
        "main(['extract', 'cnn.onnx', '--input', '1x3x8x8', '-o', 'out.safetensors'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
