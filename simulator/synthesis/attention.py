"""Masks of attention: global tokens, local connections, rows of unequal length, neighbours that look at the same keys.

A connection (query l, key s) is kept where the field c_s + o_(s − l) + noise is among the largest of its row: c_s says
how wanted a key is, o is what distances count for, and the noise of neighbouring queries is correlated.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

from simulator.arch.part import Part
from simulator.synthesis.gaussian import TERMS, Floats, Share, Stream, correlation, exceed, exceeded, hermite, levels

SAMPLES = 10_000
"""Connections that a correlation is fitted on."""
CORRECTIONS = 4
"""How often columns are corrected, whose densities suffer from keeping so many of each row."""
ATTEMPTS = 5
"""How often a profile is drawn and corrected."""
ROUNDS = 8
SETTLED = 512
"""Rows on which levels are settled, and how often they are corrected."""
NEVER = 1e6
"""Level of what is not allowed."""
OFFSETS = 32
"""Distances that are kept."""


class HeadProfile(Part):
    """What is kept of one head, (L, S) of one image or more: some thirty numbers."""

    density: float = Setting(gt=0, le=1)
    """Part of the connections that is kept."""
    queries: tuple[Share, ...] = Setting(min_length=1)
    """Densities of rows, falling: means of parts, twelve of one row, then growing ones."""
    ordered: bool = False
    """Whether queries are in order of position instead, as those of causal attention, where row i has i + 1 keys;"""
    varied: float = Setting(0, ge=0, le=4)
    """then also the standard deviation of a row's length around that, as a part of it."""
    keys: tuple[Share, ...] = Setting(min_length=1)
    """The same of columns: the first are global tokens."""
    distances: dict[int, Share] = Setting(default_factory=dict)
    """Densities of the diagonals s − l that stand out."""
    alike: float = Setting(0, ge=0, lt=1)
    """Correlation between the lengths of neighbouring rows."""
    local: float = Setting(0, ge=0, le=1)
    """Part of the noise that neighbouring queries share,"""
    reach: float = Setting(0, ge=0, lt=1)
    """and the correlation of neighbours in it."""


class AttentionProfile(Part):
    """What is kept of the mask (N, H, L, S) of an attention operator: one profile per head."""

    heads: tuple[HeadProfile, ...] = Setting(min_length=1)
    """The heads in order; there are as many in a replay, or the first ones again."""


def fit_attention(mask: NDArray[np.bool_], causal: bool = False) -> AttentionProfile:
    """Fit a profile to a mask (N, H, L, S) that keeps a connection or more in each head, nothing of the future."""
    return AttentionProfile(heads=tuple(_fit_head(mask[:, head], causal) for head in range(mask.shape[1])))


def draw_attention(
    profile: AttentionProfile, shape: tuple[int, int, int, int], seed: int, causal: bool = False
) -> NDArray[np.bool_]:
    """Draw a mask (N, H, L, S) that keeps a key or more in each row: always the same one."""
    N, H, L, S = shape
    mask = np.empty(shape, np.bool_)
    for image, head in np.ndindex(N, H):
        one = profile.heads[head % len(profile.heads)]
        mask[image, head] = _draw_head(one, L, S, Stream(seed, image, head), causal)
    return mask


def _fit_head(mask: NDArray[np.bool_], causal: bool) -> HeadProfile:
    L, S = mask.shape[1:]
    seen = _allowed(L, S, causal)
    rows, columns = (mask.mean(axis=(0, axis)) / seen.mean(axis=axis - 1) for axis in (2, 1))
    density = float(mask.mean() / seen.mean())
    profile = HeadProfile(
        density=float(f"{density:.6g}"),
        keys=_parts(columns),
        distances=_distances(mask, density),
        **(_rows_by_position(mask, seen) if causal else {"queries": _parts(rows), "alike": _alike_lengths(rows)}),
    )
    likely = _settled(rows, columns, profile.distances, profile.density, np.arange(L))
    likely[~seen] = NEVER
    return profile.model_copy(update=_fitted_noise(profile, mask, likely, causal))


