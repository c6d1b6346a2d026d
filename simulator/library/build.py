"""From a workload's layers to a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.errors import InputError
from simulator.library import schema
from simulator.library.densities import Densities
from simulator.library.expression import Number
from simulator.library.fields import Names, at, part, whole
from simulator.library.follow import Follower
from simulator.library.maker import Flow, Maker
from simulator.library.settings import resolve
from simulator.trace import Trace


@dataclass(frozen=True)
class Workload:
    """A workload made with given parameters."""

    trace: Trace
    parameters: Mapping[str, int]
    """Numbers that the model learns, by the layer that holds them: weights, biases and norms, dense."""
    settings: Names
    """The values of its parameters."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators, zeros included."""
        return self.trace.macs

    @property
    def parameter_count(self) -> int:
        """Numbers that the model learns."""
        return sum(self.parameters.values())


def build(
    document: schema.Document,
    name: str,
    settings: Mapping[str, str | Number] | None = None,
    densities: Densities | None = None,
) -> Workload:
    """Make a workload with given parameters into operators on tensors of known density.

    Args:
        document: the file as it is read.
        name: of the trace.
        settings: parameters by name, as numbers or expressions.
        densities: of weights and inputs by operator, before those of the file.

    Raises:
        InputError: an unknown parameter, an expression that is none, a shape that does not fit, a density outside
            0 to 1, a tensor of more than 2^31 elements.

    """
    values = resolve(document, settings or {})
    maker = Maker(values, densities)
    with at("input"):
        shape = tuple(whole(size, values, "shape") for size in document.input.shape)
        start = Flow(shape, part(document.input.density, values, "density"))
    Follower(document.blocks, maker).follow(document.layers, start, "", values, ())
    if densities is not None:
        densities.require_used(operator.name for operator in maker.operators)
    if not maker.operators:
        raise InputError("the workload has no operators, expected one or more")
    provenance = {"workload": name, "description": document.description}
    provenance |= {"parameters": ", ".join(f"{key}={value}" for key, value in values.items())}
    provenance |= {"density table": densities.origin} if densities else {}
    return Workload(Trace(name, tuple(maker.operators), provenance), maker.parameters, values)
