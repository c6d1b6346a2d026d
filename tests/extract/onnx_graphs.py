"""Small ONNX graphs, written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install 'skipper-simulator[onnx]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skipper-simulator[onnx]'")
helper, numpy_helper, FLOAT, INT64 = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def built(
    path: Path, nodes: list[Any], inputs: dict[str, Any], weights: dict[str, np.ndarray], opset: int = 20, **more: Any
) -> Path:
    """Write a model; inputs are shapes, or types and shapes, and its output is `y`."""
    typed = {name: shape if isinstance(shape, tuple) and shape and isinstance(shape[1], list) else (FLOAT, shape)
             for name, shape in inputs.items()}  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in typed.items()],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path), **more)
    return path


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)
