"""Masks as words, and the bit operations that kernels are made of, with BMI2 and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numba import config, njit
from numpy.typing import NDArray

from simulator.hardware.bits import has_bit_gather, pack, popcount, shift_left, shift_right
from tests.hardware import portable


@njit
def popcounts(words):  # type: ignore[no-untyped-def]
    counts = np.empty_like(words)
    for i in range(words.size):
        counts[i] = popcount(words[i])
    return counts


@njit
def shifted(rows, distance):  # type: ignore[no-untyped-def]
    left, right = np.empty_like(rows), np.empty_like(rows)
    for i in range(rows.size):
        left[i], right[i] = shift_left(rows[i], distance), shift_right(rows[i], distance)
    return left, right


def selected(word: int, mask: int) -> int:
    """Plain selection of the bits of ``word`` under ``mask``, in order, to the low end."""
    kept = [word >> bit & 1 for bit in range(64) if mask >> bit & 1]
    return sum(bit << place for place, bit in enumerate(kept))


EDGES = [0, 1, 2**63, 2**64 - 1, 2**64 - 2, 2**63 - 1, 2**32 - 1, 2**64 - 2**32, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA]


def test_gather_selects_under_random_masks() -> None:
    words, masks = portable.random_words()
    expected = [selected(word, mask) for word, mask in zip(words.tolist(), masks.tolist(), strict=True)]
    np.testing.assert_array_equal(portable.gathered(words, masks), np.array(expected, np.uint64))


def test_gather_selects_under_the_masks_at_the_edges() -> None:
    words, masks = (operand.reshape(-1) for operand in np.meshgrid(*2 * [np.array(EDGES, np.uint64)]))
    expected = [selected(word, mask) for word, mask in zip(words.tolist(), masks.tolist(), strict=True)]
    np.testing.assert_array_equal(portable.gathered(words, masks), np.array(expected, np.uint64))
    for bit in range(64):
        alone = np.array([1 << bit], np.uint64)
        assert portable.gathered(alone, alone) == 1
        assert portable.gathered(~alone, alone) == 0


def test_popcount_counts() -> None:
    words = np.concatenate((portable.random_words()[0], np.array(EDGES, np.uint64)))
    np.testing.assert_array_equal(popcounts(words), np.bitwise_count(words))


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64])
def test_shifts_keep_the_width_of_a_row(kind: type) -> None:
    rows = np.random.default_rng(0).integers(0, np.iinfo(kind).max, 100, dtype=kind, endpoint=True)
    for distance in range(np.iinfo(kind).bits):
        left, right = shifted(rows, distance)
        assert left.dtype == right.dtype == kind
        np.testing.assert_array_equal(left, rows << kind(distance))
        np.testing.assert_array_equal(right, rows >> kind(distance))


@given(arrays.arrays(np.bool_, st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(1, 200))))
def test_pack_holds_channel_c_in_bit_c_and_pads_with_zeros(mask: NDArray[np.bool_]) -> None:
    for laid_out in (mask, np.asfortranarray(mask)):  # however it lies in memory
        words = pack(laid_out)
        channels = mask.shape[-1]
        assert words.dtype == np.uint64
        assert words.flags.c_contiguous
        assert words.shape == (*mask.shape[:-1], -(-channels // 64))
        bits = np.unpackbits(words.astype("<u8").view(np.uint8), axis=-1, bitorder="little")
        np.testing.assert_array_equal(bits[..., :channels], mask)
        assert not bits[..., channels:].any()


@given(st.integers(0, 299))
def test_pack_puts_a_channel_where_the_module_says(channel: int) -> None:
    words = pack(np.arange(300) == channel)
    assert [int(word) for word in words] == [(channel // 64 == w) << channel % 64 for w in range(5)]


def answers_elsewhere(cache: Path, **settings: str) -> dict[str, Any]:
    """Return what the module `portable` finds in a fresh process with other settings of Numba."""
    environment = {**os.environ, **settings, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", portable.__name__]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_portable_gather_gives_the_same_words_and_the_same_run(tmp_path: Path) -> None:
    """Kernels compiled for a processor without BMI2, in a process of their own with an empty cache."""
    generic = answers_elsewhere(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    here = portable.answers()
    assert not generic.pop("bit_gather")
    assert here.pop("bit_gather") == has_bit_gather()
    assert generic == here


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [("generic", "", False), ("generic", "+bmi2", True), ("generic", "+avx2,+bmi2", True), ("generic", "-bmi2", False)],
)
def test_the_settings_of_numba_decide(
    monkeypatch: pytest.MonkeyPatch, name: str, features: str, expected: bool
) -> None:
    monkeypatch.setattr(config, "CPU_NAME", name)
    monkeypatch.setattr(config, "CPU_FEATURES", features)
    assert has_bit_gather() is expected
