"""PyTorch tensors as integers, a block at a time: what `simulator.trace.quantise` does, without holding it all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.extract.given import MOST_ELEMENTS

torch: Any = import_module("torch")  # an extra: types are checked where it is not installed, too

__all__ = ["Scaling", "codes", "is_usable", "nonzeros", "require_usable"]

BLOCK = 1 << 17
"""Elements in work at a time."""
_KINDS: Final = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True, eq=False)
class Scaling:
    """How a tensor is quantised: codes are rint(x ÷ scale) within ±top."""

    scale: NDArray[np.float64]
    """() or (first axis,)."""
    top: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest integers that hold the codes."""
        return np.dtype("i1" if self.top < 2**7 else "<i2" if self.top < 2**15 else "<i4")

    @classmethod
    def of(cls, tensor: Any, bits: int, per_channel: bool = False, percentile: float = 100.0) -> Scaling:
        """Choose the scale: the largest magnitude, or a percentile of the magnitudes, becomes 2^(bits−1) − 1.

        Args:
            tensor: real numbers, on any device.
            bits: 2 to 16.
            per_channel: one scale for each index of the first axis.
            percentile: above 0 to 100; what is larger saturates. Not with `per_channel`.

        Raises:
            InputError: NaN or infinity, or a type that PyTorch itself computes little with.

        """
        if _kind(tensor) not in _KINDS:
            raise InputError(f"a tensor of {_kind(tensor)}, expected one of {', '.join(_KINDS)}")
        top = 2 ** (bits - 1) - 1
        if per_channel and tensor.dim() > 1:
            axes = tuple(range(1, tensor.dim()))
            low, high = tensor.amin(axes), tensor.amax(axes)
        elif per_channel:
            low = high = tensor
        else:
            low, high = torch.aminmax(tensor)
        magnitude = np.maximum(*(np.abs(end.double().cpu().numpy()) for end in (low, high)))
        if not np.isfinite(magnitude).all():
            lost = sum(int((~torch.isfinite(block)).sum()) for block in _blocks(tensor))
            raise InputError(
                f"a tensor of which {lost} of {tensor.numel()} elements are NaN or infinite, "
                "which no chip computes with"
            )
        if percentile < 100 and not per_channel:
            size = tensor.numel()
            place = max(1, min(size, round(size * percentile / 100)))
            magnitude = np.asarray(
                torch.kthvalue(tensor.abs().reshape(-1).float(), place).values.double().cpu().numpy()
            )
        scale = np.where(magnitude > 0, np.maximum(magnitude / top, np.finfo(np.float64).tiny), 1.0)
        return cls(scale, top)


def codes(tensor: Any, scaling: Scaling, lost: list[int]) -> Iterator[NDArray[Any]]:
    """Yield the integers in row-major order; zeros are zeros.

    Args:
        tensor: real numbers.
        scaling: as `Scaling.of` chose.
        lost: is appended, for each block, how many numbers that are not zero became zero, and how many there were.

    """
    row = 0
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32}[scaling.dtype.itemsize]
    for block in _blocks(tensor, whole_rows=scaling.scale.ndim > 0):
        numbers = block.double()
        scale: Any = float(scaling.scale) if scaling.scale.ndim == 0 else None
        if scale is None:
            rows = scaling.scale[row : row + len(block)].reshape(-1, *[1] * (block.dim() - 1))
            scale, row = torch.from_numpy(rows).to(block.device), row + len(block)
        whole = (numbers / scale).round_().clamp_(-scaling.top, scaling.top).to(kind)
        before = int(torch.count_nonzero(block))
        lost += [before - int(torch.count_nonzero(whole)), before]
        yield whole.cpu().numpy()


def nonzeros(tensor: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield where a tensor is not zero, packed: the first element in the lowest bit."""
    if not tensor.is_contiguous():
        tensor = (tensor != 0).contiguous()
    flat = tensor.reshape(-1)
    for begin in range(0, flat.numel(), BLOCK):
        yield np.packbits((flat[begin : begin + BLOCK] != 0).cpu().numpy(), bitorder="little")


def is_usable(tensor: Any) -> bool:
    """Tell whether a trace can hold a tensor as it is."""
    return bool(tensor.dim() and 0 < tensor.numel() <= MOST_ELEMENTS and _kind(tensor) in _KINDS)


def require_usable(tensor: Any) -> None:
    """Refuse what a trace cannot hold: complex numbers, too many elements, none, or no data at all.

    Raises:
        InputError: so it is.

    """
    if tensor.is_complex():
        raise InputError(f"a tensor of {_kind(tensor)}, but a trace holds real numbers")
    if tensor.numel() > MOST_ELEMENTS:
        raise InputError(f"a tensor of {tensor.numel()} elements, more than the 2^31 that a trace may hold in one")
    if tensor.numel() == 0:
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} without any element")
    if tensor.is_meta:
        raise InputError("a tensor on the device 'meta', which has no values; load the model with its weights")


def _kind(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _blocks(tensor: Any, whole_rows: bool = False) -> Iterator[Any]:
    """Yield the tensor in row-major order, in parts of its first axis or, where it lies in one piece, flat."""
    if tensor.is_contiguous() and not whole_rows:
        flat = tensor.reshape(-1)
        for begin in range(0, flat.numel(), BLOCK):
            yield flat[begin : begin + BLOCK]
        return
    rows = max(1, BLOCK * len(tensor) // tensor.numel())
    for begin in range(0, len(tensor), rows):
        yield tensor[begin : begin + rows]
