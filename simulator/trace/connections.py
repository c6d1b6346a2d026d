"""Which keys each query keeps: the selection rules, synthetic masks, and masks as packed rows.

A packed mask of L queries and S keys is L × ⌈S/64⌉ words; key s of a row is bit ``s mod 64`` of word ``s // 64``,
unused bits are zero. Rows are handled in blocks, so that a map of any length takes little memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.trace.checks import fraction, whole

RULES = ("none", "top_k", "threshold")
ROWS = 64
"""Rows in a block."""

Words = NDArray[np.uint64]
Rows = NDArray[np.int64]
_WORD = 64


def row_blocks(queries: int) -> Iterator[slice]:
    """Yield the rows 0 … queries − 1 in blocks of `ROWS`."""
    for first in range(0, queries, ROWS):
        yield slice(first, min(first + ROWS, queries))


def pack_rows(mask: NDArray[np.bool_]) -> Words:
    """Pack (L, S) booleans to (L, ⌈S/64⌉) words."""
    packed = np.zeros((len(mask), 8 * words_per_row(mask.shape[1])), np.uint8)
    packed[:, : -(-mask.shape[1] // 8)] = np.packbits(mask, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def unpack_rows(words: Words, keys: int) -> NDArray[np.bool_]:
    """Return (L, keys) booleans of (L, ⌈keys/64⌉) words."""
    octets = words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=1, count=keys, bitorder="little").view(np.bool_)


def words_per_row(keys: int) -> int:
    """Return ⌈keys/64⌉."""
    return -(-keys // _WORD)


def allowed_keys(queries: int, keys: int, causal: bool) -> Rows:
    """Return how many keys, from the first, each query may look at: (queries,).

    The queries of a causal map are the last of the sequence: query i sees the keys 0 … i + keys − queries.

    Raises:
        InputError: causal with more queries than keys, where the first queries would see nothing.

    """
    if causal and queries > keys:
        raise InputError(f"a causal map needs as many keys as queries or more, not {keys} for {queries}")
    return np.arange(keys - queries + 1, keys + 1) if causal else np.full(queries, keys)


def allowed_words(queries: int, keys: int, causal: bool) -> Words:
    """Return the packed mask of all keys that each query may look at."""
    limits = allowed_keys(queries, keys, causal)
    inside = np.clip(limits[:, None] - _WORD * np.arange(words_per_row(keys)), 0, _WORD).astype(np.uint64)
    all_ones, one = np.uint64(2**64 - 1), np.uint64(1)
    partial: Words = (one << (inside % np.uint64(_WORD))) - one
    return np.where(inside == _WORD, all_ones, partial)


def kept_per_row(allowed: Rows, retention: float | None = None, keys: int | None = None) -> Rows:
    """Return how many keys a row-balanced rule keeps of those that each row may look at.

    max(1, ⌊retention · allowed + ½⌋), computed in float64, or min(keys, allowed).
    """
    if keys is not None:
        fewer: Rows = np.minimum(keys, allowed)
        return fewer
    if retention is None:
        raise InputError("a row-balanced rule needs a retention or a number of keys")
    counts: Rows = np.maximum(1, np.floor(retention * allowed + 0.5).astype(np.int64))
    return counts


def draw_connections(
    queries: int,
    keys: int,
    *,
    retention: float | None = None,
    keys_per_row: int | None = None,
    causal: bool = False,
    seed: int = 0,
    image: int = 0,
    head: int = 0,
) -> Words:
    """Draw a row-balanced packed mask (queries, ⌈keys/64⌉): always the same one for the same arguments.

    Each row keeps as many keys as `kept_per_row` says; all sets of so many are equally probable (to keys · 2^-32),
    rows, heads and images are independent. The stream is PCG64 seeded with SeedSequence(seed, spawn_key =
    (image, head)), which NumPy promises to keep.

    Every key is taken with a probability a little below what is wanted; a row that has too many begins again with
    none; then each row draws as many keys as it lacks, again and again until it lacks none. A row that keeps more
    than half draws those it drops.

    Raises:
        InputError: see `select`.

    """
    retention, keys_per_row = row_balance(retention, keys_per_row, keys)
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(image, head)))
    limits = allowed_keys(queries, keys, causal)
    wanted = kept_per_row(limits, retention, keys_per_row)
    drops = 2 * wanted > limits
    wanted = np.where(drops, limits - wanted, wanted)
    allowed = allowed_words(queries, keys, causal)
    drawn = _draw_bits(stream, allowed.shape, int(wanted[-1]) / int(limits[-1]), keys) & allowed
    drawn[count_kept(drawn) > wanted] = 0
    _fill(stream, drawn, limits, wanted)
    drawn[drops] ^= allowed[drops]
    return drawn


def _draw_bits(stream: np.random.PCG64, shape: tuple[int, ...], density: float, keys: int) -> Words:
    """Draw words whose bits are one with two standard deviations of a row's share less than the density, in 1/256."""
    level = int(256 * max(0.0, density - 2 * math.sqrt(density * (1 - density) / keys)))
    drawn = np.zeros(shape, np.uint64)
    for place in range(8):
        if level % 2 ** (place + 1):  # until the first one, bits stay zero
            words = stream.random_raw(drawn.size).reshape(shape)
            drawn = drawn | words if level >> place & 1 else drawn & words
    return drawn


