"""What is kept of a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from simulator.errors import InputError
from simulator.extract.draft import Draft, Handle, Left, Origin
from simulator.extract.names import Names
from simulator.extract.report import Kind, NotCaptured, ordered
from simulator.extract.store import Store
from simulator.trace import Operator

__all__ = ["Recorder"]


class Paths(Protocol):
    """Says where in a model an operation happens."""

    @property
    def module(self) -> str:
        """Path of what runs, empty for the model itself."""

    def name(self, op: str) -> str:
        """Return how an operation is called there."""


class Recorder:
    """Operators in the making, in the order in which they run, and what becomes none.

    Args:
        paths: says which module runs.
        tensors: says what is known of a tensor.
        progress: called with the module that runs and the number of operators so far.

    """

    def __init__(self, paths: Paths, tensors: Store, progress: Callable[[str, int], None]) -> None:
        self.paths, self.tensors, self.progress = paths, tensors, progress
        self.drafts: list[Draft] = []
        self.left: list[Left] = []
        self.read: dict[str, None] = {}

    @property
    def where(self) -> str:
        """How an error names what runs."""
        return f"module '{self.paths.module}'" if self.paths.module else "the model"

    def values(self, role: str, tensor: Any, per_channel: bool = False) -> Handle:
        """Capture the values of a tensor; an error names the operator and its role."""
        try:
            return self.tensors.values(tensor, per_channel)
        except InputError as error:
            raise InputError(f"{self.where}: {role} is {error}") from None

    def mask(self, role: str, tensor: Any) -> Handle:
        """Capture where a tensor is zero; an error names the operator and its role."""
        try:
            return self.tensors.mask(tensor)
        except InputError as error:
            raise InputError(f"{self.where}: {role} is {error}") from None

    def draft(self, type: str, op: str, shape: tuple[int, ...], roles: dict[str, Handle], **attributes: Any) -> Draft:
        """Begin an operator: its type, what it is called, and the shape of its output."""
        draft = Draft(type, self.paths.name(op), roles, attributes, tuple(shape))
        self.drafts.append(draft)
        self.progress(self.paths.module, len(self.drafts))
        return draft

    def rowwise(self, kind: str, shape: tuple[int, ...], roles: dict[str, Handle]) -> Origin:
        """Begin a row-wise operator."""
        return Origin(self.draft("rowwise", kind, shape, roles, kind=kind))

    def leave(self, op: str, kind: Kind, elements: int, octets: int, macs: int | None = 0) -> Left:
        """Note what becomes no operator."""
        left = Left(op, self.paths.module, kind, macs, elements, octets)
        self.left.append(left)
        return left

    def reads(self, op: str) -> None:
        """Note that the model reads a value of its data."""
        self.read[f"{self.where} ({op.strip('_')})"] = None

    def origin(self, tensor: Any) -> Origin | None:
        """Return what computed a tensor, None for a parameter, an input and the like."""
        return self.tensors.place(tensor).origin

    def operators(self) -> Iterator[Operator]:
        """Yield the operators, their names unique."""
        names = Names()
        for draft in self.drafts:
            if not draft.absorbed:
                yield draft.operator(names.unique(draft.name))

    def not_captured(self) -> tuple[NotCaptured, ...]:
        """Return what became no operator, added up by operation and module."""
        groups: dict[tuple[str, str, Kind], list[Left]] = {}
        for left in self.left:
            if not left.absorbed:
                groups.setdefault((left.op, left.module, left.kind), []).append(left)
        return tuple(
            ordered(
                NotCaptured(
                    op,
                    module,
                    kind,
                    len(group),
                    None if any(each.macs is None for each in group) else sum(each.macs or 0 for each in group),
                    sum(each.elements for each in group),
                    sum(each.bytes for each in group),
                )
                for (op, module, kind), group in groups.items()
            )
        )
