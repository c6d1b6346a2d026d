"""Traces from PyTorch models: any `nn.Module` runs once, unchanged, and is watched operator by operator.

Needs PyTorch (the extra [torch]); `docs/extract.md` says what is captured, how it is quantised, and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.extract.report import Extraction, NotCaptured, Rounding
from simulator.trace import Trace

__all__ = ["Extraction", "NotCaptured", "Rounding", "capture", "extract"]


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
