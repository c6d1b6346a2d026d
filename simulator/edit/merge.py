"""Several traces as one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from simulator.edit.note import noted
from simulator.errors import InputError
from simulator.trace import DensityTensor, Operator, Tensor, Trace

__all__ = ["merge"]


def merge(traces: Sequence[Trace]) -> Trace:
    """Return one trace with the operators of all, one trace after the other.

    Operators of the same name get that of their trace before it, ``trace.operator``. A tensor that several traces hold
    with the same content (a weight, or where one was cut in two) is one tensor; density tensors, of which the content
    is not known, are so only where they are the same object. The name is that of the traces, or theirs with ``+``
    between them.

    Raises:
        InputError: no trace, or operators whose names clash also with the names of their traces before them.

    """
    if not traces:
        raise InputError("there is nothing to merge, expected one trace or more")
    if len(traces) == 1:
        return traces[0]
    clashing = _names_twice(name for trace in traces for name in {operator.name for operator in trace.operators})
    named = [
        (trace, operator, f"{trace.name}.{operator.name}" if operator.name in clashing else operator.name)
        for trace in traces
        for operator in trace.operators
    ]
    if unresolved := _names_twice(name for _, _, name in named):
        _refuse({name: [(t, operator) for t, operator, other in named if other == name] for name in unresolved})
    shared = _shared(traces)
    operators = [
        replace(operator, name=name, **{role: shared[id(tensor)] for role, tensor in operator.tensors.items()})
        for _, operator, name in named
    ]
    names = tuple(dict.fromkeys(trace.name for trace in traces))
    merged = Trace("+".join(names), tuple(operators), _provenance(traces))
    parts = ", ".join(f"{len(trace.operators)} operators of {trace.name}" for trace in traces)
    return noted(merged, operators, f"merge {parts}")


def _names_twice(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _refuse(clashes: Mapping[str, Sequence[tuple[Trace, Operator]]]) -> None:
    """Refuse names that clash: the first one that stands for different work or, where none does, the first."""

    def is_same(name: str) -> bool:
        return len({operator.digest for _, operator in clashes[name]}) == 1

    name = min(clashes, key=lambda name: (is_same(name), name))
    traces, digests = zip(*((trace.name, operator.digest[:12]) for trace, operator in clashes[name][:2]), strict=True)
    content = "the same work" if is_same(name) else f"different work (digests {', '.join(digests)})"
    raise InputError(
        f"traces '{traces[0]}' and '{traces[1]}' both hold an operator '{name}', {content}; expected traces of "
        "different names (skipper convert --name) or different operators"
    )


def _shared(traces: Sequence[Trace]) -> dict[int, Tensor]:
    """Return by identity the tensor to use in the place of each: the first of the same content of another trace."""
    headers = Counter(header for trace in traces for header in {_header(tensor) for tensor in trace.tensors.values()})
    first: dict[str, tuple[int, Tensor]] = {}
    shared: dict[int, Tensor] = {}
    for place, trace in enumerate(traces):
        for tensor in trace.tensors.values():
            shared.setdefault(id(tensor), tensor)
            if not isinstance(tensor, DensityTensor) and headers[_header(tensor)] > 1:
                home, same = first.setdefault(tensor.digest, (place, tensor))
                if home != place:
                    shared[id(tensor)] = same
    return shared


def _header(tensor: Tensor) -> str:
    return json.dumps(tensor.header(), sort_keys=True)


def _provenance(traces: Sequence[Trace]) -> dict[str, str]:
    """Return what all say, each key once; where they differ, with the place and the name of the trace before it."""
    said: dict[str, list[str | None]] = {}
    for key in (key for trace in traces for key in trace.provenance):
        said[key] = [trace.provenance.get(key) for trace in traces]
    merged: dict[str, str] = {}
    for key, values in said.items():
        if len(set(values)) == 1 and values[0] is not None:
            merged[key] = values[0]
            continue
        for place, (trace, value) in enumerate(zip(traces, values, strict=True), 1):
            if value is not None:
                merged[f"{place} {trace.name}: {key}"] = value
    return merged
