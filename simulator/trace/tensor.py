"""Tensors at three levels of knowledge: values ⊃ mask ⊃ density."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.trace.checks import Shape, sizes, whole
from simulator.trace.stored import StoredArray

MAX_BITS = 32
_INTEGERS = tuple(np.dtype(code) for code in ("i1", "u1", "<i2", "<u2", "<i4", "<u4"))


class Tensor(ABC):
    """What is known of a tensor. Compared by identity; equal content has an equal `digest`.

    Attributes:
        kind: "values", "mask" or "density".
        shape: sizes of the axes, each at least 1.
        bits: storage of one non-zero value, in bits (8 for int8, 1 for the sign of a ternary value).
        density: the part of the elements that is non-zero, 0 to 1.

    """

    kind: ClassVar[str]
    shape: Shape
    bits: int

    @cached_property
    def density(self) -> float:
        """The part of the elements that is non-zero, 0 to 1."""
        return float(np.count_nonzero(self.mask()) / self.size)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @abstractmethod
    def mask(self) -> NDArray[np.bool_]:
        """Return an array of `.shape`, True where the element is non-zero."""

    def values(self) -> NDArray[np.integer[Any]] | None:
        """Return the integers, an array of `.shape`, or None where only a mask or a density is known."""
        return None

    def header(self) -> dict[str, Any]:
        """Return what a trace file says of this tensor beside its content."""
        return {"kind": self.kind, "shape": list(self.shape), "bits": self.bits}

    def content(self) -> NDArray[Any] | None:
        """Return the array that a trace file stores (None: the header says all)."""
        return None

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the header and the content. Reads the content once."""
        digest = hashlib.sha256(json.dumps(self.header(), sort_keys=True).encode())
        content = self.content()
        if content is not None:
            digest.update(content.dtype.str.encode())
            digest.update(np.ascontiguousarray(content).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ValueTensor(Tensor):
    """A tensor of known values: `value = integer × scale`.

    Args:
        data: an integer array. It is copied, in the smallest integer type that holds it. From a file it is
            read at each use and not kept, so that a whole network is never in memory.
        scale: one positive number, or one per index of the first axis (the output channels of a weight).
        bits: storage of one value; values must lie in −2^(bits−1) … 2^(bits−1) or in 0 … 2^bits − 1.

    Raises:
        InputError: floating-point data, a scale that is not positive and finite, values too wide for `bits`.

    """

    kind: ClassVar[str] = "values"
    data: NDArray[np.integer[Any]] | StoredArray
    scale: float | tuple[float, ...] = 1.0
    bits: int = 8
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        _set(self, bits=_checked_bits(self.bits))
        if isinstance(self.data, StoredArray):
            _require_integers(self.data.dtype)
        else:
            _set(self, data=_smallest(np.array(self.data), self.bits, "values"))
        _set(self, shape=sizes(tuple(self.data.shape), "the shape of values"))
        _set(self, scale=_checked_scale(self.scale, self.shape[0]))

    def values(self) -> NDArray[np.integer[Any]]:
        """Return the integers, an array of `.shape`, without the scale."""
        if isinstance(self.data, StoredArray):
            return _smallest(self.data.read(), self.bits, str(self.data))
        return self.data

    def mask(self) -> NDArray[np.bool_]:
        """Return an array of `.shape`, True where the value is not 0."""
        mask: NDArray[np.bool_] = self.values() != 0
        return mask

    def header(self) -> dict[str, Any]:
        """Return kind, shape, bits and scale."""
        scale = list(self.scale) if isinstance(self.scale, tuple) else self.scale
        return super().header() | {"scale": scale}

    def content(self) -> NDArray[np.integer[Any]]:
        """Return the integers."""
        return self.values()


@dataclass(frozen=True, eq=False)
class MaskTensor(Tensor):
    """A tensor of which one knows where the zeros are. Made by `MaskTensor.of`.

    Args:
        packed: uint8, one bit per element in row-major order, the first element in the lowest bit.
        shape: sizes of the axes.
        bits: storage of one non-zero value.

    Raises:
        InputError: `packed` is not the right number of bytes, or has a bit set beyond the last element.

    """

    kind: ClassVar[str] = "mask"
    packed: NDArray[np.uint8] | StoredArray
    shape: Shape
    bits: int = 8

    def __post_init__(self) -> None:
        _set(self, bits=_checked_bits(self.bits), shape=sizes(self.shape, "the shape of a mask"))
        if not isinstance(self.packed, StoredArray):
            _set(self, packed=_frozen(np.array(self.packed)))
        expected = (-(-self.size // 8),)
        if self.packed.dtype != np.uint8 or self.packed.shape != expected:
            raise InputError(
                f"a packed mask of shape {self.shape} must be uint8 of shape {expected}, "
                f"not {self.packed.dtype} of shape {self.packed.shape}"
            )
        if not isinstance(self.packed, StoredArray):
            _require_clean_tail(self.packed, self.size, "a packed mask")

    @classmethod
    def of(cls, mask: NDArray[np.bool_], bits: int = 8) -> MaskTensor:
        """Return the tensor of a boolean array (True: non-zero)."""
        array = np.asarray(mask)
        if array.dtype != np.bool_:
            raise InputError(f"a mask must be an array of booleans (array != 0), not of {array.dtype}")
        shape = sizes(array.shape, "the shape of a mask")
        return cls(np.packbits(array, axis=None, bitorder="little"), shape, bits)

    def mask(self) -> NDArray[np.bool_]:
        """Return an array of `.shape`, True where the element is non-zero."""
        flat = np.unpackbits(self.content(), count=self.size, bitorder="little")
        return flat.view(np.bool_).reshape(self.shape)

    def content(self) -> NDArray[np.uint8]:
        """Return the packed bits."""
        if isinstance(self.packed, StoredArray):
            return _require_clean_tail(self.packed.read(), self.size, str(self.packed))
        return self.packed


@dataclass(frozen=True, eq=False)
class DensityTensor(Tensor):
    """A tensor of which one knows how many elements are non-zero; where they are is drawn.

    Each element is non-zero with probability `density`, independently, by 32-bit draws from PCG64, whose
    stream NumPy promises to keep: the mask of a seed is the same for ever.

    Args:
        shape: sizes of the axes.
        density: probability of a non-zero element, 0 to 1, kept to 2^-32. The mask drawn has it only nearly.
        seed: a whole number of at least 0.
        bits: storage of one non-zero value.

    Raises:
        InputError: density outside 0 to 1, a bad shape, seed or width.

    """

    kind: ClassVar[str] = "density"
    shape: Shape
    density: float = field()  # no default: hides the property of the base
    seed: int
    bits: int = 8

    def __post_init__(self) -> None:
        density = _number(self.density)
        if density is None or not 0 <= density <= 1:
            raise InputError(f"a density must be a number from 0 to 1, not {self.density!r}")
        _set(
            self,
            shape=sizes(self.shape, "the shape of a density tensor"),
            density=density,
            seed=whole(self.seed, "a seed", 0),
            bits=_checked_bits(self.bits),
        )

    def mask(self) -> NDArray[np.bool_]:
        """Draw an array of `.shape`: always the same one."""
        words = np.random.PCG64(self.seed).random_raw(-(-self.size // 2))
        draws = words.astype("<u8", copy=False).view("<u4")[: self.size]
        chosen: NDArray[np.bool_] = draws < round(self.density * 2**32)
        return chosen.reshape(self.shape)

    def header(self) -> dict[str, Any]:
        """Return kind, shape, bits, density and seed."""
        return super().header() | {"density": self.density, "seed": self.seed}


def quantise(array: ArrayLike, bits: int = 8, axis: int | None = None) -> ValueTensor:
    """Return floating-point values as integers with a symmetric scale; zeros stay exactly zero.

    Args:
        array: real numbers.
        bits: width; the largest magnitude becomes 2^(bits−1) − 1 (1 for one bit).
        axis: None for one scale, 0 for one per index of the first axis (output channel).

    Raises:
        InputError: NaN or infinity, numbers that are not real, an axis other than None and 0.

    """
    width = _checked_bits(bits)
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "fiu":
        raise InputError(f"only an array of real numbers can be quantised, not one of {numbers.dtype}")
    sizes(numbers.shape, "the shape of values")
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"values hold {_count_unusable(numbers)}, which no accelerator can compute with")
    if axis not in (None, 0):
        raise InputError(f"the axis of scales must be None (one scale) or 0 (one per output channel), not {axis!r}")
    magnitude = np.abs(numbers).max(axis=None if axis is None else tuple(range(1, numbers.ndim)), keepdims=True)
    top = max(2 ** (width - 1) - 1, 1)
    scale = np.where(magnitude > 0, np.maximum(magnitude / top, np.finfo(np.float64).tiny), 1.0)
    codes = np.clip(np.rint(numbers / scale), -top, top).astype(np.int64)
    return ValueTensor(codes, tuple(scale.ravel().tolist()) if axis == 0 else scale.item(), width)


def _set(tensor: Tensor, **fields: Any) -> None:
    for name, value in fields.items():
        object.__setattr__(tensor, name, value)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _number(value: Any) -> float | None:
    """Return a real number as a float, None for anything else."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _checked_bits(bits: Any) -> int:
    width = whole(bits, "bits", 1)
    if width > MAX_BITS:
        raise InputError(f"bits must be at most {MAX_BITS}, not {width}")
    return width


def _checked_scale(scale: Any, channels: int) -> float | tuple[float, ...]:
    several = isinstance(scale, tuple | list) or (isinstance(scale, np.ndarray) and scale.ndim > 0)
    factors = [_number(factor) for factor in scale] if several else [_number(scale)]
    if not all(factor is not None and 0 < factor < math.inf for factor in factors):
        raise InputError(f"a scale must be a positive finite number, or one per output channel, not {scale!r}")
    clean = tuple(factor for factor in factors if factor is not None)
    if not several:
        return clean[0]
    if len(clean) != channels:
        raise InputError(f"there must be one scale, or one per index of the first axis ({channels}), not {len(clean)}")
    return clean


def _require_integers(dtype: np.dtype[Any]) -> None:
    if dtype.kind == "b":
        raise InputError("values must be integers, not booleans; MaskTensor.of(array) holds a mask")
    if dtype.kind not in "iu":
        raise InputError(f"values must be integers with a scale, not {dtype}; quantise(array) makes them")


def _smallest(array: NDArray[Any], bits: int, what: str) -> NDArray[np.integer[Any]]:
    """Return the array, read-only and contiguous, in the smallest integer type that holds it."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{what} hold {_count_unusable(array)}, which no accelerator can compute with")
    _require_integers(array.dtype)
    sizes(array.shape, f"the shape of {what}")
    low, high = int(array.min()), int(array.max())
    half = 1 << (bits - 1)
    if not (-half <= low and high <= half) and not (low >= 0 and high < 2 * half):
        raise InputError(
            f"{what}: integers from {low} to {high} do not fit {bits} bits ({-half} … {half}, or 0 … {2 * half - 1})"
        )
    dtype = next(d for d in _INTEGERS if np.iinfo(d).min <= low and high <= np.iinfo(d).max)
    return _frozen(np.ascontiguousarray(array, dtype=dtype))


def _count_unusable(array: NDArray[np.floating[Any]]) -> str:
    return f"{np.isnan(array).sum()} NaN and {np.isinf(array).sum()} infinite elements"


def _require_clean_tail(packed: NDArray[np.uint8], size: int, what: str) -> NDArray[np.uint8]:
    if size % 8 and packed[-1] >> (size % 8):
        raise InputError(f"{what}: bits are set beyond its {size} elements")
    return packed
