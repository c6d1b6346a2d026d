"""The inner join and its balancing against the slow model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hardware.inner_join import RECORD, balance, fold, join_pixels, pack_chunks
from tests.reference import inner_join as slow


@settings(deadline=None, max_examples=150)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_cluster_equals_the_slow_one(data: st.DataObject, seed: int) -> None:
    """Every pixel of a padded, strided, dilated window: cycles, states, pairs and sums, with values and without."""
    rng = np.random.default_rng(seed)
    K, units, chunk = (data.draw(st.integers(1, n)) for n in (9, 4, 140))
    C, R, S = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    down, right, top, left, high, wide = (data.draw(st.integers(1, 2)) - (i in (2, 3)) for i in range(6))
    H, W = high * (R - 1) + data.draw(st.integers(1, 3)), wide * (S - 1) + data.draw(st.integers(1, 3))
    P, Q = (H + 2 * top - high * (R - 1) - 1) // down + 1, (W + 2 * left - wide * (S - 1) - 1) // right + 1
    kept, port, rate = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    balancing = data.draw(st.sampled_from(("none", "GB-S", "GB-H")))
    inputs = rng.integers(-9, 10, (H, W, C)) * (rng.random((H, W, C)) < rng.random())
    weights = rng.integers(-9, 10, (K, R * S, C)) * (rng.random((K, R * S, C)) < rng.random((K, 1, 1)))
    chunk = min(chunk, C)
    maps, packed = pack_chunks(inputs != 0, chunk), pack_chunks(weights != 0, chunk)
    J = maps.shape[2]
    sizes = np.bitwise_count(maps).sum(axis=3, dtype=np.int64) + 3
    padded = np.concatenate((packed, np.zeros((1, *packed.shape[1:]), np.uint64)))
    density = np.bitwise_count(packed).sum(axis=3, dtype=np.int64).reshape(K, -1)
    output = np.zeros((P, Q, K), np.int64)
    seen = []
    for dealt in balance(density, 2 * units, units, balancing):
        filters = np.ascontiguousarray(dealt.reshape(R * S, J, *dealt.shape[1:]))
        seen += list(dealt[0][dealt[0] >= 0])
        at = np.ix_(range(R * S), range(J))
        own = padded[filters, at[0][..., None, None], at[1][..., None, None]]
        least = -(-len(dealt[0][dealt[0] >= 0]) // rate)
        counted, plain = (np.zeros((P, Q, len(RECORD)), np.int32) for _ in range(2))
        window = (R, S, down, right, top, left, high, wide)
        join_pixels(maps, sizes, own, filters, window, chunk, kept, port, least, counted, inputs, weights, output)
        join_pixels(maps, sizes, own, filters, window, chunk, kept, port, least, plain, None, None, None)
        np.testing.assert_array_equal(counted, plain)
        for p, q in np.ndindex(P, Q):
            places = [(p * down + r * high - top, q * right + s * wide - left, r * S + s) for r, s in np.ndindex(R, S)]
            sent = [(y, x, tap, j) for y, x, tap in places if 0 <= y < H and 0 <= x < W for j in range(J)]
            cut = [slice(j * chunk, (j + 1) * chunk) for j in range(J)]
            expected = slow.run_pixel(
                [list(inputs[y, x, cut[j]]) for y, x, _, j in sent],
                {(i, f): list(weights[f, tap, cut[j]]) for i, (_, _, tap, j) in enumerate(sent) for f in range(K)},
                [
                    [[f for f in filters[tap, j, :, u] if f >= 0] for _, _, tap, j in sent] or [[]]
                    for u in range(own.shape[3])
                ],
                kept,
                [max(-(-int(sizes[y, x, j]) // port), least) for y, x, _, j in sent],
            )
            record = dict(zip(RECORD, counted[p, q], strict=True))
            assert (record["cycles"], record["busy"], record["starved"], record["pairs"]) == expected[:4]
            assert record["chunks"] == len(sent)
            assert record["bytes"] == sum(sizes[y, x, j] for y, x, _, j in sent)
            assert {f: s for f, s in expected[4].items() if s} == {
                f: s for f, s in enumerate(output[p, q]) if s and f in dealt[0]
            }
    assert sorted(seen) == list(range(K))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 12))
def test_the_densest_meets_the_sparsest(ones: list[int], slots: int) -> None:
    if not slots <= len(ones) <= 2 * slots:
        slots = len(ones)
    order = np.argsort(-np.array(ones), kind="stable")
    pairs = [[int(f) for f in pair if f >= 0] for pair in fold(order, slots).T]
    assert pairs == slow.pair_filters(ones, slots)


@pytest.mark.parametrize("balancing", ["GB-S", "GB-H"])
def test_balancing_by_hand(balancing: str) -> None:
    """Four filters of 8, 6, 2 and 0 ones on two units: 8 with 0 and 6 with 2; GB-H does so in each chunk."""
    density = np.array([[8, 0], [3, 3], [2, 0], [0, 0]])
    (dealt,) = balance(density, 4, 2, balancing)  # type: ignore[arg-type]
    assert dealt[0].T.tolist() == [[0, 3], [1, 2]]
    assert dealt[1].T.tolist() == ([[0, 3], [1, 2]] if balancing == "GB-S" else [[1, 3], [0, 2]])
