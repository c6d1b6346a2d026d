"""What files of experiments and sweeps say of a run: a chip with parameters set, and the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt, StrictStr

from simulator.arch.part import Part
from simulator.library.load import load_trace
from simulator.trace import Trace, without

Name = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Settings = dict[str, StrictInt | StrictFloat | StrictStr]


class Machine(Part):
    """A chip."""

    arch: str
    """Name or file of its configuration."""
    set: Settings = Field(default_factory=dict)
    """Parameters set, by dotted key."""
    why: str = ""
    """Why they are set."""


class Work(Part):
    """The work."""

    trace: str
    """As for ``skipper run``; in an experiment, ``data:FILE`` is a file of the folder of real data."""
    set: Settings = Field(default_factory=dict)
    """Parameters of the workload."""
    without: str | None = None
    """Types of operators left out, with commas between."""
    why: str = ""
    """What was assumed."""

    @property
    def types_left_out(self) -> tuple[str, ...]:
        """What ``without`` names."""
        return () if self.without is None else tuple(kind.strip() for kind in self.without.split(","))


def open_work(work: Work, located: Callable[[str], str] = lambda name: name) -> Trace:
    """Open or make the trace of a work.

    Args:
        work: what the file says.
        located: how a name or a parameter that may be a file's name is found.

    Raises:
        InputError: as `load_trace`, or no operator of a type that is left out.

    """
    settings = {key: located(value) if isinstance(value, str) else value for key, value in work.set.items()}
    trace = load_trace(located(work.trace), settings)
    if work.without is None:
        return trace
    return without(trace, work.types_left_out)[0]
