"""Run a model and watch it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.extract.call import tensors_in
from simulator.extract.mode import Exits, Watch
from simulator.extract.paths import Paths
from simulator.extract.quantising import require_usable
from simulator.extract.recorder import Recorder
from simulator.extract.report import Extraction
from simulator.extract.settings import checked_bits, checked_percentile, concluded
from simulator.extract.spool import Spool
from simulator.extract.tensors import Tensors

torch: Any = import_module("torch")

__all__ = ["run"]


def run(
    model: Any,
    inputs: Any,
    named: Mapping[str, Any],
    name: str,
    bits: int,
    percentile: float,
    folder: Path | None,
    progress: Callable[[str, int], None],
) -> Extraction:
    """See `simulator.extract.capture`."""
    model, bits, percentile = _checked_model(model), checked_bits(bits), checked_percentile(percentile)
    args, kwargs = _arguments(inputs)
    kwargs = {**kwargs, **named}
    tensors = Tensors(bits, percentile, Spool(folder))
    paths = Paths(model)
    recorder = Recorder(paths, tensors, progress)
    for tensor in (*model.parameters(), *model.buffers()):
        _require_values(tensor)
        tensors.place(tensor, constant=True)
    given = tensors_in([args, kwargs])
    for tensor in given:
        _require_input(tensor)
        tensors.place(tensor, constant=False)
    outputs = _watched(model, args, kwargs, recorder, paths)
    made = tensors_in(outputs)
    if given and made and all(tensors.place(tensor).constant for tensor in made):
        raise InputError(
            "what the model returns does not come from its inputs by operators of PyTorch: on its way the model leaves "
            "PyTorch (NumPy, a value read by Python, compiled code), which hides what it computes"
        )
    source = {
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "inputs": ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in given),
        "extracted with": f"torch {torch.__version__}",
    }
    return concluded(recorder, name or type(model).__name__, source, bits, percentile)


def _watched(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], recorder: Recorder, paths: Paths) -> Any:
    """Run the model and return what it returns."""
    watch = Watch(recorder)
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(paths.followed())
        stack.enter_context(_in_steps())
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch._C._AutoDispatchBelowAutograd())  # composite operators arrive whole
        stack.enter_context(Exits(recorder))
        stack.enter_context(watch)
        try:
            outputs = model(*args, **kwargs)
        except (Exception, SystemExit) as error:
            if watch.failure is not None:
                raise watch.failure from None
            where = f"module '{paths.failed}' " if paths.failed else "it "
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in([args, kwargs])) or "no tensor"
            line = (str(error).strip().splitlines() or ["no message"])[0]
            raise InputError(
                f"the model does not run on inputs of shape {shapes}: {where}raises {type(error).__name__}: {line}"
            ) from error
    if watch.failure is not None:  # the model caught it, and went another way
        raise watch.failure
    if paths.elsewhere:
        raise InputError(
            f"module '{paths.elsewhere}' runs in a thread of its own, which hides the operators within from extraction"
        )
    return outputs


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Set a model and its parts to evaluation, and each back to what it was."""
    before = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _in_steps() -> Iterator[None]:
    """Have PyTorch do in several operators what it also has one opaque operator for; compiled code runs as written."""
    mha = torch.backends.mha
    fast = mha.get_fastpath_enabled()
    compiled = "torch._dynamo" in sys.modules  # else nothing is compiled, and to import it takes time and memory
    compiler = torch.compiler.set_stance("force_eager") if compiled else ExitStack()
    try:
        mha.set_fastpath_enabled(False)
        with compiler:
            yield
    finally:
        mha.set_fastpath_enabled(fast)


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        if not all(isinstance(key, str) for key in inputs):
            raise InputError("the names of inputs must be texts")
        return (), dict(inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):
        return tuple(inputs), {}
    raise InputError(
        f"inputs must be a tensor, a list of positional or a dictionary of named arguments, not {type(inputs).__name__}"
    )


def _checked_model(model: Any) -> Any:
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    return getattr(model, "_orig_mod", model)  # what torch.compile wraps


def _require_values(tensor: Any) -> None:
    if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):
        raise InputError("the model has lazy parameters that were never filled; run it once first")
    if tensor.is_meta:
        raise InputError("the model's weights are on the device 'meta' and have no values; load them first")


def _require_input(tensor: Any) -> None:
    if tensor.numel():  # an empty cache is no mistake
        try:
            require_usable(tensor)
        except InputError as error:
            raise InputError(f"an input is {error}") from None
