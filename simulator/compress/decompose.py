"""Kernel decomposition: every 2-D kernel of a layer as a mix of a few shared basis kernels.

PENNI (Li et al., ICML 2020) and ESCALATE (Li et al., MICRO 2021) write ``W[k,c] = Σ_m Ce[k,c,m] · B[m]``.
The basis kernels are the leading right singular vectors of the ``K·C`` kernels seen as vectors of ``R·S``
numbers. The decomposition is *not* centred: PENNI's code drops the mean, since a layer has no place to add it
back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

__all__ = ["captured_energy", "decompose", "recompose"]

Floats = NDArray[np.floating]


def decompose(weight: Floats, bases: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split kernels into shared basis kernels and coefficients, by SVD without centring.

    The basis kernels are orthonormal and stand in the order of the energy they capture; the largest entry of
    each is positive (the first of equals), so that the result does not depend on the signs a library happens
    to return.

    Args:
        weight: kernels, shape (K, C, R, S).
        bases: M, the number of basis kernels, 1 … R·S.

    Returns:
        The basis (M, R, S) and the coefficients (K, C, M), float64. With M = R·S they recompose the weight
        exactly.

    Raises:
        InputError: the weight is not a finite (K, C, R, S) array, or M lies outside 1 … R·S.

    Source: PENNI, kernel decomposition, and its code for the missing mean.

    """
    kernels = _kernels(weight)
    rows, columns = weight.shape[2:]
    _check_bases(bases, rows, columns)
    _, vectors = _spectrum(kernels)
    basis = vectors[:bases]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    basis = np.where(largest < 0, -basis, basis)
    coefficients = kernels @ basis.T
    return basis.reshape(bases, rows, columns), coefficients.reshape(*weight.shape[:2], bases)


def recompose(basis: NDArray[Any], coefficients: NDArray[Any]) -> NDArray[Any]:
    """Return ``W[k,c] = Σ_m Ce[k,c,m] · B[m]`` of shape (K, C, R, S), in floats or, exactly, in integers.

    Args:
        basis: basis kernels, shape (M, R, S).
        coefficients: coefficients, shape (K, C, M).

    Raises:
        InputError: the shapes do not fit each other.

    """
    basis, coefficients = _wide(basis), _wide(coefficients)
    if basis.ndim != 3 or coefficients.ndim != 3 or basis.shape[0] != coefficients.shape[2]:
        raise InputError(
            f"a basis (M, R, S) and coefficients (K, C, M) must agree on M, not {basis.shape} and {coefficients.shape}"
        )
    return np.tensordot(coefficients, basis, axes=1)


def captured_energy(weight: Floats, bases: int) -> float:
    """Return the share (0 … 1) of Σ W² that the best M basis kernels capture; 1 for a weight of zeros.

    Args:
        weight: kernels, shape (K, C, R, S).
        bases: M, 1 … R·S.

    Raises:
        InputError: as :func:`decompose`.

    """
    kernels = _kernels(weight)
    _check_bases(bases, *weight.shape[2:])
    energies, _ = _spectrum(kernels)
    total = float(energies.sum())
    return float(energies[:bases].sum()) / total if total > 0 else 1.0


def _spectrum(kernels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the squared singular values, largest first, and the right singular vectors as rows.

    They are the eigenpairs of the small Gram matrix (R·S)²: one pass over the kernels, and R·S vectors even
    where there are fewer kernels than that.
    """
    energies, vectors = np.linalg.eigh(kernels.T @ kernels)
    return np.maximum(energies[::-1], 0.0), vectors[:, ::-1].T


def _kernels(weight: Floats) -> NDArray[np.float64]:
    if weight.ndim != 4 or weight.size == 0:
        raise InputError(f"a weight to decompose has a shape (K, C, R, S) without zeros, not {weight.shape}")
    if not np.isfinite(weight).all():
        raise InputError("a weight to decompose must be finite; this one holds NaN or infinity")
    return weight.reshape(weight.shape[0] * weight.shape[1], -1).astype(np.float64)


def _check_bases(bases: int, rows: int, columns: int) -> None:
    if not 1 <= bases <= rows * columns:
        raise InputError(f"kernels of {rows}×{columns} have 1 to {rows * columns} basis kernels, not {bases}")


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float64)
