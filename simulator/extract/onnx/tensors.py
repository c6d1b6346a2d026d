"""Arrays as integers and masks, a block at a time: what is captured of a PyTorch tensor, without PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.draft import Handle
from simulator.extract.given import MOST_ELEMENTS
from simulator.extract.onnx.value import Value
from simulator.extract.store import Place, Store
from simulator.trace import DensityTensor, MaskTensor, ValueTensor

__all__ = ["Arrays", "is_usable", "require_usable"]

BLOCK: Final = 1 << 17
"""Elements in work at a time."""


class Arrays(Store):
    """The tensors captured of a graph."""

    def place(self, tensor: Value, constant: bool = True) -> Place:
        """Return what is known of the memory of a value."""
        return tensor.place

    def values(self, tensor: Value, per_channel: bool = False) -> Handle:
        """Capture the values of a value; on the grid of the model where it has one.

        Raises:
            InputError: it is complex, not finite, empty or too large.

        """
        place, key = tensor.place, (*_view(tensor.array), per_channel)
        known = place.handles.get(key)
        if known is None or isinstance(known.tensor, MaskTensor | DensityTensor):
            require_usable(tensor.array)
            steps = _steps(tensor.grid, per_channel)
            if steps is not None:
                written = self._on_grid(tensor, steps)
            else:
                top = 2 ** (self.bits - 1) - 1
                percentile = 100.0 if place.constant else self.percentile
                scale = _scale(tensor.array, top, per_channel, percentile)
                dtype = np.dtype("i1" if top < 2**7 else "<i2")
                parts = _codes(tensor.array, scale, top, dtype, self.lost[place.constant])
                written = self.stored(parts, tensor.array.shape, dtype, scale, self.bits)
            if known is None:
                known = place.handles[key] = Handle(written)
            known.tensor = written
        self._link(tensor, known)
        return known

    def mask(self, tensor: Value) -> Handle:
        """Capture where a value is zero; its values, should these be captured, too.

        Raises:
            InputError: as `values`.

        """
        key = (*_view(tensor.array), False)
        known = tensor.place.handles.get(key)
        if known is None:
            require_usable(tensor.array)
            packed = self.packed(_nonzeros(tensor.array), tensor.array.shape)
            known = tensor.place.handles[key] = Handle(packed)
        self._link(tensor, known)
        return known

    def integers(self, tensor: Value) -> Handle:
        """Capture whole numbers as they are, in 32 bits: indices.

        Raises:
            InputError: they do not fit.

        """
        key = (*_view(tensor.array), "integers")
        if key not in tensor.place.handles:
            tensor.place.handles[key] = Handle(ValueTensor(tensor.array, bits=32))
        return tensor.place.handles[key]

    def identity(self, tensor: Value) -> tuple[Any, ...]:
        """Return what tells a value, as it is seen, from others."""
        return (tensor.place, *_view(tensor.array))

    def _on_grid(self, tensor: Value, steps: NDArray[np.float64]) -> Any:
        """Write the integers that the model itself holds: element ÷ step is one, but for rounding."""
        limit = 2**31 - 1
        dtype = np.dtype("<i4")
        low, high = 0, 0
        for block in _codes(tensor.array, steps, limit, dtype, []):
            low, high = min(low, int(block.min())), max(high, int(block.max()))
        bits = tensor.bits
        while not (-(2 ** (bits - 1)) <= low and high <= 2 ** (bits - 1)) and not (low >= 0 and high < 2**bits):
            bits += 1
        dtype = np.dtype(
            "i1" if low >= -(2**7) and high < 2**7 else "<i2" if high < 2**15 and low >= -(2**15) else "<i4"
        )
        parts = _codes(tensor.array, steps, limit, dtype, self.lost[tensor.place.constant])
        return self.stored(parts, tensor.array.shape, dtype, steps, bits)

    def _link(self, tensor: Value, handle: Handle) -> None:
        """Say that a captured value is what an operator before it stored."""
        draft = None if tensor.place.origin is None else tensor.place.origin.draft
        if draft is None or "output" in draft.roles or not tensor.array.flags.c_contiguous:
            return
        if tensor.array.shape == draft.output_shape:
            draft.roles["output"] = handle
        elif tensor.array.size == math.prod(draft.output_shape):
            draft.roles["output"] = Handle(self.packed(_nonzeros(tensor.array), draft.output_shape))


def is_usable(array: Any) -> bool:
    """Tell whether a trace can hold an array as it is."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiub" and array.ndim > 0 < array.size <= MOST_ELEMENTS


