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
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Hertz
from simulator.compress.coding import CODINGS
from simulator.dataflow.tiles import Order, Tiles, enumerate_tiles, heights
from simulator.dataflow.windows import Axis, Frame, cumulative
from simulator.errors import InputError, LawViolation
from simulator.hardware.bits import count_columns, pack
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

DEEPER = ("array.input_queue", "array.result_queue")
"""Parameters of which more never makes a run slower."""
WIDER = ("array.blocks",)
"""Parameters of which twice as much never makes a run slower where the work divides evenly."""

Mapping = Literal["decomposed", "accumulated", "dense"]
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
    """The outer loop: output channels (weights stay) or rows (activations stay); ``auto``: what moves fewer bytes."""


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
    coding: Coding
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
        chip.coding,
        chip.activation_buffer.bytes_per_cycle,
        min(fit, channels_at_once(work.bases, chip.array)),
    )


# --- the operator as the chip sees it -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Work:
    """A convolution, whatever the operator was called: a linear layer is a 1×1 one over a row of vectors."""

    operator: Operator
    mapping: Mapping
    images: int
    channels: int
    vertical: Axis
    horizontal: Axis
    groups: int
    outputs: int
    bases: int
    """Coefficient vectors per output channel: M, 1 for ternary weights, C/groups where the MAC rows work alone."""

    @property
    def name(self) -> str:
        """Name of the operator."""
        return self.operator.name

    @property
    def kernel(self) -> tuple[int, int]:
        """(R, S)."""
        return self.vertical.kernel, self.horizontal.kernel

    @property
    def depthwise(self) -> bool:
        """Whether each output channel has an input channel of its own."""
        return self.mapping == "dense" and self.channels == self.groups

    @property
    def per_group(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def weight(self) -> Tensor:
        """The weights that are matched or multiplied: coefficients where the kernels are decomposed."""
        return self.operator.tensors["coefficients" if self.mapping == "decomposed" else "weight"]

    @property
    def weight_bits_at_most(self) -> int:
        """Bits of one output channel's weights in the worst case: what has to be set aside for them."""
        if self.mapping == "dense":
            return self.per_group * self.kernel[0] * self.kernel[1] * self.weight.bits
        return 2 * self.per_group * self.bases

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, K, P, Q)."""
        return self.images, self.outputs, self.vertical.outputs, self.horizontal.outputs

    def by_pixel(self, array: NDArray[Any]) -> NDArray[Any]:
        """Lay an input or output out as (N, H, W, C)."""
        if isinstance(self.operator, Linear):
            return array.reshape(1, 1, -1, array.shape[-1])
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))

    def by_vector(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Lay coefficients out as one vector over the group's channels per (k, m): (K·M, C/groups)."""
        if self.mapping == "decomposed":
            weight = np.moveaxis(weight, 1, 2)
        return np.ascontiguousarray(weight).reshape(self.outputs * self.bases, self.per_group)

    def values(self, role: str) -> Counts:
        """Return the values of a tensor that is known to have some."""
        values = self.operator.tensors[role].values()
        assert values is not None, role
        return values.astype(np.int64)


def lower(operator: Operator) -> Work:
    """Decide how the operator maps to the chip.

    Raises:
        InputError: it is neither a convolution nor a linear layer, or its weights would need multipliers where
            the chip has none.

    """
    if isinstance(operator, Linear):
        outputs, channels = operator.weight.shape
        vectors = operator.input.size // channels
        axes = Axis(1, 1, 1, 0, 1), Axis(vectors, 1, 1, 0, 1)
        work = Work(operator, "accumulated", 1, channels, *axes, 1, outputs, 1)
    elif isinstance(operator, Conv2d):
        images, channels, *size = operator.input.shape
        of_axis = zip(size, operator.kernel_size, operator.stride, operator.padding, operator.dilation, strict=True)
        mapping: Mapping = "dense"
        bases = channels // operator.groups
        if operator.coefficients is not None:
            mapping, bases = "decomposed", operator.coefficients.shape[2]
        elif operator.kernel_size == (1, 1):
            mapping, bases = "accumulated", 1
        axes = Axis(*next(of_axis)), Axis(*next(of_axis))
        work = Work(operator, mapping, images, channels, *axes, operator.groups, operator.out_channels, bases)
    else:
        raise InputError(
            f"operator '{operator.name}' is a {operator.type}, which ESCALATE does not run; it runs conv2d and linear"
        )
    if work.mapping != "dense" and work.weight.bits != 1:
        raise InputError(
            f"operator '{operator.name}': its weights have {work.weight.bits}-bit values, but the accumulation units "
            f"take ternary ones (bits = 1: a sign); make them ternary first, with simulator.compress"
        )
    return work


