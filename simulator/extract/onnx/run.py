"""Run an ONNX model once and watch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.given import read_inputs
from simulator.extract.onnx.engine import Engine
from simulator.extract.onnx.model import bind, load_model
from simulator.extract.onnx.paths import NodePaths
from simulator.extract.onnx.tensors import Arrays, require_usable
from simulator.extract.onnx.value import Value
from simulator.extract.onnx.watch import Watch
from simulator.extract.recorder import Recorder
from simulator.extract.report import Extraction
from simulator.extract.settings import checked_bits, checked_percentile, concluded
from simulator.extract.spool import Spool
from simulator.extract.store import Place

__all__ = ["load_inputs", "run"]


def run(
    path: Path,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    name: str,
    bits: int,
    percentile: float,
    folder: Path | None,
    progress: Callable[[str, int], None],
) -> Extraction:
    """See `simulator.extract.capture_onnx`."""
    bits, percentile = checked_bits(bits), checked_percentile(percentile)
    model = load_model(path)
    engine = Engine(model.proto)
    engine.require()
    given = bind(model, positional, named)
    for key, array in given.items():
        try:
            if array.size:  # an empty cache is no mistake
                require_usable(array)
        except InputError as error:
            raise InputError(f"{path}: the input '{key}' is {error}") from None
    paths = NodePaths(model.proto.graph.node, model.weights)
    tensors = Arrays(bits, percentile, Spool(folder))
    recorder = Recorder(paths, tensors, progress)
    known = {key: Value(array, Place(False)) for key, array in given.items()}
    source = {
        "model": f"{path.name}, opset {model.opset}",
        "inputs": ", ".join(f"{array.shape} {array.dtype}" for array in given.values()),
        "extracted with": f"onnxruntime {import_module('onnxruntime').__version__}",
    }
    try:
        Watch(model, recorder, paths, engine).run(model.proto.graph, known, model.weights)
        return concluded(recorder, name or model.proto.graph.name or path.stem, source, bits, percentile)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None


def load_inputs(texts: tuple[str, ...], seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named inputs as arrays; see `simulator.extract.given.read_inputs`."""
    return read_inputs(texts, seed, _draw, lambda path, array: array, _safetensors)


def _draw(kind: str, sizes: tuple[int, ...], bound: int, seed: int) -> NDArray[Any]:
    if kind == "bfloat16":
        raise InputError("inputs of bfloat16 cannot be drawn for an ONNX model")
    rng = np.random.default_rng(seed)
    if bound or kind == "bool":
        return rng.integers(bound or 2, size=sizes).astype(kind)
    return rng.standard_normal(sizes, np.float32).astype(kind)


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--input {path}: not a safetensors file that NumPy reads ({error})") from None