def _fill(stream: np.random.PCG64, drawn: Words, limits: Rows, wanted: Rows) -> None:
    """Add keys, drawn evenly, to each row until it has as many as are wanted."""
    rows = np.arange(len(drawn))
    bounds, one, low_bits = limits.astype(np.uint64), np.uint64(1), np.uint64(_WORD - 1)
    while len(rows):
        missing = wanted[rows] - count_kept(drawn[rows])
        rows, missing = rows[missing > 0], missing[missing > 0]
        row = np.repeat(rows, missing)
        key = ((stream.random_raw(len(row)) >> np.uint64(32)) * bounds[row]) >> np.uint64(32)
        np.bitwise_or.at(drawn, (row, (key // np.uint64(_WORD)).astype(np.int64)), one << (key & low_bits))


def count_kept(words: Words) -> Rows:
    """Return the ones of each row of a packed mask."""
    counts: Rows = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    return counts


def select(
    scores: NDArray[Any],
    rule: str,
    *,
    retention: float | None = None,
    keys_per_row: int | None = None,
    threshold: int | tuple[int, ...] | None = None,
    causal: bool = False,
) -> NDArray[np.bool_]:
    """Return which connections a rule keeps, shaped like the scores.

    Args:
        scores: (…, L, S), a larger one means a stronger connection.
        rule: "none" keeps all; "top_k" the strongest of each row, equally many in rows that may look at equally
            many, among equal scores those of the lowest index; "threshold" every score of at least the threshold,
            and the best of each row (of equal ones the first).
        retention: part of the keys that top_k keeps, above 0 to 1, see `kept_per_row`; or
        keys_per_row: their number, 1 to S.
        threshold: one, or one per index of the axis before L (the head).
        causal: query i looks only at the keys 0 … i + S − L.

    Raises:
        InputError: an unknown rule, a number that is missing, out of range or for another rule.

    """
    if scores.ndim < 2 or not scores.size or scores.dtype.kind not in "iuf" or np.isnan(scores).any():
        raise InputError(f"scores must be real numbers of shape (…, L, S), not {scores.dtype} of shape {scores.shape}")
    L, S = scores.shape[-2:]
    retention, keys_per_row, threshold = checked_rule(rule, retention, keys_per_row, threshold, S)
    limits = allowed_keys(L, S, causal)
    heads = scores.shape[-3] if scores.ndim > 2 else 1
    levels = per_head(threshold, "threshold", heads) if threshold is not None else None
    maps = scores.reshape(-1, L, S)
    kept = np.empty(maps.shape, np.bool_)
    for index, map_ in enumerate(maps):
        level = levels[index % heads] if levels is not None else None
        for rows in row_blocks(L):
            kept[index, rows] = select_rows(map_[rows], limits[rows], rule, retention, keys_per_row, level)
    return kept.reshape(scores.shape)


def select_rows(
    scores: NDArray[Any],
    limits: Rows,
    rule: str,
    retention: float | None = None,
    keys_per_row: int | None = None,
    threshold: int | None = None,
) -> NDArray[np.bool_]:
    """Apply a rule (checked before) to rows that may look at their first `limits` keys each."""
    allowed: NDArray[np.bool_] = np.arange(scores.shape[1]) < limits[:, None]
    if rule == "none":
        return allowed
    if rule == "threshold":
        return (allowed & (scores >= threshold)) | largest(scores, allowed, np.ones_like(limits))
    return largest(scores, allowed, kept_per_row(limits, retention, keys_per_row))


def largest(scores: NDArray[Any], allowed: NDArray[np.bool_], counts: Rows) -> NDArray[np.bool_]:
    """Return the `counts` largest of each row, among equal ones the first.

    Args:
        scores: (L, S), real numbers.
        allowed: (L, S), those that may be chosen.
        counts: (L,), of each row 1 or more and not more than are allowed.

    """
    order = np.where(allowed, _distinct(scores), -1)
    keys = order.shape[1]
    if (counts == counts[0]).all():
        last = np.partition(order, keys - counts[0], axis=1)[:, keys - counts[0], None]
    else:
        last = np.take_along_axis(np.sort(order, axis=1), keys - counts[:, None], axis=1)
    kept: NDArray[np.bool_] = order >= last
    return kept


def _distinct(scores: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return integers from 0 on in the order of the scores, of equal ones in a row the first is the largest."""
    keys = scores.shape[1]
    narrow = scores.dtype.kind in "iu" and scores.dtype != np.uint64
    low = int(scores.min()) if narrow else 0
    span = int(scores.max()) - low + 1 if narrow else 0
    if narrow and span * keys < 2**63:
        levels = np.subtract(scores, low, dtype=np.int64)
    else:
        distinct, levels = np.unique(scores, return_inverse=True)
        span = len(distinct)
    order: NDArray[Any] = levels.astype(np.int32 if span * keys < 2**31 else np.int64)
    order *= keys
    order += np.arange(keys - 1, -1, -1, dtype=order.dtype)
    return order


def checked_rule(
    rule: str, retention: Any, keys_per_row: Any, threshold: Any, keys: int
) -> tuple[float | None, int | None, Any]:
    """Return retention, keys per row and threshold, checked to be those that the rule needs."""
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r}{nearest(str(rule), RULES)}")
    numbers = {"retention": retention, "keys_per_row": keys_per_row, "threshold": threshold}
    for key in ("threshold",) if rule == "top_k" else ("retention", "keys_per_row"):
        if numbers[key] is not None:
            raise InputError(f"{key} is {numbers[key]!r}, but the rule {rule!r} takes none")
    if rule == "top_k":
        return (*row_balance(retention, keys_per_row, keys), None)
    if (threshold is None) != (rule == "none"):
        needed = "takes no threshold" if rule == "none" else "needs one: an integer score"
        raise InputError(f"threshold is {threshold!r}, but the rule {rule!r} {needed}")
    return None, None, threshold


def row_balance(retention: Any, keys_per_row: Any, keys: int) -> tuple[float | None, int | None]:
    """Return retention and keys per row, one of them None, checked for a sequence of `keys`."""
    if (retention is None) == (keys_per_row is None):
        raise InputError("the rule 'top_k' needs either a retention or a number of keys_per_row")
    if retention is not None:
        return fraction(retention, "retention"), None
    number = whole(keys_per_row, "keys_per_row", 1)
    if number > keys:
        raise InputError(f"keys_per_row is {number}, expected at most the {keys} keys of the sequence")
    return None, number


def per_head(value: Any, what: str, heads: int, least: int | None = None) -> tuple[int, ...]:
    """Return one whole number per head from one for all or from as many as there are heads."""
    several = isinstance(value, tuple | list)
    numbers = tuple(
        whole(number, what, -(2**62) if least is None else least) for number in (value if several else [value])
    )
    if several and len(numbers) != heads:
        raise InputError(f"{what} must be one whole number or one per head ({heads}), not {len(numbers)}")
    return numbers if several else numbers * heads