def _rows_by_position(mask: NDArray[np.bool_], seen: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what is kept of rows in order: how long they are as a function of position, and how they vary."""
    lengths, most = mask.sum(axis=2), seen.sum(axis=1)
    edges = _edges(len(most))
    parts = tuple(float(f"{lengths[:, a:b].mean() / most[a:b].mean():.5g}") for a, b in pairwise(edges) if b > a)
    rest = lengths / np.maximum(_expected_lengths(parts, most), 0.5) - 1
    varied = 0.0 if np.abs(lengths - _expected_lengths(parts, most)).max() < 1 else float(rest.std())
    alike = float(np.mean([_alike_lengths(-one) for one in rest])) if varied else 0.0
    return {"queries": parts, "ordered": True, "varied": round(min(varied, 4.0), 4), "alike": round(alike, 3)}


def _expected_lengths(parts: tuple[float, ...], most: NDArray[np.int64]) -> Floats:
    """Return how many keys each row keeps, in order: linear between the middles of the parts.

    Rows that all keep as many keys, and rows that all keep the same part of theirs, come out as they were.
    """
    count = len(most)
    ends = [(a, b) for a, b in pairwise(_edges(count)) if b > a]
    middles = np.array([(a + b - 1) / 2 for a, b in ends])
    share = np.array([parts[min(n, len(parts) - 1)] for n in range(len(ends))])
    kept = share * np.interp(middles, np.arange(count), most)
    if len(ends) > 1 and middles[-1] < count - 1:  # the second half of the last part goes on as its first
        slope = (kept[-1] - kept[-2]) / (middles[-1] - middles[-2])
        bounds = sorted((kept[-1], share[-1] * float(most[-1])))
        last = min(max(kept[-1] + slope * (count - 1 - middles[-1]), bounds[0]), bounds[1])
        middles, kept = np.append(middles, count - 1), np.append(kept, last)
    return np.asarray(np.interp(np.arange(count), middles, kept))


def _fitted_noise(profile: HeadProfile, mask: NDArray[np.bool_], likely: Floats, causal: bool) -> dict[str, float]:
    """Return the parameters of the noise with which a draw has as much overlap between queries as the mask has."""
    L, S = mask.shape[1:]
    wanted = _overlap(mask)
    weights = [_weights(likely, step) for step in (1, 2)]
    noise = [
        correlation(float((rest[:, step:] * rest[:, :-step]).mean()), weights[step - 1]) if step < L else 0.0
        for rest in [mask - exceeded(likely)]
        for step in (1, 2)
    ]
    powers = np.arange(1, TERMS + 1)
    for attempt in range(ATTEMPTS):  # keeping so many of each row costs some likeness: as much is put in before
        profile = profile.model_copy(update=_neighbours(*noise))
        found = _overlap(_draw_head(profile, L, S, Stream(attempt), causal)[None])
        for place in range(2):
            slope = float((weights[place] * powers * noise[place] ** (powers - 1)).sum())
            step = (wanted[place] - found[place]) / slope if slope > 0 else 0.0
            noise[place] = min(0.98, max(0.0, noise[place] + min(0.2, max(-0.2, step))))
    return _neighbours(*noise)


def _overlap(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return how many keys queries share with the next and with the one after, as a part of all connections."""
    one, two = (float((mask[:, step:] & mask[:, :-step]).mean()) if step < mask.shape[1] else 0.0 for step in (1, 2))
    return one, two


def _neighbours(near: float, further: float) -> dict[str, float]:
    """Return the parameters of a noise with these correlations over one query and over two."""
    reach = min(0.98, max(further / near, near)) if near > 0 else 0.0
    return {"local": round(min(1.0, near / reach), 4) if reach else 0.0, "reach": round(reach, 4)}


def _alike_lengths(rows: Floats) -> float:
    """Return how like neighbouring rows' lengths are: by rank, a row of all keys counts as any other."""
    scores = np.empty(len(rows))
    scores[np.argsort(rows, kind="stable")] = -levels((np.arange(len(rows)) + 0.5) / len(rows))
    alike = float((scores[1:] * scores[:-1]).mean() / (scores**2).mean()) if len(rows) > 2 and np.ptp(rows) else 0.0
    return round(min(max(alike, 0.0), 0.98), 3)


def _weights(field: Floats, step: int) -> Floats:
    """Return Mehler's weights of pairs of connections so many queries apart, mean over pairs: (TERMS,)."""
    if len(field) <= step:
        return np.zeros(TERMS)
    thin = max(1, field[step:].size // SAMPLES)
    one, other = (hermite(part.ravel()[::thin]) for part in (field[step:], field[:-step]))
    return np.asarray((one * other).mean(axis=1))


def _draw_head(profile: HeadProfile, L: int, S: int, stream: Stream, causal: bool) -> NDArray[np.bool_]:
    allowed = _allowed(L, S, causal)
    most = allowed.sum(axis=1)
    rows = _drawn_rows(profile, most, stream)
    columns = np.empty(S)
    columns[stream.order(S)] = _whole(profile.keys, S)
    noise = stream.normal(L, S) * np.float32(np.sqrt(1 - profile.local))
    if profile.local:
        noise += _along_queries(stream, profile.reach, L, S) * np.float32(np.sqrt(profile.local))
    thin = np.arange(0, L, -(-L // SETTLED))
    field = noise - _settled(rows, columns, profile.distances, profile.density, thin).astype(np.float32)
    field[~allowed] = -NEVER
    sizes = np.clip(np.floor(rows * most + 0.5), 1, most).astype(np.int64)
    mask = exceed(field, sizes)
    least = 1 / (2 * L)  # what a column that keeps nothing is taken for
    for _ in range(0 if causal else CORRECTIONS):
        now, wanted = (levels(np.clip(part, least, 1 - least)) for part in (mask.mean(axis=0), columns))
        field += (now - wanted).astype(np.float32)
        mask = exceed(field, sizes)
    return mask


def _drawn_rows(profile: HeadProfile, most: NDArray[np.int64], stream: Stream) -> Floats:
    """Draw the density of each row, of those keys that it may see: (L,)."""
    noise = stream.smooth(profile.alike, len(most), 1)[:, 0]
    if profile.ordered:
        lengths = _expected_lengths(profile.queries, most) * (1 + profile.varied * noise)
        return np.clip(lengths / most, 0, 1)
    rows = np.empty(len(most))
    rows[np.argsort(-noise, kind="stable")] = _whole(profile.queries, len(most))
    return rows


def _allowed(L: int, S: int, causal: bool) -> NDArray[np.bool_]:
    return np.arange(S) <= np.arange(L)[:, None] + S - L if causal else np.ones((L, S), np.bool_)


def _along_queries(stream: Stream, reach: float, L: int, S: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(stream.smooth(reach, S, L, 1)[:, :, 0].T)


def _settled(
    rows: Floats, columns: Floats, distances: dict[int, float], density: float, queries: NDArray[np.int64]
) -> Floats:
    """Return the level that each connection's noise must exceed, (L, S).

    Levels of row, column and diagonal add up, such that each has its density, as far as a sample of the queries tells;
    where that is not all of them, levels of rows are left out: they do not change what is largest in a row.
    """
    L, S = len(rows), len(columns)
    base = float(levels(np.array([density]))[0])
    of_rows, of_columns = levels(rows[queries]), levels(columns) - base
    of_diagonals = {distance: float(levels(np.array([found]))[0]) - base for distance, found in distances.items()}
    targets = (of_rows.copy(), levels(columns), {distance: level + base for distance, level in of_diagonals.items()})

    def field(at: NDArray[np.int64], levels_of_rows: Floats) -> Floats:
        whole = levels_of_rows[:, None] + of_columns
        for distance, level in of_diagonals.items():
            inside = np.flatnonzero((at + distance >= 0) & (at + distance < S))
            whole[inside, at[inside] + distance] += level
        return whole

    for _ in range(ROUNDS):
        of_rows = of_rows + targets[0] - levels(exceeded(field(queries, of_rows)).mean(axis=1))
        of_columns = of_columns + targets[1] - levels(exceeded(field(queries, of_rows)).mean(axis=0))
        likely = exceeded(field(queries, of_rows))
        for distance, target in targets[2].items():
            inside = np.flatnonzero((queries + distance >= 0) & (queries + distance < S))
            if len(inside):
                now = float(likely[inside, queries[inside] + distance].mean())
                of_diagonals[distance] += target - float(levels(np.array([now]))[0])
    return field(queries, of_rows) if len(queries) == L else field(np.arange(L), np.zeros(L))


def _distances(mask: NDArray[np.bool_], p: float) -> dict[int, float]:
    """Return the densities of the diagonals that stand out most, seen from the number of their elements."""
    L, S = mask.shape[1:]
    found = []
    for distance in range(-L + 1 + min(8, L - 1), S - min(8, S - 1)):
        diagonal = mask.diagonal(distance, axis1=1, axis2=2)
        density = float(diagonal.mean())
        strength = (density - p) / np.sqrt(p * (1 - p) / diagonal.size) if 0 < p < 1 else 0
        if strength > 5:
            found.append((strength, distance, density))
    strongest = sorted(found, reverse=True)[:OFFSETS]
    return {
        distance: float(f"{min(density, 0.9999):.4g}") for _, distance, density in sorted(strongest, key=lambda f: f[1])
    }


def _edges(count: int) -> list[int]:
    """Return where the parts of so many rows end: twelve of one row, then each a third of all before."""
    edges = [0]
    while edges[-1] < count:
        edges.append(min(count, edges[-1] + max(1, edges[-1] // 3 - 2)))
    return edges


def _parts(densities: Floats) -> tuple[float, ...]:
    ordered = np.sort(densities)[::-1]
    edges = _edges(len(ordered))
    return tuple(float(f"{ordered[a:b].mean():.5g}") for a, b in pairwise(edges) if b > a)


def _whole(parts: tuple[float, ...], count: int) -> Floats:
    """Return so many densities, falling; the last part goes on where there are more than were seen."""
    edges = _edges(count)
    values = [parts[min(n, len(parts) - 1)] for n, (a, b) in enumerate(pairwise(edges)) if b > a]
    sizes = [b - a for a, b in pairwise(edges) if b > a]
    return np.repeat(values, sizes).astype(np.float64)
