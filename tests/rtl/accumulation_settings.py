"""Channel-accumulation units that are built in RTL: as the kernels know them, and as the parameters of the design."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.hardware.channel_accumulation import ChannelAccumulation

Offsets = tuple[tuple[int, int], ...]
"""(rows ahead, lanes aside) of each place that a lane looks at, in order of preference."""

SEVEN: Offsets = ((1, 0), (2, 0), (1, 1), (1, -1), (2, 2), (2, -2), (1, 3))
FIVE: Offsets = ((1, 0), (1, -1), (2, 1), (3, 0), (3, 2))
THREE: Offsets = ((1, 0), (1, 1), (1, -1))


def window_parameters(adders: int, offsets: Offsets) -> dict[str, int | str]:
    """Give the window of a design its offsets."""

    def octets(values: list[int]) -> str:
        return f"{8 * len(values)}'h" + bytes(reversed(values)).hex()

    return {
        "ADDERS": adders,
        "OFFSETS": len(offsets),
        "AHEAD": octets([ahead for ahead, _ in offsets]),
        "ASIDE": octets([aside % adders for _, aside in offsets]),
    }


@dataclass(frozen=True)
class Setting:
    """A unit, its queue, and the most words of a pixel."""

    lanes: int
    words: int
    adders: int
    look_ahead: int
    offsets: Offsets
    queue: int
    dilution: str

    @property
    def unit(self) -> ChannelAccumulation:
        return ChannelAccumulation(
            adders=self.adders, network_lanes=self.lanes, dilution=self.dilution, result_bits=32,
            concentration="window", look_ahead=self.look_ahead, offsets=self.offsets,
        )  # fmt: skip

    def parameters(self) -> dict[str, int | str]:
        return {
            "LANES": self.lanes, "WORDS": self.words, "LOOK_AHEAD": self.look_ahead, "QUEUE": self.queue,
            "DILUTE": int(self.dilution == "run_time"), **window_parameters(self.adders, self.offsets),
        }  # fmt: skip


SETTINGS = {
    "h2_d7_a16": Setting(64, 2, 16, 2, SEVEN, 4, "precomputed"),
    "h1_d3_a8": Setting(16, 4, 8, 1, THREE, 2, "run_time"),
    "h3_d5_a4": Setting(32, 2, 4, 3, FIVE, 1, "precomputed"),
}
