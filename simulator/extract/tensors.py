"""Which tensors a model holds, and what becomes of them: each is quantised and written once, when first needed."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from simulator.extract.draft import Handle, Origin
from simulator.extract.quantising import Scaling, codes, nonzeros, require_usable
from simulator.extract.spool import Spool
from simulator.extract.store import Place, Store
from simulator.trace import DensityTensor, MaskTensor, ValueTensor

torch: Any = import_module("torch")

_StorageReference: Any = import_module("torch.multiprocessing.reductions").StorageWeakRef

__all__ = ["Tensors"]


@dataclass(eq=False)
class _Memory(Place):
    alive: Any = None
    """A weak reference: memory that is freed may become another tensor's."""
    layout: tuple[int, ...] = ()
    """Strides of the tensor that was computed, of which others are views."""


class Tensors(Store):
    """All memory seen so far, and the tensors captured of it.

    Args:
        bits: of a value, 2 to 16.
        percentile: of the magnitudes of an activation, which becomes the largest integer.
        spool: where they are written.

    """

    def __init__(self, bits: int, percentile: float, spool: Spool) -> None:
        super().__init__(bits, percentile, spool)
        self._places: dict[Any, _Memory] = {}
        self._purge_at = 1024

    def place(self, tensor: Any, constant: bool = True) -> _Memory:
        """Return what is known of the memory of a tensor; what nobody computed is constant unless said otherwise."""
        strided, key = tensor.layout == torch.strided, self._key(tensor)
        place = self._places.get(key)
        if place is None or place.alive.expired():
            place = self._places[key] = _Memory(constant, alive=_weak(tensor, strided))
            self._purge()
        return place

    def _key(self, tensor: Any) -> Any:
        return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)

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
            written = self.stored(parts, tuple(tensor.shape), scaling.dtype, scaling.scale, self.bits)
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

    def integers(self, tensor: Any) -> Handle:
        """Capture whole numbers as they are, in 32 bits: indices.

        Raises:
            InputError: they do not fit.

        """
        place, key = self.place(tensor), (*_view(tensor), "integers")
        if key not in place.handles:
            place.handles[key] = Handle(ValueTensor(tensor.cpu().numpy(), bits=32))
        return place.handles[key]

    def identity(self, tensor: Any) -> tuple[Any, ...]:
        """Return what tells a tensor, as it is seen, from others."""
        return (self.place(tensor), *_view(tensor))

    def came(self, tensor: Any, constant: bool, origin: Origin | None) -> None:
        """Say what computed a tensor, and that it lies as it was computed."""
        place = self._places[self._key(tensor)]
        place.constant, place.origin = constant, origin
        place.layout = tuple(tensor.stride()) if tensor.layout == torch.strided else ()

    def _link(self, place: _Memory, tensor: Any, handle: Handle) -> None:
        """Say that a captured tensor is what an operator before it stored, in that order."""
        draft = None if place.origin is None else place.origin.draft
        if draft is None or "output" in draft.roles:
            return
        if tuple(tensor.shape) == draft.output_shape and tuple(tensor.stride()) == place.layout:
            draft.roles["output"] = handle
        elif tensor.numel() == math.prod(draft.output_shape) and tensor.is_contiguous() and _falling(place.layout):
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


def _falling(strides: tuple[int, ...]) -> bool:
    """Tell whether an array that lies in one piece is in row-major order."""
    return list(strides) == sorted(strides, reverse=True)