def require_usable(array: Any) -> None:
    """Refuse what a trace cannot hold: what are no real numbers, too many elements, or none.

    Raises:
        InputError: so it is.

    """
    if isinstance(array, np.ndarray) and array.dtype.name == "bfloat16":
        raise InputError("a tensor of bfloat16, which onnxruntime computes little with; convert the model to float32")
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"a tensor of {getattr(array, 'dtype', type(array).__name__)}, but a trace holds real numbers")
    if array.size > MOST_ELEMENTS:
        raise InputError(f"a tensor of {array.size} elements, more than the 2^31 that a trace may hold in one")
    if array.size == 0:
        raise InputError(f"a tensor of shape {array.shape} without any element")


def _scale(array: NDArray[Any], top: int, per_channel: bool, percentile: float) -> NDArray[np.float64]:
    """Choose the scale: the largest magnitude, or a percentile of the magnitudes, becomes `top`."""
    axes = tuple(range(1, array.ndim)) if per_channel else None
    low, high = (np.asarray(end(axis=axes), np.float64) for end in (array.min, array.max))
    magnitude = np.maximum(np.abs(low), np.abs(high))
    if not np.isfinite(magnitude).all():
        lost = sum(int((~np.isfinite(block)).sum()) for block in _blocks(array))
        raise InputError(
            f"a tensor of which {lost} of {array.size} elements are NaN or infinite, which no chip computes with"
        )
    if percentile < 100 and not per_channel:
        place = max(1, min(array.size, round(array.size * percentile / 100)))
        ordered = np.partition(np.abs(array).reshape(-1).astype(np.float32), place - 1)
        magnitude = np.asarray(float(ordered[place - 1]))
    scale = np.where(magnitude > 0, np.maximum(magnitude / top, np.finfo(np.float64).tiny), 1.0)
    return np.asarray(scale, np.float64)


def _steps(grid: NDArray[Any] | None, per_channel: bool) -> NDArray[np.float64] | None:
    """Return the model's own step, or steps of the first axis; None where it has none or others."""
    if grid is None:
        return None
    first = grid[(0,) * grid.ndim]
    if not per_channel or grid.ndim == 0:
        return np.asarray(first, np.float64) if bool((grid == first).all()) else None
    rows = np.asarray(grid.reshape(len(grid), -1)[:, 0], np.float64)
    return rows if bool((grid == rows.reshape(-1, *[1] * (grid.ndim - 1)).astype(grid.dtype)).all()) else None


def _codes(
    array: NDArray[Any], scale: NDArray[np.float64], top: int, dtype: np.dtype[Any], lost: list[int]
) -> Iterator[NDArray[Any]]:
    """Yield rint(array ÷ scale) within ±top in row-major order; note what was lost to zero, and of how many."""
    row = 0
    for block in _blocks(array, whole_rows=scale.ndim > 0):
        step: Any = scale
        if scale.ndim:
            step, row = scale[row : row + len(block)].reshape(-1, *[1] * (block.ndim - 1)), row + len(block)
        whole = block.astype(np.float64)
        whole /= step
        np.rint(whole, out=whole)
        codes = np.clip(whole, -top, top, out=whole).astype(dtype)
        before = int(np.count_nonzero(block))
        lost += [before - int(np.count_nonzero(codes)), before]
        yield codes


def _nonzeros(array: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """Yield where an array is not zero, packed: the first element in the lowest bit."""
    flat = (array if array.flags.c_contiguous else array != 0).reshape(-1)
    for begin in range(0, flat.size, BLOCK):
        yield np.packbits(flat[begin : begin + BLOCK] != 0, bitorder="little")


def _blocks(array: NDArray[Any], whole_rows: bool = False) -> Iterator[NDArray[Any]]:
    """Yield the array in row-major order, in parts of its first axis or, where it lies in one piece, flat."""
    if array.flags.c_contiguous and not whole_rows:
        flat = array.reshape(-1)
        for begin in range(0, flat.size, BLOCK):
            yield flat[begin : begin + BLOCK]
        return
    rows = max(1, BLOCK * len(array) // array.size)
    for begin in range(0, len(array), rows):
        yield array[begin : begin + rows]


def _view(array: NDArray[Any]) -> tuple[Any, ...]:
    strides = tuple(stride for size, stride in zip(array.shape, array.strides, strict=True) if size > 1)
    return (array.__array_interface__["data"][0], array.shape, strides, array.dtype.str)
