"""Where tensors go while a model still runs: one nameless temporary file, read back one tensor at a time."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace.stored import StoredArray

__all__ = ["Spool"]


class Spool:
    """Arrays in a temporary file that has no name: it is gone with the last trace that reads it.

    Args:
        folder: on the disk that has the room; None: the system's for temporary files.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = Path("a trace that is not saved")
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the spool
        self._end = 0
        self._places: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def write(self, parts: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> StoredArray:
        """Append an array that comes in parts, in row-major order, and return it, unread.

        Raises:
            InputError: the disk is full.

        """
        begin = self._end
        self._file.seek(begin)
        for part in parts:
            octets = np.ascontiguousarray(part, dtype).reshape(-1).data.cast("B")
            try:
                self._end += self._file.write(octets)
            except OSError as error:
                raise InputError(f"the temporary file of the trace cannot be written ({error.strerror})") from None
        assert self._end - begin == math.prod(shape) * dtype.itemsize
        return self._at(begin, shape, dtype)

    def reshaped(self, array: StoredArray, shape: tuple[int, ...]) -> StoredArray:
        """Return the same octets in another shape of as many elements."""
        assert math.prod(shape) == math.prod(array.shape)
        return self._at(self._places[array.name][0], shape, array.dtype)

    def drop_last(self, array: StoredArray) -> None:
        """Take back the array that was written last."""
        self._end = self._places.pop(array.name)[0]

    def read(self, name: str) -> NDArray[Any]:
        """Return a fresh copy of the array ``name``."""
        begin, shape, dtype = self._places[name]
        array = np.empty(shape, dtype)
        octets = array.reshape(-1).data.cast("B")
        self._file.flush()
        done = 0
        while done < len(octets):
            read = os.preadv(self._file.fileno(), [octets[done:]], begin + done)
            if not read:
                raise InputError("the temporary file of an extracted trace was cut short; is the disk full?")
            done += read
        return array

    def _at(self, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> StoredArray:
        name = f"{begin} {shape} {dtype.str}"
        self._places[name] = (begin, shape, dtype)
        return StoredArray(self, name, shape, dtype)

    def __getstate__(self) -> dict[str, Any]:
        raise InputError("an extracted trace is in a temporary file of this process; save_trace it to hand it on")
