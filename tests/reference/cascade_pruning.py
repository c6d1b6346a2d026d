"""Cascade pruning of one image in plain Python: weights in real numbers, tokens by column sums, values by row."""

from __future__ import annotations

import math

Rows = list[list[float]]


def softmax(query: Rows, key: Rows, scale: float, allowed: list[list[bool]]) -> Rows:
    weights = []
    for q, free in zip(query, allowed, strict=True):
        scores = [sum(a * b for a, b in zip(q, k, strict=True)) * scale for k in key]
        best = max(s for s, f in zip(scores, free, strict=True) if f)
        row = [math.exp(s - best) if f else 0.0 for s, f in zip(scores, free, strict=True)]
        weights.append([w / sum(row) for w in row])
    return weights


def prune(
    heads: list[tuple[Rows, Rows]], scale: float, allowed: list[list[bool]], tokens: float, values: float
) -> tuple[list[bool], list[list[list[bool]]]]:
    """Return the tokens that stay, and of each head what is kept."""
    S = len(allowed[0])
    weights = [softmax(q, k, scale, allowed) for q, k in heads]
    importance = [sum(row[key] for head in weights for row in head) for key in range(S)]
    order = sorted(range(S), key=lambda key: -importance[key])
    staying = set(order[: max(1, math.floor(tokens * S + 0.5))])
    for head in weights:
        for row, free in zip(head, allowed, strict=True):
            if not any(free[key] for key in order[: max(1, math.floor(tokens * S + 0.5))]):
                staying.add(max(range(S), key=lambda key, row=row: row[key]))
    kept = []
    for head in weights:
        rows = []
        for row, free in zip(head, allowed, strict=True):
            candidates = [key for key in range(S) if free[key] and key in staying]
            count = max(1, math.floor(values * len(candidates) + 0.5))
            chosen = set(sorted(candidates, key=lambda key, row=row: -row[key])[:count])
            rows.append([key in chosen for key in range(S)])
        kept.append(rows)
    return [key in staying for key in range(S)], kept
