"""ESCALATE (Li et al., MICRO'21): sparse ternary coefficients first, shared basis kernels after.

A convolution whose kernels share M basis kernels, W[k,c] = Σ_m Ce[k,c,m]·B[m], is computed in the reorganised order

    T[k,m] = Σ_c Ce[k,c,m]·I[c]        channel accumulation: additions of matched pairs only
    O[k]   = Σ_m B[m] * T[k,m]         basis stage: dense, on the MAC rows

basis first: all bases of an output channel finish together, so T is streamed and never stored. How operators map:

``decomposed``   convolutions given as basis and coefficients: as above;
``accumulated``  1×1 convolutions and fully connected layers with ternary weights: the accumulation units alone;
``dense``        depthwise and undecomposed R×S convolutions (the first layer): the MAC rows alone, no zero skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.compress.coding import CODINGS
from simulator.errors import InputError, LawViolation
from simulator.hardware.bits import pack
from simulator.hardware.buffer import Buffer
from simulator.hardware.channel_accumulation import ChannelAccumulation
from simulator.hardware.dram import SimpleChannel, whole_bursts
from simulator.hardware.mac_row import MacRow, multiply_accumulate
from simulator.hardware.pe_array import (
    RECORD,
    Assignment,
    PEArray,
    Rows,
    accumulate,
    assign,
    channels_at_once,
    stream,
)
from simulator.program import STATES, Action, Counts, Macs, Program, Stage, Stream, Unit
from simulator.trace import Conv2d, Linear, Operator, Tensor

Mapping_ = Literal["decomposed", "accumulated", "dense"]
Code = Literal["bitmap", "two_level", "run_length"]


class Coding(Part):
    """How sparse tensors are stored and moved."""

    coefficients: Code
    """Ternary coefficients and weights: each (k, m) along its channels, a sign bit per non-zero."""
    activations: Code
    """Activations: each pixel along its channels, 8 bits per non-zero."""


class Tiling(Part):
    """How an operator is cut into tiles."""

    rows: Annotated[int, Field(ge=1)]
    """Output rows of a tile at most; fewer where the buffers are too small."""
    order: Literal["auto", "channels", "rows"]
    """The outer loop: output channels (weights stay) or rows (activations stay); ``auto``: whichever moves fewer bytes."""


class Chip(Part):
    """The configuration of an ESCALATE chip."""

    clock: Hertz
    """Core clock; the channel of the DRAM keeps its own time."""
    technology: str
    """Table of energies, in arch_configs/technology."""
    array: PEArray
    channel_accumulation: ChannelAccumulation
    mac_row: MacRow
    activation_buffer: Buffer
    coefficient_buffer: Buffer
    output_buffer: Buffer
    dram: SimpleChannel
    coding: Coding
    tiling: Tiling


@dataclass(frozen=True)
class Geometry:
    """What matching depends on, beside the operator: equal geometries share a match."""

    array: PEArray
    accumulation: ChannelAccumulation
    mac_row: MacRow
    activations: Code
    activation_bytes_per_cycle: int
    channels: int
    """Output channels in a pass over the input."""


def geometry(operator: Operator, chip: Chip) -> Geometry:
    """Return what matching ``operator`` depends on.

    Raises:
        InputError: the chip has no way to run the operator.

    """
    work = lower(operator)
    fit = chip.coefficient_buffer.half * 8 // work.weight_bits_at_most
    if fit < 1:
        raise InputError(
            f"operator '{operator.name}': the weights of one output channel take up to "
            f"{-(-work.weight_bits_at_most // 8)} bytes, but half of coefficient_buffer holds "
            f"{chip.coefficient_buffer.half}; enlarge coefficient_buffer.size"
        )
    return Geometry(
        chip.array,
        chip.channel_accumulation,
        chip.mac_row,
        chip.coding.activations,
        chip.activation_buffer.bytes_per_cycle,
        min(fit, channels_at_once(work.bases, chip.array)),
    )


# --- the operator as the chip sees it -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Work:
    """A convolution, whatever the operator was called: a linear layer is a 1×1 one over a row of vectors."""

    operator: Operator
    mapping: Mapping_
    images: int
    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    outputs: int
    bases: int
    """Coefficient vectors per output channel: M, 1 for ternary weights, C/groups where the MAC rows work alone."""

    @property
    def depthwise(self) -> bool:
        """Whether each output channel has an input channel of its own."""
        return self.mapping == "dense" and self.channels == self.groups

    @property
    def per_group(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def weight_bits_at_most(self) -> int:
        """Bits of one output channel's weights in the worst case: what has to be set aside for them."""
        if self.mapping == "dense":
            return self.per_group * self.kernel[0] * self.kernel[1] * _tensor(self.operator, "weight").bits
        return 2 * self.per_group * self.bases

    @cached_property
    def output_size(self) -> tuple[int, int]:
        """(P, Q)."""
        p, q = (
            (n + 2 * pad - dilation * (r - 1) - 1) // stride + 1
            for n, pad, dilation, r, stride in zip(
                self.size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return p, q

    def maps(self, tensor: Tensor) -> NDArray[np.bool_]:
        """Return the tensor's mask as (N, H, W, C)."""
        return self.layout(tensor.mask())

    def layout(self, array: NDArray[np.generic]) -> NDArray[np.generic]:  # type: ignore[type-arg]
        """Lay an input or output out as (N, H, W, C)."""
        if isinstance(self.operator, Linear):
            return array.reshape(1, 1, -1, array.shape[-1])
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def lower(operator: Operator) -> Work:
    """Decide how the operator maps to the chip.

    Raises:
        InputError: it is neither a convolution nor a linear layer, or its weights would need multipliers where
            the chip has none.

    """
    one = (1, 1)
    if isinstance(operator, Linear):
        _require_ternary(operator, "weight")
        outputs, channels = _tensor(operator, "weight").shape
        vectors = operator.input.size // channels
        return Work(
            operator, "accumulated", 1, channels, (1, vectors), one, one, (0, 0), one, 1, outputs, 1
        )
    if not isinstance(operator, Conv2d):
        raise InputError(
            f"operator '{operator.name}' is a {operator.type}, which ESCALATE does not run; it runs conv2d and linear"
        )
    images, channels, height, width = operator.input.shape
    pointwise = operator.kernel_size == (1, 1)
    mapping: Mapping_
    if operator.is_decomposed:
        _require_ternary(operator, "coefficients")
        mapping, bases = "decomposed", _tensor(operator, "coefficients").shape[2]
    elif pointwise:
        _require_ternary(operator, "weight")
        mapping, bases = "accumulated", 1
    else:
        mapping, bases = "dense", channels // operator.groups
    return Work(
        operator, mapping, images, channels, (height, width), operator.kernel_size,
        operator.stride, operator.padding, operator.dilation, operator.groups, operator.out_channels, bases,
    )  # fmt: skip


def _tensor(operator: Operator, role: str) -> Tensor:
    return operator.tensors[role]


def _require_ternary(operator: Operator, role: str) -> None:
    tensor = _tensor(operator, role)
    if tensor.bits != 1:
        raise InputError(
            f"operator '{operator.name}': {role} has {tensor.bits}-bit values, but the accumulation units take ternary "
            f"ones (bits = 1: a sign); make them ternary first, with simulator.compress.ternary_weights"
        )


# --- frames: which pixels are streamed ------------------------------------------------------------------------


def touched(size: int, kernel: int, stride: int, padding: int, dilation: int, outputs: range) -> Counts:
    """Return the input positions that the windows of ``outputs`` cover, ascending, padding left out."""
    positions = np.add.outer(np.array(outputs) * stride - padding, np.arange(kernel) * dilation)
    return np.unique(positions[(positions >= 0) & (positions < size)])


@dataclass(frozen=True, eq=False)
class Segment:
    """A span of output columns whose partial sums fit the line buffers, and the input columns that it needs."""

    outputs: range
    columns: Counts


@dataclass(frozen=True, eq=False)
class Frame:
    """The input rows and column segments that are streamed for one image."""

    work: Work
    rows: Counts
    segments: tuple[Segment, ...]

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the half-open range of ``rows`` that output rows first … last - 1 need."""
        w = self.work
        needed = touched(
            w.size[0], w.kernel[0], w.stride[0], w.padding[0], w.dilation[0], range(first, last)
        )
        if not needed.size:
            return 0, 0
        low, high = np.searchsorted(self.rows, (needed[0], needed[-1]))
        return int(low), int(high) + 1


def frame(work: Work, mac_row: MacRow) -> Frame:
    """Cut the columns of the output where the line buffers are too short for a whole row.

    Raises:
        InputError: not even one output column fits.

    """
    width = work.output_size[1]
    at_once = width if work.mapping == "accumulated" else mac_row.columns(work.kernel[0])
    if at_once < 1:
        raise InputError(
            f"operator '{work.operator.name}': mac_row.line_buffer holds {mac_row.line_buffer} bytes, less than one column "
            f"of {work.kernel[0]} partial sums; enlarge mac_row.line_buffer"
        )
    spans = [range(q, min(q + at_once, width)) for q in range(0, width, at_once)]
    axis = [
        (work.size[i], work.kernel[i], work.stride[i], work.padding[i], work.dilation[i]) for i in (0, 1)
    ]
    return Frame(
        work,
        touched(*axis[0], range(work.output_size[0])),
        tuple(Segment(span, touched(*axis[1], span)) for span in spans),
    )


# --- match: the data, once -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pass:
    """One group of output channels that the array works on together."""

    outputs: range
    inputs: range
    assignment: Assignment


@dataclass(frozen=True, eq=False)
class Match:
    """Cycles and counts of every row of pixels with every pass: what tiling adds up.

    A *plane* is one segment of one image; rows are those of ``frame``.
    """

    frame: Frame
    passes: tuple[Pass, ...]
    records: Counts
    """Shape (passes, planes, rows, len(RECORD))."""
    words: Counts
    """Shape (passes, planes, rows): broadcast words of ``network_lanes`` channels."""
    bytes_broadcast: Counts
    """Shape (passes, planes, rows)."""
    effectual: int
    """Matched pairs (or dense multiplications of non-zeros) that the outputs need, each once."""
    output: NDArray[np.int64] | None
    """Shape of the operator's output, where values were given and asked for."""


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk the operator's real data through the array: see ``Match``.

    Args:
        operator: a conv2d or linear whose tensors carry values, masks or densities.
        geometry: what ``geometry`` returned for it.
        check: accumulate the values, too, in the loops that count; needs values in every tensor.

    """
    work = lower(operator)
    plan = frame(work, geometry.mac_row)
    mask = work.maps(_tensor(operator, "input"))
    passes = tuple(_passes(work, geometry))
    matcher = _match_dense if work.mapping == "dense" else _match_sparse
    return matcher(work, plan, mask, passes, geometry, check)


def _passes(work: Work, geometry: Geometry) -> Iterator[Pass]:
    array = geometry.array
    outputs_per_group = work.outputs if work.depthwise else work.outputs // work.groups
    for group in range(1 if work.depthwise else work.groups):
        first = group * outputs_per_group
        for k in range(first, first + outputs_per_group, geometry.channels):
            outputs = range(k, min(k + geometry.channels, first + outputs_per_group))
            if work.depthwise:
                multiplier = work.outputs // work.channels
                inputs = range(outputs.start // multiplier, -(-outputs.stop // multiplier))
            else:
                inputs = range(group * work.per_group, (group + 1) * work.per_group)
            yield Pass(outputs, inputs, assign(outputs, work.bases, array.slices, array.slices_own))


def _planes(plan: Frame) -> Iterator[tuple[int, Segment]]:
    for image in range(plan.work.images):
        for segment in plan.segments:
            yield image, segment


def _pixels(plan: Frame, array: NDArray[np.generic], inputs: range) -> NDArray[np.generic]:  # type: ignore[type-arg]
    """Pick the pixels that are streamed, in order: (N, H, W, C) → (P, channels)."""
    parts = [
        array[image][np.ix_(plan.rows, segment.columns)][..., inputs.start : inputs.stop].reshape(-1, len(inputs))
        for image, segment in _planes(plan)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _row_starts(plan: Frame) -> Counts:
    widths = [len(segment.columns) for _, segment in _planes(plan) for _ in plan.rows]
    return np.concatenate(([0], np.cumsum(widths, dtype=np.int64)))


def _feed(plan: Frame, mask: NDArray[np.bool_], inputs: range, geometry: Geometry) -> tuple[Rows, Counts, Counts]:
    """Return the rows of pixels of some channels, and per row of pixels the broadcast words and bytes."""
    pixels = _pixels(plan, mask, inputs)
    size = -(-CODINGS[geometry.activations](pixels, 8) // 8)
    words = -(-len(inputs) // geometry.accumulation.network_lanes)
    cycles = np.maximum(words, -(-size // geometry.activation_bytes_per_cycle))
    starts = _row_starts(plan)
    shape = (plan.work.images * len(plan.segments), len(plan.rows))
    return (
        Rows(pack(pixels), cycles, starts),
        (np.diff(starts) * words).reshape(shape),
        np.add.reduceat(size, starts[:-1]).reshape(shape),
    )


def _match_sparse(
    work: Work, plan: Frame, mask: NDArray[np.bool_], passes: tuple[Pass, ...], geometry: Geometry, check: bool
) -> Match:  # fmt: skip
    codes = _coefficients(work, _tensor(work.operator, _SPARSE[work.mapping]).mask())
    values = signs = output = None
    if check:
        integers = {role: tensor.values() for role, tensor in work.operator.tensors.items()}
        values = work.layout(integers["input"]).astype(np.int64)
        signs = pack(_coefficients(work, integers[_SPARSE[work.mapping]]) < 0)
        output = np.zeros((work.images, work.outputs, *work.output_size), np.int64)
    maps = pack(codes)
    window = geometry.accumulation.window()
    mac_cycles = geometry.mac_row.cycles(work.kernel) if work.mapping == "decomposed" else 0
    feeds = {p.inputs: _feed(plan, mask, p.inputs, geometry) for p in passes}
    records, expected = [], 0
    for p in passes:
        pixels = feeds[p.inputs][0]
        order = p.assignment.order
        packed = None
        if values is not None:
            streamed = _pixels(plan, values, p.inputs)
            packed = streamed[streamed != 0]
        found, sums = accumulate(
            pixels,
            np.ascontiguousarray(maps[order].T),
            p.assignment,
            window,
            geometry.array,
            mac_cycles,
            None if signs is None else np.ascontiguousarray(signs[order].T),
            packed,
        )
        records.append(found)
        if output is not None and sums is not None:
            _basis_stage(work, plan, p, sums, output)
        expected += _pairs(pixels.activation, maps[order])
    stacked = _stack(records, plan)
    if stacked[..., RECORD.index("pairs")].sum() != expected:
        raise LawViolation(f"operator '{work.operator.name}': matched pairs differ from those of the data, {expected}")
    return Match(
        plan, passes, stacked, *_stack_feeds(feeds, passes), _effectual_sparse(work, plan, mask, codes), _shaped(work, output)
    )


_SPARSE = {"decomposed": "coefficients", "accumulated": "weight"}


def _coefficients(work: Work, array: NDArray[np.generic]) -> NDArray[np.generic]:  # type: ignore[type-arg]
    """Lay coefficients out as one vector over the group's channels per (k, m): (K·M, C/groups)."""
    if work.mapping == "decomposed":
        array = np.moveaxis(array, 1, 2)
    return np.ascontiguousarray(array).reshape(work.outputs * work.bases, work.per_group)


def _pairs(activation: NDArray[np.uint64], maps: NDArray[np.uint64]) -> int:
    """Count the matched pairs by what each channel holds, apart from the kernel that matched them."""
    ones = [
        np.unpackbits(words.view(np.uint8), axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
        for words in (np.ascontiguousarray(activation), np.ascontiguousarray(maps))
    ]
    return int(ones[0] @ ones[1])


def _effectual_sparse(work: Work, plan: Frame, mask: NDArray[np.bool_], codes: NDArray[np.bool_]) -> int:
    """Pairs at the pixels that some output window covers, each once, and basis multiplications that land."""
    columns = np.unique(np.concatenate([segment.columns for segment in plan.segments]))
    here = mask[:, plan.rows][:, :, columns].sum(axis=(0, 1, 2), dtype=np.int64).reshape(work.groups, -1)
    there = codes.reshape(work.groups, -1, work.per_group).sum(axis=1, dtype=np.int64)
    pairs = int((here * there).sum())
    if work.mapping == "accumulated":
        return pairs
    return pairs + work.images * work.outputs * work.bases * _landing(work)


def _taps(work: Work, axis: int) -> Counts:
    """Per tap of the kernel along ``axis``, the output positions whose input lies inside the image: (R or S, 2)."""
    taps = np.arange(work.kernel[axis]) * work.dilation[axis] - work.padding[axis]
    stride, size, outputs = work.stride[axis], work.size[axis], work.output_size[axis]
    first = np.clip(-(taps // stride), 0, outputs)
    stop = np.clip((size - 1 - taps) // stride + 1, first, outputs)
    return np.stack((first, stop), axis=1)


def _landing(work: Work) -> int:
    """Products of a whole image with one basis kernel that fall on an output, padding left out."""
    rows, columns = ((taps[:, 1] - taps[:, 0]).sum() for taps in (_taps(work, 0), _taps(work, 1)))
    return int(rows * columns)


def _basis_stage(work: Work, plan: Frame, p: Pass, sums: Counts, output: Counts) -> None:
    """Multiply what one pass has accumulated with the basis kernels, into the output."""
    basis = np.ones((1, 1, 1, 1), np.int64)
    if work.mapping == "decomposed":
        integers = _tensor(work.operator, "basis").values()
        assert integers is not None
        basis = integers.astype(np.int64)[None]
    by_vector = np.empty((len(p.outputs), work.bases, len(sums)), np.int64)
    k, m = np.divmod(p.assignment.order, work.bases)
    by_vector[k - p.outputs.start, m] = sums.T
    _scatter(work, plan, by_vector, basis, output[:, p.outputs.start : p.outputs.stop])


def _scatter(work: Work, plan: Frame, sums: Counts, basis: Counts, output: Counts) -> None:
    """Add T (K, M, P), all pixels as they are streamed, times ``basis`` into ``output`` (N, K, P, Q)."""
    done = 0
    for image, segment in _planes(plan):
        rows, columns = (
            grid.reshape(-1) for grid in np.meshgrid(plan.rows, segment.columns, indexing="ij")
        )
        part = np.zeros((sums.shape[0], work.output_size[0], len(segment.outputs)), np.int64)
        padding = (work.padding[0], work.padding[1] - segment.outputs.start * work.stride[1])
        multiply_accumulate(
            np.ascontiguousarray(sums[:, :, done : done + len(rows)]), rows, columns, basis,
            work.stride, padding, work.dilation, part,
        )  # fmt: skip
        output[image, :, :, segment.outputs.start : segment.outputs.stop] += part
        done += len(rows)


def _match_dense(
    work: Work, plan: Frame, mask: NDArray[np.bool_], passes: tuple[Pass, ...], geometry: Geometry, check: bool
) -> Match:  # fmt: skip
    feeds = {p.inputs: _feed(plan, mask, p.inputs, geometry) for p in passes}
    mac_cycles = geometry.mac_row.cycles(work.kernel)
    records = [stream(feeds[p.inputs][0], p.assignment, mac_cycles, geometry.array) for p in passes]
    output = None
    if check:
        tensors = {role: _tensor(work.operator, role).values() for role in ("input", "weight")}
        output = np.zeros((work.images, work.outputs, *work.output_size), np.int64)
        weight = tensors["weight"].astype(np.int64)
        streamed = _pixels(plan, work.layout(tensors["input"]).astype(np.int64), range(work.channels)).T
        per_output = work.outputs // work.groups
        for k in range(work.outputs):
            first = k // per_output * work.per_group
            _scatter(
                work, plan, streamed[None, first : first + work.per_group], weight[None, k], output[:, k : k + 1]
            )
    return Match(
        plan, passes, _stack(records, plan), *_stack_feeds(feeds, passes), _effectual_dense(work, mask), _shaped(work, output)
    )


def _effectual_dense(work: Work, mask: NDArray[np.bool_]) -> int:
    """Multiplications of two non-zeros that fall on an output."""
    weight = _tensor(work.operator, "weight").mask()
    users = weight.reshape(work.groups, -1, work.per_group, *work.kernel).sum(axis=1, dtype=np.int64)
    total = 0
    for r, (top, bottom) in enumerate(_taps(work, 0)):
        for s, (left, right) in enumerate(_taps(work, 1)):
            ys = np.arange(top, bottom) * work.stride[0] - work.padding[0] + r * work.dilation[0]
            xs = np.arange(left, right) * work.stride[1] - work.padding[1] + s * work.dilation[1]
            seen = mask[:, ys][:, :, xs].sum(axis=(0, 1, 2), dtype=np.int64)
            total += int(seen @ users[..., r, s].reshape(-1))
    return total


def _stack(records: list[Counts], plan: Frame) -> Counts:
    planes = plan.work.images * len(plan.segments)
    return np.stack(records).reshape(len(records), planes, len(plan.rows), len(RECORD))


def _stack_feeds(feeds: dict[range, tuple[Rows, Counts, Counts]], passes: tuple[Pass, ...]) -> tuple[Counts, Counts]:
    return np.stack([feeds[p.inputs][1] for p in passes]), np.stack([feeds[p.inputs][2] for p in passes])


def _shaped(work: Work, output: Counts | None) -> Counts | None:
    if output is not None and isinstance(work.operator, Linear):
        return output.reshape(work.outputs, -1).T.reshape(work.operator.output_shape)
    return output


# --- tile: add rows up until they fill the buffers ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tiles:
    """An order of tiles. Each array has one entry per tile."""

    of_pass: Counts
    plane: Counts
    low: Counts
    """First row of pixels that the array streams."""
    high: Counts
    """Beyond the last row."""
    first: Counts
    """First output row."""
    last: Counts
    """Beyond the last output row."""
    loads_rows_from: Counts
    """First row that has to be loaded; up to ``high``. Equal to ``high`` where all rows are on chip."""
    loads_weights: NDArray[np.bool_]
    fetches_weights: NDArray[np.bool_]
    """Whether the slices need other coefficients than in the tile before."""


def _tiles(match: Match, order: str, step: int, inputs_stay: bool, weights_stay: bool) -> Tiles:
    """Enumerate the tiles; ``channels``: passes outside, rows inside; ``rows``: the other way round."""
    plan, passes = match.frame, range(len(match.passes))
    heights = [(y, min(y + step, plan.work.output_size[0])) for y in range(0, plan.work.output_size[0], step)]
    spans = [plan.reach(*height) for height in heights]
    entries = []
    fetched = None
    loaded: set[int] = set()
    for plane in range(match.records.shape[1]):
        if order == "channels":
            steps = [(p, y) for p in passes for y in range(len(heights))]
        else:
            steps = [(p, y) for y in range(len(heights)) for p in passes]
        done = 0
        for p, y in steps:
            low, high = spans[y]
            before = 0 if y == 0 else spans[y - 1][1]
            # Passes outside: the line buffers still hold the sums of the rows above, none is streamed twice.
            streams_from = max(before, low) if order == "channels" else low
            if order == "channels":
                loads_from = high if inputs_stay and p > 0 else min(before, high)
            else:
                loads_from = min(done, high)
                done = high
            loads = fetched != p and not (weights_stay and p in loaded)
            entries.append((p, plane, min(streams_from, high), high, *heights[y], loads_from, loads, fetched != p))
            loaded.add(p)
            fetched = p
    columns = [np.array(column) for column in zip(*entries, strict=True)]
    return Tiles(*columns)


@dataclass(frozen=True, eq=False)
class Sizes:
    """Bytes as stored."""

    inputs: Counts
    """Shape (planes, rows + 1): of the first rows of pixels of a plane, cumulative."""
    weights: Counts
    """Shape (passes,)."""
    basis: int
    outputs: Counts
    """Shape (passes, planes, P + 1): of the first output rows, cumulative."""


def _sizes(match: Match, chip: Chip) -> Sizes:
    work, plan = match.frame.work, match.frame
    tensors = work.operator.tensors
    code = CODINGS[chip.coding.activations]
    mask = work.maps(tensors["input"])
    pixel_bits = code(mask, tensors["input"].bits)
    inputs = np.array([
        pixel_bits[image][plan.rows, segment.columns[0] : segment.columns[-1] + 1].sum(axis=1)
        for image, segment in _planes(plan)
    ])  # fmt: skip
    if work.mapping == "dense":
        per_output = np.full(work.outputs, work.weight_bits_at_most)
    else:
        codes = _coefficients(work, tensors[_SPARSE[work.mapping]].mask())
        per_output = CODINGS[chip.coding.coefficients](codes, 1).reshape(work.outputs, -1).sum(axis=1)
    weights = np.array([-(-int(per_output[p.outputs.start : p.outputs.stop].sum()) // 8) for p in match.passes])
    basis = -(-tensors["basis"].size * tensors["basis"].bits // 8) if work.mapping == "decomposed" else 0
    return Sizes(_cumulative(-(-inputs // 8)), weights, basis, _cumulative(_output_bytes(match, chip)))


def _output_bytes(match: Match, chip: Chip) -> Counts:
    """Bytes of each output row of each pass and plane: coded where the output is known, else every value stored."""
    work = match.frame.work
    tensor = work.operator.tensors.get("output")
    code = CODINGS[chip.coding.activations]
    sizes = np.zeros((len(match.passes), match.records.shape[1], work.output_size[0]), np.int64)
    known = None if tensor is None else work.maps(tensor)
    for i, p in enumerate(match.passes):
        for plane, (image, segment) in enumerate(_planes(match.frame)):
            columns = slice(segment.outputs.start, segment.outputs.stop)
            if known is None or tensor is None:
                everything = np.ones((1, len(p.outputs)), np.bool_)
                bits = np.full(work.output_size[0], code(everything, 8)[0] * len(segment.outputs))
            else:
                bits = code(known[image, :, columns, p.outputs.start : p.outputs.stop], tensor.bits).sum(axis=1)
            sizes[i, plane] = -(-bits // 8)
    return sizes


def _cumulative(sizes: Counts) -> Counts:
    return np.concatenate((np.zeros((*sizes.shape[:-1], 1), np.int64), np.cumsum(sizes, axis=-1)), axis=-1)


def _step(match: Match, sizes: Sizes, chip: Chip) -> int:
    """Return the output rows of a tile: as many as the configuration asks for and the buffers hold.

    Raises:
        InputError: not even one output row fits.

    """
    plan = match.frame
    height = plan.work.output_size[0]
    step = min(chip.tiling.rows, height)
    while True:
        heights = [(y, min(y + step, height)) for y in range(0, height, step)]
        needs = {
            "activation_buffer": max(
                int((sizes.inputs[:, high] - sizes.inputs[:, low]).max())
                for low, high in (plan.reach(*span) for span in heights)
            ),
            "output_buffer": max(
                int((sizes.outputs[..., last] - sizes.outputs[..., first]).max()) for first, last in heights
            ),
        }
        short = [name for name, need in needs.items() if need > getattr(chip, name).half]
        if not short:
            return step
        if step == 1:
            raise InputError(
                f"operator '{plan.work.operator.name}': a tile of one output row needs {needs[short[0]]} bytes of {short[0]}, "
                f"but half of it holds {getattr(chip, short[0]).half}; enlarge {short[0]}.size"
            )
        step //= 2


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the rows of a match up into tiles that fit the buffers, and say what each tile moves and does."""
    sizes = _sizes(match, chip)
    step = _step(match, sizes, chip)
    inputs_stay = int(sizes.inputs[:, -1].max()) <= chip.activation_buffer.half
    weights_stay = int(sizes.weights.sum()) <= chip.coefficient_buffer.half
    orders = ("channels", "rows") if chip.tiling.order == "auto" else (chip.tiling.order,)
    programs = [
        _program(match, sizes, _tiles(match, order, step, inputs_stay, weights_stay), chip) for order in orders
    ]
    return min(programs, key=_cost)


def _cost(program: Program) -> tuple[int, int]:
    """Fewest bytes first, then fewest cycles: no choice depends on a rate, so that a faster channel never costs."""
    moved = sum(int(stream.size.sum()) for stream in (*program.reads, *program.writes))
    return moved, int(program.stages[-1].cycles.sum())


@dataclass(frozen=True, eq=False)
class Moved:
    """Bytes that move for each tile, shape (tiles,) each."""

    inputs: Counts
    """From DRAM into the activation buffer."""
    weights: Counts
    """From DRAM into the coefficient buffer."""
    basis: Counts
    """From DRAM through the coefficient buffer into the MAC rows."""
    fetched: Counts
    """From the coefficient buffer into the slices."""
    broadcast: Counts
    """From the activation buffer to the array."""
    outputs: Counts
    """From the array through the output buffer to DRAM."""


def _moved(match: Match, sizes: Sizes, tiles: Tiles) -> Moved:
    at = (tiles.of_pass, tiles.plane)
    first = np.arange(len(tiles.low)) == 0
    broadcast = _cumulative(match.bytes_broadcast)
    return Moved(
        inputs=sizes.inputs[tiles.plane, tiles.high] - sizes.inputs[tiles.plane, tiles.loads_rows_from],
        weights=np.where(tiles.loads_weights, sizes.weights[tiles.of_pass], 0),
        basis=np.where(first, sizes.basis, 0),
        fetched=np.where(tiles.fetches_weights, sizes.weights[tiles.of_pass], 0),
        broadcast=broadcast[(*at, tiles.high)] - broadcast[(*at, tiles.low)],
        outputs=sizes.outputs[(*at, tiles.last)] - sizes.outputs[(*at, tiles.first)],
    )


def _program(match: Match, sizes: Sizes, tiles: Tiles, chip: Chip) -> Program:
    work, burst = match.frame.work, chip.dram.burst
    moved = _moved(match, sizes, tiles)
    weights = "coefficients" if work.mapping == "decomposed" else "weights"
    reads = [
        Stream("input", whole_bursts(moved.inputs, burst), int(sizes.inputs[:, -1].sum())),
        Stream(weights, whole_bursts(moved.weights, burst), int(sizes.weights.sum())),
    ]
    if sizes.basis:
        reads.append(Stream("basis", whole_bursts(moved.basis, burst), sizes.basis))
    writes = (Stream("output", whole_bursts(moved.outputs, burst), int(sizes.outputs[..., -1].sum())),)
    array, record, words = _array_stage(match, tiles, chip)
    return Program(
        operator=work.operator.name,
        mapping=work.mapping,
        stages=(_fetch_stage(-(-moved.fetched // chip.coefficient_buffer.bytes_per_cycle)), array),
        reads=tuple(reads),
        writes=writes,
        depth=2,
        actions=(
            *_array_actions(match, tiles, chip, record, words),
            *_buffer_actions(moved, chip),
            *_dram_actions(tuple(reads), writes, chip),
        ),
        macs=_macs(match, chip, record),
        peak=_peak(work, chip),
        floors=_floors(match, sizes, chip),
    )


def _fetch_stage(fetch: Counts) -> Stage:
    states = np.zeros((len(fetch), len(STATES)), np.int64)
    states[:, STATES.index("busy")] = fetch
    return Stage("coefficient_fetch", fetch, {"coefficient_buffer": Unit(1, states)})


def _array_stage(match: Match, tiles: Tiles, chip: Chip) -> tuple[Stage, Counts, Counts]:
    """Return the stage, and per tile the sums of the records (tiles, len(RECORD)) and of the broadcast words."""
    array, dense = chip.array, match.frame.work.mapping == "dense"
    at = (tiles.of_pass, tiles.plane)
    cumulative = np.zeros((*match.records.shape[:2], match.records.shape[2] + 1, len(RECORD)), np.int64)
    np.cumsum(match.records, axis=2, out=cumulative[:, :, 1:])
    record = cumulative[(*at, tiles.high)] - cumulative[(*at, tiles.low)]
    worded = _cumulative(match.words)
    words = worded[(*at, tiles.high)] - worded[(*at, tiles.low)]
    streams = 1
    if array.slices_own == "rows":  # rows of pixels side by side: as long as the longest of each handful
        streams = array.slices
        for i, (p, plane, low, high) in enumerate(zip(*at, tiles.low, tiles.high, strict=True)):
            spans = match.records[p, plane, low:high, RECORD.index("cycles")]
            record[i, RECORD.index("cycles")] = np.maximum.reduceat(spans, np.arange(0, high - low, streams)).sum()
    latency = 1 if dense else chip.channel_accumulation.latency
    cycles = record[:, RECORD.index("cycles")] + latency
    parts = {"broadcast": (streams, "broadcast"), "channel_accumulation": (array.units, "ca"), "mac_row": (array.units, "mac")}
    if dense:  # the rows of pixels go to the MAC rows directly, and their states are recorded in the CAs' place
        parts |= {"channel_accumulation": (array.units, "none"), "mac_row": (array.units, "ca")}
    units = {name: Unit(n, _states(record, prefix, n, cycles, latency)) for name, (n, prefix) in parts.items()}
    return Stage("array", cycles, units), record, words


def _states(record: Counts, prefix: str, instances: int, cycles: Counts, latency: int) -> Counts:
    """Collect a unit's states; lanes without work wait for their siblings; a unit that is never busy is idle."""
    states = np.zeros((len(cycles), len(STATES)), np.int64)
    for column, name in enumerate(RECORD):
        unit, _, state = name.partition("_")
        if unit == prefix:
            states[:, STATES.index(state)] = record[:, column]
    rest = instances * cycles - states.sum(axis=1)
    if not states.any():
        states[:, STATES.index("idle")] = rest
    else:
        states[:, STATES.index("fill_drain")] += instances * latency
        states[:, STATES.index("imbalance")] += rest - instances * latency
    return states


def _results(match: Match, record: Counts, chip: Chip) -> Counts:
    """Return the T's per tile."""
    work = match.frame.work
    if work.mapping == "accumulated":
        return np.zeros(len(record), np.int64)
    busy = record[:, RECORD.index("ca_busy" if work.mapping == "dense" else "mac_busy")]
    return busy // chip.mac_row.cycles(work.kernel)


def _macs(match: Match, chip: Chip, record: Counts) -> Macs:
    work = match.frame.work
    products = int(_results(match, record, chip).sum()) * work.kernel[0] * work.kernel[1]
    return Macs(work.operator.macs, match.effectual, int(record[:, RECORD.index("pairs")].sum()) + products)


def _peak(work: Work, chip: Chip) -> int:
    adders = chip.channel_accumulation.adders if work.mapping != "dense" else 0
    multipliers = chip.mac_row.multipliers if work.mapping != "accumulated" else 0
    return chip.array.units * (adders + multipliers)


def _floors(match: Match, sizes: Sizes, chip: Chip) -> dict[str, int]:
    """Cycles that each unit needs for its work alone, were it spread perfectly and never kept waiting."""
    total = match.records.sum(axis=(0, 1, 2))
    at = {name: int(value) for name, value in zip(RECORD, total, strict=True)}
    units = chip.array.units
    streams = chip.array.slices if chip.array.slices_own == "rows" else 1
    floors = {
        "broadcast": -(-at["broadcast_busy"] // streams),
        "coefficient_buffer": int((-(-sizes.weights // chip.coefficient_buffer.bytes_per_cycle)).sum()),
    }
    if match.frame.work.mapping == "dense":
        floors["mac_row"] = -(-at["ca_busy"] // units)
    else:
        floors["channel_accumulation"] = -(-at["pairs"] // (units * chip.channel_accumulation.adders))
        floors["mac_row"] = -(-at["mac_busy"] // units)
    return floors


def _array_actions(match: Match, tiles: Tiles, chip: Chip, record: Counts, words: Counts) -> Iterator[Action]:
    work, unit = match.frame.work, chip.channel_accumulation
    results = _results(match, record, chip)
    if work.mapping != "dense":
        vectors = np.array([len(p.assignment.order) for p in match.passes])[tiles.of_pass]
        passed = words * vectors  # words through each kind of network: those of every T of every pixel
        yield Action("dilution", "pass", "multiplexer_1b", passed * unit.dilution.multiplexers)
        yield Action("concentration", "pass", "multiplexer_1b", passed * unit.concentrator.multiplexers)
        yield Action("concentration", "count prefixes", "full_adder_1b", words * unit.concentrator.full_adders)
        yield Action("channel_accumulation", "read codes", "register_8b", -(-passed * 2 * unit.network_lanes // 8))
        yield Action("channel_accumulation", "add", "add_16b", record[:, RECORD.index("pairs")])
    if work.mapping == "decomposed":
        yield Action("result_queue", "write", "register_8b", results * 2)
        yield Action("result_queue", "read", "register_8b", results * 2)
    if work.mapping != "accumulated":
        products = results * work.kernel[0] * work.kernel[1]
        line = {"size": chip.mac_row.line_buffer, "width": chip.mac_row.partial_sum_bits}
        yield Action("mac_row", "multiply", "multiply_8b", products)
        yield Action("mac_row", "add", "add_32b", products)
        yield Action("line_buffer", "read", "sram_read", results * work.kernel[0], **line)
        yield Action("line_buffer", "write", "sram_write", results * work.kernel[0], **line)


def _buffer_actions(moved: Moved, chip: Chip) -> Iterator[Action]:
    weights = moved.weights + moved.basis
    for name, buffer, into, out in (
        ("activation_buffer", chip.activation_buffer, moved.inputs, moved.broadcast),
        ("coefficient_buffer", chip.coefficient_buffer, weights, moved.fetched + moved.basis),
        ("output_buffer", chip.output_buffer, moved.outputs, moved.outputs),
    ):
        bank = {"size": buffer.size // buffer.banks, "width": buffer.width_bits}
        yield Action(name, "write", "sram_write", -(-into * 8 // buffer.width_bits), **bank)
        yield Action(name, "read", "sram_read", -(-out * 8 // buffer.width_bits), **bank)


def _dram_actions(reads: tuple[Stream, ...], writes: tuple[Stream, ...], chip: Chip) -> Iterator[Action]:
    for name, streams in (("read", reads), ("write", writes)):
        for stream in streams:
            yield Action("dram", f"{name} {stream.name}", "dram_bit", stream.size * 8, own_pj=chip.dram.energy_pj_per_bit)
