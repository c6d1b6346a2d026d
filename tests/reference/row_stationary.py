"""The row-stationary array, cycle by cycle: PEs with scratchpads, networks that bring words, sums that move up.

From the description of the chip (Chen et al., JSSC 2017): each PE has control of its own and multiplies a pair per
cycle, columns of the window first, then channels, then filters, as soon as weight and value have come. Then it adds
the sums that come from below to its own and hands them on, one per cycle, while the PE above has a place for one. The
networks bring a word only when all PEs that are to get it have a place: weights word by word to FIFOs of the PEs of a
row, from where they move, one per cycle, to the scratchpad once that is not needed for the pass before; the ifmap
column by column for all rows and channels. PEs of a row get the same weights and are played as one.
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
    """Words that wait at a PE: of weights before its scratchpad, of sums from below."""
    drain: int
    """Cycles from a sum's last addition to its leaving."""


@dataclass
class Row:
    """A row of PEs, one for each output row of a strip: the same weights, and ifmap rows of their own."""

    filters: list[list[Values]]
    """Of each pass, their part of the filters, (channels, taps) each: the row of the filter that they have."""
    filter_row: int
    first_filter: int
    first_channel: int
    order: list[Weight]
    """Weights of a pass in the order in which they are used and come."""
    sums: list[list[int]]
    """(filters, output rows) of the window."""
    fifo: deque[tuple[int, list[Weight]]] = field(default_factory=deque)
    """Words that wait before the filter scratchpad, and the pass that they are for."""
    there: set[Weight] = field(default_factory=set)
    open_for: int = 0
    """The pass whose weights the filter scratchpad takes."""
    opened: int = 0
    """When it began to."""
    columns: list[tuple[int, int]] = field(default_factory=list)
    """(image, column) in the ifmap scratchpad."""
    inbox: deque[list[int]] = field(default_factory=deque)
    """Sums from below, of each output row."""
    window: int = 0
    """Of all images of all passes."""
    step: int = 0
    """MACs of the window that are done."""
    added: int = 0
    since: int = 0
    """Cycles of the window."""
    ends: list[int] = field(default_factory=list)
    """When each window ended."""


