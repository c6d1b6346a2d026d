"""What the workloads count, beside what others published: the table of docs/workloads.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from simulator.library.document import list_workloads, read_workload
from simulator.library.load import load_workload
from simulator.library.schema import COMMON, Document, Published, json_schema

COMMAND = "skipper workloads --page docs/workloads.md"


@dataclass(frozen=True)
class Known:
    """A published count beside ours of the same."""

    of: str
    value: str
    ours: int
    source: str
    setting: str
    """Parameters with which it was counted, and what it leaves out."""

    @property
    def agrees(self) -> bool:
        """Whether ours, rounded as the published one is, equals it."""
        published = Decimal(self.value)
        exponent = published.as_tuple().exponent
        unit = Decimal(10) ** max(int(exponent), 0)
        return abs(published - self.ours) <= unit / 2


@dataclass(frozen=True)
class Count:
    """What a workload counts with the parameters of its file."""

    name: str
    description: str
    operators: int
    macs: int
    parameters: int
    published: tuple[Known, ...]


def counts() -> tuple[Count, ...]:
    """Count every shipped workload."""
    return tuple(map(count, list_workloads()))


def count(name: str) -> Count:
    """Count a workload, by name or file."""
    document = read_workload(name)[0]
    work = load_workload(name)
    known = tuple(_known(name, published) for published in document.published)
    return Count(name, document.description, len(work.trace.operators), work.macs, work.parameter_count, known)


def count_document(count: Count) -> dict[str, Any]:
    """Return a count as JSON takes it."""
    published = [{**asdict(known), "agrees": known.agrees} for known in count.published]
    return {**asdict(count), "published": published}


def _known(name: str, published: Published) -> Known:
    work = load_workload(name, published.set)
    left_out = tuple(published.without)
    counted = (
        {operator.name: operator.macs for operator in work.trace.operators}
        if published.count == "macs"
        else dict(work.parameters)
    )
    ours = sum(number for layer, number in counted.items() if not (left_out and layer.startswith(left_out)))
    settings = [f"{key}={value}" for key, value in published.set.items()]
    settings += [f"without {prefix}*" for prefix in left_out]
    return Known(published.count, published.value, ours, published.source, ", ".join(settings))


def schema_text() -> str:
    """Return the JSON schema of workload files as it is kept in workloads/schema.json."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def workloads_page() -> str:
    """Return docs/workloads.md."""
    everything = counts()
    lines = [_HEAD, "| workload | operators | MACs | parameters |", "|---|---:|---:|---:|"]
    lines += [f"| {c.name} | {c.operators:,} | {c.macs:,} | {c.parameters:,} |" for c in everything]
    lines += ["", _PUBLISHED, "| workload | of | published | ours | with | source |", "|---|---|---:|---:|---|---|"]
    lines += [
        f"| {c.name} | {k.of} | {k.value} | {k.ours:,}{'' if k.agrees else ' **differs**'} | {k.setting} | {k.source} |"
        for c in everything
        for k in c.published
    ]
    without = ", ".join(c.name for c in everything if not any(k.of == "macs" for k in c.published))
    neither = ", ".join(c.name for c in everything if not c.published)
    lines += ["", f"No published MACs are known to us of {without};", f"no published parameters of {neither}.", ""]
    lines += [_PARAMETERS, "| workload | parameters |", "|---|---|"]
    lines += [f"| every one | {', '.join(f'{k} = {v}' for k, (v, _) in COMMON.items())} |"]
    lines += [f"| {c.name} | {_settable(read_workload(c.name)[0])} |" for c in everything]
    lines += ["", _MEANINGS, "| parameter | meaning |", "|---|---|"]
    lines += [f"| {key} | {meaning} |" for key, (_, meaning) in COMMON.items()]
    return "\n".join(lines) + "\n"


def _settable(document: Document) -> str:
    return ", ".join(f"{key} = {parameter.value}" for key, parameter in document.parameters.items())


_HEAD = f"""# Workloads

`{COMMAND}` writes this page. A workload is a YAML file of shapes, made into a trace when it is
named: `skipper list` lists them, `skipper inspect bert_base --set seq=512` shows one,
`skipper run dota workloads/bert_base.yaml --set seq=512` runs it, and `load_trace("bert_base", {{"seq": 512}})` is the
same in Python. `--set KEY=VALUE` sets a parameter of the workload where it has one of that name, else of the chip; a
name that both have is refused, `workload.KEY` is then the workload's. How files are written:
[writing_workloads.md](writing_workloads.md).

Tensors are known by density (1 unless said otherwise): `--set weight_density=0.3 --set activation_density=0.4`. With
`--set bases=6` kernels are decomposed and other weights ternary, which is what ESCALATE runs:

    skipper run escalate resnet18 --set bases=6 --set weight_density=0.05 --set activation_density=0.4

`--set densities=FILE.csv` takes the densities of weights and inputs from a table with the columns layer,
weight_density and input_density, for the layers that it names: `conv1_1`, or behind a network's prefix, `VGG_conv1_1`;
`--set layers=VGG_` leaves the rows of other networks out. A table that also has the columns R S P Q C K is itself a
trace: `skipper inspect scnn_layer_densities.csv --set layers=VGG_`. Its inputs are as large as their reach, or with
`--set padded=1` as large as the outputs, with half a kernel of padding; `--set density=0.1` sets all its densities.

`--set profile=FILE.yaml` draws masks that behave like real ones, see [profiles.md](profiles.md).

Pooling, activation functions of convolutional networks, residual additions there, folded batch norms, positions and
looked-up embeddings are no operators: what they cost is not in a run. Additions, norms and gates of transformers are.

## Counts

MACs and parameters with the parameters of the file; biases, norms and embeddings are counted among the parameters.
Additions in embedding bags are no MACs; those of a graph's aggregation are its non-zeros times the features.
"""

_PUBLISHED = """## Published counts

Ours rounded as the published one equals it, in every row; a whole number is equal exactly.
"""

_PARAMETERS = """## Parameters
"""

_MEANINGS = """What the parameters of every workload mean; those of a file are explained in it.
"""
