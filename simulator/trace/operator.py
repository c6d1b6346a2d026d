"""Operators: what is computed on which tensors. A new one is a registered dataclass; the format stays."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.trace.checks import Shape, label, pair, whole
from simulator.trace.reference import Integers, conv2d, matmul, recompose
from simulator.trace.tensor import Tensor, ValueTensor

OPERATORS: dict[str, type[Operator]] = {}
"""The operators that a trace may hold, by the name of their type."""

Kind = TypeVar("Kind", bound="type[Operator]")


def register(kind: Kind) -> Kind:
    """Make a type of operator known to the trace file (a class decorator)."""
    OPERATORS[kind.type] = kind
    return kind


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """The base of all operators. Compared by identity; equal work has an equal `digest`.

    A subclass is a frozen dataclass that sets `type` and `roles`. Its fields are `name`, the roles (tensors;
    optional ones default to None) and, all others, its attributes (numbers, texts or tuples of these).

    Attributes:
        name: unique in its trace.
        type: how the type is called in a trace file.
        roles: the names of the fields that hold tensors.

    """

    type: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    name: str

    def __post_init__(self) -> None:
        label(self.name, "the name of an operator")
        optional = {f.name for f in dataclasses.fields(self) if f.default is None}
        for role in self.roles:
            tensor = getattr(self, role)
            if not isinstance(tensor, Tensor) and not (tensor is None and role in optional):
                raise self._error(f"{role} must be a tensor, not {tensor.__class__.__name__}; {_TENSORS}")

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """The shape of the result."""

    @property
    @abstractmethod
    def macs(self) -> int:
        """Multiply-accumulates of the dense operator, zeros included."""

    @abstractmethod
    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer result (`.output_shape`, no scales); None where values are not known.

        Raises:
            InputError: the result may not fit 64 bits.

        """

    @property
    def has_reference(self) -> bool:
        """Whether the values are known that the result is checked with."""
        return all(isinstance(self.tensors[role], ValueTensor) for role in self.tensors if role != "output")

    def agrees(self, output: Any) -> bool:
        """Tell whether what a chip computed is right: equal to `reference()`, exactly."""
        reference = self.reference()
        return reference is not None and np.array_equal(output, reference)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors present, by role."""
        present = ((role, getattr(self, role)) for role in self.roles)
        return {role: tensor for role, tensor in present if tensor is not None}

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields that are neither the name nor tensors."""
        fields = (f.name for f in dataclasses.fields(self))
        return {field: getattr(self, field) for field in fields if field != "name" and field not in self.roles}

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of type, attributes and tensors; not of the name."""
        tensors = {role: tensor.digest for role, tensor in self.tensors.items()}
        text = json.dumps([self.type, self.attributes, tensors], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _error(self, message: str) -> InputError:
        return InputError(f"operator '{self.name}' ({self.type}): {message}")

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _require_axes(self, role: str, axes: str) -> None:
        """Require that the tensor has the axes named, a comma between them."""
        shape = getattr(self, role).shape
        if len(shape) != axes.count(",") + 1:
            raise self._error(f"{role} has shape {shape}, expected {axes.count(',') + 1} axes ({axes})")

    def _require_shape(self, role: str, expected: Shape, why: str) -> None:
        """Require that the tensor, where present, has the shape expected."""
        tensor = getattr(self, role)
        if tensor is not None and tensor.shape != expected:
            raise self._error(f"{role} has shape {tensor.shape}, expected {expected} ({why})")


_TENSORS = "use ValueTensor, MaskTensor.of, DensityTensor or quantise"


@register
@dataclass(frozen=True, eq=False)
class Conv2d(Operator):
    """Convolution (cross-correlation) in two dimensions, its weight whole or decomposed.

    Args:
        input: (N, C, H, W).
        weight: (K, C/groups, R, S), unless decomposed.
        basis: (M, R, S), and
        coefficients: (K, C/groups, M): `weight[k, c] = Σ_m coefficients[k, c, m] × basis[m]`.
        output: (N, K, P, Q), what is stored after the activation function; for its density only.
        stride, padding, dilation: (vertical, horizontal), or one number for both.
        groups: divides C and K.

    Raises:
        InputError: a shape or an attribute contradicts another.

    """

    type: ClassVar[str] = "conv2d"
    roles: ClassVar[tuple[str, ...]] = ("input", "weight", "basis", "coefficients", "output")
    input: Tensor
    weight: Tensor | None = None
    basis: Tensor | None = None
    coefficients: Tensor | None = None
    output: Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"operator '{self.name}' ({self.type}):"
        self._set(
            stride=pair(self.stride, f"{where} stride", 1),
            padding=pair(self.padding, f"{where} padding", 0),
            dilation=pair(self.dilation, f"{where} dilation", 1),
            groups=whole(self.groups, f"{where} groups", 1),
        )
        parts = (self.basis is not None, self.coefficients is not None)
        if parts[0] != parts[1] or parts[0] == (self.weight is not None):
            raise self._error("needs either weight, or basis and coefficients, exactly one of the two")
        self._require_axes("input", "N, C, H, W")
        if self.is_decomposed:
            self._require_axes("basis", "M, R, S")
            self._require_axes("coefficients", "K, C/groups, M")
        else:
            self._require_axes("weight", "K, C/groups, R, S")
        self._require_channels()
        if min(self.output_shape) < 1:
            raise self._error(
                f"input has shape {self.input.shape}, expected at least the reach of the "
                f"kernel {self.kernel_size} (dilation {self.dilation}, padding {self.padding}): "
                "the output would be empty"
            )
        self._require_shape("output", self.output_shape, "N, K, P, Q")

    def _require_channels(self) -> None:
        C, K = self.in_channels, self.out_channels
        if C % self.groups or K % self.groups:
            raise self._error(f"groups is {self.groups}, expected a divisor of both C = {C} and K = {K}")
        per_group = C // self.groups
        if self.basis is not None:
            self._require_shape("coefficients", (K, per_group, self.basis.shape[0]), "K, C/groups, M")
        else:
            self._require_shape("weight", (K, per_group, *self.kernel_size), "K, C/groups, R, S")

    @property
    def is_decomposed(self) -> bool:
        """Whether the weight is given as basis and coefficients."""
        return self.weight is None

    @property
    def kernel_size(self) -> tuple[int, int]:
        """(R, S)."""
        R, S = _first(self.weight, self.basis).shape[-2:]
        return R, S

    @property
    def in_channels(self) -> int:
        """C."""
        return self.input.shape[1]

    @property
    def out_channels(self) -> int:
        """K."""
        return _first(self.weight, self.coefficients).shape[0]

    @property
    def is_depthwise(self) -> bool:
        """Whether each input channel has kernels of its own."""
        return self.groups == self.in_channels > 1

    @property
    def output_shape(self) -> Shape:
        """(N, K, P, Q)."""
        P, Q = (
            (self.input.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel_size[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in range(2)
        )
        return (self.input.shape[0], self.out_channels, P, Q)

    @property
    def macs(self) -> int:
        """N·K·P·Q·(C/groups)·R·S, of the whole weight also where it is decomposed."""
        return math.prod(self.output_shape) * (self.in_channels // self.groups) * math.prod(self.kernel_size)

    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer convolution (N, K, P, Q); None where values are not known."""
        weight = self._weight_values()
        input = None if weight is None else self.input.values()
        if weight is None or input is None:
            return None
        return conv2d(input, weight, self.stride, self.padding, self.dilation, self.groups)

    def _weight_values(self) -> Integers | None:
        if self.weight is not None:
            return self.weight.values()
        basis, coefficients = _first(self.basis).values(), _first(self.coefficients).values()
        return None if basis is None or coefficients is None else recompose(basis, coefficients)


