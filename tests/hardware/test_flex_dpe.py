"""Packing and streaming of SIGMA-like engines against the slow model."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware.bits import pack
from simulator.hardware.flex_dpe import RECORD, FlexDPE, fold, stream_pixels
from tests.reference import flex_dpe as slow


@settings(deadline=None, max_examples=150)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_folds_and_streams_equal_the_slow_ones(data: st.DataObject, seed: int) -> None:
    """Every pixel of a padded, strided, dilated window past every fold, with values and without."""
    rng = np.random.default_rng(seed)
    K, multipliers, read = (data.draw(st.integers(1, n)) for n in (6, 40, 20))
    C, R, S = data.draw(st.integers(1, 140)), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    down, right, top, left, high, wide = (data.draw(st.integers(1, 2)) - (i in (2, 3)) for i in range(6))
    H, W = high * (R - 1) + data.draw(st.integers(1, 3)), wide * (S - 1) + data.draw(st.integers(1, 3))
    P, Q = (H + 2 * top - high * (R - 1) - 1) // down + 1, (W + 2 * left - wide * (S - 1) - 1) // right + 1
    inputs = rng.integers(-9, 10, (H, W, C)) * (rng.random((H, W, C)) < rng.random())
    weights = rng.integers(-9, 10, (K, R * S, C)) * (rng.random((K, R * S, C)) < rng.random((K, 1, 1)) ** 2)
    own = fold(weights != 0, multipliers)
    rows = [list(each.ravel()) for each in weights]
    folds = slow.load_folds(rows, multipliers)
    assert own.nonzeros.tolist() == [len(each) for each in folds]
    window = (R, S, down, right, top, left, high, wide)
    counted, plain = (np.zeros((len(folds), P, len(RECORD)), np.int64) for _ in range(2))
    output, expected = (np.zeros((P, Q, K), np.int64) for _ in range(2))
    of_folds = (own.filters, own.maps, own.spans, own.pieces, own.unions, read)
    stream_pixels(pack(inputs != 0), window, *of_folds, counted, inputs, weights, output)
    stream_pixels(pack(inputs != 0), window, *of_folds, plain, None, None, None)
    np.testing.assert_array_equal(counted, plain)
    records = np.zeros_like(counted)
    for p, q in np.ndindex(P, Q):
        vector: list[int] = []
        for r, s in np.ndindex(R, S):
            y, x = p * down + r * high - top, q * right + s * wide - left
            vector += list(inputs[y, x]) if 0 <= y < H and 0 <= x < W else [0] * C
        for f, each in enumerate(folds):
            result = slow.stream(each, rows, vector, read)
            records[f, p] += (result.cycles, result.pairs, result.elements)
            for k, total in result.sums.items():
                expected[p, q, k] += total
    np.testing.assert_array_equal(counted, records)
    np.testing.assert_array_equal(output, expected)


def test_latency_by_hand() -> None:
    """128 multipliers: distributed, multiplied, seven levels of adders, accumulated."""
    assert FlexDPE(count=1, width=128, load_words=1, stream_words=1).latency == 10
    assert FlexDPE(count=1, width=1, load_words=1, stream_words=1).latency == 3