def frame(work: Work, mac_row: MacRow) -> Frame:
    """Say which pixels are streamed; columns are cut where the line buffers are too short for a whole row.

    Raises:
        InputError: not even one output column fits.

    """
    at_once = work.horizontal.outputs if work.mapping == "accumulated" else mac_row.columns(work.kernel[0])
    if at_once < 1:
        raise InputError(
            f"operator '{work.name}': mac_row.line_buffer holds {mac_row.line_buffer} bytes, less than one column "
            f"of {work.kernel[0]} partial sums; enlarge mac_row.line_buffer"
        )
    return Frame(work.images, work.vertical, work.horizontal, at_once)


# --- match: the data, once ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pass:
    """One group of output channels that the array works on together."""

    outputs: range
    inputs: range
    assignment: Assignment


@dataclass(frozen=True, eq=False)
class Feed:
    """The pixels of some input channels as they are broadcast."""

    pixels: Rows
    words: Counts
    """Shape (planes, rows): broadcast words of ``network_lanes`` channels."""
    size: Counts
    """Shape (planes, rows): bytes broadcast."""
    nonzeros: Counts
    """Shape (channels,): non-zero activations of each channel, over all pixels streamed."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Bytes as stored."""

    inputs: Counts
    """Shape (planes, rows + 1): running sums over the rows of pixels."""
    weights: Counts
    """Shape (passes,)."""
    basis: int
    outputs: Counts
    """Shape (passes, planes, P + 1): running sums over the output rows."""


