"""The row-stationary array, cycle by cycle: PEs with scratchpads, networks that bring words, sums that move up.

From the description of the chip (Chen et al., JSSC 2017): every PE of a set multiplies one pair per cycle, columns of
the window first, then channels, then filters; then it takes the sums that come from below. The ifmap's network brings
a few words per cycle, column by column, for all rows and channels, and waits while a scratchpad has no place left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Values = Sequence[Sequence[Sequence[int]]]


@dataclass
class Network:
    """Brings the columns of the ifmap rows, those of the padding left out, into rings of scratchpads."""

    queue: list[tuple[int, int]]
    """(image, column) of what is still to come."""
    words: int
    """Of a column of all rows and channels."""
    per_cycle: int
    places: int
    held: list[tuple[int, int]] = field(default_factory=list)
    coming: int = 0
    """Words of the next column that have come."""

    def step(self) -> None:
        """Spend a cycle: words of one column only, and none before there is a place for it."""
        if self.queue and len(self.held) < self.places:
            self.coming += self.per_cycle
            if self.coming >= self.words:
                self.held.append(self.queue.pop(0))
                self.coming = 0


@dataclass
class PassResult:
    begin: int
    end: int
    sums: list[list[list[list[int]]]]
    """Of each image, filter, output row and window."""
    multiplied: int
    gated: int


def play(
    ifmaps: Sequence[Values],
    filters: Sequence[Values],
    outputs: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    channels: int,
    own: int,
    ifmap_words: int,
    psum_words: int,
    spad: int,
    ready: int,
) -> PassResult:
    """Play one pass.

    Args:
        ifmaps: (images, channels, rows, columns).
        filters: (filters, channels, R, S).
        outputs: output rows: the width of the sets.
        stride: vertical and horizontal, as are
        padding: zeros around, and
        dilation: distance of taps.
        channels: q of a PE, and
        own: p of a PE.
        ifmap_words: that come per cycle.
        psum_words: sums that go per cycle.
        spad: words of the ifmap scratchpad of a PE.
        ready: cycle at which the weights are there.

    """
    rows, width = len(ifmaps[0][0]), len(ifmaps[0][0][0])
    R, S = len(filters[0][0]), len(filters[0][0][0])
    windows = (width + 2 * padding[1] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    window = [[x * stride[1] - padding[1] + s * dilation[1] for s in range(S)] for x in range(windows)]
    needed = sorted({at for taps in window for at in taps if 0 <= at < width})
    height = len({row for y in range(outputs) for row in _rows(y, R, stride, padding, dilation) if 0 <= row < rows})
    if not height:
        needed = []  # all rows are padding: nothing is brought
    network = Network(
        [(image, column) for image in range(len(ifmaps)) for column in needed],
        height * len(ifmaps[0]),
        ifmap_words,
        spad // channels,
    )
    result = PassResult(-1, 0, [], 0, 0)
    now = 0
    for image, ifmap in enumerate(ifmaps):
        result.sums.append([[[0] * windows for _ in range(outputs)] for _ in filters])
        for x, taps in enumerate(window):
            present = [(image, at) for at in taps if at in needed]
            while now < ready or not set(present) <= set(network.held):
                network.step()
                now += 1
            if result.begin < 0:
                result.begin = now
            later = {at for other in window[x + 1 :] for at in other}
            moved, steps, waiting = 0, 0, own * len(filters[0][0][0]) * channels + own
            to_move = len(filters) * outputs
            while steps < waiting or moved < to_move:
                network.step()
                now += 1
                moved += psum_words
                steps += 1
                if steps % (channels * own) == 0 and steps <= S * channels * own:
                    tap = steps // (channels * own) - 1
                    _multiply(result, ifmap, filters, image, x, taps[tap], tap, outputs, stride, padding, dilation)
                    _release(network, image, later, taps[: tap + 1], taps)
    result.end = now
    return result


def _rows(y: int, R: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    return [y * stride[0] - padding[0] + r * dilation[0] for r in range(R)]


def _release(network: Network, image: int, later: set[int], done: list[int], taps: list[int]) -> None:
    """Free the oldest places as long as no later window, nor the rest of this one, needs what they hold."""
    while network.held:
        whose, column = network.held[0]
        rest = set(taps) - set(done)
        if whose == image and (column in later or column in rest):
            return
        if whose > image or column > max(taps):
            return
        network.held.pop(0)


def _multiply(
    result: PassResult,
    ifmap: Values,
    filters: Sequence[Values],
    image: int,
    x: int,
    at: int,
    tap: int,
    outputs: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """Let all PEs do what they do with one column: a row of a filter each, and the sums of a column of PEs added up."""
    for k, kernel in enumerate(filters):
        for y in range(outputs):
            for r, row in enumerate(_rows(y, len(kernel[0]), stride, padding, dilation)):
                for c, plane in enumerate(ifmap):
                    inside = 0 <= row < len(plane) and 0 <= at < len(plane[0])
                    value = plane[row][at] if inside else 0
                    if value == 0:
                        result.gated += 1
                        continue
                    result.multiplied += 1
                    result.sums[image][k][y][x] += value * kernel[c][r][tap]
