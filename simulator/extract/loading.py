"""Models, weights and inputs that a command line names."""

from __future__ import annotations

import math
import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.extract.quantising import MOST_ELEMENTS

torch: Any = import_module("torch")

__all__ = ["load_inputs", "load_model", "load_weights"]

DTYPES: Final = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
"""Of inputs that are drawn."""
BOUND: Final = 100
"""Whole numbers are drawn below it unless another bound is given."""

_SHAPE: Final = re.compile(r"(\d+(?:x\d+)*)(?::(\w+))?(?::(\d+))?")


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
            raise InputError(f"{spec}: the module '{module_name}' does not import: {_line(error)}") from error
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
            raise InputError(f"{spec}: calling it without arguments raises {_line(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{spec}: it returns a {type(model).__name__}, expected a torch.nn.Module")
    return model


def load_weights(model: Any, path: Path) -> None:
    """Fill a model with the weights of a file: safetensors, or a PyTorch state dict.

    Raises:
        InputError: the file cannot be read, holds more than tensors, or does not fit the model.

    """
    state = _safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line or "rror" in line]
        raise InputError(f"{path}: the weights do not fit the model: {(lines or [_line(error)])[-1]}") from None
    filled = {_memory(tensor) for key, tensor in model.state_dict().items() if key in state}
    tied = {key for key, tensor in model.state_dict().items() if key in missing and _memory(tensor) in filled}
    missing = [key for key in missing if key not in tied and not key.endswith("num_batches_tracked")]
    for keys, what in ((missing, "lacks"), (unexpected, "holds")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            beside = ", which the model has" if what == "lacks" else ", which the model has not"
            raise InputError(f"{path}: the weights do not fit the model: the file {what} '{keys[0]}'{more}{beside}")


def load_inputs(texts: tuple[str, ...], seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named inputs.

    Args:
        texts: each `[NAME=]FILE` (.npy, .npz or .safetensors) or `[NAME=]SHAPE[:DTYPE[:BOUND]]`, such as
            `1x3x224x224` or `input_ids=1x128:int64:30522`. Files of several arrays name their inputs.
        seed: of what is drawn: normal numbers, whole ones below the bound, the two booleans.

    Raises:
        InputError: a file cannot be read, a shape is none, a type cannot be drawn, or a name is given twice.

    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for place, text in enumerate(texts):
        match = re.fullmatch(r"([A-Za-z_]\w*)=(.+)", text)
        name, source = (match[1], match[2]) if match else ("", text)
        drawn = _SHAPE.fullmatch(source)
        arrays = {name: _drawn(text, drawn, seed + place)} if drawn else _arrays(name, Path(source))
        for key, tensor in arrays.items():
            if not key:
                positional.append(tensor)
            elif key in named:
                raise InputError(f"--input {text}: the input '{key}' is given twice")
            else:
                named[key] = tensor
    return positional, named


def _drawn(text: str, shape: re.Match[str], seed: int) -> Any:
    sizes = tuple(int(size) for size in shape[1].split("x"))
    if 0 in sizes:
        raise InputError(f"--input {text}: every size must be at least 1")
    if math.prod(sizes) > MOST_ELEMENTS:
        raise InputError(f"--input {text}: {math.prod(sizes)} elements, more than the 2^31 that are allowed")
    kind = shape[2] or "float32"
    if kind not in DTYPES:
        raise InputError(f"--input {text}: the type '{kind}' cannot be drawn{nearest(kind, DTYPES)}")
    generator = torch.Generator().manual_seed(seed)
    if kind in ("int64", "int32", "uint8"):
        bound = int(shape[3] or BOUND)
        if not 1 <= bound <= (256 if kind == "uint8" else 2**31 - 1):
            raise InputError(f"--input {text}: whole numbers of this type cannot be drawn below {bound}")
        return torch.randint(bound, sizes, generator=generator, dtype=getattr(torch, kind))
    if shape[3]:
        raise InputError(f"--input {text}: a bound goes with whole numbers, not with {kind}")
    if kind == "bool":
        return torch.randint(2, sizes, generator=generator).bool()
    return torch.randn(sizes, generator=generator).to(getattr(torch, kind))


def _arrays(name: str, path: Path) -> dict[str, Any]:
    """Return the inputs of a file, by name; a lone array, or those that nobody named, are positional."""
    if not path.exists():
        raise InputError(f"--input {path}: neither a file nor a shape such as 1x3x224x224 or 1x128:int64:30522")
    if path.suffix == ".safetensors":
        arrays = dict(_safetensors(path))
    elif path.suffix in (".npy", ".npz"):
        arrays = _numpy(path)
    else:
        raise InputError(f"--input {path}: expected a file ending in .npy, .npz or .safetensors")
    if not name:
        return arrays
    if len(arrays) != 1:
        raise InputError(f"--input {name}={path}: the file holds {len(arrays)} arrays, expected one")
    return {name: next(iter(arrays.values()))}


def _numpy(path: Path) -> dict[str, Any]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": _tensor(path, loaded)}
        with loaded:
            arrays = {key: _tensor(path, loaded[key]) for key in loaded.files}
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--input {path}: not a file of arrays that NumPy reads ({_line(error)})") from None
    if len(arrays) == 1 and next(iter(arrays)) == "arr_0":
        return {"": arrays["arr_0"]}
    return arrays


def _tensor(path: Path, array: NDArray[Any]) -> Any:
    try:
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    except TypeError:
        raise InputError(f"--input {path}: arrays of {array.dtype} are no tensors of PyTorch") from None


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        tensors: Mapping[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file, or one cut short ({_line(error)})") from None
    return tensors


def _state_dict(path: Path) -> Mapping[str, Any]:
    _require_file(path)
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
        raise InputError(f"{path}: not a PyTorch file of weights, or one cut short ({_line(error)})") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise InputError(f"{path}: expected a state dict, tensors by name (torch.save(model.state_dict(), …))")
    return state


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: {'this is a folder, expected' if path.is_dir() else 'there is no such'} file")


def _memory(tensor: Any) -> tuple[int, tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape)


def _hint(name: str, module: Any) -> str:
    known = [key for key in vars(module) if not key.startswith("_") and callable(getattr(module, key))]
    hint = nearest(name, known).partition(";")[0]
    return hint if hint.startswith(" (") else ""


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


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
