"""The row-stationary dataflow: how a layer is mapped onto the array, and the passes that the mapping makes.

The words are those of Eyeriss (Chen et al., JSSC 2017). A PE set is R rows of PEs high, one for each row of a filter,
and e wide, one for each output row of a strip: rows of filters are shared along it, rows of the ifmap across its
diagonals, and sums move up its columns. A set wider than the array is folded into parts on top of each other. A pass
runs p·t filters and q·r channels for n images: p and q in each PE, t and r in sets beside each other. The global
buffer holds the sums of m filters until all channels have passed. Passes follow each other filters first, then
channels, strips, filters of the next m, images, groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.dataflow.layers import Integers, Layer, layer_of
from simulator.dataflow.windows import Axis
from simulator.errors import InputError
from simulator.hardware.jit import kernel
from simulator.hardware.row_stationary import (
    WEIGHTS_ORDERS,
    RowStationaryArray,
    count_live,
    play_passes,
    walk_passes,
)
from simulator.program import Counts
from simulator.trace import Operator

WORD = 2
"""Bytes of a value: 16 bits."""

Rule = Literal["bytes", "cycles", "product"]
Count = Annotated[int, Field(ge=1)]
Columns = tuple[Counts, Counts, Counts, Counts]
"""Of an ifmap row: needs, beyond, last and taps, as ``play_passes`` takes them."""


class Mapping(Part):
    """The mapping parameters."""

    m: Count
    """Filters whose sums the global buffer holds."""
    n: Count
    """Images of a pass."""
    e: Count
    """Output rows of a strip: the width of a PE set."""
    p: Count
    """Filters of a PE."""
    q: Count
    """Channels of a PE."""
    r: Count
    """Sets that run different channels."""
    t: Count
    """Sets that run different filters."""


class GivenMapping(Mapping):
    """A mapping for layers of one shape."""

    layer: tuple[Count, Count, Count, Count, Count]
    """Filter rows, vertical stride, output rows, channels and filters of a group."""


@dataclass(frozen=True)
class Shape:
    """What a mapping depends on."""

    images: int
    groups: int
    channels: int
    filters: int
    vertical: Axis
    horizontal: Axis

    @property
    def reach(self) -> int:
        """Columns from the first tap of a window to its last."""
        return self.horizontal.dilation * (self.horizontal.kernel - 1) + 1

    def rows_of(self, e: int) -> int:
        """Return the ifmap rows that a strip of ``e`` output rows needs at most, padding left out."""
        axis = self.vertical
        reach = axis.dilation * (axis.kernel - 1) + 1
        return min(axis.size, (e - 1) * min(axis.stride, reach) + reach)


@dataclass(frozen=True)
class Room:
    """What a mapping has to fit."""

    array: RowStationaryArray
    fmaps: int
    """Words of the global buffer for ifmaps and sums."""
    weights: int
    """Words of the global buffer for the weights of a pass."""

    def sets(self, kernel_rows: int, e: int) -> int:
        """Return the PE sets of ``e`` output rows that the array has room for, side by side and above each other."""
        high = self.array.rows // kernel_rows
        if e <= self.array.columns:
            return high * (self.array.columns // e)
        return high // -(-e // self.array.columns)

    def fits(self, mapping: Mapping, shape: Shape) -> bool:
        """Tell whether a mapping fits scratchpads, array and global buffer."""
        array, R, S = self.array, shape.vertical.kernel, shape.horizontal.kernel
        channels = mapping.q * mapping.r
        fmaps = mapping.n * (
            mapping.m * mapping.e * shape.horizontal.outputs
            + channels * shape.rows_of(mapping.e) * shape.horizontal.size
        )
        return (
            mapping.p * mapping.q * S <= array.filter_spad
            and mapping.q * shape.reach <= array.ifmap_spad
            and mapping.p <= array.psum_spad
            and mapping.r * mapping.t <= self.sets(R, mapping.e)
            and R * S * mapping.p * mapping.t * channels <= self.weights
            and fmaps <= self.fmaps
        )


def clipped(mapping: Mapping, shape: Shape) -> Mapping:
    """Return a mapping no larger than a layer."""
    K, C = shape.filters, shape.channels
    m, p, q = min(mapping.m, K), min(mapping.p, K), min(mapping.q, C)
    return Mapping(
        m=m,
        n=min(mapping.n, shape.images),
        e=min(mapping.e, shape.vertical.outputs),
        p=p,
        q=q,
        r=min(mapping.r, -(-C // q)),
        t=min(mapping.t, -(-m // p)),
    )


@lru_cache(maxsize=4096)
def find_mapping(shape: Shape, room: Room, rule: Rule) -> Mapping | None:
    """Return the best mapping that fits, or None where none does.

    All widths e of a strip, p, q, r and n are tried, with the largest t and m that fit then. ``bytes``: fewest bytes
    that cross the DRAM channel, uncompressed, then fewest cycles; ``cycles``: the other way round; ``product``: the
    least product of both. Cycles are those of as many passes as there are, all whole and one after the other.
    """
    array, vertical, horizontal = room.array, shape.vertical, shape.horizontal
    heights = np.arange(1, vertical.outputs + 1)
    sets = np.array([room.sets(vertical.kernel, int(e)) for e in heights])
    strips = [_strips(vertical, int(e)) for e in heights]
    before = rows_before(vertical)
    candidates = _candidates(
        (shape.images, shape.groups, shape.channels, shape.filters),
        (vertical.kernel, horizontal.kernel, vertical.outputs, horizontal.outputs, horizontal.size),
        np.array([shape.rows_of(int(e)) for e in heights]),
        sets,
        np.array([len(spans) for spans in strips]),
        np.array([int((before[spans[:, 3]] - before[spans[:, 2]]).sum()) for spans in strips]),
        (array.filter_spad, array.ifmap_spad // shape.reach, array.psum_spad, room.weights, room.fmaps),
        (array.filter_words, array.ifmap_words, array.psum_words, array.fifo),
        min(horizontal.stride, shape.reach),
        array.weights_order == "interleaved",
    )
    if not len(candidates):
        return None
    which = ("bytes", "cycles", "product").index(rule)
    found = _first_best(
        candidates[np.lexsort(_ranks_at_least(which, candidates).T[::-1])],
        _columns(horizontal),
        (vertical.kernel, horizontal.kernel),
        (WEIGHTS_ORDERS.index(array.weights_order), array.starts_with == "all"),
        (array.filter_words, array.psum_words),
        array.fifo,
        array.ifmap_spad,
        array.pipeline,
        which,
    )
    return Mapping(**dict(zip("mnepqrt", map(int, found), strict=True)))


@kernel
def _ranks(rule: int, moved: int, cycles: int) -> tuple[float, float]:
    if rule == 0:
        return float(moved), float(cycles)
    if rule == 1:
        return float(cycles), float(moved)
    return float(cycles) * float(moved), float(moved)


@kernel
def _ranks_at_least(rule: int, candidates: Counts) -> NDArray[np.float64]:
    ranks = np.zeros((len(candidates), 2))
    for i in range(len(candidates)):
        ranks[i, 0], ranks[i, 1] = _ranks(rule, candidates[i, 7], candidates[i, 8])
    return ranks


@kernel
def _candidates(
    sizes: tuple[int, int, int, int],
    extents: tuple[int, int, int, int, int],
    heights: Counts,
    sets: Counts,
    strips: Counts,
    loaded: Counts,
    spads: tuple[int, int, int, int, int],
    networks: tuple[int, int, int, int],
    step: int,
    turns: bool,
) -> Counts:
    """Return the mappings that fit: (mappings, 13).

    Of each m, n, e, p, q, r, t; words that cross the link; the cycles that the array needs at least; passes, in whole
    ones; whether weights come for each; and of a pass cycles in which a column is delivered, and those in which the
    sums of a window go in, or out.
    """
    N, G, C, K = sizes
    R, S, E, F, W = extents
    filter_spad, columns_held, psum_spad, weight_room, fmap_room = spads
    filter_words, ifmap_words, psum_words, fifo = networks
    found, room = 0, np.zeros((1024, 13), np.int64)
    for e in range(1, E + 1):
        if e > 1 and strips[e - 1] == strips[e - 2] and sets[e - 1] == sets[e - 2]:
            continue  # as many strips of smaller height need less room
        for q in range(1, min(columns_held, C) + 1):
            for p in range(1, min(psum_spad, K, filter_spad // (q * S)) + 1):
                for r in range(1, min(sets[e - 1], -(-C // q)) + 1):
                    most = weight_room // (R * S * p * q * r)
                    t = min(sets[e - 1] // r, -(-K // p), most)
                    if t < 1:
                        break
                    for n in range(1, N + 1):
                        left = fmap_room // n - q * r * heights[e - 1] * W
                        m = min(left // (e * F) // (p * t) * (p * t), -(-K // (p * t)) * (p * t))
                        while m < 1 and t > 1:
                            t -= 1
                            m = left // (e * F) // (p * t) * (p * t)
                        if m < 1:
                            break
                        m = min(m, K)
                        filters, channels, images = -(-K // m), -(-C // (q * r)), -(-N // n)
                        stays = strips[e - 1] == 1 and channels == 1
                        same = filters == 1 and channels == 1 and -(-m // (p * t)) == 1
                        moved = N * C * loaded[e - 1] * W * (1 if stays else filters)
                        moved += K * C * R * S * (1 if same else images * strips[e - 1]) + N * K * E * F
                        fed = -(-min(step, W) * heights[e - 1] * min(q * r, C) // ifmap_words)
                        sums = -(-p * t * e // psum_words)
                        window = max(p * (q * S + 1), sums)
                        held = -(-p * q * S // filter_words)
                        passes = strips[e - 1] * channels * ((K // m) * -(-m // (p * t)) + -(-(K % m) // (p * t)))
                        whole = -(-N // n) * passes
                        run = passes * N * F
                        height, late = R * r, 0
                        if turns and not same and held > fifo:
                            # From a set's first word that finds no place to its next: words that follow, and PEs up.
                            late = max(0, height * t * (held - fifo) + height * (2 - t) + 1 - window)
                        brought = 0 if same else whole * height * t * held
                        least = max(run * window + whole * late, run * fed, brought)
                        if found == len(room):
                            room = np.concatenate((room, np.zeros_like(room)))
                        delivery = -(-heights[e - 1] * min(q * r, C) // ifmap_words)
                        of_pass = (int(not same), delivery, sums)
                        mapping = (m, n, e, p, q, r, t, G * moved, G * least, G * whole, *of_pass)
                        for i in range(len(mapping)):
                            room[found, i] = mapping[i]
                        found += 1
    return room[:found]


@kernel
def _first_best(
    candidates: Counts,
    columns: Columns,
    kernel_size: tuple[int, int],
    weights: tuple[int, bool],
    words: tuple[int, int],
    fifo: int,
    ifmap_spad: int,
    pipeline: int,
    rule: int,
) -> Counts:
    """Play mappings, those first that are best were no cycle lost, until none that follows can be better: the best."""
    R, S = kernel_size
    needs, beyond, last, taps = columns
    best, best_first, best_second = candidates[0, :7], np.inf, np.inf
    for i in range(len(candidates)):
        _, n, _, p, q, r, t, moved, least, passes, loads, delivery, sums = candidates[i]
        first, second = _ranks(rule, moved, least)
        if first > best_first or (first == best_first and second >= best_second):
            break
        come = np.full(min(passes, 3), loads > 0)
        come[0] = True
        ends = play_passes(
            come,
            n,
            needs,
            beyond,
            last,
            taps,
            p * t,
            q * r,
            (p, q, t, r, R, S),
            weights[0],
            weights[1],
            (words[0], delivery, sums),
            (fifo, fifo * words[1]),
            ifmap_spad // q,
            pipeline,
        )[:, 1]
        cycles = ends.sum() + (passes - len(ends)) * ends[-1] + pipeline
        first, second = _ranks(rule, moved, max(cycles, least))
        if first < best_first or (first == best_first and second < best_second):
            best_first, best_second = first, second
            best = candidates[i, :7]
    return best


def _strips(axis: Axis, e: int) -> Counts:
    """Return output rows, and ifmap rows, from and beyond, of each strip of ``e`` output rows: (strips, 4)."""
    first = np.arange(0, axis.outputs, e)
    beyond = np.minimum(first + e, axis.outputs)
    low = first * axis.stride - axis.padding
    high = (beyond - 1) * axis.stride - axis.padding + axis.dilation * (axis.kernel - 1) + 1
    low = np.clip(low, 0, axis.size)
    return np.column_stack((first, beyond, low, np.maximum(low, np.clip(high, 0, axis.size))))


def rows_touched(axis: Axis) -> NDArray[np.bool_]:
    """Tell which ifmap rows some window covers: (H,)."""
    rows = np.zeros(axis.size, np.bool_)
    rows[axis.touched(range(axis.outputs))] = True
    return rows


def rows_before(axis: Axis) -> Counts:
    """Return how many of the rows before each are covered by some window: (H + 1,)."""
    return np.concatenate(([0], np.cumsum(rows_touched(axis))))


@dataclass(frozen=True)
class Geometry:
    """All that matching depends on beside the operator."""

    array: RowStationaryArray
    mapping: Mapping
    given: bool
    """Whether the mapping is one that the configuration gives."""


@dataclass(frozen=True, eq=False)
class Passes:
    """The passes of a layer, in order, one entry each."""

    group: Counts
    images: Counts
    """(passes, 2): from and beyond; so are all that follow."""
    filters: Counts
    channels: Counts
    outputs: Counts
    """Output rows."""
    rows: Counts
    """Ifmap rows, padding left out."""
    heights: Counts
    """How many of them the output rows need."""
    loads: NDArray[np.bool_]
    """Whether its ifmaps have to be loaded into the global buffer."""
    loads_weights: NDArray[np.bool_]
    """Whether its weights have to be loaded."""
    first: NDArray[np.bool_]
    """Whether no sums are there yet."""
    last: NDArray[np.bool_]
    """Whether its sums are complete."""

    def __len__(self) -> int:
        return len(self.group)

    @property
    def table(self) -> Counts:
        """(passes, 9), as ``walk_passes`` takes it."""
        return np.column_stack((self.group, self.images, self.filters, self.channels, self.outputs))


def passes_of(shape: Shape, mapping: Mapping) -> Passes:
    """Return the passes that a mapping makes of a layer."""
    K, C, N, m = shape.filters, shape.channels, shape.images, mapping.m
    step = mapping.p * mapping.t
    filters = np.array([(k, min(k + step, b + m, K), b) for b in range(0, K, m) for k in range(b, min(b + m, K), step)])
    channels = _spans(C, mapping.q * mapping.r)
    images = _spans(N, mapping.n)
    strips = _strips(shape.vertical, mapping.e)
    order = []  # group, images, first filter of those in the buffer, strip, channels, filters
    starts, sizes = np.unique(filters[:, 2], return_counts=True)
    at = np.concatenate(([0], np.cumsum(sizes)))
    for block in range(len(starts)):
        shaped = np.indices((len(strips), len(channels), sizes[block])).reshape(3, -1)
        shaped[2] += at[block]
        order.append(np.vstack((np.full(shaped.shape[1], block), shaped)))
    inner = np.concatenate(order, axis=1)
    outer = np.indices((shape.groups, len(images))).reshape(2, -1)
    g, i = np.repeat(outer, inner.shape[1], axis=1)
    _, s, c, k = np.tile(inner, outer.shape[1])
    held = np.column_stack((g, i, s, c))
    weights = np.column_stack((g, c, k))
    return Passes(
        g,
        images[i],
        filters[k, :2],
        channels[c],
        strips[s, :2],
        strips[s, 2:],
        np.array([len(shape.vertical.touched(range(first, beyond))) for first, beyond in strips[:, :2].tolist()])[s],
        _changes(held),
        _changes(weights),
        c == 0,
        c == len(channels) - 1,
    )


def _spans(size: int, step: int) -> Counts:
    starts = np.arange(0, size, step)
    return np.column_stack((starts, np.minimum(starts + step, size)))


def _changes(keys: Counts) -> NDArray[np.bool_]:
    """Tell which rows differ from the one before; the first does."""
    return np.concatenate(([True], (keys[1:] != keys[:-1]).any(axis=1)))


@dataclass(frozen=True, eq=False)
class Timing:
    """Cycles of the passes, one entry each, and what of them is what."""

    cycles: Counts
    waits: Counts
    """Before windows follow each other: for weights and ifmaps, and on the way up to the PE whose sums leave last."""
    windows: Counts
    """In which MACs are done or sums added."""
    sums: Counts
    """In which windows last longer, for sums to go in and out."""
    stalls: Counts
    """Later, for the ifmap."""
    drains: Counts
    """After the last sum has left its PE's adder."""
    used: Counts
    """PEs."""
    steps: Counts
    """PE-cycles of MACs, those gated and those of the padding included."""
    adds: Counts
    """PE-cycles in which a sum that comes in is added."""
    ifmap_words: Counts
    """Values that the network delivers from the global buffer."""
    ifmap_cycles: Counts
    """Cycles in which it does."""
    psum_words: Counts
    """Sums that leave the array; as many enter it unless the pass is the first over its outputs."""


