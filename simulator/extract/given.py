"""Inputs that a command line names, whatever library runs the model."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest

__all__ = ["MOST_ELEMENTS", "WHOLE", "line_of", "read_inputs", "require_file"]

MOST_ELEMENTS: Final = 2**31
"""A tensor of more is refused."""
DTYPES: Final = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
"""Of inputs that are drawn."""
WHOLE: Final = ("int64", "int32", "uint8")
"""Of these, the whole numbers."""
BOUND: Final = 100
"""Whole numbers are drawn below it unless another bound is given."""

_SHAPE: Final = re.compile(r"(\d+(?:x\d+)*)(?::(\w+))?(?::(\d+))?")


def read_inputs(
    texts: tuple[str, ...],
    seed: int,
    draw: Callable[[str, tuple[int, ...], int, int], Any],
    take: Callable[[Path, NDArray[Any]], Any],
    safetensors: Callable[[Path], Mapping[str, Any]],
) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named inputs.

    Args:
        texts: each `[NAME=]FILE` (.npy, .npz or .safetensors) or `[NAME=]SHAPE[:DTYPE[:BOUND]]`, such as
            `1x3x224x224` or `input_ids=1x128:int64:30522`. Files of several arrays name their inputs.
        seed: of what is drawn: normal numbers, whole ones below the bound, the two booleans.
        draw: draws a tensor of a type, a shape, below a bound, from a seed.
        take: makes a tensor of an array of a file.
        safetensors: reads a safetensors file.

    Raises:
        InputError: a file cannot be read, a shape is none, a type cannot be drawn, or a name is given twice.

    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for place, text in enumerate(texts):
        match = re.fullmatch(r"([A-Za-z_][\w.]*)=(.+)", text)
        name, source = (match[1], match[2]) if match else ("", text)
        drawn = _SHAPE.fullmatch(source)
        arrays = (
            {name: _drawn(text, drawn, seed + place, draw)} if drawn else _arrays(name, Path(source), take, safetensors)
        )
        for key, tensor in arrays.items():
            if not key:
                positional.append(tensor)
            elif key in named:
                raise InputError(f"--input {text}: the input '{key}' is given twice")
            else:
                named[key] = tensor
    return positional, named


def _drawn(text: str, shape: re.Match[str], seed: int, draw: Callable[[str, tuple[int, ...], int, int], Any]) -> Any:
    sizes = tuple(int(size) for size in shape[1].split("x"))
    if 0 in sizes:
        raise InputError(f"--input {text}: every size must be at least 1")
    if math.prod(sizes) > MOST_ELEMENTS:
        raise InputError(f"--input {text}: {math.prod(sizes)} elements, more than the 2^31 that are allowed")
    kind = shape[2] or "float32"
    if kind not in DTYPES:
        raise InputError(f"--input {text}: the type '{kind}' cannot be drawn{nearest(kind, DTYPES)}")
    if kind in WHOLE:
        bound = int(shape[3] or BOUND)
        if not 1 <= bound <= (256 if kind == "uint8" else 2**31 - 1):
            raise InputError(f"--input {text}: whole numbers of this type cannot be drawn below {bound}")
        return draw(kind, sizes, bound, seed)
    if shape[3]:
        raise InputError(f"--input {text}: a bound goes with whole numbers, not with {kind}")
    return draw(kind, sizes, 0, seed)


def _arrays(
    name: str,
    path: Path,
    take: Callable[[Path, NDArray[Any]], Any],
    safetensors: Callable[[Path], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the inputs of a file, by name; a lone array, or those that nobody named, are positional."""
    if not path.exists():
        raise InputError(f"--input {path}: neither a file nor a shape such as 1x3x224x224 or 1x128:int64:30522")
    if path.suffix == ".safetensors":
        arrays = dict(safetensors(path))
    elif path.suffix in (".npy", ".npz"):
        arrays = _numpy(path, take)
    else:
        raise InputError(f"--input {path}: expected a file ending in .npy, .npz or .safetensors")
    if not name:
        return arrays
    if len(arrays) != 1:
        raise InputError(f"--input {name}={path}: the file holds {len(arrays)} arrays, expected one")
    return {name: next(iter(arrays.values()))}


def _numpy(path: Path, take: Callable[[Path, NDArray[Any]], Any]) -> dict[str, Any]:
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": take(path, loaded)}
        with loaded:
            arrays = {key: take(path, loaded[key]) for key in loaded.files}
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--input {path}: not a file of arrays that NumPy reads ({line_of(error)})") from None
    if len(arrays) == 1 and next(iter(arrays)) == "arr_0":
        return {"": arrays["arr_0"]}
    return arrays


def require_file(path: Path) -> None:
    """Refuse a path that is no file.

    Raises:
        InputError: it is none.

    """
    if not path.is_file():
        raise InputError(f"{path}: {'this is a folder, expected' if path.is_dir() else 'there is no such'} file")


def line_of(error: BaseException) -> str:
    """Return the first line of an error, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
