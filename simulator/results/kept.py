"""The connections that the heads of a trace's attention operators keep: how many, how evenly, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.trace import Attention, Trace
from simulator.trace.connections import Words, allowed_keys, count_kept, unpack_rows

MAP_SIZE = 256
"""Most rows and columns of a map that is drawn."""

Densities = NDArray[np.float64]


@dataclass(frozen=True)
class HeadKept:
    """What one head keeps."""

    head: int
    pairs: float
    """Connections (query, key) kept, mean over the images."""
    of_allowed: float
    """Their share, 0 to 1, of the connections that the head may look at: of a causal map those not in the future."""
    of_map: float
    """Their share of the whole map."""
    fewest: int
    """Keys of the row that keeps fewest, of all images."""
    most: int
    """Keys of the row that keeps most, of all images."""
    balance: float
    """Mean over most keys of a row, mean over the images: how busy rows in parallel keep a chip that waits for
    the longest; 1 where all rows keep equally many."""


@dataclass(frozen=True, eq=False)
class OperatorKept:
    """What the heads of one attention operator keep."""

    operator: str
    images: int
    queries: int
    keys: int
    causal: bool
    allowed: int
    """Connections that a head may look at, of one image."""
    heads: tuple[HeadKept, ...]
    maps: tuple[Densities, ...] = ()
    """Per head the map of one image, see `density_map`; empty where not asked for."""


def kept_connections(trace: Trace, image: int | None = None) -> tuple[OperatorKept, ...]:
    """Return what every attention operator of a trace keeps.

    Args:
        trace: one attention operator or more among its operators.
        image: of which the maps are made, 0 … N − 1; None: no maps.

    Raises:
        InputError: no attention operator, or as `Attention.kept`.

    """
    operators = [operator for operator in trace.operators if isinstance(operator, Attention)]
    if not operators:
        raise InputError(f"trace '{trace.name}' has no attention operator, expected one or more")
    return tuple(_survey(operator, image) for operator in operators)


def _survey(operator: Attention, image: int | None) -> OperatorKept:
    queries, keys = operator.query_count, operator.key_count
    allowed = int(allowed_keys(queries, keys, operator.causal).sum())
    heads, maps = [], []
    for head in range(operator.heads):
        rows = np.empty((operator.images, queries), np.int64)
        for one in range(operator.images):
            words = operator.kept(one, head)
            rows[one] = count_kept(words)
            if one == image:
                maps.append(density_map(words, keys, operator.causal))
        pairs = int(rows.sum()) / operator.images
        balance = float((rows.mean(axis=1) / rows.max(axis=1)).mean())
        heads.append(
            HeadKept(head, pairs, pairs / allowed, pairs / (queries * keys), int(rows.min()), int(rows.max()), balance)
        )
    return OperatorKept(
        operator.name, operator.images, queries, keys, operator.causal, allowed, tuple(heads), tuple(maps)
    )


def density_map(words: Words, keys: int, causal: bool, size: int = MAP_SIZE) -> Densities:
    """Return a map of kept connections, made smaller: in each block of it, the share kept of what may be looked at.

    Args:
        words: (L, ⌈keys/64⌉), packed rows.
        keys: S.
        causal: whether the future may not be looked at.
        size: most rows and columns of the result; blocks are as small as that allows, those at the end may be cut.

    Returns:
        At most (size, size) of 0 to 1, NaN where nothing of the block may be looked at.

    """
    queries = len(words)
    high, wide = -(-queries // size), -(-keys // size)
    begin = np.arange(0, keys, wide)
    width = np.minimum(wide, keys - begin)
    limits = allowed_keys(queries, keys, causal)
    density = np.full((-(-queries // high), len(begin)), np.nan)
    for row in range(len(density)):
        block = slice(row * high, (row + 1) * high)
        kept = np.add.reduceat(unpack_rows(words[block], keys).sum(axis=0), begin)
        allowed = np.clip(limits[block, None] - begin, 0, width).sum(axis=0)
        np.divide(kept, allowed, out=density[row], where=allowed > 0)
    return density


def kept_document(trace: Trace, operators: Sequence[OperatorKept]) -> dict[str, Any]:
    """Return what ``skipper kept --json`` prints."""
    return {
        "trace": trace.name,
        "digest": trace.digest,
        "operators": [
            {
                "operator": operator.operator,
                "images": operator.images,
                "queries": operator.queries,
                "keys": operator.keys,
                "causal": operator.causal,
                "allowed_pairs": operator.allowed,
                "heads": [
                    {
                        "head": head.head,
                        "kept_pairs": head.pairs,
                        "share_of_allowed": head.of_allowed,
                        "share_of_map": head.of_map,
                        "fewest_keys": head.fewest,
                        "most_keys": head.most,
                        "row_balance": head.balance,
                    }
                    for head in operator.heads
                ],
            }
            for operator in operators
        ],
    }
