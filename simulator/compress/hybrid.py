"""ESCALATE's hybrid quantisation: an 8-bit basis, ternary coefficients, ternary 1×1 and linear weights.

The scale of a ternary code is free wherever it can hide in a number that the chip multiplies anyway, so:

- decomposed kernels: one scale per basis kernel m, folded into ``B[m]`` before its quantisation to 8 bits.
  The basis has one scale for all m, the coefficients have the scale 1; hence the integers recompose by
  themselves, ``W[k,c] = Σ_m Ce[k,c,m] · B[m]``, and the weight is that times the basis' scale;
- ternary weights: one scale per output channel, which goes with the batch norm or the bias that follows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulator.compress.decompose import decompose
from simulator.compress.ternary import ternarise
from simulator.errors import InputError
from simulator.trace import Conv2d, Linear, Operator, Tensor, Trace, ValueTensor, quantise

__all__ = [
    "decompose_conv",
    "decomposed_weights",
    "fold_scales",
    "hybrid_quantise",
    "real_values",
    "ternary_weights",
]

Floats = NDArray[np.floating]


def decomposed_weights(weight: Floats, bases: int, rule: str = "twn") -> tuple[ValueTensor, ValueTensor]:
    """Decompose kernels and quantise both parts, without retraining.

    Args:
        weight: kernels, shape (K, C, R, S).
        bases: M, 1 … R·S.
        rule: threshold of the ternary codes, ``"twn"`` or ``"ttq"``, applied to each basis' coefficients
            alone.

    Returns:
        The basis (M, R, S) of 8 bits and the coefficients (K, C, M) of 1 bit (a sign; zeros are in the map).

    Raises:
        InputError: the weight cannot be decomposed to M, or the rule is unknown.

    Source: ESCALATE (MICRO 2021), hybrid quantisation; which threshold it uses is not published.

    """
    basis, coefficients = decompose(weight, bases)
    codes, scale = ternarise(coefficients, rule, axis=2)
    return fold_scales(basis, codes, scale)


def fold_scales(basis: Floats, codes: NDArray[np.int8], scale: Floats) -> tuple[ValueTensor, ValueTensor]:
    """Fold one scale per basis kernel into the basis and quantise it to 8 bits.

    A basis kernel without any non-zero code becomes zero: it must not set the range of the others.

    Args:
        basis: basis kernels, shape (M, R, S).
        codes: ternary codes, shape (K, C, M).
        scale: M positive numbers, in any shape.

    Returns:
        The basis and the coefficients as tensors, see :func:`decomposed_weights`.

    """
    folded = basis * np.where(codes.any(axis=(0, 1)), scale.reshape(-1), 0.0)[:, None, None]
    return quantise(folded, bits=8), ValueTensor(codes, bits=1)


def ternary_weights(weight: Floats, rule: str = "twn") -> ValueTensor:
    """Make a weight ternary with one threshold and one scale per output channel.

    Args:
        weight: shape (K, …).
        rule: ``"twn"`` or ``"ttq"``.

    Returns:
        The codes, of 1 bit, with K scales.

    Raises:
        InputError: the weight is empty or not finite, or the rule is unknown.

    """
    codes, scale = ternarise(weight, rule, axis=0)
    return ValueTensor(codes, tuple(scale.reshape(-1).tolist()), bits=1)


def decompose_conv(operator: Conv2d, bases: int = 6, rule: str = "twn") -> Conv2d:
    """Return the convolution with its weight decomposed; input, output and geometry stay.

    Args:
        operator: a convolution with a whole weight of known values, (K, C/groups, R, S).
        bases: M, 1 … R·S.
        rule: ``"twn"`` or ``"ttq"``.

    Raises:
        InputError: the weight is already decomposed or its values are not known, or as
        :func:`decomposed_weights`.

    """
    if operator.weight is None:
        raise InputError(f"operator '{operator.name}': the weight is decomposed already")
    basis, coefficients = decomposed_weights(_real_weight(operator, operator.weight), bases, rule)
    return replace(operator, weight=None, basis=basis, coefficients=coefficients)


def hybrid_quantise(trace: Trace, bases: int = 6, rule: str = "twn", least_channels: int = 8) -> Trace:
    """Return the trace as ESCALATE computes it: kernels decomposed, 1×1 and fully connected weights ternary.

    A convolution is decomposed where it is not grouped, has ``least_channels`` inputs and kernels of M
    elements or more; others but 1×1 stay as they are, as do the activations: they are those of the network
    before.

    Args:
        trace: operators with weights of known values.
        bases: M, at least 1 (6 in ESCALATE: assumed; 5 in PENNI).
        rule: ``"twn"`` or ``"ttq"``.
        least_channels: C below which accumulating over channels does not pay (8: the first layer runs dense).

    Raises:
        InputError: the values of a weight are not known, or the rule is unknown.

    """

    def compressed(operator: Operator) -> Operator:
        if isinstance(operator, Linear):
            return replace(operator, weight=ternary_weights(_real_weight(operator, operator.weight), rule))
        if not isinstance(operator, Conv2d) or operator.weight is None or operator.groups > 1:
            return operator
        if operator.kernel_size == (1, 1):
            return replace(operator, weight=ternary_weights(_real_weight(operator, operator.weight), rule))
        if operator.in_channels >= least_channels and np.prod(operator.kernel_size) >= bases:
            return decompose_conv(operator, bases, rule)
        return operator

    how = f"hybrid quantisation, M = {bases}, {rule}, not retrained"
    return Trace(trace.name, tuple(map(compressed, trace.operators)), {**trace.provenance, "compression": how})


def real_values(tensor: ValueTensor) -> NDArray[np.float64]:
    """Return integers times their scale, in the shape of the tensor."""
    values = tensor.values()
    return np.asarray(values * np.reshape(tensor.scale, (-1, *[1] * (values.ndim - 1))), dtype=np.float64)


def _real_weight(operator: Operator, weight: Tensor) -> NDArray[np.float64]:
    if not isinstance(weight, ValueTensor):
        raise InputError(
            f"operator '{operator.name}': a weight can be compressed where its values are known, "
            f"here only its {weight.kind} is"
        )
    return real_values(weight)
