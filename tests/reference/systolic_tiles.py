"""What fits the buffers of a systolic array, operand by operand: sets of those that each tile needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Pixel = tuple[int, int, int, int]


@dataclass(frozen=True)
class Piece:
    inputs: frozenset[Pixel]
    """(image, row, column, channel), none of the padding."""
    weights: tuple[int, int]
    """(region, bytes)."""
    outputs: tuple[int, int]
    """(region, bytes)."""
    ends: bool
    """Whether a fold ends with it."""


@dataclass
class Tile:
    inputs: set[Pixel] = field(default_factory=set)
    weights: dict[int, int] = field(default_factory=dict)
    outputs: dict[int, int] = field(default_factory=dict)
    pieces: list[int] = field(default_factory=list)
    folds: int = 0


@dataclass(frozen=True)
class Result:
    tile: list[int]
    inputs: list[int]
    """Operands loaded for each piece."""
    weights: list[int]
    """Bytes loaded for each piece."""
    touched: int


def gather(pieces: Sequence[Piece], halves: Sequence[int], operand: int, stays: tuple[bool, bool], most: int) -> Result:
    """Fill tile after tile; load what neither it nor the tile before holds, nor, where all stays, any before them."""
    tiles = [Tile()]
    for number, piece in enumerate(pieces):
        tile = tiles[-1]
        inputs, weights, outputs = (
            tile.inputs | piece.inputs,
            tile.weights | dict([piece.weights]),
            tile.outputs | dict([piece.outputs]),
        )
        needs = (len(inputs) * operand, sum(weights.values()), sum(outputs.values()))
        too_much = any(need > half for need, half in zip(needs, halves, strict=True)) or tile.folds >= most
        if tile.pieces and too_much:
            tiles.append(Tile(set(piece.inputs), dict([piece.weights]), dict([piece.outputs])))
        else:
            tile.inputs, tile.weights, tile.outputs = inputs, weights, outputs
        tiles[-1].pieces.append(number)
        tiles[-1].folds += piece.ends
    here, loaded, weights_loaded = [0] * len(pieces), [0] * len(pieces), [0] * len(pieces)
    for place, tile in enumerate(tiles):
        known = tiles[max(0, place - 1) : place] if not stays[0] else tiles[:place]
        there = set().union(*(other.inputs for other in known))
        known = tiles[max(0, place - 1) : place] if not stays[1] else tiles[:place]
        kept = set().union(*(other.weights for other in known))
        for number in tile.pieces:
            here[number] = place
            loaded[number] = len(pieces[number].inputs - there)
            there |= pieces[number].inputs
            region, size = pieces[number].weights
            weights_loaded[number] = 0 if region in kept else size
            kept.add(region)
    return Result(here, loaded, weights_loaded, len(set().union(*(piece.inputs for piece in pieces))))
