"""Masks as 64-bit words, and the two bit operations that every matching kernel is made of.

A mask of C channels is ⌈C/64⌉ words; channel c is bit ``c mod 64`` of word ``c // 64``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numpy.typing import NDArray

from simulator.hardware.jit import intrinsic

WORD = 64


def has_bit_gather() -> bool:
    """Tell whether kernels are compiled for a processor with BMI2, whose ``pext`` gathers bits at once.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` (Numba's own settings) override what the host offers.
    """
    settings: Any = config
    if settings.CPU_NAME:
        return "+bmi2" in (settings.CPU_FEATURES or "").split(",")
    return bool(get_host_cpu_features().get("bmi2", False))


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack a mask along its last axis: shape (…, C) → (…, ⌈C/64⌉) words, padded with zeros."""
    missing = -mask.shape[-1] % WORD
    if missing:
        mask = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, missing)])
    packed = np.packbits(mask, axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64, copy=False)


def count_columns(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the ones of each column: (n, C) → (C,)."""
    ones = np.ascontiguousarray(mask).view(np.uint8)
    counts = np.zeros(mask.shape[1], np.int64)
    for first in range(0, len(ones), 255):  # sums of 255 ones fit a byte: eight times as many in a vector register
        counts += np.add.reduce(ones[first : first + 255], axis=0, dtype=np.uint8)
    return counts


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """Count the ones of a 64-bit word."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def gather(typingctx: Any, word: Any, mask: Any) -> Any:
    """Move the bits of ``word`` under ``mask`` to the low end, in order: what the inverse butterfly does.

    One instruction with BMI2 (``pext``); else the parallel-prefix form (Hacker's Delight, 7-4, compress),
    six stages that are the network's own.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, mask = args
        if has_bit_gather():
            i64 = ir.IntType(64)
            pext = builder.module.declare_intrinsic("llvm.x86.bmi.pext.64", (), ir.FunctionType(i64, [i64, i64]))
            return builder.call(pext, [word, mask])
        return _compress(builder, word, mask)

    return types.uint64(types.uint64, types.uint64), codegen


def _compress(builder: Any, word: Any, mask: Any) -> Any:
    """Emit Hacker's Delight's ``compress`` for 64 bits, unrolled."""

    def constant(value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    word = builder.and_(word, mask)
    gaps = builder.shl(builder.not_(mask), constant(1))  # zeros to the right of each bit, to be counted
    for stage in range(6):
        parity = gaps
        for shift in (1, 2, 4, 8, 16, 32):
            parity = builder.xor(parity, builder.shl(parity, constant(shift)))
        moving = builder.and_(parity, mask)
        distance = constant(1 << stage)
        mask = builder.or_(builder.xor(mask, moving), builder.lshr(moving, distance))
        moved = builder.and_(word, moving)
        word = builder.or_(builder.xor(word, moved), builder.lshr(moved, distance))
        gaps = builder.and_(gaps, builder.not_(parity))
    return word


def _same_width(operation: str) -> Any:
    def typed(typingctx: Any, lanes: Any, distance: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            lanes, distance = args
            width = lanes.type.width
            narrow = distance if distance.type.width == width else builder.trunc(distance, lanes.type)
            return getattr(builder, operation)(lanes, narrow)

        return lanes(lanes, distance), codegen

    return typed


# Numba widens every integer to 64 bits; these keep a row of lanes in its own width, so that a loop over
# many rows fills a vector register with four times as many. The distance must be less than the width.
shift_left = intrinsic(_same_width("shl"))
shift_right = intrinsic(_same_width("lshr"))
