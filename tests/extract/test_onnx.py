"""ONNX graphs: the same operators and masks as PyTorch gives, known graphs, quantised models."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.extract import Extraction, capture, capture_onnx, extract_onnx
from simulator.trace import Operator, ValueTensor, load_trace, save_trace
from tests.extract.onnx_graphs import FLOAT, INT64, RNG, built, helper, node, normal, onnx


def one(found: Extraction, kind: str = "") -> Operator:
    (operator,) = [each for each in found.trace.operators if kind in ("", each.type)]
    return operator


def real(tensor: ValueTensor) -> np.ndarray:
    return np.asarray(tensor.values()) * np.reshape(tensor.scale, (-1, *[1] * (len(tensor.shape) - 1)))


def left(found: Extraction) -> dict[str, Any]:
    return {each.op: each for each in found.not_captured}


# the same model from PyTorch


def require_same(a: Operator, b: Operator, names: bool) -> None:
    assert (a.type, a.attributes) == (b.type, b.attributes)
    assert not names or a.name == b.name
    assert list(a.tensors) == list(b.tensors)
    for role, tensor in a.tensors.items():
        other = b.tensors[role]
        assert (tensor.shape, tensor.bits, tensor.kind) == (other.shape, other.bits, other.kind), (a.name, role)
        assert (tensor.mask() == other.mask()).all(), (a.name, role)
        if isinstance(tensor, ValueTensor) and isinstance(other, ValueTensor):
            assert np.abs(tensor.values().astype(int) - other.values()).max() <= 1
            assert np.allclose(tensor.scale, other.scale, rtol=1e-4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The models, and a function that exports one."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'skipper-simulator[torch]'")
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    from tests.extract.onnx_models import examples

    models, folder = examples(), tmp_path_factory.mktemp("exported")

    def export(name: str, dynamo: bool, opset: int = 20) -> tuple[Any, Any, Path]:
        model, inputs = models[name]
        path = folder / f"{name}-{dynamo}-{opset}.onnx"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                logging.disable(logging.WARNING)
                try:
                    torch.onnx.export(model, inputs, str(path), dynamo=dynamo, verbose=False, opset_version=opset)
                finally:
                    logging.disable(logging.NOTSET)
        return model, inputs, path

    return export


EXPORTS = [(name, dynamo, 20) for name in ("convolutions", "perceptron", "gated", "transformer") for dynamo in (1, 0)]
OLDER_AND_NEWER = [("gated", 0, 13), ("gated", 1, 18), ("transformer", 0, 17), ("transformer", 1, 23)]


@pytest.mark.parametrize(("name", "dynamo", "opset"), EXPORTS + OLDER_AND_NEWER)
def test_as_from_pytorch(exported, name, dynamo, opset):
    model, inputs, path = exported(name, bool(dynamo), opset)
    expected = capture(model, inputs)
    found = capture_onnx(path, [tensor.numpy() for tensor in inputs])
    assert [each.type for each in found.trace.operators] == [each.type for each in expected.trace.operators]
    for a, b in zip(expected.trace.operators, found.trace.operators, strict=True):
        require_same(a, b, names=bool(dynamo))
    assert found.captured == expected.captured == 1


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
def test_quantised_by_onnxruntime(exported, tmp_path, form, kind):
    runtime = pytest.importorskip("onnxruntime")
    quantization = pytest.importorskip("onnxruntime.quantization")
    _, (images,), path = exported("convolutions", False)
    images, quantised = images.numpy(), tmp_path / "quantised.onnx"

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = [{onnx.load(str(path)).graph.input[0].name: images}]  # noqa: RUF012

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    type_ = getattr(quantization.QuantType, kind)
    logging.disable(logging.WARNING)
    if form == "dynamic":
        quantization.quantize_dynamic(str(path), str(quantised), weight_type=type_)
    else:
        quantization.quantize_static(
            str(path), str(quantised), Reader(), quant_format=quantization.QuantFormat[form], per_channel=True,
            activation_type=type_, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
    logging.disable(logging.NOTSET)
    try:
        runtime.InferenceSession(str(quantised))
    except runtime.capi.onnxruntime_pybind11_state.NotImplemented:
        pytest.skip(
            "this onnxruntime does not run what it quantises: 1.23, the last for Python 3.10, no signed weights"
        )
    expected, found = (
        [each for each in capture_onnx(model, images).trace.operators if each.macs] for model in (path, quantised)
    )
    assert [(each.type, each.attributes) for each in found] == [(each.type, each.attributes) for each in expected]
    for a, b in zip(expected, found, strict=True):
        for role in ("input", "weight"):
            plain, integers = real(a.tensors[role]), real(b.tensors[role])
            assert np.abs(plain - integers).max() <= 0.02 * np.abs(plain).max(), (a.name, role)
        assert b.tensors["input"].bits in (8, 9)
    assert found[0].tensors["input"].bits == 9  # a zero point in the middle of nowhere


# known graphs


def test_convolutions_and_padding_on_one_side(tmp_path):
    weights = {"w": normal(6, 2, 3, 3), "b": normal(6), "v": normal(4, 6, 3)}
    nodes = [
        node("Conv", "x w b", "h", group=2, strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Relu", "h", "r"),
        node("Reshape", "r s", "flat"),
        node("Conv", "flat v", pads=[1, 1], dilations=[1]),
    ]
    weights["s"] = np.array([1, 6, -1])
    found = capture_onnx(built(tmp_path / "m.onnx", nodes, {"x": [1, 4, 6, 6]}, weights), normal(1, 4, 6, 6))
    first, second = found.trace.operators
    assert (first.tensors["input"].shape, first.attributes["padding"]) == ((1, 4, 7, 7), (0, 0))
    assert (first.tensors["input"].values()[..., -1] == 0).all()
    assert first.attributes["groups"] == 2
    assert first.tensors["output"].density < 0.9
    assert (second.tensors["input"].shape, second.attributes["padding"]) == ((1, 6, 1, 9), (0, 1))


def test_zero_points_leave_zeros_zero(tmp_path):
    integers = np.array([[3, 7, 3, 250], [0, 3, 3, 3]], np.uint8)
    weights = {"w": RNG.integers(-8, 8, (4, 3)).astype(np.int8), "s": np.float32(0.5), "z": np.uint8(3),
               "t": np.array([0.1, 0.2, 0.3], np.float32)}  # fmt: skip
    nodes = [
        node("DequantizeLinear", "x s z", "a"),
        node("DequantizeLinear", "w t", "b", axis=1),
        node("MatMul", "a b"),
    ]
    path = built(tmp_path / "m.onnx", nodes, {"x": (onnx.TensorProto.UINT8, [2, 4])}, weights)
    linear = one(capture_onnx(path, integers))
    assert (linear.tensors["input"].values() == integers.astype(int) - 3).all()
    assert (linear.tensors["input"].scale, linear.tensors["input"].bits) == (0.5, 9)
    assert (linear.tensors["weight"].values() == weights["w"].T).all()
    assert np.allclose(linear.tensors["weight"].scale, [0.1, 0.2, 0.3])


def test_attention_of_opset_23(tmp_path):
    nodes = [node("Attention", "q k v", is_causal=1, q_num_heads=4, kv_num_heads=2)]
    inputs = {name: [2, 5, size] for name, size in (("q", 32), ("k", 16), ("v", 16))}
    arrays = [normal(*shape) for shape in inputs.values()]
    attention = one(capture_onnx(built(tmp_path / "m.onnx", nodes, inputs, {}, opset=23), arrays))
    assert (attention.type, attention.heads, attention.attributes["causal"]) == ("attention", 4, True)
    assert attention.tensors["key"].shape == (2, 2, 5, 8)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(tmp_path / "m.onnx"))
    expected = session.run(None, dict(zip(inputs, arrays, strict=True)))[0].reshape(2, 5, 4, 8).swapaxes(1, 2)
    result = np.array([[attention.reference_output(n, h) for h in range(4)] for n in range(2)])
    assert np.abs(result - expected).max() < 0.05


def test_bags_of_embeddings(tmp_path):
    nodes = [node("Gather", "t i", "rows"), node("ReduceSum", "rows axes", keepdims=0)]
    weights = {"t": normal(20, 8), "axes": np.array([1])}
    nodes = [*nodes[:1], node("ReduceSum", "rows axes", "bag", keepdims=0), node("MatMul", "bag w")]
    weights["w"] = normal(8, 3)
    indices = RNG.integers(-20, 20, (4, 5))
    bag = one(
        capture_onnx(built(tmp_path / "m.onnx", nodes, {"i": (INT64, [4, 5])}, weights), indices), "embedding_bag"
    )
    assert (bag.tensors["indices"].values() == indices.reshape(-1) % 20).all()
    assert (bag.tensors["lengths"].values() == 5).all()


def test_a_branch_that_depends_on_the_data(tmp_path):
    def branch(op: str) -> Any:
        return helper.make_graph([node(op, "h", "z")], op, [], [helper.make_tensor_value_info("z", FLOAT, [2, 3])])

    nodes = [
        node("MatMul", "x w", "h"),
        node("ReduceMax", "h", "m", keepdims=0),
        node("Greater", "m zero", "c"),
        node("If", "c", "y", then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    weights = {"w": normal(4, 3), "zero": np.float32(-100)}
    found = capture_onnx(built(tmp_path / "m.onnx", nodes, {"x": [2, 4]}, weights), normal(2, 4))
    assert found.trace.operators[0].type == "linear"
    assert len(found.data_dependent) == 1
    assert found.trace.provenance["data read"] == found.data_dependent[0]


def test_what_is_not_captured(tmp_path):
    nodes = [
        node("Conv", "x w", "h"),
        node("ConvTranspose", "h w", "u"),
        node("Sigmoid", "u", "s"),
        node("MaxPool", "s", "y", kernel_shape=[2, 2]),
    ]
    found = capture_onnx(
        built(tmp_path / "m.onnx", nodes, {"x": [1, 3, 6, 6]}, {"w": normal(4, 3, 3, 3)}), normal(1, 3, 6, 6)
    )
    assert left(found)["ConvTranspose"].macs == 4 * 4 * 4 * 3 * 9
    assert (left(found)["Sigmoid"].kind, left(found)["MaxPool"].macs) == ("elements", 0)
    assert found.captured == pytest.approx(0.5)


@pytest.mark.parametrize("cached", [0, 3])
@pytest.mark.parametrize("joined", [False, True])
def test_attention_with_keys_of_before(tmp_path, cached, joined):
    size = {"q": [2, 5, 32], "k": [2, 5, 16]} if joined else {"q": [2, 4, 5, 8], "k": [2, 2, 5, 8]}
    inputs = {**size, "v": size["k"], "pk": [2, 2, cached, 8], "pv": [2, 2, cached, 8]}
    heads = {"q_num_heads": 4, "kv_num_heads": 2} if joined else {}
    attend = helper.make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "ok", "ov"], is_causal=1, **heads)
    path = built(tmp_path / "m.onnx", [attend], inputs, {}, opset=23)
    arrays = [normal(*shape) for shape in inputs.values()]
    attention = one(capture_onnx(path, arrays))
    assert attention.tensors["key"].shape == attention.tensors["value"].shape == (2, 2, 5 + cached, 8)
    expected = pytest.importorskip("onnxruntime").InferenceSession(str(path)).run(
        ["y"], dict(zip(inputs, arrays, strict=True))
    )[0]  # fmt: skip
    expected = expected.reshape(2, 5, 4, 8).swapaxes(1, 2) if joined else expected
    result = np.array([[attention.reference_output(n, h) for h in range(4)] for n in range(2)])
    assert np.abs(result - expected).max() < 0.05


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
@pytest.mark.parametrize("block", [0, 8])
def test_four_bits(tmp_path, kind, block):
    words = RNG.integers(*((0, 16) if kind == "UINT4" else (-8, 8)), (32, 6))
    steps = np.abs(normal(4, 6) if block else normal(6)) + 0.1
    how = {"axis": 0, "block_size": 8} if block else {"axis": 1}
    nodes = [node("DequantizeLinear", "words steps", "w", **how), node("MatMul", "x w")]
    path = tmp_path / "m.onnx"
    built(path, nodes, {"x": [3, 32]}, {"steps": steps, "words": words.astype(np.int8)}, opset=21)
    model = onnx.load(str(path))
    model.ir_version = 10
    model.graph.initializer[1].CopyFrom(
        helper.make_tensor("words", getattr(onnx.TensorProto, kind), words.shape, words.reshape(-1).tolist())
    )
    onnx.save(model, str(path))
    weight = one(capture_onnx(path, normal(3, 32))).tensors["weight"]
    lost = real(weight).T - words * (np.repeat(steps, 8, 0) if block else steps)
    assert (np.abs(lost) <= 0.501 * np.asarray(weight.scale)).all()
    if not block:
        assert weight.bits == 4
        assert (words == weight.values().T).all()


def microsoft(op: str, inputs: str, **attributes: Any) -> Any:
    return node(op, inputs, "h", domain="com.microsoft", **attributes)


@pytest.mark.parametrize(
    ("fused", "size", "weights", "macs"),
    [
        (microsoft("Attention", "x a b", num_heads=4), [2, 6, 16], {"a": normal(16, 48), "b": normal(48)}, None),
        (microsoft("MultiHeadAttention", "x x x", num_heads=4), [2, 6, 16], {}, None),
        (microsoft("FusedMatMul", "x a", alpha=0.5), [2, 6, 16], {"a": normal(16, 16)}, 2 * 6 * 16 * 16),
        (microsoft("FusedMatMul", "x x", transA=1), [6, 16], {}, None),
        (microsoft("FusedGemm", "x a", activation="Relu"), [6, 16], {"a": normal(16, 16)}, 6 * 16 * 16),
        (microsoft("FusedConv", "x a", activation="Relu"), [1, 3, 8, 16], {"a": normal(4, 3, 3, 1)}, 4 * 6 * 16 * 9),
        (
            microsoft("MatMulNBits", "x a b", K=16, N=16, bits=4, block_size=16), [2, 16],
            {"a": RNG.integers(0, 256, (16, 1, 8)).astype(np.uint8), "b": normal(16)}, 2 * 16 * 16,
        ),
        (microsoft("BiasGelu", "x a"), [2, 16], {"a": normal(16)}, 0),
    ],
)  # fmt: skip
def test_what_onnxruntime_fused_is_listed(tmp_path, fused, size, weights, macs):
    path = built(tmp_path / "m.onnx", [fused, node("MatMul", "h w", "y")], {"x": size}, {**weights, "w": normal(16, 3)})
    model = onnx.load(str(path))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [None] * len(size)))
    onnx.save(model, str(path))
    found = capture_onnx(path, normal(*size))
    assert left(found)[f"com.microsoft::{fused.op_type}"].macs == macs
    assert found.trace.provenance["macs captured"].startswith("at most ") == (macs is None)


def test_arrays_without_elements_and_single_numbers_are_no_operators(tmp_path):
    nodes = [
        node("MatMul", "x w", "h"),
        node("Gather", "h none", "rows"),
        node("MatMul", "rows v", "few"),
        node("Relu", "few", "positive"),
        node("ReduceSum", "positive", "sum", keepdims=0),
        node("Relu", "sum", "number"),
        node("Gelu", "number", "factor"),
        node("Mul", "h factor"),
    ]
    weights = {"w": normal(8, 3), "v": normal(3, 3), "none": np.zeros(0, np.int64)}
    found = capture_onnx(built(tmp_path / "m.onnx", nodes, {"x": [4, 8]}, weights), normal(4, 8))
    assert (one(found).type, found.captured) == ("linear", 1)


def test_einsum_and_products_of_activations(tmp_path):
    nodes = [node("Einsum", "x x", "h", equation="bid,bjd->bij"), node("Einsum", "h w", "y", equation="bij,jk->bik")]
    found = capture_onnx(built(tmp_path / "m.onnx", nodes, {"x": [2, 5, 8]}, {"w": normal(5, 3)}), normal(2, 5, 8))
    assert [each.type for each in found.trace.operators] == ["matmul", "linear"]
    assert found.trace.macs == 2 * 5 * 5 * 8 + 2 * 5 * 5 * 3


def newest() -> int:
    """The newest operator set that both the installed onnx and onnxruntime take."""
    from simulator.extract.onnx.engine import Engine

    for version in range(onnx.defs.onnx_opset_version(), 13, -1):
        model = helper.make_model(helper.make_graph([], "g", [], []), opset_imports=[helper.make_opsetid("", version)])
        model.ir_version = 9
        try:
            Engine(model).require()
        except InputError:
            continue
        return version
    return 13


@pytest.mark.parametrize("opset", [13, 17, newest()])
def test_opsets_and_data_beside_the_file(tmp_path, opset):
    path = built(
        tmp_path / "m.onnx", [node("Gemm", "x w", transB=1)], {"x": ["batch", 40]}, {"w": normal(30, 40)}, opset,
        save_as_external_data=True, location="m.data", size_threshold=0,
    )  # fmt: skip
    trace = extract_onnx(path, {"x": normal(2, 40)}, bits=6)
    save_trace(trace, tmp_path / "t.safetensors")
    assert load_trace(tmp_path / "t.safetensors").operators[0].tensors["weight"].bits == 6


def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "extract.md"
    *_, block = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    built(Path("resnet.onnx"), [node("Conv", "image w")], {"image": [1, 3, 8, 8]}, {"w": normal(4, 3, 3, 3)})
    np.save("images.npy", normal(1, 3, 8, 8))
    names: dict[str, Any] = {}
    exec(compile(block, str(page), "exec"), names)
    assert names["found"].trace.macs == 4 * 3 * 9 * 36


PEAK = r"""
import re, sys
import numpy as np, onnx, onnxruntime
from pathlib import Path
import simulator.extract.onnx.run
from simulator.extract import capture_onnx
from simulator.trace import save_trace

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

data = np.random.default_rng(0).normal(size=(4, 48, 160, 160)).astype(np.float32)
before = peak()
if sys.argv[1] == "run":
    onnxruntime.InferenceSession("m.onnx").run(None, {"x": data})
else:
    save_trace(capture_onnx("m.onnx", data, folder=Path()).trace, "t.safetensors")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which tells a process' peak memory")
def test_peak_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["x", *(f"h{layer}" for layer in range(15)), "y"]
    nodes = [
        node("Relu", a, b) if at % 2 else node("Conv", f"{a} w{at}", b, pads=[1, 1, 1, 1])
        for at, (a, b) in enumerate(pairwise(names))
    ]
    weights = {f"w{at}": normal(48, 48, 3, 3) for at in range(0, 16, 2)}
    built(Path("m.onnx"), nodes, {"x": [4, 48, 160, 160]}, weights)

    def peak(what: str) -> float:
        command = [sys.executable, "-c", PEAK, what]
        return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    model, extraction = peak("run"), peak("extract")
    assert Path("t.safetensors").stat().st_size > 2**25
    assert extraction <= 2 * model + 16, f"{extraction:.0f} MiB for a run that takes {model:.0f}"