@dataclass(frozen=True, eq=False)
class Match:
    """Cycles and counts of every row of pixels with every pass: what tiling adds up."""

    work: Work
    frame: Frame
    passes: tuple[Pass, ...]
    records: Counts
    """Shape (passes, planes, rows, len(RECORD))."""
    words: Counts
    """Shape (passes, planes, rows): broadcast words of ``network_lanes`` channels."""
    broadcast: Counts
    """Shape (passes, planes, rows): bytes broadcast."""
    sizes: Sizes
    effectual: int
    """Additions and multiplications that the outputs need, each once: see ``_effectual_*``."""
    output: Counts | None
    """The operator's output, shape as its own, where it was asked for."""


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk the operator's real data through the array: see ``Match``.

    Args:
        operator: a conv2d or linear whose tensors carry values, masks or densities.
        geometry: what ``geometry`` returned for it.
        check: accumulate the values, too, in the loops that count; needs values in every tensor.

    """
    work = lower(operator)
    pixels = frame(work, geometry.mac_row)
    mask = work.by_pixel(operator.tensors["input"].mask())
    passes = tuple(_passes(work, geometry))
    feeds = {inputs: _feed(pixels, mask, inputs, geometry) for inputs in dict.fromkeys(p.inputs for p in passes)}
    output = np.zeros(work.output_shape, np.int64) if check else None
    if work.mapping == "dense":
        records = [_stream_pass(work, p, feeds[p.inputs], geometry) for p in passes]
        weight_bits = np.full(work.outputs, work.weight_bits_at_most)
        effectual = _effectual_dense(work, mask)
        if output is not None:
            _convolve(work, pixels, output)
    else:
        codes = work.by_vector(work.weight.mask())
        holders = np.stack([count_columns(group) for group in np.split(codes, work.groups)])
        records = _accumulate_passes(work, pixels, passes, feeds, codes, holders, geometry, output)
        weight_bits = CODINGS[geometry.coding.coefficients](codes, 1).reshape(work.outputs, -1).sum(axis=1)
        effectual = _effectual_sparse(work, mask, holders)
    return Match(
        work,
        pixels,
        passes,
        np.stack(records).reshape(len(passes), len(pixels.planes), len(pixels.rows), len(RECORD)),
        np.stack([feeds[p.inputs].words for p in passes]),
        np.stack([feeds[p.inputs].size for p in passes]),
        _sizes(work, pixels, passes, mask, weight_bits, geometry.coding),
        effectual,
        None if output is None else _as_operator(work, output),
    )


def _passes(work: Work, geometry: Geometry) -> Iterator[Pass]:
    array, groups = geometry.array, 1 if work.depthwise else work.groups
    per_group = work.outputs // groups
    for group in range(groups):
        for k in range(group * per_group, (group + 1) * per_group, geometry.channels):
            outputs = range(k, min(k + geometry.channels, (group + 1) * per_group))
            inputs = range(group * work.per_group, (group + 1) * work.per_group)
            if work.depthwise:
                multiplier = work.outputs // work.channels
                inputs = range(outputs.start // multiplier, -(-outputs.stop // multiplier))
            yield Pass(outputs, inputs, assign(outputs, work.bases, array.slices, array.slices_own))


def _feed(frame: Frame, mask: NDArray[np.bool_], channels: range, geometry: Geometry) -> Feed:
    pixels = frame.pixels(mask, channels)
    size = -(-CODINGS[geometry.coding.activations](pixels, 8) // 8)
    words = np.full(len(pixels), -(-len(channels) // geometry.accumulation.network_lanes))
    cycles = np.maximum(words, -(-size // geometry.activation_bytes_per_cycle))
    return Feed(
        Rows(pack(pixels), cycles, frame.starts()),
        frame.per_row(words),
        frame.per_row(size),
        count_columns(pixels),
    )


def _stream_pass(work: Work, p: Pass, feed: Feed, geometry: Geometry) -> Counts:
    return stream(feed.pixels, p.assignment, geometry.mac_row.cycles(work.kernel), geometry.array)


def _accumulate_passes(
    work: Work,
    frame: Frame,
    passes: tuple[Pass, ...],
    feeds: dict[range, Feed],
    codes: NDArray[np.bool_],
    holders: Counts,
    geometry: Geometry,
    output: Counts | None,
) -> list[Counts]:
    """Match every pass, and compare the pairs found with what the channels hold, counted apart.

    ``codes``: the mask as ``Work.by_vector``; ``holders`` (groups, C/groups): vectors that have a code for the channel.
    """
    maps = pack(codes)
    window = geometry.accumulation.window()
    mac_cycles = geometry.mac_row.cycles(work.kernel) if work.mapping == "decomposed" else 0
    check = output is not None
    activations = work.by_pixel(work.values("input")) if check else None
    signs = pack(work.by_vector(work.values(_role(work))) < 0) if check else None
    records = []
    for p in passes:
        order, feed = p.assignment.order, feeds[p.inputs]
        packed = None
        if activations is not None:
            streamed = frame.pixels(activations, p.inputs)
            packed = streamed[streamed != 0]
        record, sums = accumulate(
            feed.pixels, _columns(maps, order), p.assignment, window, geometry.array, mac_cycles,
            None if signs is None else _columns(signs, order), packed,
        )  # fmt: skip
        records.append(record)
        if output is not None and sums is not None:
            _basis_stage(work, frame, p, sums, output)
    nonzeros = np.stack([feed.nonzeros for feed in feeds.values()])
    expected = int((nonzeros * holders).sum())
    found = sum(int(record[:, RECORD.index("pairs")].sum()) for record in records)
    if found != expected:
        raise LawViolation(f"operator '{work.name}': {found} matched pairs, but the data hold {expected}")
    return records


def _role(work: Work) -> str:
    return "coefficients" if work.mapping == "decomposed" else "weight"


def _columns(maps: NDArray[np.uint64], order: Counts) -> NDArray[np.uint64]:
    """Take vectors out of (K·M, W) as the kernels walk them: (W, T)."""
    return np.ascontiguousarray(maps[order].T)


def _effectual_sparse(work: Work, mask: NDArray[np.bool_], holders: Counts) -> int:
    """Count matched pairs at the pixels that some window covers, and basis multiplications that land on an output."""
    rows, columns = (axis.touched(range(axis.outputs)) for axis in (work.vertical, work.horizontal))
    touched = mask[:, rows][:, :, columns].reshape(-1, work.channels)
    pairs = int((count_columns(touched).reshape(work.groups, -1) * holders).sum())
    if work.mapping == "accumulated":
        return pairs
    return pairs + work.images * work.outputs * work.bases * work.vertical.landing * work.horizontal.landing


def _effectual_dense(work: Work, mask: NDArray[np.bool_]) -> int:
    """Count multiplications of two non-zeros that land on an output."""
    users = work.weight.mask().reshape(work.groups, -1, *work.weight.shape[1:]).sum(axis=1, dtype=np.int64)
    users = users.reshape(work.channels, *work.kernel)
    by_row = work.vertical.meetings() @ mask.transpose(3, 0, 1, 2).astype(np.float64)  # exact: counts of pixels
    met = (by_row @ work.horizontal.meetings().T).sum(axis=1)
    return int((users * met.astype(np.int64)).sum())


def _sizes(
    work: Work,
    frame: Frame,
    passes: tuple[Pass, ...],
    mask: NDArray[np.bool_],
    weight_bits: Counts,
    coding: Coding,
) -> Sizes:
    """Count what is stored; ``weight_bits`` are those of each output channel."""
    tensors = work.operator.tensors
    pixel_bits = CODINGS[coding.activations](mask, tensors["input"].bits)
    inputs = np.zeros((len(frame.planes), len(frame.rows)), np.int64)
    for plane, (image, segment) in enumerate(frame.planes):
        if segment.columns.size:
            span = slice(segment.columns[0], segment.columns[-1] + 1)
            inputs[plane] = -(-pixel_bits[image][frame.rows, span].sum(axis=1) // 8)
    weights = [-(-int(weight_bits[p.outputs.start : p.outputs.stop].sum()) // 8) for p in passes]
    basis = -(-tensors["basis"].size * tensors["basis"].bits // 8) if work.mapping == "decomposed" else 0
    outputs = _output_bytes(work, frame, passes, coding)
    return Sizes(cumulative(inputs), np.array(weights), basis, cumulative(outputs))


def _output_bytes(work: Work, frame: Frame, passes: tuple[Pass, ...], coding: Coding) -> Counts:
    """Bytes of each output row (passes, planes, P): coded where the output is known, else every value stored."""
    tensor = work.operator.tensors.get("output")
    code = CODINGS[coding.activations]
    known = None if tensor is None else work.by_pixel(tensor.mask())
    images, _, height, width = work.output_shape
    sizes = np.zeros((len(passes), len(frame.planes), height), np.int64)
    for i, p in enumerate(passes):
        if tensor is None or known is None:
            of_pixel = np.broadcast_to(code(np.ones(len(p.outputs), np.bool_), 8), (images, height, width))
        else:
            of_pixel = code(known[..., p.outputs.start : p.outputs.stop], tensor.bits)
        for plane, (image, segment) in enumerate(frame.planes):
            span = slice(segment.outputs.start, segment.outputs.stop)
            sizes[i, plane] = -(-of_pixel[image, :, span].sum(axis=1) // 8)
    return sizes


def _basis_stage(work: Work, frame: Frame, p: Pass, sums: Counts, output: Counts) -> None:
    """Multiply what one pass has accumulated, sums (P, T), with the basis kernels, into the output."""
    basis = work.values("basis")[None] if work.mapping == "decomposed" else np.ones((1, 1, 1, 1), np.int64)
    ordered = np.empty((len(p.outputs), work.bases, len(sums)), np.int64)
    k, m = np.divmod(p.assignment.order, work.bases)
    ordered[k - p.outputs.start, m] = sums.T
    _land(work, frame, ordered, basis, output[:, p.outputs.start : p.outputs.stop])


def _convolve(work: Work, frame: Frame, output: Counts) -> None:
    """Send the activations themselves through the MAC rows, with the weights for basis kernels."""
    weight = work.values("weight")
    pixels = frame.pixels(work.by_pixel(work.values("input")), range(work.channels)).T
    per_group = work.outputs // work.groups
    for k in range(work.outputs):
        first = k // per_group * work.per_group
        _land(work, frame, pixels[None, first : first + work.per_group], weight[None, k], output[:, k : k + 1])


def _land(work: Work, frame: Frame, sums: Counts, basis: Counts, output: Counts) -> None:
    """Add T (K, M, P) of all pixels streamed times ``basis`` (K or 1, M, R, S) into ``output`` (N, K, P, Q)."""
    vertical, horizontal, done = work.vertical, work.horizontal, 0
    for image, segment in frame.planes:
        rows, columns = (grid.reshape(-1) for grid in np.meshgrid(frame.rows, segment.columns, indexing="ij"))
        part = np.zeros((len(sums), vertical.outputs, len(segment.outputs)), np.int64)
        multiply_accumulate(
            np.ascontiguousarray(sums[:, :, done : done + len(rows)]), rows, columns, basis,
            (vertical.stride, horizontal.stride),
            (vertical.padding, horizontal.padding - segment.outputs.start * horizontal.stride),
            (vertical.dilation, horizontal.dilation), part,
        )  # fmt: skip
        output[image, :, :, segment.outputs.start : segment.outputs.stop] += part
        done += len(rows)


def _as_operator(work: Work, output: Counts) -> Counts:
    """Bring (N, K, P, Q) to the shape of the operator's output."""
    if isinstance(work.operator, Linear):
        return output.reshape(work.outputs, -1).T.reshape(work.operator.output_shape)
    return output


