"""The operators in plain NumPy, exact: what every accelerator's result must equal.

Sums are done in float64 (BLAS, fast) where none can leave the whole numbers it holds exactly, else in int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

Integers = NDArray[np.integer[Any]]


def matmul(a: Integers, b: Integers) -> NDArray[np.int64]:
    """Return a (…, m, k) times b (…, k, n), a (…, m, n) array.

    Raises:
        InputError: a sum may leave 64 bits.

    """
    kind = _exact_type(a, b, axes=(-1,))
    product: NDArray[Any] = np.matmul(a.astype(kind), b.astype(kind))
    return product.astype(np.int64)


def conv2d(
    input: Integers,
    weight: Integers,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> NDArray[np.int64]:
    """Return input (N, C, H, W) cross-correlated with weight (K, C/groups, R, S): (N, K, P, Q).

    Raises:
        InputError: a sum may leave 64 bits.

    """
    kind = _exact_type(weight, input, axes=(1, 2, 3))
    N, C = input.shape[:2]
    K, _, R, S = weight.shape
    margins = ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1]))
    padded = np.pad(input.astype(kind), margins)
    P, Q = ((padded.shape[2 + i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(2))
    kernels = weight.astype(kind).reshape(groups, K // groups, C // groups, R, S)
    output = np.zeros((N, groups, K // groups, P * Q), kind)
    for r in range(R):
        for s in range(S):
            top, left = r * dilation[0], s * dilation[1]
            window = padded[:, :, top : top + stride[0] * P : stride[0], left : left + stride[1] * Q : stride[1]]
            output += kernels[..., r, s] @ window.reshape(N, groups, C // groups, P * Q)
    return output.astype(np.int64).reshape(N, K, P, Q)


def recompose(basis: Integers, coefficients: Integers) -> NDArray[np.int64]:
    """Return the weight (K, C, R, S) that basis (M, R, S) and coefficients (K, C, M) stand for.

    Raises:
        InputError: a sum may leave 64 bits.

    """
    M, R, S = basis.shape
    return matmul(coefficients, basis.reshape(M, R * S)).reshape(*coefficients.shape[:2], R, S)


def _exact_type(summed: Integers, other: Integers, axes: tuple[int, ...]) -> type[np.float64] | type[np.int64]:
    """Choose the type in which no sum over `axes` of `summed` times anything in `other` loses a bit."""
    longest = np.abs(summed.astype(np.float64)).sum(axis=axes).max()
    largest = np.abs(other.astype(np.float64)).max()
    bound = float(longest * largest) * (1 + 2**-20)  # the margin covers the rounding of the bound itself
    if bound < 2**53:
        return np.float64
    if bound < 2**63:
        return np.int64
    raise InputError("the exact result of these values may not fit 64-bit integers; use fewer bits")
