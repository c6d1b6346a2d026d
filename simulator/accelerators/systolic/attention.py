"""Attention on a systolic array: the context of all heads follows their scores, which go to the DRAM and come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.accelerators.systolic.chip import Chip
from simulator.accelerators.systolic.tiles import product_program
from simulator.dataflow.dense_attention import AttentionMatch
from simulator.program import Action, Macs, Program, Stage, Stream, Unit, unit_of

ROLES = ({"input": "query", "weight": "key", "output": "scores"}, {"input": "weights", "weight": "value"})
"""What the streams of either product are in attention; others keep their names."""


def attention_program(match: AttentionMatch, chip: Chip) -> Program:
    """Let one product follow the other.

    Raises:
        InputError: not even one step of a fold fits the buffers.

    """
    scores, context = product_program(match.scores, chip, softmax=True), product_program(match.context, chip)
    (one, softmax), (two,) = scores.stages, context.stages
    states = np.concatenate((one.units["pe"].states, two.units["pe"].states))
    after = np.concatenate((softmax.cycles, np.zeros_like(two.cycles)))
    # Heads may share keys and values: what is stored is less than what the heads of queries ask for.
    stored = {role: match.operator.tensors[role].size * chip.operand for role in ("key", "value")}
    macs = (scores.macs, context.macs)
    return Program(
        operator=match.operator.name,
        mapping=scores.mapping,
        stages=(
            Stage("array", np.concatenate((one.cycles, two.cycles)), {"pe": Unit(chip.pes, states)}),
            Stage("vector", after, {"vector": unit_of({"busy": after}, 1, after)}),
        ),
        reads=_streams((scores.reads, context.reads), (scores.tiles, context.tiles), stored),
        writes=_streams((scores.writes, context.writes), (scores.tiles, context.tiles), stored),
        depth=scores.depth,
        actions=(
            *(_joined(*pair) for pair in zip(scores.actions, context.actions, strict=True)),
            Action("vector", "work", "mfu_cycle", after),
        ),
        macs=Macs(match.operator.macs, sum(each.effectual for each in macs), sum(each.performed for each in macs)),
        peak=scores.peak,
        floors={"pe": -(-sum(each.performed for each in macs) // scores.peak), "vector": int(after.sum())},
    )


def _streams(
    both: tuple[tuple[Stream, ...], tuple[Stream, ...]], tiles: tuple[int, int], stored: dict[str, int]
) -> tuple[Stream, ...]:
    """Return the streams of both products, each silent while the other's tiles pass; sums that spill share one."""
    found: dict[str, Stream] = {}
    spans = (slice(0, tiles[0]), slice(tiles[0], None))
    for streams, span, roles in zip(both, spans, ROLES, strict=True):
        for stream in streams:
            name = roles.get(stream.name, stream.name)
            nothing = np.zeros(sum(tiles), np.int64)
            known = found.get(name, Stream(name, nothing, nothing.copy(), stored.get(name, stream.compulsory)))
            known.size[span], known.offset[span] = stream.size, stream.offset
            found[name] = known
    return tuple(found.values())


def _joined(first: Action, second: Action) -> Action:
    """Return the same action in both products; one known of the whole operator only is added up."""
    of_all = len(first.count) == len(second.count) == 1
    return replace(first, count=first.count + second.count if of_all else np.concatenate((first.count, second.count)))