def time_passes(shape: Shape, mapping: Mapping, array: RowStationaryArray, passes: Passes) -> Timing:
    """Return how long each pass takes. It depends on shapes only: zeros are gated, never skipped.

    Passes of the same sizes follow each other without a break; one of other sizes begins when the last has drained.
    """
    n, f, c, e = (span[:, 1] - span[:, 0] for span in (passes.images, passes.filters, passes.channels, passes.outputs))
    h = passes.heights
    R, S, F = shape.vertical.kernel, shape.horizontal.kernel, shape.horizontal.outputs
    q, p = -(-c // mapping.r), -(-f // mapping.t)
    r, t = -(-c // q), -(-f // p)
    mac, sums = p * (q * S + 1), -(-f * e // array.psum_words)
    window = np.maximum(mac, sums)
    delivery = -(-h * c // array.ifmap_words)
    alike = np.column_stack((n, f, c, e, h))
    starts = np.flatnonzero(_changes(alike))
    columns = _columns(shape.horizontal)
    played = np.concatenate(
        [
            _play(kind, loads, shape, mapping, array, columns)
            for kind, loads in zip(
                np.column_stack((n, f, c, sums, delivery))[starts].tolist(),
                np.split(passes.loads_weights, starts[1:]),
                strict=True,
            )
        ]
    )
    begin, end = played.T
    ends = np.concatenate((starts[1:], [len(passes)])) - 1
    drains = np.zeros_like(n)
    drains[ends] = array.pipeline
    waits = np.clip(begin, 0, end - n * F * window)
    return Timing(
        cycles=end + drains,
        waits=waits,
        windows=n * F * mac,
        sums=n * F * (window - mac),
        stalls=end - waits - n * F * window,
        drains=drains,
        used=R * e * r * t,
        steps=n * F * e * f * c * R * S,
        adds=n * F * e * f * R * r,
        ifmap_words=n * len(columns[-1]) * h * c,
        ifmap_cycles=n * len(columns[-1]) * delivery,
        psum_words=n * F * f * e,
    )


def _play(
    kind: list[int],
    loads: NDArray[np.bool_],
    shape: Shape,
    mapping: Mapping,
    array: RowStationaryArray,
    columns: Columns,
) -> Counts:
    """Return what ``play_passes`` says of passes of one kind."""
    n, f, c, sums, delivery = kind
    q, p = -(-c // mapping.r), -(-f // mapping.t)
    return play_passes(
        loads,
        n,
        *columns,
        f,
        c,
        (p, q, -(-f // p), -(-c // q), shape.vertical.kernel, shape.horizontal.kernel),
        WEIGHTS_ORDERS.index(array.weights_order),
        array.starts_with == "all",
        (array.filter_words, delivery, sums),
        (array.fifo, array.fifo * array.psum_words),
        array.ifmap_spad // q,
        array.pipeline,
    )


def _columns(axis: Axis) -> Columns:
    """Return what ``play_passes`` takes of an ifmap row, of its columns that a window needs."""
    touched = axis.touched(range(axis.outputs))
    at = np.add.outer(np.arange(axis.outputs) * axis.stride - axis.padding, np.arange(axis.kernel) * axis.dilation)
    uses = np.full(axis.size, -1)
    inside = (at >= 0) & (at < axis.size)
    needs = np.where(inside, np.searchsorted(touched, at), -1)
    windows, taps = np.nonzero(inside)
    np.maximum.at(uses, at[inside], windows * axis.kernel + taps)
    leaves = np.maximum.accumulate(uses[touched])  # in order: the scratchpad is a ring
    return needs, needs.max(axis=1) + 1, leaves // axis.kernel, leaves % axis.kernel + 1


@dataclass(frozen=True, eq=False)
class Match:
    """What the walk over the data found."""

    layer: Layer
    geometry: Geometry
    shape: Shape
    passes: Passes
    timing: Timing
    multiplied: Counts
    """(passes,): pairs whose ifmap value is not zero, padding left out."""
    effectual: Counts
    """(passes,): pairs of two non-zeros."""
    rows_met: Counts
    """(passes,): ifmap rows under rows of filters, no padding: one for each channel, output row and image."""
    output: NDArray[np.int64] | None

    @property
    def operator(self) -> Operator:
        """What was computed."""
        return self.layer.operator


def shape_of(layer: Layer) -> Shape:
    """Return what a mapping of a layer depends on."""
    return Shape(layer.images, layer.groups, layer.channels, layer.filters, layer.vertical, layer.horizontal)


def geometry_of(operator: Operator, room: Room, given: tuple[GivenMapping, ...], rule: Rule) -> Geometry:
    """Return the mapping of an operator: the first given one of its shape that fits, else the best by the rule.

    Raises:
        InputError: the array cannot run it, or is too small.

    """
    layer = layer_of(operator)
    for role, tensor in operator.tensors.items():
        if role != "output" and tensor.bits > 8 * WORD:
            raise InputError(
                f"operator '{operator.name}': {role} has {tensor.bits} bits, but operands have at most {8 * WORD}"
            )
    shape = shape_of(layer)
    key = (layer.vertical.kernel, layer.vertical.stride, layer.vertical.outputs, layer.channels, layer.filters)
    for candidate in given:
        mapping = clipped(candidate, shape)
        if candidate.layer == key and room.fits(mapping, shape):
            return Geometry(room.array, mapping, True)
    _require_room(operator.name, shape, room)
    found = find_mapping(shape, room, rule)
    if found is None:
        raise InputError(
            f"operator '{operator.name}': one strip of output rows, its sums and its ifmap, does not fit the global "
            "buffer; enlarge global_buffer.fmap_banks"
        )
    return Geometry(room.array, found, False)


def _require_room(name: str, shape: Shape, room: Room) -> None:
    array, R, S = room.array, shape.vertical.kernel, shape.horizontal.kernel
    needs = (
        ("array.rows", "PEs above each other, one for each row of a filter,", R, array.rows),
        ("array.filter_spad", "words of a PE's weights, a row of a filter,", S, array.filter_spad),
        ("array.ifmap_spad", "words of a PE's ifmap, a window of columns,", shape.reach, array.ifmap_spad),
        ("global_buffer.filter_banks", "words of the weights of a pass", R * S, room.weights),
    )
    for key, what, needed, there in needs:
        if needed > there:
            raise InputError(f"operator '{name}' needs {needed} {what} but there are {there}; enlarge {key}")


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk the row primitives of all passes: count the pairs, and with ``check`` add their products up."""
    layer = layer_of(operator)
    shape = shape_of(layer)
    passes = passes_of(shape, geometry.mapping)
    timing = time_passes(shape, geometry.mapping, geometry.array, passes)
    right, S = layer.horizontal, layer.horizontal.kernel
    mask = np.ascontiguousarray(layer.input_mask())
    live = count_live(
        mask.reshape(-1, mask.shape[-1]), S, right.stride, right.padding, right.dilation, right.outputs
    ).reshape(*mask.shape[:-1], S)
    inputs, weights = _values(layer) if check else (None, None)
    computes = inputs is not None and weights is not None
    output = np.zeros(layer.output_shape if computes else (1, 1, 1, 1, right.outputs), np.int64)
    down = layer.vertical
    counts = walk_passes(
        passes.table,
        live,
        np.ascontiguousarray(layer.weight_mask()),
        np.ascontiguousarray(weights if computes else np.zeros((1, 1, 1, 1, 1), np.int8)),
        np.ascontiguousarray(inputs if computes else np.zeros((1, 1, 1, 1, right.size), np.int8)),
        (down.stride, down.padding, down.dilation, right.stride, right.padding, right.dilation),
        output,
        computes,
    )
    multiplied, effectual, rows = counts.T
    result = layer.as_output(output) if computes else None
    return Match(layer, geometry, shape, passes, timing, multiplied, effectual, rows, result)


def _values(layer: Layer) -> tuple[Integers | None, Integers | None]:
    return layer.input_values(), layer.weight_values()


@dataclass(frozen=True)
class Coding:
    """Run-length coding as the chip packs it."""

    run_bits: int
    pairs: int
    word: int
    """Bytes that hold ``pairs``."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A feature map in DRAM: how many pairs of run and value each row adds, of maps (N, G, channels)."""

    mask: NDArray[np.bool_] | None
    """(N, G, channels, rows, columns); None: nothing is zero."""
    shape: tuple[int, int, int, int, int]
    coding: Coding
    form: Literal["auto", "rlc", "plain"]
    rows: NDArray[np.bool_]
    """(rows,): those that are stored."""

    @cached_property
    def running(self) -> Counts:
        """(N, G, channels, rows + 1): pairs of the rows before."""
        N, G, C, H, W = self.shape
        if self.mask is None:
            counts = np.full((N, G, C, H), W, np.int64)
        else:
            flat = self.mask.reshape(-1)
            at = np.flatnonzero(flat)
            plane = at // (H * W)
            zeros = np.diff(at, prepend=-1) - 1
            fresh = np.diff(plane, prepend=-1) != 0
            zeros[fresh] = (at - plane * H * W)[fresh]
            pairs = 1 + (zeros >> self.coding.run_bits)
            counts = np.bincount(at // W, weights=pairs, minlength=N * G * C * H).astype(np.int64).reshape(N, G, C, H)
        counts = counts * self.rows
        return np.concatenate((np.zeros((N, G, C, 1), np.int64), np.cumsum(counts, axis=-1)), axis=-1)

    @cached_property
    def is_coded(self) -> bool:
        """Whether it is stored in run lengths: as asked, or whichever is smaller."""
        if self.form != "auto":
            return self.form == "rlc"
        return self._coded(self.running[..., -1]) < self._plain()

    def _coded(self, pairs: Counts) -> int:
        return int((-(-pairs // self.coding.pairs)).sum()) * self.coding.word

    def _plain(self) -> int:
        N, G, C, _, W = self.shape
        return N * G * C * int(self.rows.sum()) * W * WORD

    @property
    def size(self) -> int:
        """Bytes of the whole map, stored once."""
        return self._coded(self.running[..., -1]) if self.is_coded else self._plain()

    def pieces(self, group: Counts, images: Counts, channels: Counts, rows: Counts) -> Counts:
        """Return the bytes of pieces, one per entry: (pieces, 2) each, from and beyond."""
        if not self.is_coded:
            before = np.concatenate(([0], np.cumsum(self.rows)))
            height = before[rows[:, 1]] - before[rows[:, 0]]
            plain: Counts = np.diff(images)[:, 0] * np.diff(channels)[:, 0] * height * self.shape[4] * WORD
            return plain
        kinds, which = np.unique(rows, axis=0, return_inverse=True)
        size = np.zeros(len(group), np.int64)
        for kind, (low, high) in enumerate(kinds.tolist()):
            pairs = self.running[..., high] - self.running[..., low]
            words = -(-pairs // self.coding.pairs)
            total = np.zeros((words.shape[0] + 1, words.shape[1], words.shape[2] + 1), np.int64)
            total[1:, :, 1:] = words.cumsum(axis=0).cumsum(axis=2)
            own = which.reshape(-1) == kind
            g, (n0, n1), (c0, c1) = group[own], images[own].T, channels[own].T
            size[own] = total[n1, g, c1] - total[n0, g, c1] - total[n1, g, c0] + total[n0, g, c0]
        return size * self.coding.word
