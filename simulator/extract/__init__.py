"""Traces from PyTorch and ONNX models: a model runs once, unchanged, and is watched operator by operator.

Needs PyTorch (the extra [torch]) or onnx and onnxruntime (the extra [onnx]);
`docs/extract.md` says what is captured, how it is quantised, and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.extract.report import Extraction, NotCaptured, Rounding
from simulator.trace import Trace

__all__ = ["Extraction", "NotCaptured", "Rounding", "capture", "capture_onnx", "extract", "extract_onnx"]


def extract(model: Any, inputs: Any, **options: Any) -> Trace:
    """Return the trace of one run of a model; arguments and errors are those of `capture`.

    What the trace lacks is in its provenance, under "not captured".
    """
    return capture(model, inputs, **options).trace


def capture(
    model: Any,
    inputs: Any,
    *,
    named: Mapping[str, Any] | None = None,
    name: str = "",
    bits: int = 8,
    percentile: float = 100.0,
    folder: Path | None = None,
    progress: Callable[[str, int], None] = lambda module, operators: None,
) -> Extraction:
    """Run a model once and return what it computed as a trace, and what the trace lacks.

    The model is in evaluation mode while it runs, without gradients, and afterwards as it was.

    Args:
        model: an `nn.Module`, on any device.
        inputs: what it is called with: a tensor, a list or tuple of positional arguments, or a dictionary of named
            ones.
        named: named arguments beside the positional ones.
        name: of the trace; empty: the class of the model.
        bits: of a value, 2 to 16.
        percentile: of the magnitudes of an activation, above 0 to 100: this one becomes the largest integer, what is
            larger saturates. Weights are scaled by their maximum, each output channel alone.
        folder: where the temporary file is, which is as large as the trace; None: the system's choice.
        progress: called with the module that runs and the number of operators so far.

    Raises:
        InputError: PyTorch is not installed, the model or its inputs cannot be used, it raises an exception, nothing
            was captured, or what it returns does not come from its inputs by operators of PyTorch.

    """
    require_torch()
    from simulator.extract.run import run

    return run(model, inputs, named or {}, name, bits, percentile, folder, progress)


def require_torch() -> None:
    """Refuse to go on without PyTorch.

    Raises:
        InputError: it is not installed.

    """
    try:
        import_module("torch")
    except ImportError:
        raise InputError("PyTorch is not installed: pip install 'skipper-simulator[torch]'") from None


def extract_onnx(path: str | Path, inputs: Any, **options: Any) -> Trace:
    """Return the trace of one run of an ONNX model; arguments and errors are those of `capture_onnx`."""
    return capture_onnx(path, inputs, **options).trace


def capture_onnx(
    path: str | Path,
    inputs: Any,
    *,
    named: Mapping[str, Any] | None = None,
    name: str = "",
    bits: int = 8,
    percentile: float = 100.0,
    folder: Path | None = None,
    progress: Callable[[str, int], None] = lambda module, operators: None,
) -> Extraction:
    """Run an ONNX model once in onnxruntime and return what it computed as a trace, and what the trace lacks.

    Args:
        path: of the model, whose weights may be in files beside it.
        inputs: arrays: one, a list or tuple in the order of the model, or a dictionary by name.
        named: arrays by name beside those in order.
        name: of the trace; empty: that of the graph.
        bits: of a value that the model has not quantised itself, 2 to 16.
        percentile: of the magnitudes of an activation; see `capture`.
        folder: where the temporary file is, which is as large as the trace; None: the system's choice.
        progress: called with the module that runs and the number of operators so far.

    Raises:
        InputError: onnx or onnxruntime is not installed, the file is no model that they know, its data are missing,
            the inputs do not fit, a node cannot be run, or nothing was captured.

    """
    require_onnx()
    from simulator.extract.onnx.run import run

    if isinstance(inputs, Mapping):
        positional: tuple[Any, ...] = ()
        given = dict(inputs)
    else:
        positional, given = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,), {}
    return run(Path(path), positional, {**given, **(named or {})}, name, bits, percentile, folder, progress)


def require_onnx() -> None:
    """Refuse to go on without onnx and onnxruntime.

    Raises:
        InputError: one is not installed.

    """
    try:
        import_module("onnx")
        import_module("onnxruntime")
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'skipper-simulator[onnx]'") from None
