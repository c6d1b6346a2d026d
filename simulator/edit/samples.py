"""Some of the images of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simulator.edit.note import noted
from simulator.errors import InputError
from simulator.trace import DensityTensor, MaskTensor, Operator, Tensor, Trace, ValueTensor
from simulator.trace.axes import AXES, axes_of

__all__ = ["image_count", "take_samples"]

_CERTAIN = ("conv2d", "attention")
"""Operators whose first axis is that of images and nothing else."""


def image_count(trace: Trace) -> int:
    """Return how many images a trace is of.

    That is N of its convolutions and attention operators. Without these it is the smallest first axis of the inputs.

    Raises:
        InputError: operators disagree, or have no axis of images.

    """
    certain = {operator.type for operator in trace.operators} & set(_CERTAIN)
    counts: dict[int, str] = {}
    for operator in trace.operators:
        if not certain or operator.type in certain:
            for role in _batched(operator):
                counts.setdefault(operator.tensors[role].shape[0], operator.name)
    if not counts:
        raise InputError(f"trace '{trace.name}' has no tensor with an axis of images")
    if certain and len(counts) > 1:
        (one, first), (other, second) = list(counts.items())[:2]
        raise InputError(
            f"trace '{trace.name}': operator '{first}' is of {one} images, '{second}' of {other}; "
            "expected as many in all, or a selection of operators"
        )
    return min(counts)


def take_samples(trace: Trace, images: Sequence[int]) -> Trace:
    """Return the trace of some of its images, in the order given.

    A tensor whose first axis is a multiple of the number of images (tokens of all images in one axis) has equally many
    consecutive indices for each. Weights and detectors stay. What is drawn (the masks of density tensors, connections
    by a seed) is drawn by place: the first images keep theirs, others get new ones of the same density.

    Args:
        trace: see `image_count`.
        images: indices from 0, each once.

    Raises:
        InputError: no image, one that does not exist or is named twice, or an operator that is not of images.

    """
    count = image_count(trace)
    chosen = [int(image) for image in images]
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= image < count for image in chosen):
        raise InputError(
            f"images of trace '{trace.name}' must be different numbers from 0 to {count - 1}, not {chosen}"
        )
    taken: dict[int, Tensor] = {}
    operators = []
    for operator in trace.operators:
        changes: dict[str, Any] = {}
        _require_images(operator, count)
        for role in _batched(operator):
            tensor = operator.tensors[role]
            if id(tensor) not in taken:
                taken[id(tensor)] = _sliced(tensor, _indices(chosen, tensor.shape[0] // count))
            changes[role] = taken[id(tensor)]
        operators.append(replace(operator, **changes))
    return noted(trace, operators, f"images {','.join(map(str, chosen))} of {count}")


def _batched(operator: Operator) -> Iterator[str]:
    """Yield the roles whose tensors have an axis of images."""
    for role, tensor in operator.tensors.items():
        least = axes_of(operator, role).images
        if least is not None and len(tensor.shape) >= least:
            yield role


def _require_images(operator: Operator, count: int) -> None:
    where = f"operator '{operator.name}' ({operator.type})"
    roles = list(_batched(operator))
    if operator.type not in AXES or (not roles and count > 1):
        raise InputError(f"{where} has no axis of images to choose from; expected a selection without it")
    for role in roles:
        tensor = operator.tensors[role]
        if tensor.shape[0] % count:
            raise InputError(
                f"{where}: {role} has shape {tensor.shape}, whose first axis is no multiple of the {count} images; "
                "expected a selection without it"
            )


def _indices(images: Sequence[int], each: int) -> list[int]:
    return [image * each + i for image in images for i in range(each)]


def _sliced(tensor: Tensor, indices: list[int]) -> Tensor:
    if isinstance(tensor, ValueTensor):
        scale = tuple(tensor.scale[i] for i in indices) if isinstance(tensor.scale, tuple) else tensor.scale
        return ValueTensor(tensor.values()[indices], scale, tensor.bits)
    if isinstance(tensor, DensityTensor):
        return replace(tensor, shape=(len(indices), *tensor.shape[1:]))
    return MaskTensor.of(np.ascontiguousarray(tensor.mask()[indices]), tensor.bits)
