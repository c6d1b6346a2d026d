"""Some of the operators of a trace."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from simulator.edit.note import noted
from simulator.edit.places import is_places, places
from simulator.errors import InputError, nearest
from simulator.trace import OPERATORS, Operator, Trace

__all__ = ["matching", "nearest_names", "select"]


def select(
    trace: Trace,
    names: Sequence[str] = (),
    types: Sequence[str] = (),
    layers: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Trace:
    """Return the trace with those of its operators that every one of the arguments given allows, in their order.

    Args:
        trace: any.
        names: patterns as of files (``*``, ``?``, ``[ab]``); one that an operator's name matches allows it.
        types: such as ``conv2d``.
        layers: places from 0 (``3``, ``0:4``, ``0,2,5:8``, the end of a range left out), a name, or two names with a
            colon between them, both included.
        without: patterns of names to leave out.

    Raises:
        InputError: a pattern, type or layer that no operator has, a range out of range, or no operator left.

    """
    allowed = set(range(len(trace.operators)))
    if names:
        allowed &= {place for pattern in names for place in matching(trace.operators, pattern, trace.name)}
    if types:
        allowed &= {place for kind in types for place in _of_type(trace, kind)}
    if layers:
        allowed &= {place for text in layers for place in _layers(trace, text)}
    for pattern in without:
        allowed -= set(matching(trace.operators, pattern, trace.name))
    given = (("names", names), ("types", types), ("layers", layers), ("without", without))
    said = "; ".join(f"{what} {' '.join(texts)}" for what, texts in given if texts)
    if not allowed:
        raise InputError(f"no operator of trace '{trace.name}' is left by {said}; expected one or more")
    if not said:
        return trace
    return noted(trace, (trace.operators[place] for place in sorted(allowed)), f"select {said}")


def matching(operators: Iterable[Operator], pattern: str, trace: str) -> list[int]:
    """Return the places of the operators whose names match a pattern.

    Raises:
        InputError: none does.

    """
    known = [operator.name for operator in operators]
    found = [place for place, name in enumerate(known) if fnmatchcase(name, pattern) or name == pattern]
    if not found:
        raise InputError(f"no operator of trace '{trace}' matches '{pattern}'{nearest_names(pattern, known)}")
    return found


def nearest_names(word: str, known: Iterable[str]) -> str:
    """Return a few names, of what may be hundreds, to end a sentence with."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0)
    return f"; the nearest names are {', '.join(close)}" if close else ""


def _of_type(trace: Trace, kind: str) -> list[int]:
    if kind not in OPERATORS:
        raise InputError(f"unknown type of operators '{kind}'{nearest(kind, OPERATORS)}")
    found = [place for place, operator in enumerate(trace.operators) if operator.type == kind]
    if not found:
        present = ", ".join(sorted({operator.type for operator in trace.operators}))
        raise InputError(f"trace '{trace.name}' has no operator of type {kind}; it has {present}")
    return found


def _layers(trace: Trace, text: str) -> list[int]:
    names = [operator.name for operator in trace.operators]
    if text in names:
        return [names.index(text)]
    if is_places(text):
        return places(text, len(names), f"operators of trace '{trace.name}'")
    for at in (place for place, character in enumerate(text) if character == ":"):
        first, last = text[:at], text[at + 1 :]
        if first in names and last in names:
            begin, end = names.index(first), names.index(last)
            if begin > end:
                raise InputError(f"'{text}': operator '{last}' comes before '{first}', expected them in order")
            return list(range(begin, end + 1))
    unknown = next((part for part in text.split(":") if part not in names), text)
    raise InputError(f"trace '{trace.name}' has no operator '{unknown}'{nearest_names(unknown, names)}")
