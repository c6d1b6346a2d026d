"""The basis-first dataflow: what is streamed past which coefficients, and what the array finds on the way.

An operator is lowered to a convolution in one of three mappings; its output channels are dealt out in *passes*; each
pass streams every pixel that some window covers past the array. ``match`` walks the real data once through the kernels
of the array and keeps, for each row of pixels and each pass, cycles, counts and bytes; tiling only adds them up.

With T[k,m] = Σ_c Ce[k,c,m]·I[c] (channel accumulation) and O[k] = Σ_m B[m] * T[k,m] (basis stage):

``decomposed``   convolutions given as basis and coefficients: both stages;
``accumulated``  1×1 convolutions and fully connected layers with ternary weights: the first stage alone;
``dense``        depthwise and undecomposed R×S convolutions (the first layer): the MAC rows alone, no zero skipped.

Source: ESCALATE (Li et al., MICRO 2021), abstract; the loop order is the one that its name implies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.arch.part import Part
from simulator.compress.coding import CODINGS
from simulator.dataflow.windows import Axis, Frame, axes_of, cumulative
from simulator.errors import InputError, LawViolation
from simulator.hardware.bits import count_columns, pack
from simulator.hardware.channel_accumulation import ChannelAccumulation
from simulator.hardware.mac_row import MacRow, multiply_accumulate
from simulator.hardware.pe_array import RECORD, Assignment, PEArray, Rows, accumulate, assign, stream
from simulator.program import Counts
from simulator.trace import Conv2d, Linear, Operator, Tensor, not_run

Mapping = Literal["decomposed", "accumulated", "dense"]
Code = Literal["bitmap", "two_level", "run_length"]


class Coding(Part):
    """How sparse tensors are stored and moved."""

    coefficients: Code
    """Ternary coefficients and weights: each (k, m) along its channels, a sign bit per non-zero."""
    activations: Code
    """Activations: each pixel along its channels, 8 bits per non-zero."""


@dataclass(frozen=True)
class Geometry:
    """What matching depends on, beside the operator: equal geometries share a match."""

    array: PEArray
    accumulation: ChannelAccumulation
    mac_row: MacRow
    coding: Coding
    activation_bytes_per_cycle: int
    """What the activation buffer gives to one row of pixels."""
    channels: int
    """Output channels in a pass over the input."""
    strip: int
    """Pixels between two drains of the array where the mapping is ``accumulated``."""


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
    def role(self) -> str:
        """Role of the tensor that is matched or multiplied: the coefficients where the kernels are decomposed."""
        return "coefficients" if self.mapping == "decomposed" else "weight"

    @property
    def weight(self) -> Tensor:
        """That tensor."""
        return self.operator.tensors[self.role]

    def weight_bits_at_most(self, coding: Coding) -> int:
        """Bits of one output channel's weights in the worst case: what has to be set aside for them."""
        if self.mapping == "dense":
            return self.per_group * self.kernel[0] * self.kernel[1] * self.weight.bits
        return self.bases * int(CODINGS[coding.coefficients](np.ones(self.per_group, np.bool_), 1))

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, K, P, Q)."""
        return self.images, self.outputs, self.vertical.outputs, self.horizontal.outputs

    def input_pixels(self, array: NDArray[Any]) -> NDArray[Any]:
        """Lay the input out as (N, H, W, C); as one row of those pixels that count where no window joins them."""
        if isinstance(self.operator, Linear):
            return array.reshape(1, 1, -1, array.shape[-1])
        by_pixel = array.transpose(0, 2, 3, 1)
        if isinstance(self.operator, Conv2d) and self.mapping == "accumulated":
            rows, columns = (axis.touched(range(axis.outputs)) for axis in axes_of(self.operator))
            return by_pixel[:, rows][:, :, columns].reshape(1, 1, -1, self.channels)
        return np.ascontiguousarray(by_pixel)

    def output_pixels(self, array: NDArray[Any]) -> NDArray[Any]:
        """Lay the output out as (N, P, Q, K), in the same way."""
        if isinstance(self.operator, Linear):
            return array.reshape(1, 1, -1, array.shape[-1])
        by_pixel = array.transpose(0, 2, 3, 1)
        if isinstance(self.operator, Conv2d) and self.mapping == "accumulated":
            rows, columns = (axis.inside() for axis in axes_of(self.operator))
            return by_pixel[:, rows][:, :, columns].reshape(1, 1, -1, self.outputs)
        return np.ascontiguousarray(by_pixel)

    def as_operator(self, output: NDArray[Any]) -> NDArray[Any]:
        """Bring what was computed, (N, K, P, Q) as the chip sees it, to the shape of the operator's output."""
        if self.mapping != "accumulated":
            return output
        by_pixel = output.reshape(self.outputs, -1).T
        shape = self.operator.output_shape
        if isinstance(self.operator, Linear):
            return by_pixel.reshape(shape)
        assert isinstance(self.operator, Conv2d)
        rows, columns = (axis.inside() for axis in axes_of(self.operator))
        whole = np.zeros((shape[0], *shape[2:], shape[1]), output.dtype)  # a window in the padding alone gives zero
        whole[np.ix_(np.arange(shape[0]), rows, columns)] = by_pixel.reshape(shape[0], len(rows), len(columns), -1)
        return whole.transpose(0, 3, 1, 2)

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
        InputError: it is neither a convolution nor a linear layer, or it has values that no unit takes.

    """
    point = Axis(1, 1, 1, 0, 1)
    if isinstance(operator, Linear):
        outputs, channels = operator.weight.shape
        pixels = Axis(operator.input.size // channels, 1, 1, 0, 1)
        work = Work(operator, "accumulated", 1, channels, point, pixels, 1, outputs, 1)
    elif isinstance(operator, Conv2d):
        images, channels = operator.input.shape[:2]
        outputs, groups, axes = operator.out_channels, operator.groups, axes_of(operator)
        if operator.coefficients is not None:
            bases = operator.coefficients.shape[2]
            work = Work(operator, "decomposed", images, channels, *axes, groups, outputs, bases)
        elif operator.kernel_size == (1, 1):
            rows, columns = (axis.touched(range(axis.outputs)) for axis in axes)
            if not rows.size * columns.size:
                raise InputError(
                    f"operator '{operator.name}': its windows lie in the padding alone; expected some input"
                )
            pixels = Axis(images * len(rows) * len(columns), 1, 1, 0, 1)
            work = Work(operator, "accumulated", 1, channels, point, pixels, groups, outputs, 1)
        else:
            work = Work(operator, "dense", images, channels, *axes, groups, outputs, channels // groups)
    else:
        raise not_run(operator, "ESCALATE", ("conv2d", "linear"))
    if work.mapping != "dense" and work.weight.bits != 1:
        raise InputError(
            f"operator '{operator.name}': its weights have {work.weight.bits}-bit values, but the accumulation units "
            f"take ternary ones (bits = 1: a sign); make them ternary first, with simulator.compress"
        )
    for role, tensor in operator.tensors.items():
        if tensor.bits != 8 and (role != work.role or work.mapping == "dense"):
            raise InputError(
                f"operator '{operator.name}': {role} has {tensor.bits}-bit values, but the chip holds 8-bit ones"
            )
    return work


def frame(work: Work, geometry: Geometry) -> Frame:
    """Say which pixels are streamed, and cut the columns into segments.

    Where partial sums are kept, a segment is what the line buffers hold; else a strip of pixels after which the
    array drains.

    Raises:
        InputError: not even one output column fits.

    """
    open_rows = work.vertical.open_windows
    at_once = geometry.strip if work.mapping == "accumulated" else geometry.mac_row.columns(open_rows)
    if at_once < 1:
        size = geometry.mac_row.line_buffer
        raise InputError(
            f"operator '{work.name}': mac_row.line_buffer holds {size} bytes, less than one column "
            f"of {open_rows} partial sums; enlarge mac_row.line_buffer"
        )
    return Frame(work.images, work.vertical, work.horizontal, at_once)


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
    """Shape (passes, planes, rows + 1): running sums over the rows of pixels, of the channels that a pass streams."""
    input: int
    """The part of the input that some window covers, once."""
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

    @property
    def operator(self) -> Operator:
        """What was computed."""
        return self.work.operator


def match(operator: Operator, geometry: Geometry, check: bool) -> Match:
    """Walk the operator's real data through the array: see ``Match``.

    Args:
        operator: a conv2d or linear whose tensors carry values, masks or densities.
        geometry: what ``geometry`` returned for it.
        check: accumulate the values, too, in the loops that count; needs values in every tensor.

    """
    work = lower(operator)
    pixels = frame(work, geometry)
    mask = work.input_pixels(operator.tensors["input"].mask())
    passes = tuple(_passes(work, geometry))
    streamed = tuple(dict.fromkeys(p.inputs for p in passes))
    code = CODINGS[geometry.coding.activations]
    bits = {inputs: code(mask[..., inputs.start : inputs.stop], 8) for inputs in {*streamed, range(work.channels)}}
    feeds = {inputs: _feed(pixels, mask, bits[inputs], inputs, geometry) for inputs in streamed}
    output = np.zeros(work.output_shape, np.int64) if check else None
    if work.mapping == "dense":
        mac_cycles = geometry.mac_row.cycles(work.kernel)
        records = [stream(feeds[p.inputs].pixels, p.assignment, mac_cycles, geometry.array) for p in passes]
        weight_bits = np.full(work.outputs, work.weight_bits_at_most(geometry.coding))
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
        _sizes(work, pixels, passes, bits, weight_bits, geometry.coding),
        effectual,
        None if output is None else work.as_operator(_within_widths(work, geometry, output)),
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


def _feed(frame: Frame, mask: NDArray[np.bool_], bits: Counts, channels: range, geometry: Geometry) -> Feed:
    """Collect the pixels of ``channels``; ``bits`` (N, H, W): as stored."""
    pixels = frame.pixels(mask, channels)
    size = -(-frame.pixels(bits[..., None], range(1))[:, 0] // 8)
    words = np.full(len(pixels), -(-len(channels) // geometry.accumulation.network_lanes))
    cycles = np.maximum(words, -(-size // geometry.activation_bytes_per_cycle))
    return Feed(
        Rows(pack(pixels), cycles, frame.starts),
        frame.per_row(words),
        frame.per_row(size),
        count_columns(pixels),
    )


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
    activations = work.input_pixels(work.values("input")) if check else None
    signs = pack(work.by_vector(work.values(work.role)) < 0) if check else None
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
            _require_width(work, sums, "channel_accumulation.result_bits", geometry.accumulation.result_bits)
            _basis_stage(work, frame, p, sums, output)
    nonzeros = np.stack([feed.nonzeros for feed in feeds.values()])
    expected = int((nonzeros * holders).sum())
    found = sum(int(record[:, RECORD.index("pairs")].sum()) for record in records)
    if found != expected:
        raise LawViolation(f"operator '{work.name}': {found} matched pairs, but the data hold {expected}")
    return records


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
    bits: dict[range, Counts],
    weight_bits: Counts,
    coding: Coding,
) -> Sizes:
    """Count what is stored: ``bits`` (N, H, W) of ranges of input channels, ``weight_bits`` of each output channel."""
    tensors = work.operator.tensors
    by_range = {inputs: _input_bytes(frame, bits[inputs]) for inputs in dict.fromkeys(p.inputs for p in passes)}
    columns = frame.horizontal.touched(range(frame.horizontal.outputs))
    whole = bits[range(work.channels)][:, frame.rows][:, :, columns].sum()
    weights = [-(-int(weight_bits[p.outputs.start : p.outputs.stop].sum()) // 8) for p in passes]
    basis = -(-tensors["basis"].size * tensors["basis"].bits // 8) if work.mapping == "decomposed" else 0
    return Sizes(
        np.stack([cumulative(by_range[p.inputs]) for p in passes]),
        min(int(whole) // 8, sum(int(size.sum()) for size in by_range.values())),
        np.array(weights),
        basis,
        cumulative(_output_bytes(work, frame, passes, coding)),
    )


def _input_bytes(frame: Frame, pixel_bits: Counts) -> Counts:
    """Bytes of each row of pixels (planes, rows): all from the first column to the last."""
    size = np.zeros((len(frame.planes), len(frame.rows)), np.int64)
    for plane, (image, segment) in enumerate(frame.planes):
        if segment.columns.size:
            span = slice(segment.columns[0], segment.columns[-1] + 1)
            size[plane] = -(-pixel_bits[image][frame.rows, span].sum(axis=1) // 8)
    return size


def _output_bytes(work: Work, frame: Frame, passes: tuple[Pass, ...], coding: Coding) -> Counts:
    """Bytes of each output row (passes, planes, P): coded where the output is known, else every value stored."""
    tensor = work.operator.tensors.get("output")
    code = CODINGS[coding.activations]
    known = None if tensor is None else work.output_pixels(tensor.mask())
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
    pixels = frame.pixels(work.input_pixels(work.values("input")), range(work.channels)).T
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


def _within_widths(work: Work, geometry: Geometry, output: Counts) -> Counts:
    """Return the output if it fits the partial sums; else refuse."""
    if work.mapping != "accumulated":
        _require_width(work, output, "mac_row.partial_sum_bits", geometry.mac_row.partial_sum_bits)
    return output


def _require_width(work: Work, sums: Counts, key: str, bits: int) -> None:
    highest = int(np.abs(sums).max(initial=0))
    if highest >= 2 ** (bits - 1):
        raise InputError(f"operator '{work.name}': a sum reaches {highest}, which {key} = {bits} does not hold")
