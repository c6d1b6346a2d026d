"""Read an ONNX file: its nodes now, its weights when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.extract.given import MOST_ELEMENTS, line_of, require_file

__all__ = ["Model", "bind", "load_model"]

OLDEST: Final = 13
"""Operator set: softmax and others mean something else before it."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model whose weights are still in its file."""

    path: Path
    proto: Any
    weights: Mapping[str, Any]
    """Initialisers by name, as the file describes them."""

    @property
    def inputs(self) -> list[Any]:
        """What must be given, in order."""
        return [each for each in self.proto.graph.input if each.name not in self.weights]

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return next((each.version for each in self.proto.opset_import if each.domain in ("", "ai.onnx")), OLDEST)

    def array(self, tensor: Any) -> NDArray[Any]:
        """Return a tensor of the file, or of the one beside it that holds its data.

        Raises:
            InputError: the data cannot be read.

        """
        numpy_helper: Any = import_module("onnx.numpy_helper")
        try:
            array: NDArray[Any] = numpy_helper.to_array(tensor, str(self.path.parent))
        except Exception as error:
            raise InputError(f"{self.path}: the weight '{tensor.name}' cannot be read ({line_of(error)})") from None
        return array


def load_model(path: Path) -> Model:
    """Open an ONNX file; functions are written out, weights not read.

    Raises:
        InputError: it is none, breaks the rules of ONNX, is older than operator set 13 or newer than the installed
            onnx, or the data beside it are missing or cut short.

    """
    onnx: Any = import_module("onnx")
    require_file(path)
    if (size := path.stat().st_size) >= 2**31:
        raise InputError(
            f"{path}: {size} bytes, but an ONNX file holds less than 2^31; save its weights as external data"
        )
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise InputError(f"{path}: not an ONNX file, or one cut short ({type(error).__name__})") from None
    if not proto.graph.node or not proto.opset_import:
        raise InputError(f"{path}: not an ONNX file, or one without any operator")
    model = Model(path, proto, {})
    newest = onnx.defs.onnx_opset_version()
    if model.opset < OLDEST:
        raise InputError(
            f"{path}: operator set {model.opset}, expected {OLDEST} or newer; onnx.version_converter converts it"
        )
    if model.opset > newest:
        raise InputError(
            f"{path}: operator set {model.opset} is newer than the {newest} that the installed onnx {onnx.__version__} "
            "knows; upgrade onnx and onnxruntime"
        )
    for tensor in _tensors(proto.graph):
        _require_data(path, tensor)
    try:
        onnx.checker.check_model(str(path))
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(f"{path}: the file breaks the rules of ONNX: {lines[0][:300]}") from None
    return Model(path, proto, {tensor.name: tensor for tensor in proto.graph.initializer})


def bind(model: Model, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a model by name.

    Raises:
        InputError: one is missing, unknown, given twice, or of another type or shape.

    """
    expected = model.inputs
    names = [each.name for each in expected]
    if len(positional) > len(names):
        raise InputError(
            f"{model.path}: {len(positional)} inputs are given, the model has {len(names)}: {_all(expected)}"
        )
    given: dict[str, Any] = dict(zip(names, positional, strict=False))
    for name, array in named.items():
        if name not in names:
            raise InputError(f"{model.path}: the model has no input '{name}'{nearest(name, names)}")
        if name in given:
            raise InputError(f"{model.path}: the input '{name}' is given twice, in order and by name")
        given[name] = array
    for each in expected:
        if each.name not in given:
            free = [dim for dim in _dims(each) or [] if not isinstance(dim, int)]
            more = f"; {', '.join(map(str, free))} may be any number: give a shape" if free else ""
            raise InputError(f"{model.path}: the input {_described(each)} is missing{more}")
        given[each.name] = _fitting(model, each, given[each.name])
    return given


def _fitting(model: Model, expected: Any, array: Any) -> NDArray[Any]:
    helper: Any = import_module("onnx.helper")
    array = np.asarray(array)
    if not expected.type.HasField("tensor_type"):
        raise InputError(f"{model.path}: the input '{expected.name}' is no tensor, which cannot be given")
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(expected.type.tensor_type.elem_type))
    if array.dtype != kind:
        raise InputError(
            f"{model.path}: the input '{expected.name}' is of {array.dtype}, expected {_described(expected)}"
        )
    dims = _dims(expected)
    if dims is not None and (
        len(dims) != array.ndim
        or any(isinstance(dim, int) and dim != size for dim, size in zip(dims, array.shape, strict=True))
    ):
        raise InputError(
            f"{model.path}: the input '{expected.name}' has the shape {array.shape}, expected {_described(expected)}"
        )
    if array.size > MOST_ELEMENTS:
        raise InputError(f"{model.path}: an input of {array.size} elements, more than the 2^31 that are allowed")
    fitting: NDArray[Any] = array
    return fitting


def _dims(info: Any) -> list[int | str] | None:
    """Return the sizes of an input, '?' or a name where they are free; None where even their number is."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]


def _described(info: Any) -> str:
    helper: Any = import_module("onnx.helper")
    if not info.type.HasField("tensor_type"):
        return f"'{info.name}'"
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
    dims = _dims(info)
    return f"'{info.name}' ({'any shape' if dims is None else 'x'.join(map(str, dims))}:{kind})"


def _all(infos: Sequence[Any]) -> str:
    return ", ".join(_described(info) for info in infos) or "none"


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)


def _require_data(path: Path, tensor: Any) -> None:
    if math.prod(tensor.dims) > MOST_ELEMENTS:
        raise InputError(
            f"{path}: the weight '{tensor.name}' has {math.prod(tensor.dims)} elements, more than the 2^31 allowed"
        )
    if not tensor.HasField("data_location") or tensor.data_location != tensor.EXTERNAL:
        return
    where = {entry.key: entry.value for entry in tensor.external_data}
    beside = path.parent / where.get("location", "")
    if not beside.is_file():
        raise InputError(f"{path}: the data of the weight '{tensor.name}' are missing: there is no file {beside}")
    offset, length = (where.get(key, "0") for key in ("offset", "length"))
    if not offset.isdecimal() or not length.isdecimal() or int(offset) + int(length) > beside.stat().st_size:
        raise InputError(f"{path}: the data of the weight '{tensor.name}' are not all in {beside}; it was cut short")
