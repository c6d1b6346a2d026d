"""Butterfly networks: concentrate (gather) and dilute (scatter) a word under a mask.

Order-preserving and free of conflicts for every mask, in log2 n stages of n/2 switches (2×2).

Source: Hilewitz & Lee, "Fast Bit Compression and Expansion with Parallel Extract and Parallel Deposit
Instructions", ASAP 2006; "Fast Bit Gather, Bit Scatter and Bit Permutation Instructions for Commodity
Microprocessors", J. Signal Processing Systems 53, 2008.

A word has n lanes, n a power of two from 2 to 256; lane 0 is the rightmost one of a word written down. All
functions work on a batch of words.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from simulator.hardware.jit import kernel

WIDEST = 256

Bits = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.integer[Any] | np.bool_)


def _is_width(lanes: int) -> bool:
    return 2 <= lanes <= WIDEST and lanes.bit_count() == 1


@kernel
def _control_bits(masks: Bits, controls: Bits) -> None:
    words, lanes = masks.shape
    stages = controls.shape[1]
    ones_before = np.zeros(lanes + 1, np.int64)
    for word in range(words):
        for lane in range(lanes):
            ones_before[lane + 1] = ones_before[lane] + masks[word, lane]
        for stage in range(stages):
            d = 1 << stage
            wrap = 2 * d - 1
            for switch in range(lanes // 2):
                block, position = switch >> stage, switch & (d - 1)
                rotation = ones_before[(2 * block + 1) * d]
                # d ones, rotated left by that many places, each bit inverted as it wraps around: the bit at a
                # position is the one that started `rotation` places below it, and 2d places restore it.
                controls[word, stage, switch] = (((position - rotation) & wrap) >> stage) ^ 1


@kernel
def _swap(lanes: npt.NDArray[np.int64], controls: Bits, stage: int) -> None:
    d = 1 << stage
    switch = 0
    for first in range(0, lanes.shape[0], 2 * d):
        for lane in range(first, first + d):
            if controls[stage, switch]:
                lanes[lane], lanes[lane + d] = lanes[lane + d], lanes[lane]
            switch += 1


@kernel
def _pass(payload: npt.NDArray[np.int64], masks: Bits, controls: Bits, gather: bool) -> None:
    words, lanes = payload.shape
    stages = controls.shape[1]
    static = masks.shape[0] == 1
    for word in range(words):
        setting = 0 if static else word
        if gather:
            for lane in range(lanes):
                payload[word, lane] *= masks[setting, lane]
            for stage in range(stages):
                _swap(payload[word], controls[setting], stage)
        else:
            for stage in range(stages - 1, -1, -1):
                _swap(payload[word], controls[setting], stage)
            for lane in range(lanes):
                payload[word, lane] *= masks[setting, lane]


def _as_bits(masks: Mask) -> Bits:
    given = np.asarray(masks)
    if given.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"masks are bool or uint8, not {given.dtype}")
    if given.ndim != 2 or not _is_width(given.shape[1]):
        raise ValueError(f"masks have the shape (batch, n) with n a power of two from 2 to {WIDEST}, not {given.shape}")
    bits = np.ascontiguousarray(given).view(np.uint8)
    if given.dtype == np.uint8 and bits.size and bits.max() > 1:
        raise ValueError("masks hold 0 and 1 only")
    return bits


def control_bits(masks: Mask) -> Bits:
    """Switch settings for each mask, by prefix counts and left-rotate-and-complement.

    Parameters
    ----------
    masks
        ``(batch, n)``, bool, or uint8 of 0 and 1.

    Returns
    -------
    uint8 ``(batch, log2 n, n/2)``, 1 = swap. Stage s joins lanes that lie d = 2**s apart; its switches are
    in the order of their lower lane. Both directions use the same settings.

    Raises
    ------
    ValueError
        For a shape or a type that does not fit.

    """
    bits = _as_bits(masks)
    words, lanes = bits.shape
    controls = np.empty((words, lanes.bit_length() - 1, lanes // 2), np.uint8)
    _control_bits(bits, controls)
    return controls


def concentrate(payload: npt.NDArray[Number], masks: Mask, controls: Bits | None = None) -> npt.NDArray[Number]:
    """Gather the selected values of each word, in order, at its lanes 0, 1, …; the rest is 0.

    An inverse butterfly network.

    Parameters
    ----------
    payload
        ``(batch, n)``, bool or any integer type.
    masks
        ``(batch, n)``, or ``(1, n)`` for one static mask that all words share.
    controls
        What :func:`control_bits` gave for these masks; generated here if absent.

    Raises
    ------
    ValueError
        For shapes or types that do not fit together.

    """
    return _through_network(payload, masks, controls, gather=True)


def dilute(payload: npt.NDArray[Number], masks: Mask, controls: Bits | None = None) -> npt.NDArray[Number]:
    """Scatter the values at lanes 0, 1, … of each word, in order, to its selected lanes; the rest is 0.

    A butterfly network. Parameters, result and errors as for :func:`concentrate`, of which it is the inverse.
    """
    return _through_network(payload, masks, controls, gather=False)


def _through_network(
    payload: npt.NDArray[Number], masks: Mask, controls: Bits | None, gather: bool
) -> npt.NDArray[Number]:
    bits = _as_bits(masks)
    given = np.asarray(payload)
    if given.dtype.kind not in "biu":
        raise ValueError(f"the payload is of an integer type, not {given.dtype}")
    if given.shape != bits.shape and (bits.shape[0] != 1 or given.shape[1:] != bits.shape[1:]):
        raise ValueError(f"a payload of shape {given.shape} does not fit masks of shape {bits.shape}")
    lanes = bits.shape[1]
    expected = (bits.shape[0], lanes.bit_length() - 1, lanes // 2)
    settings = control_bits(bits) if controls is None else np.ascontiguousarray(controls)
    if settings.dtype != np.uint8 or settings.shape != expected:
        raise ValueError(f"the controls of these masks are uint8 {expected}, not {settings.dtype} {settings.shape}")
    # Every integer type travels as int64 and comes back unchanged: one compiled network serves them all.
    words = np.array(given, dtype=np.int64, order="C")
    _pass(words, bits, settings, gather)
    return cast("npt.NDArray[Number]", words.astype(given.dtype))


Counted = TypeVar("Counted", int, npt.NDArray[np.int64])


class ButterflyNetwork(BaseModel):
    """One butterfly or inverse butterfly network; either takes one word per cycle."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    lanes: int
    """Lanes of a word, n: a power of two from 2 to 256."""

    payload_bits: int = Field(ge=1)
    """Bits that each lane carries: 1 for a sign, 2 for a sign and its presence, 8 for an activation."""

    run_time_mask: bool
    """Whether the mask is known only at run time, so that hardware generates the controls; otherwise they are
    computed beforehand and stored."""

    @field_validator("lanes")
    @classmethod
    def _check_lanes(cls, lanes: int) -> int:
        if not _is_width(lanes):
            raise ValueError(f"lanes must be a power of two from 2 to {WIDEST}, not {lanes}")
        return lanes

    @property
    def stages(self) -> int:
        """Stages of switches, log2 n."""
        return self.lanes.bit_length() - 1

    @property
    def switches(self) -> int:
        """Switches (2×2) of the network, n/2 · log2 n."""
        return self.lanes // 2 * self.stages

    @property
    def latency(self) -> int:
        """Cycles from a word's entry to its exit: 1 with a static mask, 3 with a run-time mask.

        With a run-time mask two more pipeline stages do the prefix counts and the rotations (Hilewitz & Lee
        2008: the static and the variable forms of pex and pdep).
        """
        return 3 if self.run_time_mask else 1

    @property
    def words_per_cycle(self) -> int:
        """Throughput: one word per cycle, whatever the mask."""
        return 1

    def actions(self, words: Counted, control_generations: Counted) -> dict[str, Counted]:
        """Count what passing words costs, by kind of action in a technology table, where gates are counted.

        Parameters
        ----------
        words
            Words that pass through this network: a number, or an array of them (one per tile).
        control_generations
            Masks for which controls are generated; networks that share controls generate them once. A static mask
            needs none, whatever is given.

        Returns
        -------
        ``butterfly_switches``: words through the switches; with a run-time mask also ``butterfly_controls``: masks
        whose prefixes are counted and rotated. Both are networks of :attr:`lanes`, the latter of one bit each.

        """
        counts = {"butterfly_switches": words}
        if self.run_time_mask:
            counts["butterfly_controls"] = control_generations
        return counts
