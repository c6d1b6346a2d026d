"""Arrays that stay in their file until they are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

_DTYPES = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


class Source(Protocol):
    """Where stored arrays are read from."""

    path: Path
    """How messages call it."""

    def read(self, name: str) -> NDArray[Any]:
        """Return a fresh copy of the array ``name``."""


class TensorFile:
    """A memory-mapped safetensors file, open for reading.

    The open file is the one that was there at first: replacing it on disk (as `save_trace` does) changes
    nothing here. A copy sent to another process opens the file again and refuses one that has changed.

    Raises:
        InputError: the file is missing, a folder, unreadable, cut short or not a safetensors file.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._file = _open(path)

    @property
    def metadata(self) -> dict[str, str]:
        """The free text of the file's header."""
        return self._file.metadata() or {}

    def array(self, name: str) -> StoredArray:
        """Return the array `name` without reading it; KeyError when the file has none."""
        if name not in self._file.keys():  # noqa: SIM118 - the library's file is no mapping
            raise KeyError(name)
        part = self._file.get_slice(name)
        stored_type = part.get_dtype()
        if stored_type not in _DTYPES:
            raise InputError(f"{self.path}: tensor '{name}' has the type {stored_type}, which NumPy cannot hold")
        return StoredArray(self, name, tuple(part.get_shape()), np.dtype(_DTYPES[stored_type]))

    def read(self, name: str) -> NDArray[Any]:
        """Return a fresh copy of the array `name`."""
        array: NDArray[Any] = self._file.get_tensor(name)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute(), "_stamp": self._stamp}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if _stamp(self.path) != self._stamp:
            raise InputError(f"{self.path}: the file changed since the trace was loaded; load it again")
        self._file = _open(self.path)


@dataclass(frozen=True, eq=False)
class StoredArray:
    """One array of a file: shape and type are known, the content is read at each `read()` and not kept."""

    file: Source
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> NDArray[Any]:
        """Return a fresh array of `.shape` and `.dtype`."""
        return self.file.read(self.name)

    def __str__(self) -> str:
        return f"{self.file.path}: tensor '{self.name}'"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be opened ({_reason(error)})") from None
    return status.st_size, status.st_mtime_ns


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open  # imported late: it is needed only for files

    if os.path.isdir(path):
        raise InputError(f"{path}: this is a folder, a trace is one .safetensors file")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        detail = str(error).removeprefix("Error while deserializing header: ")
        raise InputError(f"{path}: not a safetensors file, or one cut short ({detail})") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be opened ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
