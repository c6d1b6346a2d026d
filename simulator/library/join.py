"""What several ways from one tensor join to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.fields import Names, part
from simulator.library.maker import Flow, Maker
from simulator.trace import Rowwise
from simulator.trace.checks import Shape


def joined(maker: Maker, layer: schema.Branches, ends: Sequence[Flow], name: str, names: Names) -> Flow:
    """Return what ways join to, and make the join an operator where it is one."""
    if layer.join == "first":
        shape, given = ends[0].shape, ends[0].density
    elif layer.join == "concat":
        shape, given = _side_by_side(ends)
    else:
        shape, given = _element_by_element(layer.join, ends, names)
    density = given if layer.density is None else part(layer.density, names, "density")
    density = min(max(density, 0.0), 1.0)
    if not layer.operator:
        return Flow(shape, density)
    if layer.join not in ("add", "multiply") or len(ends) != 2:
        raise InputError("only two ways that are added or multiplied are an operator")
    name = f"{name}.{layer.join}"
    output = maker.stored(name, shape, density)
    first, second = (maker.taken(end, name, role) for end, role in zip(ends, ("input", "other"), strict=True))
    return maker.add(Rowwise(name, first, other=second, output=output, kind=layer.join), output)


def _side_by_side(ends: Sequence[Flow]) -> tuple[Shape, float]:
    """Return shape and density of ways put side by side along the channels."""
    shapes = [end.shape for end in ends]
    axis = 1 if len(shapes[0]) == 4 else len(shapes[0]) - 1
    if any(s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
        raise InputError(f"ways of shapes {_listed(shapes)} cannot be put side by side")
    shape = (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])
    return shape, sum(end.density * math.prod(end.shape) for end in ends) / math.prod(shape)


def _element_by_element(join: str, ends: Sequence[Flow], names: Names) -> tuple[Shape, float]:
    """Return shape and density of ways that are added or multiplied; of products a (N, C, 1, 1) is stretched."""
    shapes = [end.shape for end in ends]
    shape = max(shapes, key=math.prod)
    stretched = len(shape) == 4 and all(s in (shape, (*shape[:2], 1, 1)) for s in shapes)
    if len(set(shapes)) > 1 and not (join == "multiply" and stretched):
        raise InputError(f"ways of shapes {_listed(shapes)} cannot be joined by '{join}'")
    if join == "add":
        return shape, part(names["activation_density"], names, "activation_density")
    return shape, math.prod(end.density for end in ends)


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(str, shapes))
