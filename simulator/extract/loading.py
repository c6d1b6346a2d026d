"""Models, weights and inputs that a command line names."""

from __future__ import annotations

import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.extract.given import WHOLE, line_of, read_inputs, require_file

torch: Any = import_module("torch")

__all__ = ["load_inputs", "load_model", "load_weights"]


def load_model(spec: str, seed: int = 0) -> Any:
    """Import `module:callable` and return the model that the callable returns.

    Args:
        spec: such as `torchvision.models:resnet18`; the folder one works in is searched, too.
        seed: of PyTorch's random numbers, hence of weights that are drawn.

    Raises:
        InputError: it does not import, is missing, raises an exception, or returns no `nn.Module`.

    """
    module_name, separator, path = spec.partition(":")
    if not separator or not module_name or not path:
        raise InputError(f"{spec}: expected MODULE:CALLABLE, such as torchvision.models:resnet18")
    with _searching_here():
        try:
            found: Any = import_module(module_name)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
                raise InputError(f"{spec}: there is no module '{error.name}'") from None
            raise InputError(f"{spec}: the module '{module_name}' does not import: {line_of(error)}") from error
        for name in path.split("."):
            if not hasattr(found, name):
                where = getattr(found, "__name__", name)
                raise InputError(f"{spec}: '{where}' has no '{name}'{_hint(name, found)}")
            found = getattr(found, name)
        if isinstance(found, torch.nn.Module):
            return found
        if not callable(found):
            raise InputError(f"{spec}: '{path}' is of type {type(found).__name__}, expected a callable")
        torch.manual_seed(seed)
        try:
            model = found()
        except (Exception, SystemExit) as error:
            raise InputError(f"{spec}: calling it without arguments raises {line_of(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{spec}: it returns a {type(model).__name__}, expected a torch.nn.Module")
    return model


def load_weights(model: Any, path: Path) -> None:
    """Fill a model with the weights of a file: safetensors, or a PyTorch state dict.

    Raises:
        InputError: the file cannot be read, holds more than tensors, or does not fit the model.

    """
    state = _safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)
    for key, tensor in model.state_dict().items():
        if key in state and state[key].is_complex() and not tensor.is_complex():
            raise InputError(f"{path}: the weights do not fit the model: '{key}' is complex there, real in the model")
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line or "rror" in line]
        raise InputError(f"{path}: the weights do not fit the model: {(lines or [line_of(error)])[-1]}") from None
    filled = {_memory(tensor) for key, tensor in model.state_dict().items() if key in state}
    tied = {key for key, tensor in model.state_dict().items() if key in missing and _memory(tensor) in filled}
    missing = [key for key in missing if key not in tied and not key.endswith("num_batches_tracked")]
    for keys, what in ((missing, "lacks"), (unexpected, "holds")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            beside = ", which the model has" if what == "lacks" else ", which the model has not"
            raise InputError(f"{path}: the weights do not fit the model: the file {what} '{keys[0]}'{more}{beside}")


def load_inputs(texts: tuple[str, ...], seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named inputs as tensors of PyTorch; see `simulator.extract.given.read_inputs`."""
    return read_inputs(texts, seed, _draw, _tensor, _safetensors)


def _draw(kind: str, sizes: tuple[int, ...], bound: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    if kind in WHOLE:
        return torch.randint(bound, sizes, generator=generator, dtype=getattr(torch, kind))
    if kind == "bool":
        return torch.randint(2, sizes, generator=generator).bool()
    return torch.randn(sizes, generator=generator).to(getattr(torch, kind))


def _tensor(path: Path, array: NDArray[Any]) -> Any:
    try:
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    except TypeError:
        raise InputError(f"--input {path}: arrays of {array.dtype} are no tensors of PyTorch") from None


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_file(path)
    try:
        tensors: Mapping[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file, or one cut short ({line_of(error)})") from None
    return tensors


def _state_dict(path: Path) -> Mapping[str, Any]:
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found or path.open("rb").read(1) == b"\x80":  # so a pickle begins
            more = f" ({found[1]})" if found else ""
            raise InputError(
                f"{path}: the pickle holds more than tensors{more}, and reading it could run any code; "
                "expected a state dict (torch.save(model.state_dict(), …)) or a safetensors file"
            ) from None
        raise InputError(f"{path}: not a PyTorch file of weights, or one cut short") from None
    except Exception as error:
        raise InputError(f"{path}: not a PyTorch file of weights, or one cut short ({line_of(error)})") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(_is_named_tensor(*item) for item in state.items()):
        raise InputError(f"{path}: expected a state dict, tensors by name (torch.save(model.state_dict(), …))")
    return state


def _is_named_tensor(name: Any, tensor: Any) -> bool:
    return isinstance(name, str) and isinstance(tensor, torch.Tensor)


def _memory(tensor: Any) -> tuple[int, tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape)


def _hint(name: str, module: Any) -> str:
    known = [key for key in vars(module) if not key.startswith("_") and callable(getattr(module, key))]
    hint = nearest(name, known).partition(";")[0]
    return hint if hint.startswith(" (") else ""


@contextmanager
def _searching_here() -> Iterator[None]:
    """Search the folder one works in for modules, as `python -m` does."""
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
