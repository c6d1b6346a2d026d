"""Masks with a structure that pruning imposes: whole blocks, or so many of every few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

from simulator.arch.part import Part
from simulator.errors import InputError
from simulator.synthesis.gaussian import Stream, exceed
from simulator.trace.checks import Shape


class BlockProfile(Part):
    """A weight (K, C, …) of which blocks of filters and channels are kept or dropped as a whole."""

    density: float = Setting(ge=0, le=1)
    """Part of the blocks that is kept."""
    filters: int = Setting(1, ge=1)
    """Filters of a block."""
    channels: int = Setting(1, ge=1)
    """Channels of a block; all places of a kernel are in it."""


class GroupProfile(Part):
    """A weight (K, C, …) of which exactly so many of every few channels are kept (N:M)."""

    keep: int = Setting(ge=1)
    """N, elements that are kept,"""
    of: int = Setting(ge=1)
    """of M neighbours along the channels."""


def draw_blocks(profile: BlockProfile, shape: Shape, seed: int) -> NDArray[np.bool_]:
    """Draw the mask of a weight by blocks; blocks at the end may be cut."""
    filters, channels = min(profile.filters, shape[0]), min(profile.channels, shape[1])
    rows, columns = -(-shape[0] // filters), -(-shape[1] // channels)
    field = Stream(seed).normal(1, rows * columns)
    kept = exceed(field, np.array([round(profile.density * rows * columns)])).reshape(rows, columns)
    whole = kept.repeat(filters, axis=0).repeat(channels, axis=1)[: shape[0], : shape[1]]
    return np.broadcast_to(whole.reshape(*shape[:2], *(1 for _ in shape[2:])), shape).copy()


def draw_groups(profile: GroupProfile, shape: Shape, seed: int) -> NDArray[np.bool_]:
    """Draw the mask of a weight, N of every M channels; of fewer at the end as many as there are, up to N.

    Raises:
        InputError: N is more than M.

    """
    N, M = profile.keep, profile.of
    if N > M:
        raise InputError(f"keep is {N}, expected at most the {M} of a group")
    N, M = min(N, shape[1]), min(M, shape[1])
    moved = (shape[0], *shape[2:], shape[1])
    groups = -(-shape[1] // M)
    field = Stream(seed).normal(int(np.prod(moved[:-1])), groups * M)
    field[:, shape[1] :] = -np.inf
    grouped = field.reshape(-1, M)
    kept = exceed(grouped, np.full(len(grouped), N)) & (grouped > -np.inf)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(*moved[:-1], -1)[..., : shape[1]], -1, 1))
