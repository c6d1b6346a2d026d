"""The codings of :mod:`simulator.compress.coding`, written and read bit by bit, one row at a time.

They are plain and slow: they say what the format is, and prove the sizes that ``coding`` counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.compress.coding import stored_bits
from simulator.errors import InputError

__all__ = ["BITSTREAMS", "Bitstream"]

Row = NDArray[np.int64]
Stream = NDArray[np.uint8]


class Bitstream(NamedTuple):
    """A coding's two directions.

    ``encode(row, value_bits)`` turns integers (n,) into bits (0 and 1, uint8) and
    ``decode(bits, length, value_bits)`` gives the integers back. Values are two's complement, or signs (±1)
    where ``value_bits`` is 1.
    """

    encode: Callable[..., Stream]
    decode: Callable[..., Row]


class _Writer:
    def __init__(self) -> None:
        self.bits: list[int] = []

    def unsigned(self, number: int, width: int) -> None:
        self.bits.extend(number >> i & 1 for i in reversed(range(width)))

    def value(self, number: int, width: int) -> None:
        low, high = (-1, 1) if width == 1 else (-(1 << width - 1), (1 << width - 1) - 1)
        if not low <= number <= high:
            raise InputError(f"{number} does not fit a value of {width} bits")
        self.unsigned(int(number < 0) if width == 1 else number & ((1 << width) - 1), width)

    def stream(self) -> Stream:
        return np.array(self.bits, dtype=np.uint8)


class _Reader:
    def __init__(self, stream: ArrayLike) -> None:
        self.bits: list[int] = np.asarray(stream, dtype=np.uint8).tolist()
        self.at = 0

    def unsigned(self, width: int) -> int:
        if self.at + width > len(self.bits):
            raise InputError(f"the stream ends after {len(self.bits)} bits, in the middle of a field")
        field = self.bits[self.at : self.at + width]
        self.at += width
        return int("".join(map(str, field)), 2) if field else 0

    def value(self, width: int) -> int:
        code = self.unsigned(width)
        if width == 1:
            return -1 if code else 1
        return code - (1 << width) if code >> width - 1 else code


def encode_bitmap(row: Row, value_bits: int) -> Stream:
    """Write the map, then the non-zero values."""
    writer = _Writer()
    writer.bits.extend(int(number != 0) for number in row)
    return _with_values(writer, row, value_bits)


def decode_bitmap(stream: Stream, length: int, value_bits: int) -> Row:
    """Read the map, then a value for each of its ones."""
    reader = _Reader(stream)
    mask = [reader.unsigned(1) for _ in range(length)]
    return np.array([reader.value(value_bits) if bit else 0 for bit in mask], dtype=np.int64)


def encode_two_level(row: Row, value_bits: int, block: int = 16) -> Stream:
    """Write one bit per block, the sub-maps of the blocks in use, then the non-zero values."""
    blocks = [row[start : start + block] for start in range(0, len(row), block)]
    writer = _Writer()
    writer.bits.extend(int(part.any()) for part in blocks)
    for part in blocks:
        if part.any():
            writer.bits.extend(int(number != 0) for number in part)
    return _with_values(writer, row, value_bits)


def decode_two_level(stream: Stream, length: int, value_bits: int, block: int = 16) -> Row:
    """Read the blocks' bits, the sub-maps, then a value for each one in them."""
    reader = _Reader(stream)
    sizes = [min(block, length - start) for start in range(0, length, block)]
    used = [reader.unsigned(1) for _ in sizes]
    covered = np.repeat(used, sizes)
    mask = [reader.unsigned(1) if bit else 0 for bit in covered]
    return np.array([reader.value(value_bits) if bit else 0 for bit in mask], dtype=np.int64)


def encode_run_length(row: Row, value_bits: int, run_bits: int = 4) -> Stream:
    """Write (zeros before, value) for every non-zero, and a placeholder zero where a run outgrows its
    field.
    """
    longest, writer, zeros = (1 << run_bits) - 1, _Writer(), 0
    for number in row:
        if number == 0:
            zeros += 1
            continue
        while zeros > longest:
            writer.unsigned(longest, run_bits)
            writer.value(0, stored_bits(value_bits))
            zeros -= longest + 1
        writer.unsigned(zeros, run_bits)
        writer.value(int(number), stored_bits(value_bits))
        zeros = 0
    return writer.stream()


def decode_run_length(stream: Stream, length: int, value_bits: int, run_bits: int = 4) -> Row:
    """Read entries to the end of the stream; what follows them in the row is zero."""
    reader, numbers = _Reader(stream), []
    while reader.at < len(reader.bits):
        numbers.extend([0] * reader.unsigned(run_bits))
        numbers.append(reader.value(stored_bits(value_bits)))
    if len(numbers) > length:
        raise InputError(f"the stream holds {len(numbers)} elements, the row only {length}")
    return np.array(numbers + [0] * (length - len(numbers)), dtype=np.int64)


def _with_values(writer: _Writer, row: Row, value_bits: int) -> Stream:
    for number in row[row != 0]:
        writer.value(int(number), value_bits)
    return writer.stream()


BITSTREAMS: Final[dict[str, Bitstream]] = {
    "bitmap": Bitstream(encode_bitmap, decode_bitmap),
    "two_level": Bitstream(encode_two_level, decode_two_level),
    "run_length": Bitstream(encode_run_length, decode_run_length),
}