# --- tile: add rows up until they fill the buffers ------------------------------------------------------------


def tile(operator: Operator, match: Match, chip: Chip) -> Program:
    """Add the rows of a match up into tiles that fit the buffers, and say what each tile moves and does.

    Raises:
        InputError: not even one output row fits the buffers.

    """
    sizes = match.sizes
    step = _step(match, chip)
    inputs_stay = int(sizes.inputs[:, -1].max()) <= chip.activation_buffer.half
    weights_stay = int(sizes.weights.sum()) <= chip.coefficient_buffer.half
    orders: tuple[Order, ...] = ("channels", "rows") if chip.tiling.order == "auto" else (chip.tiling.order,)
    candidates = [
        Tiles.of(enumerate_tiles(match.frame, len(match.passes), order, step, inputs_stay, weights_stay))
        for order in orders
    ]
    return _program(match, min(candidates, key=lambda tiles: _cost(match, tiles, chip)), chip)


def _cost(match: Match, tiles: Tiles, chip: Chip) -> tuple[int, int]:
    """Fewest bytes first, then fewest cycles: no choice depends on a rate, so that a faster channel never costs."""
    moved = _moved(match, tiles)
    crossing = (moved.inputs, moved.weights, moved.basis, moved.outputs)
    size = sum(int(whole_bursts(each, chip.dram.burst).sum()) for each in crossing)
    return size, int(tiles.between(cumulative(match.records[..., RECORD.index("cycles")])).sum())


