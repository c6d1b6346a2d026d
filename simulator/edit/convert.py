"""All that ``skipper convert`` does to traces, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.edit.merge import merge
from simulator.edit.note import noted
from simulator.edit.places import places
from simulator.edit.prune import Pruning, prune
from simulator.edit.samples import image_count, take_samples
from simulator.edit.select import select
from simulator.trace import Trace

__all__ = ["Selection", "convert_traces"]


@dataclass(frozen=True)
class Selection:
    """Which operators stay, see `select`."""

    names: Sequence[str] = ()
    types: Sequence[str] = ()
    layers: Sequence[str] = ()
    without: Sequence[str] = ()


def convert_traces(
    traces: Sequence[Trace],
    selection: Selection = Selection(),
    samples: str | None = None,
    prunings: Sequence[Pruning] = (),
    seed: int = 0,
    name: str | None = None,
) -> Trace:
    """Return one trace: the traces merged, then some operators, then some images of them, then pruned.

    The provenance tells every step, and the digests of the traces.

    Args:
        traces: one or more.
        selection: of operators.
        samples: images, as `places` reads them; None: all.
        prunings: one after the other.
        seed: of masks pruned by chance.
        name: of the result.

    Raises:
        InputError: as `merge`, `select`, `take_samples` and `prune`.

    """
    made = merge([noted(trace, trace.operators, f"from {trace.name}, digest {trace.digest}") for trace in traces])
    made = select(made, selection.names, selection.types, selection.layers, selection.without)
    if samples is not None:
        made = take_samples(made, places(samples, image_count(made), f"images of trace '{made.name}'"))
    for pruning in prunings:
        made = prune(made, pruning, seed)
    return made if name is None else replace(made, name=name)
