"""Masks of a trace as maps to be drawn: where the non-zeros are, of large ones their density in blocks."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.results.kept import MAP_SIZE, Densities, density_map
from simulator.trace import Attention, DensityTensor, Operator, Tensor, Trace
from simulator.trace.connections import count_kept

__all__ = ["MOST_MAPS", "MaskMap", "block_densities", "mask_maps"]

MOST_MAPS = 12
"""Of which a figure is made where none are named; of more, these many evenly spread."""
MOST_HEADS = 12
"""Of an attention operator that are drawn."""
KEPT = "kept"
"""Called like a role: the connections of an attention operator to which no mask is given."""


@dataclass(frozen=True, eq=False)
class MaskMap:
    """A mask made flat."""

    tensor: str
    """``OPERATOR.ROLE``."""
    rows: int
    columns: int
    axes: str
    """What rows and columns are."""
    density: float
    """Of what is drawn, 0 to 1."""
    blocks: Densities
    """At most `MAP_SIZE` rows and columns of 0 to 1; NaN where a map of attention lies in the future."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    operator: Operator
    role: str

    @property
    def name(self) -> str:
        return f"{self.operator.name}.{self.role}"

    @property
    def tensor(self) -> Tensor | None:
        return self.operator.tensors.get(self.role)


def mask_maps(trace: Trace, named: Sequence[str] = ()) -> tuple[MaskMap, ...]:
    """Return the maps of the tensors named, or of some of all. One tensor at a time is in memory.

    A convolution's weight is K × C·R·S, its input C × H·W of image 0; other tensors have their last axis as columns.
    Of attention the connections kept in image 0 are drawn, one head below the other, as ``OPERATOR.mask`` or, where no
    mask is given, ``OPERATOR.kept``.

    Args:
        trace: any.
        named: ``OPERATOR.ROLE``, or none: `MOST_MAPS` evenly spread over the tensors of which it is known where they
            are zero, or over all where it is known of none; of attention over its connections and outputs.

    Raises:
        InputError: no such tensor.

    """
    everything = [_Candidate(operator, role) for operator in trace.operators for role in _roles(operator)]
    known = {candidate.name: candidate for candidate in everything}
    for name in named:
        if name not in known:
            raise InputError(_unknown(trace, name, known))
    if named:
        return tuple(_map(known[name]) for name in dict.fromkeys(named))
    chosen: dict[int, _Candidate] = {}
    for candidate in everything:
        if isinstance(candidate.operator, Attention) and candidate.role not in ("mask", KEPT, "output"):
            continue  # its connections say more than the dense maps that they are between
        chosen.setdefault(id(candidate.tensor or candidate), candidate)  # a tensor that several hold is drawn once
    once = list(chosen.values())
    certain = [candidate for candidate in once if not isinstance(candidate.tensor, DensityTensor)] or once
    count = min(MOST_MAPS, len(certain))
    return tuple(_map(certain[round(i * (len(certain) - 1) / max(count - 1, 1))]) for i in range(count))


def _roles(operator: Operator) -> list[str]:
    return [*operator.tensors, *([KEPT] if isinstance(operator, Attention) and operator.mask is None else [])]


def _unknown(trace: Trace, name: str, known: dict[str, _Candidate]) -> str:
    close = ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0))
    return f"trace '{trace.name}' has no tensor '{name}', expected OPERATOR.ROLE; the nearest names are {close}"


def _map(candidate: _Candidate) -> MaskMap:
    operator, tensor = candidate.operator, candidate.tensor
    if isinstance(operator, Attention) and candidate.role in ("mask", KEPT):
        return _attention_map(operator, candidate.name)
    assert tensor is not None
    flat, axes = _flat(tensor.mask(), operator.type == "conv2d", candidate.role)
    rows, columns = flat.shape
    return MaskMap(candidate.name, rows, columns, axes, float(flat.mean()), block_densities(flat))


def _flat(mask: NDArray[np.bool_], is_convolution: bool, role: str) -> tuple[NDArray[np.bool_], str]:
    """Return a mask as rows and columns, and what these are."""
    if is_convolution and role in ("input", "output"):
        return mask[0].reshape(mask.shape[1], -1), "C × H·W" if role == "input" else "K × P·Q"
    if is_convolution:
        axes = {"weight": "K × C·R·S", "coefficients": "K × C·M", "basis": "M × R·S"}[role]
        return mask.reshape(len(mask), -1), axes
    if mask.ndim > 2:
        return mask[0].reshape(-1, mask.shape[-1]), "rows of index 0"
    return np.atleast_2d(mask), "F_out × F_in" if role == "weight" else "rows"


def _attention_map(operator: Attention, name: str) -> MaskMap:
    """Return the map of the first heads, one below the other."""
    drawn = min(operator.heads, MOST_HEADS)
    L, S = operator.query_count, operator.key_count
    kept, maps = 0, []
    for head in range(drawn):
        words = operator.kept(0, head)
        kept += int(count_kept(words).sum())
        maps.append(density_map(words, S, operator.causal, MAP_SIZE // drawn))
    axes = f"{drawn} heads' queries × keys"
    return MaskMap(name, drawn * L, S, axes, kept / (drawn * L * S), np.concatenate(maps))


def block_densities(mask: NDArray[np.bool_], size: int = MAP_SIZE) -> Densities:
    """Return a mask made smaller: of each block the part that is non-zero.

    Args:
        mask: (rows, columns).
        size: most rows and columns of the result; blocks are as small as that allows, those at the end may be cut.

    Returns:
        At most (size, size) of 0 to 1.

    """
    high, wide = (-(-length // size) for length in mask.shape)
    rows, columns = np.arange(0, mask.shape[0], high), np.arange(0, mask.shape[1], wide)
    density = np.empty((len(rows), len(columns)))
    widths = np.minimum(wide, mask.shape[1] - columns)
    for place, row in enumerate(rows):
        block = mask[row : row + high]
        density[place] = np.add.reduceat(block.sum(axis=0, dtype=np.int64), columns) / (len(block) * widths)
    return density