@register
@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """A fully connected layer: input times the transpose of weight.

    Args:
        input: (…, F_in).
        weight: (F_out, F_in).
        output: (…, F_out), what is stored after the activation function; for its density only.

    Raises:
        InputError: a shape contradicts another.

    """

    type: ClassVar[str] = "linear"
    roles: ClassVar[tuple[str, ...]] = ("input", "weight", "output")
    input: Tensor
    weight: Tensor
    output: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_axes("weight", "F_out, F_in")
        self._require_shape("weight", (self.weight.shape[0], self.input.shape[-1]), "F_out, F_in")
        self._require_shape("output", self.output_shape, "…, F_out")

    @property
    def output_shape(self) -> Shape:
        """(…, F_out)."""
        return (*self.input.shape[:-1], self.weight.shape[0])

    @property
    def macs(self) -> int:
        """Rows of the input · F_in · F_out."""
        return self.input.size * self.weight.shape[0]

    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer result (…, F_out); None where values are not known."""
        input, weight = self.input.values(), self.weight.values()
        if input is None or weight is None:
            return None
        return matmul(input.reshape(-1, input.shape[-1]), weight.T).reshape(self.output_shape)


@register
@dataclass(frozen=True, eq=False)
class MatMul(Operator):
    """A product of two matrices, or of two stacks of equally many (attention: scores, context).

    Args:
        a: (…, m, k).
        b: (…, k, n), the leading axes those of a.
        output: (…, m, n), what is stored after the activation function; for its density only.

    Raises:
        InputError: a shape contradicts another.

    """

    type: ClassVar[str] = "matmul"
    roles: ClassVar[tuple[str, ...]] = ("a", "b", "output")
    a: Tensor
    b: Tensor
    output: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for role in ("a", "b"):
            shape = getattr(self, role).shape
            if len(shape) < 2:
                raise self._error(f"{role} has shape {shape}, expected at least 2 axes")
        self._require_shape("b", (*self.a.shape[:-2], self.a.shape[-1], self.b.shape[-1]), "…, k, n")
        self._require_shape("output", self.output_shape, "…, m, n")

    @property
    def output_shape(self) -> Shape:
        """(…, m, n)."""
        return (*self.a.shape[:-1], self.b.shape[-1])

    @property
    def macs(self) -> int:
        """Matrices · m · k · n."""
        return self.a.size * self.b.shape[-1]

    def reference(self) -> NDArray[np.int64] | None:
        """Return the exact integer product (…, m, n); None where values are not known."""
        a, b = self.a.values(), self.b.values()
        return None if a is None or b is None else matmul(a, b)


def build(type_name: str, name: str, tensors: Mapping[str, Tensor], attributes: Mapping[str, Any]) -> Operator:
    """Return the operator that a trace file describes.

    Raises:
        InputError: unknown type, role or attribute, one that is missing, or shapes that contradict.

    """
    if type_name not in OPERATORS:
        raise InputError(f"operator '{name}' has the unknown type '{type_name}'{nearest(type_name, OPERATORS)}")
    kind = OPERATORS[type_name]
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name != "name"}
    where = f"operator '{name}' ({type_name}):"
    _require_known(where, "role", tensors, kind.roles)
    _require_known(where, "attribute", attributes, fields.keys() - set(kind.roles))
    given = {**tensors, **{key: _tuples(value) for key, value in attributes.items()}}
    for key, field in fields.items():
        if field.default is dataclasses.MISSING and key not in given:
            raise InputError(f"{where} {key} is missing")
    return kind(name=name, **given)


def _require_known(where: str, what: str, given: Mapping[str, Any], known: Any) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{where} unknown {what} '{key}'{nearest(key, known)}")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _first(*tensors: Tensor | None) -> Tensor:
    """Return the first tensor that is present."""
    return next(tensor for tensor in tensors if tensor is not None)
