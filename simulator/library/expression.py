"""Arithmetic in workload files: ``seq // 16 + 1``, ``2 if i == 0 else 1``. Nothing but numbers can come of it."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from simulator.errors import InputError, nearest

LONGEST = 500
LARGEST = 2**53

Number = int | float

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "ceil": math.ceil,
    "floor": math.floor,
    "mean": lambda *numbers: math.fsum(numbers) / len(numbers),
    "geomean": lambda *numbers: math.exp(math.fsum(map(math.log, numbers)) / len(numbers)),
}


def evaluate(text: str, names: Mapping[str, Number]) -> Number:
    """Return the number that an expression stands for.

    It may hold numbers, names (dots in them), + - * / // %, comparisons, and, or, not, ``a if b else c`` and calls of
    min, max, ceil, floor, mean and geomean. A division that leaves no rest gives a whole number.

    Args:
        text: the expression, at most 500 characters.
        names: what the names stand for.

    Raises:
        InputError: it is no such expression, a name is unknown (the nearest is named), or the result is no finite
            number of magnitude up to 2^53.

    """
    shown = f"'{text[:LONGEST]}'"
    if len(text) > LONGEST:
        raise InputError(f"{shown}… is longer than {LONGEST} characters, too long for an expression")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        number = _value(tree.body, names)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{shown}: {error}") from None
        raise InputError(f"{shown} is no arithmetic expression") from None
    except (ZeroDivisionError, OverflowError):
        raise InputError(f"{shown} divides by zero or is too large") from None
    return int(number) if isinstance(number, bool) else number


def _value(node: ast.AST, names: Mapping[str, Number]) -> Number:
    number = _raw(node, names)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not abs(number) <= LARGEST:  # nan, too
        raise InputError("the result is too large")
    return number


def _raw(node: ast.AST, names: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name() | ast.Attribute() if name := _dotted(node):
            if name not in names:
                raise InputError(f"unknown name '{name}'{nearest(name, names)}")
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            result: Number = _BINARY[type(op)](_value(left, names), _value(right, names))
            return result
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, names)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _COMPARE[type(op)](_value(left, names), _value(right, names))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, names) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_value(part, names) for part in parts)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as arguments, keywords=[]) if name in _FUNCTIONS:
            called: Number = _FUNCTIONS[name](*(_value(argument, names) for argument in arguments))
            return called
    raise InputError(
        "only numbers, names, + - * / // %, comparisons, if-else, min, max, ceil, floor, means are allowed"
    )


def _dotted(node: ast.AST) -> str:
    """Return a name as it is written, its dots included; nothing where it is none."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name) if before := _dotted(value):
            return f"{before}.{name}"
    return ""
