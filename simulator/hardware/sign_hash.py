"""Sign hashes by Kronecker products of small orthogonal matrices, and the similarity that they estimate.

A vector, padded with zeros to the product of the factors' sizes, is multiplied with the Kronecker product of orthogonal
matrices, one factor after the other; the signs are its hash. The angle between two vectors is estimated as
π ÷ bits × the number of signs that differ, less a bias that makes most estimates too small rather than too large.

Source: Ham et al., "ELSA", ISCA 2021: 64 bits, three factors of 4 × 4, 768 multiplications, bias 0.127.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel

Floats = NDArray[np.float64]


class SignHash(Part):
    """Configuration of the hash unit."""

    factors: Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1)]
    """Sizes of the square factors; their product is the length of a vector, and the bits of its hash."""
    multipliers: Annotated[int, Field(ge=1)]
    """Multiplications per cycle."""
    bias: float
    """What is taken off an estimated angle, in radians."""
    seed: str
    """Of the orthogonal matrices, a whole number."""

    @property
    def bits(self) -> int:
        """Bits of a hash."""
        return math.prod(self.factors)

    @property
    def products(self) -> int:
        """Multiplications of a hash: a row of its factor for each number, factor by factor."""
        return sum(self.factors) * self.bits

    @property
    def cycles(self) -> int:
        """Cycles of a hash."""
        return -(-self.products // self.multipliers)

    def matrices(self) -> list[Floats]:
        """Return the orthogonal factors: Q of a normal matrix, the same for ever for a seed."""
        rng = np.random.Generator(np.random.PCG64([ord(letter) for letter in self.seed]))
        return [np.linalg.qr(rng.standard_normal((size, size)))[0] for size in self.factors]


def hashes(vectors: Floats, factors: Sequence[Floats]) -> NDArray[np.bool_]:
    """Return the signs (n, bits), True where not negative, of vectors (n, features), features at most bits."""
    sizes = [len(factor) for factor in factors]
    padded = np.zeros((len(vectors), math.prod(sizes)))
    padded[:, : vectors.shape[1]] = vectors
    cube = padded.reshape(-1, *sizes)
    for axis, factor in enumerate(factors):
        cube = np.moveaxis(np.tensordot(factor, cube, axes=(1, axis + 1)), 0, axis + 1)
    signs: NDArray[np.bool_] = cube.reshape(len(vectors), -1) >= 0
    return signs


@kernel
def keep_similar(queries: Any, keys: Any, lengths: Any, cosines: Any, bar: Any, allowed: Any, kept: Any) -> None:
    """Keep the keys whose estimated similarity is at least ``bar``, and of each query the best.

    queries (L, w) and keys (S, w) words of signs; lengths (S,) of the keys; cosines (bits + 1,) by differing signs;
    allowed and kept (L, S) booleans, kept out.
    """
    for query in range(queries.shape[0]):
        best, most = -1, 0.0
        for key in range(keys.shape[0]):
            if allowed[query, key]:
                differing = 0
                for word in range(queries.shape[1]):
                    differing += _ones(queries[query, word] ^ keys[key, word])
                similarity = cosines[differing] * lengths[key]
                if best < 0 or similarity > most:
                    best, most = key, similarity
                kept[query, key] = similarity >= bar
        kept[query, best] = True


@kernel
def _ones(word: Any) -> Any:
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count