def _step(match: Match, chip: Chip) -> int:
    """Return the output rows of a tile: as many as the configuration asks for and half of each buffer holds."""
    frame, sizes = match.frame, match.sizes
    step = min(chip.tiling.rows, frame.vertical.outputs)
    while True:
        spans = heights(frame, step)
        reach = [frame.reach(*span) for span in spans]
        needs = {
            "activation_buffer": max(int((sizes.inputs[:, high] - sizes.inputs[:, low]).max()) for low, high in reach),
            "output_buffer": max(
                int((sizes.outputs[..., last] - sizes.outputs[..., first]).max()) for first, last in spans
            ),
        }
        halves = {name: getattr(chip, name).half for name in needs}
        short = [name for name in needs if needs[name] > halves[name]]
        if not short:
            return step
        if step == 1:
            raise InputError(
                f"operator '{match.work.name}': a tile of one output row needs {needs[short[0]]} bytes of {short[0]}, "
                f"but half of it holds {halves[short[0]]}; enlarge {short[0]}.size"
            )
        step //= 2


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


def _moved(match: Match, tiles: Tiles) -> Moved:
    sizes = match.sizes
    weights = sizes.weights[tiles.of_pass]
    outputs = sizes.outputs[tiles.of_pass, tiles.plane]
    at = np.arange(len(tiles))
    return Moved(
        inputs=sizes.inputs[tiles.plane, tiles.high] - sizes.inputs[tiles.plane, tiles.loads_from],
        weights=np.where(tiles.loads_weights, weights, 0),
        basis=np.where(at == 0, sizes.basis, 0),
        fetched=np.where(tiles.changes_pass, weights, 0),
        broadcast=tiles.between(cumulative(match.broadcast)),
        outputs=outputs[at, tiles.last] - outputs[at, tiles.first],
    )


