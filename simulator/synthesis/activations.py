"""Masks of activations: channels of unequal density, clustered in space and alike in all channels.

The field behind the mask of (N, C, H, W) is a sum of independent parts: of each image and of each position, the same
in all channels; and of each channel its own, of the image, of the position, and white. Parts of positions are
correlated over distance. A channel's level is such that its density is exactly that which was drawn for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import model_validator

from simulator.arch.part import Part
from simulator.synthesis.gaussian import (
    Share,
    Stream,
    correlation,
    exceed,
    hermite,
    levels,
    quantiles,
    rounded,
    spread,
)
from simulator.trace.checks import Shape

FAR = 8
"""Distance beyond which only what belongs to the whole image is still correlated."""


class Component(Part):
    """One part of the field, alike in all channels or of each channel its own."""

    image: float = Setting(0, ge=0, le=1)
    """Variance that all positions of an image share."""
    local: float = Setting(0, ge=0, le=1)
    """Variance that neighbours share,"""
    reach: float = Setting(0, ge=0, lt=1)
    """and the correlation of neighbours in it; of positions d steps apart it is reach^d."""


class ActivationProfile(Part):
    """What is kept of a tensor (N, C, H, W) or (N, F): a dozen numbers."""

    channels: tuple[Share, ...] = Setting(min_length=1)
    """Distribution of the channels' densities: means of equal parts, rising."""
    shared: Component = Component()
    """What is alike in all channels."""
    own: Component = Component()
    """What each channel has of its own; the rest is white."""

    @model_validator(mode="after")
    def _require_room(self) -> ActivationProfile:
        total = sum(part.image + part.local for part in (self.shared, self.own))
        if total > 1.001:
            raise ValueError(f"the variances of shared and own add up to {total:.4g}, expected at most 1")
        return self


def fit_activations(mask: NDArray[np.bool_]) -> ActivationProfile:
    """Fit a profile to the mask of a tensor (N, C, H, W) or (…, F)."""
    seen = _four_axes(mask)
    densities = seen.mean(axis=(0, 2, 3))
    centred = seen - densities[:, None, None].astype(np.float32)
    terms = hermite(levels(densities)) * ((densities > 0) & (densities < 1))
    alone, together = (terms**2).sum(axis=1), terms.sum(axis=1) ** 2

    def both(step: int) -> tuple[float, float]:
        """Return the field's correlation over a distance: between channels, and of a channel with itself."""
        own, total, ways = 0.0, 0.0, 0
        for axis in (2, 3):
            if seen.shape[axis] <= step:
                continue
            ahead, behind = (np.moveaxis(centred, axis, 3)[..., part] for part in (slice(step, None), slice(-step)))
            if step == 0:
                ahead = behind = centred
            own += float(np.einsum("nchw,nchw->", ahead, behind, optimize=True) / ahead[:, 0].size)
            total += float((ahead.sum(axis=1) * behind.sum(axis=1)).mean())
            ways += 1
        if not ways:
            return 0.0, 0.0
        between = correlation((total - own) / ways, together - alone) if len(densities) > 1 else 0.0
        return between, correlation(own / ways, alone) if step else 1.0

    whole = both(0)[0]
    near, next_to, far = both(1), both(2), both(FAR)
    shared = _component(near[0], next_to[0], far[0], whole)
    alone_near, alone_next, alone_far = (max(0.0, one - other) for other, one in (near, next_to, far))
    own = _component(alone_near, alone_next, alone_far, 1 - shared.image - shared.local)
    return ActivationProfile(channels=quantiles(densities), shared=shared, own=own)


def _component(near: float, next_to: float, far: float, most: float) -> Component:
    """Return variances from correlations over one, two and many steps."""
    image = min(far, most)
    one, two = max(0.0, near - image), max(0.0, next_to - image)
    reach = min(0.98, two / one) if one > 0 else 0.0
    reach = max(reach, one / max(most - image, 1e-9) if most > image else 0.0, 0.05)
    reach = min(reach, 0.98)
    local = min(one / reach, most - image)
    return Component(image=round(image, 4), local=round(max(local, 0.0), 4), reach=round(reach, 4))


def draw_activations(profile: ActivationProfile, shape: Shape, seed: int) -> NDArray[np.bool_]:
    """Draw the mask of a tensor (N, C, H, W) or (…, F): always the same one."""
    N, C, H, W = shape if len(shape) == 4 else (int(np.prod(shape[:-1])), shape[-1], 1, 1)
    stream = Stream(seed)
    densities = spread(profile.channels, C)[stream.order(C)]
    own, shared = profile.own, profile.shared
    white = max(0.0, 1 - own.image - own.local - shared.image - shared.local)
    field = stream.normal(N, C, H, W) * np.float32(np.sqrt(white))
    if own.local:
        field += stream.smooth(own.reach, N, C, H, W) * np.float32(np.sqrt(own.local))
    if own.image:
        field += stream.normal(N, C, 1, 1) * np.float32(np.sqrt(own.image))
    if shared.local:
        field += stream.smooth(shared.reach, N, 1, H, W) * np.float32(np.sqrt(shared.local))
    if shared.image:
        field += stream.normal(N, 1, 1, 1) * np.float32(np.sqrt(shared.image))
    by_channel = np.ascontiguousarray(field.transpose(1, 0, 2, 3)).reshape(C, -1)
    chosen = exceed(by_channel, rounded(densities * by_channel.shape[1]))
    return np.ascontiguousarray(chosen.reshape(C, N, H, W).transpose(1, 0, 2, 3)).reshape(shape)


def _four_axes(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    array = mask if mask.ndim == 4 else mask.reshape(-1, mask.shape[-1], 1, 1)
    return array.astype(np.float32)
