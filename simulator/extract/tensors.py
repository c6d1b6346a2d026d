"""Which tensors a model holds, and what becomes of them: each is quantised and written once, when first needed."""

from __future__ import annotations

import hashlib
import json
import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.extract.draft import Handle, Origin
from simulator.extract.quantising import Scaling, codes, nonzeros, require_usable
from simulator.extract.report import Rounding
from simulator.extract.spool import Spool
from simulator.trace import DensityTensor, MaskTensor, Tensor, ValueTensor
from simulator.trace.stored import StoredArray

torch: Any = import_module("torch")

_StorageReference: Any = import_module("torch.multiprocessing.reductions").StorageWeakRef

__all__ = ["Place", "Tensors"]


@dataclass(eq=False)
class Place:
    """What is known of the memory of a tensor, and of all views of it."""

    alive: Any
    """A weak reference: memory that is freed may become another tensor's."""
    constant: bool
    """Whether it comes of the model's parameters alone, whatever the inputs are."""
    origin: Origin | None = None
    """What computed it."""
    handles: dict[tuple[Any, ...], Handle] = field(default_factory=dict)
    """What was captured of it, by the view."""


class Tensors:
    """All memory seen so far, and the tensors captured of it.

    Args:
        bits: of a value, 2 to 16.
        percentile: of the magnitudes of an activation, which becomes the largest integer.
        spool: where they are written.

    """

    def __init__(self, bits: int, percentile: float, spool: Spool) -> None:
        self.bits, self.percentile, self.spool = bits, percentile, spool
        self.lost: dict[bool, list[int]] = {True: [], False: []}  # by whether it is constant
        self._places: dict[Any, Place] = {}
        self._written: dict[str, Tensor] = {}
        self._purge_at = 1024

    def place(self, tensor: Any, constant: bool = True) -> Place:
        """Return what is known of the memory of a tensor; what nobody computed is constant unless said otherwise."""
        strided = tensor.layout == torch.strided
        key = tensor.untyped_storage()._cdata if strided else id(tensor)
        place = self._places.get(key)
        if place is None or place.alive.expired():
            place = self._places[key] = Place(_weak(tensor, strided), constant)
            self._purge()
        return place

    def values(self, tensor: Any, per_channel: bool = False) -> Handle:
        """Capture the values of a tensor.

        Raises:
            InputError: it is complex, not finite, empty or too large.

        """
        place, key = self.place(tensor), (*_view(tensor), per_channel)
        known = place.handles.get(key)
        if known is None or isinstance(known.tensor, MaskTensor | DensityTensor):
            require_usable(tensor)
            scaling = Scaling.of(tensor, self.bits, per_channel, 100.0 if place.constant else self.percentile)
            parts = codes(tensor, scaling, self.lost[place.constant])
            written = self._values(parts, tuple(tensor.shape), scaling)
            if known is None:
                known = place.handles[key] = Handle(written)
            known.tensor = written
        self._link(place, tensor, known)
        return known

    def mask(self, tensor: Any) -> Handle:
        """Capture where a tensor is zero; its values, should these be captured, too.

        Raises:
            InputError: as `values`.

        """
        place, key = self.place(tensor), (*_view(tensor), False)
        known = place.handles.get(key)
        if known is None:
            require_usable(tensor)
            known = place.handles[key] = Handle(self.packed(nonzeros(tensor), tuple(tensor.shape)))
        self._link(place, tensor, known)
        return known

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

    def integers(self, tensor: Any) -> Handle:
        """Capture whole numbers as they are, in 32 bits: indices.

        Raises:
            InputError: they do not fit.

        """
        place, key = self.place(tensor), (*_view(tensor), "integers")
        if key not in place.handles:
            place.handles[key] = Handle(ValueTensor(tensor.cpu().numpy(), bits=32))
        return place.handles[key]

    def derived(self, handle: Handle, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Handle:
        """Return the same numbers in another order: captured values, changed by transposing, reshaping or selecting."""
        tensor = handle.tensor
        assert isinstance(tensor, ValueTensor)
        assert not isinstance(tensor.scale, tuple)
        array = change(np.asarray(tensor.values()))
        return Handle(self._values([array], array.shape, Scaling(np.asarray(tensor.scale), 2 ** (self.bits - 1) - 1)))

    def scaled(self, handle: Handle, factor: NDArray[np.float64]) -> Handle:
        """Return a weight times one factor per output channel: other scales, and other signs or zeros."""
        tensor = handle.tensor
        assert isinstance(tensor, ValueTensor)
        array = np.asarray(tensor.values())
        signs = np.sign(factor).reshape(-1, *[1] * (array.ndim - 1))
        scale = np.broadcast_to(np.asarray(tensor.scale), factor.shape) * np.abs(factor)
        scale = np.where(factor == 0, 1.0, np.maximum(scale, np.finfo(np.float64).tiny))
        scaling = Scaling(scale, 2 ** (self.bits - 1) - 1)
        return Handle(self._values([array * signs.astype(array.dtype)], array.shape, scaling))

    def rounding(self, constant: bool) -> Rounding:
        """Return what quantisation did to small weights (`constant`) or activations."""
        counts = self.lost[constant]
        return Rounding(sum(counts[::2]), sum(counts[1::2]))

    def identity(self, tensor: Any) -> tuple[Any, ...]:
        """Return what tells a tensor, as it is seen, from others."""
        return (self.place(tensor), *_view(tensor))

    def forget(self, tensor: Any) -> None:
        """Forget what was captured of memory that is about to change."""
        place = self.place(tensor)
        place.handles = {}

    def _values(self, parts: Iterable[NDArray[Any]], shape: tuple[int, ...], scaling: Scaling) -> Tensor:
        scale = scaling.scale.tolist()
        scale = tuple(scale) if isinstance(scale, list) else scale
        return self._once(
            parts, shape, scaling.dtype, ["values", shape, self.bits, scale],
            lambda array: ValueTensor(array, scale, self.bits),
        )  # fmt: skip

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

    def _link(self, place: Place, tensor: Any, handle: Handle) -> None:
        """Say that a captured tensor is what an operator before it stored."""
        draft = None if place.origin is None else place.origin.draft
        if draft is None or "output" in draft.roles:
            return
        if tuple(tensor.shape) == draft.output_shape and tensor.is_contiguous(memory_format=_format(tensor)):
            draft.roles["output"] = handle
        elif tensor.numel() == math.prod(draft.output_shape) and tensor.is_contiguous():
            draft.roles["output"] = Handle(self.packed(nonzeros(tensor), draft.output_shape))

    def _purge(self) -> None:
        if len(self._places) >= self._purge_at:
            self._places = {key: place for key, place in self._places.items() if not place.alive.expired()}
            self._purge_at = 2 * len(self._places) + 1024


class _WeakTensor:
    """A weak reference to a tensor that has no storage of its own (a sparse one)."""

    def __init__(self, tensor: Any) -> None:
        self._reference = weakref.ref(tensor)

    def expired(self) -> bool:
        """Tell whether the tensor is gone."""
        return self._reference() is None


def _weak(tensor: Any, strided: bool) -> Any:
    if not strided:
        return _WeakTensor(tensor)
    return _StorageReference(tensor.untyped_storage())


def _view(tensor: Any) -> tuple[Any, ...]:
    if tensor.layout != torch.strided:
        return (tuple(tensor.shape), tensor.dtype)
    return (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _format(tensor: Any) -> Any:
    channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format
