"""Run the nodes of a graph one at a time: every value in between is seen, and none is held longer than it is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.onnx.node import op_name

__all__ = ["Engine"]

SMALL: Final = 64
"""Constants of up to so many elements become part of a session: some operators ask for it."""
KEPT: Final = 256
"""Sessions kept for nodes that are alike."""
_THREADED: Final = frozenset(
    (
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "QLinearConv", "QLinearMatMul", "ConvInteger"),
        *("MatMulInteger", "Attention", "LSTM", "GRU", "RNN", "Loop", "Scan"),
    )
)
"""Each has threads of its own while it runs."""


class Engine:
    """onnxruntime on the processor, without the fusions that would hide values.

    Args:
        model: whose operator sets are used.

    """

    def __init__(self, model: Any) -> None:
        self._onnx: Any = import_module("onnx")
        self._ort: Any = import_module("onnxruntime")
        self._model = model
        self._sessions: OrderedDict[Any, Any] = OrderedDict()

    def require(self) -> None:
        """Refuse operator sets that the installed onnxruntime does not know.

        Raises:
            InputError: it does not.

        """
        node = self._onnx.helper.make_node("Identity", ["i0"], ["o0"])
        try:
            self._session(node, {"i0": np.zeros(1, np.float32)}, {})
        except Exception:
            opsets = ", ".join(f"{each.domain or 'ai.onnx'} {each.version}" for each in self._model.opset_import)
            raise InputError(
                f"the installed onnxruntime {self._ort.__version__} does not take the operator sets {opsets} in format "
                f"{self._model.ir_version}; upgrade it"
            ) from None

    def run(self, proto: Any, arrays: Sequence[Any], constant: Sequence[bool], outer: Mapping[str, Any]) -> list[Any]:
        """Return the results of a node.

        Args:
            proto: the node.
            arrays: its inputs, None for one that is not given.
            constant: which of them come of the model alone.
            outer: what its subgraphs use of the graph around them, by name.

        Raises:
            InputError: onnxruntime cannot run it.

        """
        node = self._onnx.NodeProto()
        node.CopyFrom(proto)
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        for place, array in enumerate(arrays):
            node.input[place] = "" if array is None else f"i{place}"
        made = [place for place, name in enumerate(proto.output) if name]
        for place in made:
            node.output[place] = f"o{place}"
        given = {f"i{place}": array for place, array in enumerate(arrays) if array is not None}
        given = {name: np.asarray(a, order="C") if isinstance(a, np.ndarray) else a for name, a in given.items()}
        small = {
            name: array
            for name, array in given.items()
            if isinstance(array, np.ndarray) and array.size <= SMALL and constant[int(name[1:])]
        }
        fed = {name: array for name, array in given.items() if name not in small} | dict(outer)
        key = (
            node.SerializeToString(deterministic=True),
            _kinds(fed),
            tuple((n, _content(a)) for n, a in small.items()),
        )
        try:
            session = self._sessions.pop(key, None) or self._session(node, fed, small)
            if op_name(proto) not in _THREADED:
                self._sessions[key] = session
                if len(self._sessions) > KEPT:
                    self._sessions.popitem(last=False)
            found = dict(zip(made, session.run([f"o{place}" for place in made], fed), strict=True))
        except Exception as error:
            what = f"node '{proto.name or next(iter(proto.output), '')}'"
            shapes = ", ".join(str(getattr(array, "shape", type(array).__name__)) for array in given.values())
            raise InputError(f"{what}: onnxruntime cannot run {op_name(proto)} on {shapes}: {_line(error)}") from None
        return [found.get(place) for place in range(len(proto.output))]

    def _session(self, node: Any, fed: Mapping[str, Any], small: Mapping[str, NDArray[Any]]) -> Any:
        helper = self._onnx.helper
        inputs = [self._onnx.ValueInfoProto(name=name, type=self._type(array)) for name, array in fed.items()]
        outputs = [self._onnx.ValueInfoProto(name=name) for name in node.output if name]
        weights = [self._onnx.numpy_helper.from_array(array, name) for name, array in small.items()]
        graph = helper.make_graph([node], "node", inputs, outputs, weights)
        model = helper.make_model(
            graph, opset_imports=list(self._model.opset_import), ir_version=self._model.ir_version
        )
        options = self._ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if op_name(node) not in _THREADED:
            options.intra_op_num_threads = 1
        return self._ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def _type(self, array: Any) -> Any:
        helper = self._onnx.helper
        if isinstance(array, list):
            return helper.make_sequence_type_proto(self._type(array[0] if array else np.zeros(0, np.float32)))
        kind = self._onnx.TensorProto.STRING if array.dtype.kind in "OUS" else None
        return helper.make_tensor_type_proto(kind or helper.np_dtype_to_tensor_dtype(array.dtype), None)


def _kinds(arrays: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((name, str(getattr(array, "dtype", "sequence"))) for name, array in arrays.items())


def _content(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.dtype.str, array.shape, array.tobytes()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