def _program(match: Match, tiles: Tiles, chip: Chip) -> Program:
    work, sizes, burst = match.work, match.sizes, chip.dram.burst
    moved = _moved(match, tiles)
    reads = [
        Stream("input", whole_bursts(moved.inputs, burst), int(sizes.inputs[:, -1].sum())),
        Stream(_role(work), whole_bursts(moved.weights, burst), int(sizes.weights.sum())),
    ]
    if sizes.basis:
        reads.append(Stream("basis", whole_bursts(moved.basis, burst), sizes.basis))
    writes = (Stream("output", whole_bursts(moved.outputs, burst), int(sizes.outputs[..., -1].sum())),)
    array, record = _array_stage(match, tiles, chip)
    return Program(
        operator=work.name,
        mapping=work.mapping,
        stages=(_fetch_stage(-(-moved.fetched // chip.coefficient_buffer.bytes_per_cycle)), array),
        reads=tuple(reads),
        writes=writes,
        depth=2,
        actions=(
            *_array_actions(match, tiles, chip, record),
            *_buffer_actions(moved, chip),
            *_dram_actions(tuple(reads), writes, chip),
        ),
        macs=_macs(match, chip, record),
        peak=_peak(work, chip),
        floors=_floors(match, chip),
    )


def _fetch_stage(fetch: Counts) -> Stage:
    states = np.zeros((len(fetch), len(STATES)), np.int64)
    states[:, STATES.index("busy")] = fetch
    return Stage("coefficient_fetch", fetch, {"coefficient_buffer": Unit(1, states)})


def _array_stage(match: Match, tiles: Tiles, chip: Chip) -> tuple[Stage, Counts]:
    """Return the stage, and the sums of the records of each tile (tiles, len(RECORD))."""
    array, dense = chip.array, match.work.mapping == "dense"
    running = np.zeros((*match.records.shape[:2], match.records.shape[2] + 1, len(RECORD)), np.int64)
    np.cumsum(match.records, axis=2, out=running[:, :, 1:])
    record = tiles.between(running)
    streams = array.slices if array.slices_own == "rows" else 1
    if streams > 1:
        record[:, RECORD.index("cycles")] = _side_by_side(match, tiles, streams)
    latency = 1 if dense else chip.channel_accumulation.latency
    cycles = record[:, RECORD.index("cycles")] + latency
    # Where the MAC rows work alone, their states are recorded in the place of the accumulation units'.
    accumulation, mac_row = ("none", "ca") if dense else ("ca", "mac")
    units = {
        "broadcast": _unit(record, "broadcast", streams, cycles, latency),
        "channel_accumulation": _unit(record, accumulation, array.units, cycles, latency),
        "mac_row": _unit(record, mac_row, array.units, cycles, latency),
    }
    return Stage("array", cycles, units), record


def _side_by_side(match: Match, tiles: Tiles, streams: int) -> Counts:
    """Cycles of each tile where ``streams`` rows of pixels run side by side: the longest of each handful."""
    cycles = np.zeros(len(tiles), np.int64)
    for i, (p, plane, low, high) in enumerate(zip(tiles.of_pass, tiles.plane, tiles.low, tiles.high, strict=True)):
        spans = match.records[p, plane, low:high, RECORD.index("cycles")]
        if spans.size:
            cycles[i] = np.maximum.reduceat(spans, np.arange(0, len(spans), streams)).sum()
    return cycles


def _unit(record: Counts, prefix: str, instances: int, cycles: Counts, latency: int) -> Unit:
    """Collect a unit's states; instances without work wait for their siblings; a unit without any is idle."""
    states = np.zeros((len(cycles), len(STATES)), np.int64)
    for column, name in enumerate(RECORD):
        unit, _, state = name.partition("_")
        if unit == prefix:
            states[:, STATES.index(state)] = record[:, column]
    used = states.any()
    if used:
        states[:, STATES.index("fill_drain")] += instances * latency
    rest = instances * cycles - states.sum(axis=1)
    states[:, STATES.index("imbalance" if used else "idle")] += rest
    return Unit(instances, states)


def _results(match: Match, record: Counts, chip: Chip) -> Counts:
    """Return the T's per tile."""
    work = match.work
    if work.mapping == "accumulated":
        return np.zeros(len(record), np.int64)
    busy = record[:, RECORD.index("ca_busy" if work.mapping == "dense" else "mac_busy")]
    return busy // chip.mac_row.cycles(work.kernel)


def _macs(match: Match, chip: Chip, record: Counts) -> Macs:
    work = match.work
    products = int(_results(match, record, chip).sum()) * work.kernel[0] * work.kernel[1]
    return Macs(work.operator.macs, match.effectual, int(record[:, RECORD.index("pairs")].sum()) + products)


def _peak(work: Work, chip: Chip) -> int:
    adders = chip.channel_accumulation.adders if work.mapping != "dense" else 0
    multipliers = chip.mac_row.multipliers if work.mapping != "accumulated" else 0
    return chip.array.units * (adders + multipliers)


def _floors(match: Match, chip: Chip) -> dict[str, int]:
    """Cycles that each unit needs for its work alone, were it spread perfectly and never kept waiting."""
    total = match.records.sum(axis=(0, 1, 2))
    at = {name: int(value) for name, value in zip(RECORD, total, strict=True)}
    units = chip.array.units
    streams = chip.array.slices if chip.array.slices_own == "rows" else 1
    floors = {
        "broadcast": -(-at["broadcast_busy"] // streams),
        "coefficient_buffer": int((-(-match.sizes.weights // chip.coefficient_buffer.bytes_per_cycle)).sum()),
    }
    if match.work.mapping == "dense":
        floors["mac_row"] = -(-at["ca_busy"] // units)
    else:
        floors["channel_accumulation"] = -(-at["pairs"] // (units * chip.channel_accumulation.adders))
        floors["mac_row"] = -(-at["mac_busy"] // units)
    return floors


def _array_actions(match: Match, tiles: Tiles, chip: Chip, record: Counts) -> Iterator[Action]:
    work, unit = match.work, chip.channel_accumulation
    results = _results(match, record, chip)
    if work.mapping != "dense":
        words = tiles.between(cumulative(match.words))
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
    per_bit = chip.dram.energy_pj_per_bit
    for name, streams in (("read", reads), ("write", writes)):
        for moved in streams:
            yield Action("dram", f"{name} {moved.name}", "dram_bit", moved.size * 8, own_pj=per_bit)
