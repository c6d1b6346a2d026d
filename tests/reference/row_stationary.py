"""The row-stationary array, cycle by cycle: PEs with scratchpads, networks that bring words, sums that move up.

From the description of the chip (Chen et al., JSSC 2017): each PE has control of its own and multiplies a pair per
cycle, columns of the window first, then channels, then filters, as soon as weight and value have come. Then it adds
the sums that come from below to its own and hands them on, one per cycle, while the PE above has a place for one. The
networks bring a word only when all PEs that are to get it have a place: weights word by word to the PEs of a row, the
ifmap column by column for all rows and channels. PEs of a row get the same weights and are played as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

Values = Sequence[Sequence[Sequence[int]]]
Weight = tuple[int, int, int]
"""Tap, and channel and filter of a PE."""


@dataclass(frozen=True)
class Networks:
    """How words come and go."""

    filter_words: int
    ifmap_words: int
    psum_words: int
    order: str
    """interleaved, rows_down or rows_up."""
    waits_for_all: bool
    """Whether a PE begins when it has all its weights."""
    fifo: int
    """Sums that wait at a PE."""


@dataclass
class Row:
    """A row of PEs, one for each output row of a strip: the same weights, and ifmap rows of their own."""

    filters: list[Values]
    """Their part of the filters, (channels, taps) each: the row of the filter that they have."""
    filter_row: int
    first_filter: int
    first_channel: int
    order: list[Weight]
    """Weights in the order in which they are used and come."""
    sums: list[list[int]]
    """(filters, output rows) of the window."""
    there: set[Weight] = field(default_factory=set)
    columns: list[tuple[int, int]] = field(default_factory=list)
    """(image, column) in the ifmap scratchpad."""
    inbox: deque[list[int]] = field(default_factory=deque)
    """Sums from below, of each output row."""
    window: int = 0
    """Of all images."""
    step: int = 0
    """MACs of the window that are done."""
    added: int = 0
    since: int = 0
    """Cycles of the window."""
    first_end: int = 0
    end: int = 0


@dataclass
class PassResult:
    begin: int
    end: int
    """When the last sum has left the adder of a PE at the top."""
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
    networks: Networks,
    spad: int,
    loads: bool,
    free: int,
    before: int,
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
        networks: how words come and go.
        spad: words of the ifmap scratchpad of a PE.
        loads: whether weights come; else they are there.
        free: places of each filter scratchpad that take weights in the pass before,
        before: and the cycles in which they do.

    """
    rows, width = len(ifmaps[0][0]), len(ifmaps[0][0][0])
    R, S = len(filters[0][0]), len(filters[0][0][0])
    windows = (width + 2 * padding[1] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    taps_of = [[x * stride[1] - padding[1] + s * dilation[1] for s in range(S)] for x in range(windows)]
    needed = sorted({at for taps in taps_of for at in taps if 0 <= at < width})
    height = len({row for y in range(outputs) for row in _rows(y, R, stride, padding, dilation) if 0 <= row < rows})
    chains = _chains(filters, channels, own, outputs)
    every = [row for chain in chains for row in chain]
    words = _sequence(chains, networks)
    if not loads:
        for row, word in words:
            row.there.update(word)
        words = []
    for _ in range(before):  # the pass before: what finds no place waits, and all that follows it
        if words and len(words[0][0].there) + len(words[0][1]) <= free:
            words[0][0].there.update(words[0][1])
            words.pop(0)
    queue = [(image, column) for image in range(len(ifmaps)) for column in needed]
    result = PassResult(0, 0, [[[[0] * windows for _ in range(outputs)] for _ in filters] for _ in ifmaps], 0, 0)
    total, least, coming, now = windows * len(ifmaps), -(-len(filters) * outputs // networks.psum_words), 0, 0

    def arrive() -> None:
        image, column = queue.pop(0)
        for row in every:
            row.columns.append((image, column))

    while any(row.window < total for row in every):
        while not height and queue and all(len(row.columns) < spad // channels for row in every):
            arrive()  # all rows are padding: nothing is brought
        room = all(len(row.columns) < spad // channels for row in every)
        for chain in chains:
            # From the top: what is handed on is added in the next cycle, a freed place filled in this one.
            for position, row in reversed(list(enumerate(chain))):
                row.since += 1
                if row.window == total:
                    continue
                image, x = divmod(row.window, windows)
                if row.step < S * channels * own:
                    sizes = channels, own
                    all_at_once = networks.waits_for_all
                    _mac(result, row, ifmaps[image], image, taps_of, x, stride, padding, dilation, sizes, all_at_once)
                elif row.added < own:
                    above = chain[position + 1] if position + 1 < len(chain) else None
                    bottom = position == 0
                    if (bottom or row.inbox) and (above is None or len(above.inbox) < networks.fifo):
                        below = [0] * outputs if bottom else row.inbox[0]
                        sums = [a + b for a, b in zip(row.sums[row.added], below, strict=True)]
                        if not bottom:
                            row.inbox.popleft()
                        if above is not None:
                            above.inbox.append(sums)
                        elif row.first_filter + row.added < len(filters):
                            for y, value in enumerate(sums):
                                result.sums[image][row.first_filter + row.added][y][x] = value
                        row.sums[row.added] = [0] * outputs
                        row.added += 1
        now += 1
        for row in every:
            if row.window < total and row.added == own and row.since >= least:
                row.window, row.step, row.added, row.since = row.window + 1, 0, 0, 0
                row.first_end, row.end = row.first_end or now, now
        if words:
            row, word = words.pop(0)
            row.there.update(word)
        if height and queue and room:
            coming += networks.ifmap_words
            if coming >= height * len(ifmaps[0]):
                arrive()
                coming = 0
    latest = max((chain[-1] for chain in chains), key=lambda row: row.end)
    result.begin = latest.first_end - max(own * (S * channels + 1), least)
    result.end = latest.end
    return result


def _chains(filters: Sequence[Values], channels: int, own: int, outputs: int) -> list[list[Row]]:
    """Return the rows of PEs through which sums move up, from the bottom: one list for each set of other filters."""
    R, S, C = len(filters[0][0]), len(filters[0][0][0]), len(filters[0])
    chains = []
    for k in range(0, len(filters), own):
        held = filters[k : k + own]
        chain = []
        for c in range(0, C, channels):
            for r in range(R):
                some = range(min(channels, C - c))
                order = [(s, i, j) for s in range(S) for i in some for j in range(len(held))]
                part = [[plane[r] for plane in kernel[c : c + channels]] for kernel in held]
                chain.append(Row(part, r, k, c, order, [[0] * outputs for _ in range(own)]))
        chains.append(chain[::-1])
    return chains


def _sequence(chains: list[list[Row]], networks: Networks) -> list[tuple[Row, list[Weight]]]:
    """Return the words that the network of the weights brings, in order, and to whom."""
    own = []
    for chain in chains:
        for row in chain if networks.order == "rows_up" else chain[::-1]:
            size = networks.filter_words
            own.append([(row, row.order[i : i + size]) for i in range(0, len(row.order), size)])
    if networks.order == "interleaved":
        return [word for turn in zip_longest(*own) for word in turn if word is not None]
    return [word for words in own for word in words]


def _rows(y: int, R: int, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    return [y * stride[0] - padding[0] + r * dilation[0] for r in range(R)]


def _mac(
    result: PassResult,
    row: Row,
    plane: Values,
    image: int,
    taps_of: list[list[int]],
    x: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    sizes: tuple[int, int],
    waits_for_all: bool,
) -> None:
    """Multiply and accumulate once in each PE of a row, unless they have to wait."""
    channels, own = sizes
    s, rest = divmod(row.step, channels * own)
    c, k = divmod(rest, own)
    at, outputs = taps_of[x][s], len(row.sums[0])
    exists = k < len(row.filters) and c < len(row.filters[0])
    if waits_for_all and len(row.there) < len(row.order):
        return
    if exists and (s, c, k) not in row.there:
        return
    inside = 0 <= at < len(plane[0][0])
    if inside and (image, at) not in row.columns:
        return
    row.step += 1
    if exists:
        for y in range(outputs):
            which = _rows(y, row.filter_row + 1, stride, padding, dilation)[-1]
            value = plane[row.first_channel + c][which][at] if inside and 0 <= which < len(plane[0]) else 0
            result.gated += value == 0
            result.multiplied += value != 0
            row.sums[k][y] += value * row.filters[k][c][s]
    if row.step % (channels * own) == 0:
        later = {column for other in taps_of[x + 1 :] for column in other} | set(taps_of[x][s + 1 :])
        _release(row, image, later, max(taps_of[x]))


def _release(row: Row, image: int, later: set[int], latest: int) -> None:
    """Free the oldest places as long as no later tap needs what they hold."""
    while row.columns:
        whose, column = row.columns[0]
        if whose > image or column > latest or (whose == image and column in later):
            return
        row.columns.pop(0)
