"""Which queries of which head are where and when: parts that fit the lanes' SRAM, and waves of heads over the chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.accelerators.dota.chip import OPERAND, Chip
from simulator.dataflow.windows import cumulative
from simulator.errors import InputError
from simulator.hardware.lanes import Chips
from simulator.program import Counts
from simulator.trace import Attention


@dataclass(frozen=True)
class Room:
    """Bytes of a lane's SRAM that attention takes."""

    stays: int
    """Of a head, while its queries pass: the lane's keys and values, its projected tokens, and all estimated keys."""
    group: int
    """Of a group of queries: themselves, their outputs, and what is stored of their detection."""
    fixed: int
    """Of the masks between filter and scheduler."""

    @classmethod
    def of(cls, operator: Attention, chip: Chip) -> Room:
        """Return what ``operator`` takes."""
        tokens, S = chip.scheduler.tokens, operator.key_count
        held = int(np.bincount(chip.lanes.homes(S, tokens)).max())
        vector = (operator.head_size + operator.value_size) * OPERAND
        mask = tokens * -(-S // 8)
        bits = (operator.rank or 0) * operator.precision if detects(operator) else 0
        stored = mask if detects(operator) and chip.rmmu.detection_rows == 0 else 0
        return cls(
            stays=held * vector + -(-(S + held) * bits // 8),
            group=tokens * vector + -(-tokens * bits // 8) + stored,
            fixed=2 * mask,
        )

    def groups(self, size: int, depth: int) -> int:
        """Return the groups of a part that fit ``size`` bytes, with ``depth`` tiles on the chip at once."""
        return (size - self.fixed - depth * self.stays) // (depth * self.group)


@dataclass(frozen=True, eq=False)
class Cut:
    """How the queries of a head are cut: part by part, lane by lane."""

    order: Counts
    """(groups,): the groups, those of a part and a lane one after the other."""
    bounds: Counts
    """(parts · lanes + 1,): where they begin."""
    queries: Counts
    """(parts, lanes)."""
    keys: Counts
    """(lanes,): keys that live in each lane."""
    depth: int
    """Tiles on the chip at once."""

    @property
    def parts(self) -> int:
        """Parts of a head."""
        return len(self.queries)

    @property
    def first(self) -> NDArray[np.bool_]:
        """(parts,): the first part, with which comes what stays for all."""
        first: NDArray[np.bool_] = np.arange(self.parts) == 0
        return first


def detects(operator: Attention) -> bool:
    """Tell whether the chip finds out itself what is kept."""
    return operator.rank is not None and operator.rule != "none"


def cut_queries(operator: Attention, chip: Chip) -> Cut:
    """Cut the queries of a head so that they, and the keys and values of a lane, fit its SRAM.

    Fewest parts first, then room for the next tile beside this one.

    Raises:
        InputError: not even one group of queries fits beside the keys.

    """
    lanes, tokens, S = chip.lanes.count, chip.scheduler.tokens, operator.key_count
    live = chip.lanes.homes(operator.query_count, tokens)[::tokens]
    most = int(np.bincount(live).max())
    room = Room.of(operator, chip)
    fits = {depth: room.groups(chip.sram.size, depth) for depth in (2, 1)}
    if fits[1] < 1:
        needed = room.stays + room.group + room.fixed
        raise InputError(
            f"operator '{operator.name}': a sequence of {S} keys takes {needed} bytes of each lane's SRAM, "
            f"which holds {chip.sram.size}; enlarge sram.size or lanes.count, or cut the sequence"
        )
    parts = {depth: -(-most // fit) for depth, fit in fits.items() if fit > 0}
    depth = min(parts, key=lambda depth: (parts[depth], -depth))
    place = np.zeros(len(live), np.int64)  # of a group among those of its lane
    for lane in range(lanes):
        place[live == lane] = np.arange(np.count_nonzero(live == lane))
    cells = parts[depth] * lanes
    cell = place // fits[depth] * lanes + live
    held = np.bincount(cell, weights=group_sizes(operator, tokens), minlength=cells).astype(np.int64)
    return Cut(
        order=np.argsort(cell, kind="stable"),
        bounds=cumulative(np.bincount(cell, minlength=cells)),
        queries=held.reshape(parts[depth], lanes),
        keys=np.bincount(chip.lanes.homes(S, tokens), minlength=lanes),
        depth=depth,
    )


def group_sizes(operator: Attention, tokens: int) -> Counts:
    """Return the queries of each group, (groups,)."""
    L = operator.query_count
    return np.diff(np.minimum(np.arange(0, L + tokens, tokens), L))


@dataclass(frozen=True, eq=False)
class Waves:
    """Which head runs on which chip when: wave by wave, one head on each chip."""

    wave: Counts
    """(N · H,): of each head."""
    new_chip: NDArray[np.bool_]
    """(N · H,): whether it is the first of its chip."""
    new_image: NDArray[np.bool_]
    """(N · H,): whether its chip meets the image for the first time."""
    new_keys: NDArray[np.bool_]
    """(N · H,): whether its chip meets these keys and values for the first time."""

    @property
    def heads(self) -> int:
        """N · H."""
        return len(self.wave)

    @property
    def count(self) -> int:
        """Waves."""
        return int(self.wave.max()) + 1

    def add(self, values: NDArray[np.integer | np.bool_]) -> Counts:
        """Add up by wave what is given head by head and part by part, (N · H, parts, …): (tiles, …)."""
        total = np.zeros((self.count, *values.shape[1:]), np.int64)
        np.add.at(total, self.wave, values.astype(np.int64))
        return total.reshape(-1, *values.shape[2:])

    def longest(self, cycles: Counts) -> Counts:
        """Return the longest of each wave, likewise."""
        total = np.zeros((self.count, *cycles.shape[1:]), np.int64)
        np.maximum.at(total, self.wave, cycles)
        return total.reshape(-1)


def waves_of(operator: Attention, chips: Chips) -> Waves:
    """Deal the heads out: image by image in turn, or the heads of every image in equal blocks."""
    N, H = operator.images, operator.heads
    image, head = (axis.ravel() for axis in np.indices((N, H)))
    own = 1 if chips.split == "batch" else -(-H // chips.count)  # chips in turn, or heads of a chip
    if chips.split == "batch":
        wave, first = image // chips.count * H + head, head == 0
    else:
        wave, first = image * own + head % own, head % own == 0
    group = head * operator.groups // H
    return Waves(wave, wave == 0, first, first | (group != np.roll(group, 1)))
