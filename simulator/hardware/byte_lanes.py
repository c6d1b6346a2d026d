"""Thirty-two counters of 8 bits that change at once: rows of arrays of bytes, (…, 32), as vector registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulator.hardware.jit import cgutils, intrinsic

LANES = 32
_VECTOR = ir.VectorType(ir.IntType(8), LANES)


def _splat(builder: Any, value: Any) -> Any:
    """Emit a vector of which every lane is ``value``."""
    single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), places)


def _subtract(builder: Any, minuend: Any, subtrahend: Any) -> Any:
    """Emit a subtraction that stops at 0."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.usub.sat.v32i8")
    return builder.call(function, [minuend, subtrahend])


def _pointer(context: Any, builder: Any, kind: Any, array: Any, row: Any) -> Any:
    """Emit the address of a row of 32 bytes, counted from the beginning of the (contiguous) array."""
    data = context.make_array(kind)(context, builder, array).data
    start = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [start]), ir.PointerType(_VECTOR))


def _serve(builder: Any, pointer: Any, counters: Any, most: Any) -> Any:
    """Emit: take 1 of each counter, store them, and tell whether one is above ``most`` still."""
    left = _subtract(builder, counters, _splat(builder, ir.Constant(ir.IntType(8), 1)))
    builder.store(left, pointer, align=1)
    above = _subtract(builder, left, _splat(builder, builder.trunc(most, ir.IntType(8))))
    whole = builder.bitcast(above, ir.IntType(8 * LANES))
    return builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))


@intrinsic
def serve(typingctx: Any, counters: Any, row: Any, most: Any) -> Any:
    """Take 1 of each counter of a row, none below 0; return whether one is above ``most`` still."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        return _serve(builder, pointer, builder.load(pointer, align=1), args[2])

    return types.boolean(counters, types.int64, types.int64), codegen


@intrinsic
def add_and_serve(
    typingctx: Any, counters: Any, row: Any, added: Any, first: Any, second: Any, third: Any, fourth: Any, most: Any
) -> Any:
    """Add four rows of ``added`` to a row of counters, then do as ``serve``. No sum may exceed 255."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        rows = [builder.load(_pointer(context, builder, signature.args[2], args[2], row), align=1) for row in args[3:7]]
        total = builder.add(builder.add(rows[0], rows[1]), builder.add(rows[2], rows[3]))
        return _serve(builder, pointer, builder.add(builder.load(pointer, align=1), total), args[7])

    return types.boolean(counters, types.int64, added, *[types.int64] * 5), codegen