@dataclass(frozen=True)
class Pass:
    ifmaps: Sequence[Values]
    """(images, channels, rows, columns)."""
    filters: Sequence[Values]
    """(filters, channels, R, S)."""
    above: int
    """Rows of padding above the ifmap; negative: the strip begins below its top."""
    loads: bool
    """Whether its weights come; else they are there."""


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
    passes: Sequence[Pass],
    outputs: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    beside: int,
    channels: int,
    own: int,
    networks: Networks,
    spad: int,
) -> list[PassResult]:
    """Play passes of the same sizes, one after the other.

    Args:
        passes: in order.
        outputs: output rows: the width of the sets.
        stride: vertical and horizontal, as is
        dilation: distance of taps.
        beside: columns of padding on either side.
        channels: q of a PE, and
        own: p of a PE.
        networks: how words come and go.
        spad: words of the ifmap scratchpad of a PE.

    """
    ifmaps, filters = passes[0].ifmaps, passes[0].filters
    rows, width = len(ifmaps[0][0]), len(ifmaps[0][0][0])
    R, S = len(filters[0][0]), len(filters[0][0][0])
    windows = (width + 2 * beside - dilation[1] * (S - 1) - 1) // stride[1] + 1
    taps_of = [[x * stride[1] - beside + s * dilation[1] for s in range(S)] for x in range(windows)]
    needed = sorted({at for taps in taps_of for at in taps if 0 <= at < width})
    met = {y * stride[0] - passes[0].above + r * dilation[0] for y in range(outputs) for r in range(R)}
    height = len([row for row in met if 0 <= row < rows])
    chains = _chains([each.filters for each in passes], channels, own, outputs)
    every = [row for chain in chains for row in chain]
    words = [(i, *word) for i, each in enumerate(passes) if each.loads for word in _sequence(chains, networks)]
    if not passes[0].loads:
        for row in every:
            row.there.update(row.order)
    planes = [image for each in passes for image in each.ifmaps]
    queue = [(image, column) for image in range(len(planes)) for column in needed]
    of_pass, total = windows * len(ifmaps), windows * len(planes)
    least, coming, now = -(-len(filters) * outputs // networks.psum_words), 0, 0
    results = [
        PassResult(0, 0, [[[[0] * windows for _ in range(outputs)] for _ in filters] for _ in ifmaps], 0, 0)
        for _ in passes
    ]

    def arrive() -> None:
        image, column = queue.pop(0)
        for row in every:
            row.columns.append((image, column))

    def gone(which: int) -> bool:
        """Tell whether all sums of a pass have left the array."""
        tops = [chain[-1].ends for chain in chains]
        last = (which + 1) * of_pass - 1
        return all(len(ends) > last for ends in tops) and now >= max(ends[last] for ends in tops) + networks.drain

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
                which = row.window // of_pass
                if row.step < S * channels * own:
                    if row.open_for < which:
                        continue
                    down = stride[0], passes[which].above, dilation[0]
                    sizes, waits = (channels, own), networks.waits_for_all
                    _mac(results[which], row.filters[which], row, planes[image], image, taps_of, x, down, sizes, waits)
                    if row.step == S * channels * own and (row.window + 1) % of_pass == 0:
                        row.open_for, row.opened = which + 1, now + 1
                        if which + 1 < len(passes) and passes[which + 1].loads:
                            row.there.clear()
                elif row.added < own:
                    above = chain[position + 1] if position + 1 < len(chain) else None
                    bottom = position == 0
                    if bottom and row.window % of_pass == 0 and which and not gone(which - 1):
                        continue
                    full = above is not None and len(above.inbox) == networks.fifo * networks.psum_words
                    if (bottom or row.inbox) and not full:
                        below = [0] * outputs if bottom else row.inbox[0]
                        sums = [a + b for a, b in zip(row.sums[row.added], below, strict=True)]
                        if not bottom:
                            row.inbox.popleft()
                        if above is not None:
                            above.inbox.append(sums)
                        elif row.first_filter + row.added < len(filters):
                            for y, value in enumerate(sums):
                                place = results[which].sums[image % len(ifmaps)][row.first_filter + row.added]
                                place[y][x] = value
                        row.sums[row.added] = [0] * outputs
                        row.added += 1
        now += 1
        for row in every:
            if row.window < total and row.added == own and row.since >= least:
                row.window, row.step, row.added, row.since = row.window + 1, 0, 0, 0
                row.ends.append(now)
        places = [row for row in every if len(row.fifo) < networks.fifo]
        if words and any(words[0][1] is row for row in places):
            which, row, word = words.pop(0)
            row.fifo.append((which, word))
        for row in every:
            if row.fifo and row.fifo[0][0] == row.open_for and row.opened < now:
                row.there.update(row.fifo.popleft()[1])
        if height and queue and room:
            coming += networks.ifmap_words
            if coming >= height * len(ifmaps[0]):
                arrive()
                coming = 0
    for which, result in enumerate(results):
        first, last = which * of_pass, (which + 1) * of_pass - 1
        latest = max((chain[-1] for chain in chains), key=lambda row: row.ends[last])
        result.begin = latest.ends[first] - max(own * (S * channels + 1), least)
        result.end = latest.ends[last]
    return results


def _chains(filters: Sequence[Sequence[Values]], channels: int, own: int, outputs: int) -> list[list[Row]]:
    """Return the rows of PEs through which sums move up, from the bottom: one list for each set of other filters.

    Args:
        filters: of each pass.
        channels: of a PE, and
        own: filters of it.
        outputs: output rows.

    """
    R, S, C = len(filters[0][0][0]), len(filters[0][0][0][0]), len(filters[0][0])
    chains = []
    for k in range(0, len(filters[0]), own):
        held = [some[k : k + own] for some in filters]
        chain = []
        for c in range(0, C, channels):
            for r in range(R):
                some = range(min(channels, C - c))
                order = [(s, i, j) for s in range(S) for i in some for j in range(len(held[0]))]
                part = [[[plane[r] for plane in kernel[c : c + channels]] for kernel in some] for some in held]
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


def _mac(
    result: PassResult,
    filters: list[Values],
    row: Row,
    plane: Values,
    image: int,
    taps_of: list[list[int]],
    x: int,
    down: tuple[int, int, int],
    sizes: tuple[int, int],
    waits_for_all: bool,
) -> None:
    """Multiply and accumulate once in each PE of a row, unless they have to wait."""
    (stride, above, dilation), (channels, own) = down, sizes
    s, rest = divmod(row.step, channels * own)
    c, k = divmod(rest, own)
    at, outputs = taps_of[x][s], len(row.sums[0])
    exists = k < len(filters) and c < len(filters[0])
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
            met = y * stride - above + row.filter_row * dilation
            value = plane[row.first_channel + c][met][at] if inside and 0 <= met < len(plane[0]) else 0
            result.gated += value == 0
            result.multiplied += value != 0
            row.sums[k][y] += value * filters[k][c][s]
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
