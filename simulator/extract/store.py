"""Captured tensors: each content is written once."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.extract.draft import Handle, Origin
from simulator.extract.report import Rounding
from simulator.extract.spool import Spool
from simulator.trace import DensityTensor, MaskTensor, Tensor, ValueTensor
from simulator.trace.stored import StoredArray

__all__ = ["Place", "Store"]


@dataclass(eq=False)
class Place:
    """What is known of the memory of a tensor, and of all views of it."""

    constant: bool
    """Whether it comes of the model's parameters alone, whatever the inputs are."""
    origin: Origin | None = None
    """What computed it."""
    handles: dict[tuple[Any, ...], Handle] = field(default_factory=dict)
    """What was captured of it, by the view."""


class Store(ABC):
    """Tensors of integers and masks, in a temporary file.

    Args:
        bits: of a value, 2 to 16.
        percentile: of the magnitudes of an activation, which becomes the largest integer.
        spool: where they are written.

    """

    def __init__(self, bits: int, percentile: float, spool: Spool) -> None:
        self.bits, self.percentile, self.spool = bits, percentile, spool
        self.lost: dict[bool, list[int]] = {True: [], False: []}  # by whether it is constant
        self._written: dict[str, Tensor] = {}

    @abstractmethod
    def place(self, tensor: Any, constant: bool = True) -> Place:
        """Return what is known of the memory of a tensor; what nobody computed is constant unless said otherwise."""

    def came(self, tensor: Any, constant: bool, origin: Origin | None) -> None:
        """Say what computed a tensor."""
        place = self.place(tensor)
        place.constant, place.origin = constant, origin

    @abstractmethod
    def values(self, tensor: Any, per_channel: bool = False) -> Handle:
        """Capture the values of a tensor.

        Raises:
            InputError: it is complex, not finite, empty or too large.

        """

    @abstractmethod
    def mask(self, tensor: Any) -> Handle:
        """Capture where a tensor is zero; its values, should these be captured, too.

        Raises:
            InputError: as `values`.

        """

    @abstractmethod
    def integers(self, tensor: Any) -> Handle:
        """Capture whole numbers as they are, in 32 bits: indices.

        Raises:
            InputError: they do not fit.

        """

    @abstractmethod
    def identity(self, tensor: Any) -> tuple[Any, ...]:
        """Return what tells a tensor, as it is seen, from others."""

    def forget(self, tensor: Any) -> None:
        """Forget what was captured of memory that is about to change."""
        self.place(tensor).handles = {}

    def packed(self, parts: Iterable[NDArray[np.uint8]], shape: tuple[int, ...]) -> Tensor:
        """Write a mask that comes packed, in parts of whole octets; one without zeros needs no room."""
        size = int(np.prod(shape, dtype=np.int64))
        ones = 0

        def counted() -> Iterable[NDArray[np.uint8]]:
            nonlocal ones
            for part in parts:
                ones += int(np.bitwise_count(part).sum())
                yield part

        made = self._once(
            counted(), ((size + 7) // 8,), np.dtype("u1"), ["mask", shape, self.bits],
            lambda array: MaskTensor(array, shape, self.bits),
        )  # fmt: skip
        return DensityTensor(shape, 1.0, 0, self.bits) if ones == size else made

    def derived(self, handle: Handle, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Handle:
        """Return the same numbers in another order: captured values, changed by transposing, reshaping or selecting."""
        tensor = handle.tensor
        assert isinstance(tensor, ValueTensor)
        assert not isinstance(tensor.scale, tuple)
        array = change(np.asarray(tensor.values()))
        return Handle(self.stored([array], array.shape, array.dtype, np.asarray(tensor.scale), tensor.bits))

    def scaled(self, handle: Handle, factor: NDArray[np.float64]) -> Handle:
        """Return a weight times one factor per output channel: other scales, and other signs or zeros."""
        tensor = handle.tensor
        assert isinstance(tensor, ValueTensor)
        array = np.asarray(tensor.values())
        signs = np.sign(factor).reshape(-1, *[1] * (array.ndim - 1))
        scale = np.broadcast_to(np.asarray(tensor.scale), factor.shape) * np.abs(factor)
        scale = np.where(factor == 0, 1.0, np.maximum(scale, np.finfo(np.float64).tiny))
        array = array * signs.astype(array.dtype)
        return Handle(self.stored([array], array.shape, array.dtype, scale, tensor.bits))

    def rounding(self, constant: bool) -> Rounding:
        """Return what quantisation did to small weights (`constant`) or activations."""
        counts = self.lost[constant]
        return Rounding(sum(counts[::2]), sum(counts[1::2]))

    def stored(
        self,
        parts: Iterable[NDArray[Any]],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        scale: NDArray[np.float64],
        bits: int,
    ) -> Tensor:
        """Write integers that come in parts, in row-major order, with one scale or one for each of the first axis."""
        listed = scale.tolist()
        listed = tuple(listed) if isinstance(listed, list) else listed
        return self._once(
            parts, shape, dtype, ["values", shape, bits, listed], lambda array: ValueTensor(array, listed, bits)
        )

    def _once(
        self,
        parts: Iterable[NDArray[Any]],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        header: list[Any],
        make: Callable[[StoredArray], Tensor],
    ) -> Tensor:
        """Write an array, unless one of the same content was written before."""
        digest = hashlib.sha256(json.dumps(header).encode())

        def digested() -> Iterable[NDArray[Any]]:
            for part in parts:
                part = np.ascontiguousarray(part, dtype)
                digest.update(part.reshape(-1).data.cast("B"))
                yield part

        array = self.spool.write(digested(), shape, dtype)
        key = digest.hexdigest()
        if key in self._written:
            self.spool.drop_last(array)
        else:
            self._written[key] = make(array)
        return self._written[key]
