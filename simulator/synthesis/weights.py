"""Masks of weights: filters, channels and places in the kernel of unequal density, kernels that vanish as a whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

from simulator.arch.part import Part
from simulator.synthesis.gaussian import (
    Floats,
    Share,
    Stream,
    correlation,
    exceed,
    exceeded,
    hermite,
    levels,
    quantiles,
    rounded,
    spread,
)
from simulator.trace.checks import Shape


class WeightProfile(Part):
    """What is kept of a weight (K, C, …) or of coefficients (K, C, M): some twenty numbers."""

    density: float = Setting(ge=0, le=1)
    """Part that is not zero."""
    filters: tuple[Share, ...] = Setting(min_length=1)
    """Distribution of the filters' densities: means of equal parts, rising."""
    channels: tuple[Share, ...] = Setting(min_length=1)
    """The same of the input channels."""
    places: tuple[Share, ...] = Setting(min_length=1)
    """Densities of the places in a kernel, or of the bases, in order; or their distribution where they are many."""
    ordered: bool
    """Whether places are in order."""
    kernel: float = Setting(ge=0, le=1)
    """Correlation between the places of one kernel: near 1, kernels are zero as a whole."""


MOST_PLACES = 25


def fit_weights(mask: NDArray[np.bool_]) -> WeightProfile:
    """Fit a profile to the mask of a weight, (K, C) or (K, C, …)."""
    seen = mask.reshape(mask.shape[0], mask.shape[1], -1).astype(np.float32)
    p = float(seen.mean())
    places = seen.mean(axis=(0, 1))
    ordered = len(places) <= MOST_PLACES
    kernel = 0.0
    expected = _levels(seen.mean(axis=(1, 2)), seen.mean(axis=(0, 2)), places, p)
    if seen.shape[2] > 1 and 0 < p < 1:
        likely = exceeded(expected)
        rest = seen - likely
        cross = float((rest.sum(axis=2) ** 2 - (rest**2).sum(axis=2)).sum())
        terms = hermite(expected.reshape(-1, seen.shape[2])[:: max(1, len(expected) * seen.shape[1] // 2000)])
        weights = (terms.sum(axis=2) ** 2 - (terms**2).sum(axis=2)).sum(axis=1)
        drawn = terms.shape[1] / (len(expected) * seen.shape[1])
        kernel = correlation(cross * drawn, weights)
    return WeightProfile(
        density=float(f"{p:.6g}"),
        filters=quantiles(seen.mean(axis=(1, 2))),
        channels=quantiles(seen.mean(axis=(0, 2))),
        places=tuple(float(f"{d:.5g}") for d in places) if ordered else quantiles(places),
        ordered=ordered,
        kernel=round(kernel, 4),
    )


def draw_weights(profile: WeightProfile, shape: Shape, seed: int) -> NDArray[np.bool_]:
    """Draw the mask of a weight, (K, C) or (K, C, …): always the same one."""
    K, C = shape[:2]
    E = int(np.prod(shape[2:]))
    stream = Stream(seed)
    filters, channels = (spread(k, n)[stream.order(n)] for k, n in ((profile.filters, K), (profile.channels, C)))
    same = profile.ordered and len(profile.places) == E
    places = np.array(profile.places) if same else spread(tuple(sorted(profile.places)), E)[stream.order(E)]
    field = stream.normal(K, C, E)
    if profile.kernel:
        field *= np.float32(np.sqrt(1 - profile.kernel))
        field += stream.normal(K, C, 1) * np.float32(np.sqrt(profile.kernel))
    field -= _levels(filters, channels, places, profile.density).astype(np.float32)
    by_filter = field.reshape(K, C * E)
    counts = np.minimum(rounded(filters * (C * E)), C * E)
    return exceed(by_filter, counts).reshape(shape)


def _levels(filters: Floats, channels: Floats, places: Floats, density: float) -> Floats:
    """Return the level of each element, (K, C, E): those of its filter, channel and place add up."""
    base = levels(np.array([density]))[0]
    k, c, e = (levels(np.clip(d, 1e-4, 1 - 1e-4)) - base for d in (filters, channels, places))
    return np.asarray(base + k[:, None, None] + c[:, None] + e)
