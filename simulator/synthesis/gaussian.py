"""Gaussian fields behind masks: an element is non-zero where its field exceeds a level.

What is seen of a mask are covariances of zeros and ones; what it is drawn with are correlations of the field. One
follows from the other by Mehler's expansion: for levels t, t' and the correlation ρ of the field the covariance of the
two bits is Σ_k ρ^k h_k(t) h_k(t'), with h_k(t) = φ(t) He_(k−1)(t) / √k! for k ≥ 1.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

Floats = NDArray[np.float64]
Share = Annotated[float, Setting(ge=0, le=1)]
"""A density."""
Field = NDArray[np.float32]

TERMS = 40
_NORMAL = NormalDist()
_SPREAD = np.float32(65536 / np.sqrt(3))  # of a sum of four numbers, uniform over 0 … 65535


class Stream:
    """Gaussian numbers from PCG64, whose stream NumPy promises to keep: each is a sum of four 16-bit draws."""

    def __init__(self, seed: int, *place: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place))

    def normal(self, *shape: int) -> Field:
        """Return numbers of mean 0 and variance 1."""
        words = self._bits.random_raw(int(np.prod(shape))).astype("<u8", copy=False).view("<u2").reshape(-1, 4)
        centred = words.sum(axis=1, dtype=np.int32) - 131_070
        numbers: Field = (centred.astype(np.float32) / _SPREAD).reshape(shape)
        return numbers

    def order(self, count: int) -> NDArray[np.int64]:
        """Return 0 … count − 1 in a random order."""
        return np.argsort(self._bits.random_raw(count), kind="stable")

    def smooth(self, correlation: float, *shape: int) -> Field:
        """Return a field whose last two axes are correlated: correlation^(distance along the two axes)."""
        field = self.normal(*shape)
        if correlation > 0:
            step, fresh = np.float32(correlation), np.float32(np.sqrt(1 - correlation**2))
            for axis in (-1, -2):
                along = np.moveaxis(field, axis, 0)
                along[1:] *= fresh
                for place in range(1, len(along)):
                    along[place] += step * along[place - 1]
        return field


def levels(densities: Floats) -> Floats:
    """Return the numbers that a standard normal variable exceeds with these probabilities, those kept off 0 and 1."""
    clipped = np.clip(densities, 1e-6, 1 - 1e-6)
    return np.array([-_NORMAL.inv_cdf(float(p)) for p in clipped.ravel()]).reshape(clipped.shape)


def exceeded(thresholds: Floats) -> Floats:
    """Return how probably a standard normal variable exceeds levels (to 10^-7: Abramowitz and Stegun 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(thresholds))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-(thresholds**2) / 2) / np.sqrt(2 * np.pi) * series
    return np.asarray(np.where(thresholds >= 0, tail, 1 - tail))


def hermite(thresholds: Floats) -> Floats:
    """Return h_k of each level, (TERMS, levels) for k = 1 … TERMS."""
    density = np.exp(-(thresholds**2) / 2) / np.sqrt(2 * np.pi)
    rows = [density, density * thresholds / np.sqrt(2)]
    for k in range(3, TERMS + 1):  # He_(k−1) = t He_(k−2) − (k − 2) He_(k−3), with the roots of k! taken in
        rows.append((thresholds * rows[-1] - (k - 2) / np.sqrt(k - 1) * rows[-2]) / np.sqrt(k))
    return np.array(rows)


def correlation(covariance: float, weights: Floats) -> float:
    """Return ρ ≥ 0 with Σ_k weights[k] ρ^k nearest to a covariance that was seen.

    Args:
        covariance: of two bits, or its sum over pairs.
        weights: (TERMS,), h_k(t) h_k(t') or its sum over the same pairs.

    """
    powers = np.arange(1, TERMS + 1)

    def seen(rho: float) -> float:
        return float((weights * rho**powers).sum())

    return bisect(seen, covariance)


def bisect(function: Callable[[float], float], wanted: float, high: float = 0.999) -> float:
    """Return where a rising function from 0 reaches a value, or the end of the interval."""
    low = 0.0
    if function(low) >= wanted:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < wanted else (low, middle)
    return (low + high) / 2


KNOTS = 16
"""Numbers that a distribution of densities is kept in."""


def quantiles(densities: Floats) -> tuple[float, ...]:
    """Return a distribution of densities in a few numbers: means of equal parts, in rising order."""
    ordered = np.sort(densities.ravel())
    count = min(KNOTS, len(ordered))
    edges = np.arange(count + 1) * len(ordered) / count
    total = np.interp(edges, np.arange(len(ordered) + 1), np.concatenate(([0.0], np.cumsum(ordered))))
    return tuple(float(f"{value:.5g}") for value in np.clip(np.diff(total) * count / len(ordered), 0, 1))


def spread(knots: tuple[float, ...], count: int) -> Floats:
    """Return so many densities with the distribution that the knots keep, in rising order."""
    places = (np.arange(count) + 0.5) / count
    return np.interp(places, (np.arange(len(knots)) + 0.5) / len(knots), knots)


def rounded(shares: Floats) -> NDArray[np.int64]:
    """Return whole numbers near these, their sum near the sum of these."""
    total = np.floor(np.cumsum(shares) + 0.5)
    return np.diff(total, prepend=0.0).astype(np.int64)


def exceed(field: Field, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where rows of a field are largest: (rows, elements), so many of each row as `counts` says."""
    mask = np.zeros(field.shape, np.bool_)
    size = field.shape[1]
    for row in np.flatnonzero(counts):
        if counts[row] >= size:
            mask[row] = True
        else:
            level = np.partition(field[row], size - counts[row])[size - counts[row]]
            mask[row] = field[row] >= level
    return mask
