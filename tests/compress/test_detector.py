"""The detector against naive loops; its making, calibration and quality; the trained one, bit for bit."""

import math
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.compress import (
    calibrate,
    detect,
    detector_weights,
    quantise_shift,
    recall,
    select,
    sparse_projection,
)
from simulator.errors import InputError
from simulator.trace import Attention, DensityTensor, ValueTensor

precisions = st.sampled_from([2, 4, 8])


def slow_shift(value, shift, precision):
    """Python rounds a fraction half to even."""
    return min(max(round(Fraction(int(value), 2**shift)), -(2 ** (precision - 1))), 2 ** (precision - 1) - 1)


def slow_scores(tokens, memory, P, WQ, WK, precision, shifts):
    (N, L, C), S, (H, k, _) = tokens.shape, memory.shape[1], WQ.shape

    def estimated(x, weight, shift):
        projected = [
            slow_shift(sum(int(x[c]) * int(P[c, j]) for c in range(C)), shifts[0], precision) for j in range(k)
        ]
        return [slow_shift(sum(projected[i] * int(weight[i, j]) for i in range(k)), shift, precision) for j in range(k)]

    scores = np.zeros((N, H, L, S), np.int64)
    for n in range(N):
        for h in range(H):
            queries = [estimated(x, WQ[h], shifts[1][h]) for x in tokens[n]]
            keys = [estimated(x, WK[h], shifts[2][h]) for x in memory[n]]
            for i in range(L):
                for j in range(S):
                    scores[n, h, i, j] = sum(a * b for a, b in zip(queries[i], keys[j], strict=True))
    return scores


def slow_top(row, allowed, count):
    return set(sorted(range(allowed), key=lambda j: (-row[j], j))[:count])


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20), st.integers(0, 62), precisions)
def test_shift(values, shift, precision):
    result = quantise_shift(np.array(values), shift, precision)
    assert result.tolist() == [slow_shift(value, shift, precision) for value in values]


def test_shift_rounds_half_to_even():
    assert quantise_shift(np.arange(-6, 7), 2, 8).tolist() == [-2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), precisions, st.booleans())
def test_detect(seed, N, H, L, precision, cross):
    rng = np.random.default_rng(seed)
    C, k, half = 5, 3, 2 ** (precision - 1)
    tokens, memory = rng.integers(-128, 128, (N, L, C)), rng.integers(-128, 128, (N, L + 2, C))
    P = rng.integers(-1, 2, (C, k))
    WQ, WK = rng.integers(-half, half, (2, H, k, k))
    shifts = int(rng.integers(0, 8)), tuple(rng.integers(0, 5, H).tolist()), tuple(rng.integers(0, 5, H).tolist())
    scores = detect(tokens, P, WQ, WK, precision, *shifts, memory=memory if cross else None)
    assert scores.dtype == np.int64
    assert np.array_equal(scores, slow_scores(tokens, memory if cross else tokens, P, WQ, WK, precision, shifts))


@given(
    st.integers(0, 999),
    st.integers(1, 6),
    st.integers(0, 5),
    st.integers(0, 4),
    st.one_of(st.floats(0.01, 1), st.integers(1, 6)),
    st.booleans(),
    st.booleans(),
)
def test_top_k_with_ties(seed, L, more, spread, amount, causal, real):
    S = L + more
    scores = np.random.default_rng(seed).integers(-spread, spread + 1, (2, 3, L, S))
    if real:
        scores = scores / 2
    given_ = {"retention": amount} if isinstance(amount, float) else {"keys_per_row": min(amount, S)}
    kept = select(scores, "top_k", causal=causal, **given_)
    for place in np.ndindex(2, 3, L):
        allowed = place[-1] + more + 1 if causal else S
        count = min(amount, allowed) if isinstance(amount, int) else max(1, math.floor(amount * allowed + 0.5))
        assert set(np.flatnonzero(kept[place])) == slow_top(scores[place], allowed, count)


@given(
    st.integers(0, 999),
    st.integers(1, 6),
    st.integers(0, 5),
    st.lists(st.integers(-4, 4), min_size=3, max_size=3),
    st.booleans(),
)
def test_threshold(seed, L, more, levels, causal):
    scores = np.random.default_rng(seed).integers(-3, 4, (2, 3, L, L + more))
    kept = select(scores, "threshold", threshold=tuple(levels), causal=causal)
    for n, h, i in np.ndindex(2, 3, L):
        allowed, row = (i + more + 1 if causal else L + more), scores[n, h, i]
        expected = {j for j in range(allowed) if row[j] >= levels[h]} | slow_top(row, allowed, 1)
        assert set(np.flatnonzero(kept[n, h, i])) == expected
    one = select(scores, "threshold", threshold=levels[0], causal=causal)
    assert np.array_equal(one[:, 0], kept[:, 0])


def test_no_rule_keeps_all():
    assert select(np.zeros((2, 2)), "none").all()
    assert select(np.zeros((2, 2)), "none", causal=True).tolist() == [[True, False], [True, True]]


def test_lowest_scores_of_their_type_are_scores():
    lowest = np.full((2, 2), np.iinfo(np.int64).min)
    assert select(lowest, "top_k", retention=1, causal=True).tolist() == [[True, False], [True, True]]
    assert select(lowest, "top_k", keys_per_row=1).tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float32])
def test_the_ends_of_every_type_are_scores(dtype):
    kind = np.finfo(dtype) if dtype is np.float32 else np.iinfo(dtype)
    scores = np.random.default_rng(0).choice(np.array([kind.min, 0, 1, kind.max], dtype), (8, 9))
    kept = select(scores, "top_k", keys_per_row=4, causal=True)
    for i in range(8):
        assert set(np.flatnonzero(kept[i])) == slow_top(scores[i].tolist(), i + 2, 4)


def test_rows_beyond_a_block():
    scores = np.random.default_rng(0).integers(0, 9, (600, 40))
    kept = select(scores, "top_k", keys_per_row=7)
    assert all(set(np.flatnonzero(kept[i])) == slow_top(scores[i], 40, 7) for i in range(600))


def test_selection_is_fast():
    scores = np.random.default_rng(0).integers(-1000, 1000, (1024, 1024))
    start = time.perf_counter()
    select(scores, "top_k", retention=0.1)
    assert time.perf_counter() - start < 0.5


def test_projection():
    drawn = sparse_projection(600, 50, seed=1)
    codes = drawn.values()
    assert (drawn.shape, drawn.bits, drawn.scale) == ((600, 50), 2, math.sqrt(3 / 50))
    assert set(np.unique(codes)) == {-1, 0, 1}
    for code, share in ((-1, 1 / 6), (0, 2 / 3), (1, 1 / 6)):
        assert np.mean(codes == code) == pytest.approx(share, abs=0.01)
    assert drawn.digest == sparse_projection(600, 50, seed=1).digest != sparse_projection(600, 50, seed=2).digest
    x = np.random.default_rng(0).normal(size=(20, 600))
    lengths = np.linalg.norm(x @ (codes * drawn.scale), axis=1) / np.linalg.norm(x, axis=1)
    assert lengths.mean() == pytest.approx(1, abs=0.1)
    assert sparse_projection(2, 2, 0).values().tolist() == [[0, 0], [-1, -1]]


@pytest.mark.parametrize(("precision", "largest_error"), [(2, 0.21), (4, 0.016), (8, 0.0002)])
def test_weights_lose_little(precision, largest_error):
    weight = np.random.default_rng(0).normal(size=(3, 40, 40)) * np.array([1, 10, 0.1])[:, None, None]
    codes = detector_weights(weight, precision)
    back = codes.values() * np.array(codes.scale)[:, None, None]
    assert (np.mean((back - weight) ** 2, axis=(1, 2)) / np.mean(weight**2, axis=(1, 2)) < largest_error).all()
    assert np.abs(codes.values()).max() == 2 ** (precision - 1) - 1
    assert detector_weights(np.zeros((1, 2, 2)), precision).scale == (1.0,)


def example(precision, cross=False, L=48):
    """Tokens, a detector calibrated on them, and the scores that it estimates."""
    rng = np.random.default_rng(4)
    tokens = rng.integers(-127, 128, (2, L, 64))
    memory = rng.integers(-127, 128, (2, L + 9, 64)) if cross else None
    weight = np.stack([np.eye(32), np.eye(32) + rng.normal(size=(32, 32)) / 9])
    made = [detector_weights(w, precision) for w in (weight, weight)]
    return tokens, memory, calibrate(tokens, sparse_projection(64, 32, 1), *made, precision, memory)


@pytest.mark.parametrize("precision", [2, 4, 8])
@pytest.mark.parametrize("cross", [False, True])
def test_calibration_finds_the_shifts_that_lose_least(precision, cross):
    tokens, memory, detector = example(precision, cross)
    sources = tokens if memory is None else memory
    P = detector.projection.values().astype(np.int64)

    def error(values, shift):
        back = quantise_shift(values, shift, precision) * 2.0**shift
        return np.square(values - back).sum()

    products = [x.reshape(-1, 64) @ P for x in (tokens, sources)]
    everything = np.concatenate(products if cross else products[:1])
    assert detector.projection_shift == np.argmin([error(everything, s) for s in range(20)])
    queries, keys = (quantise_shift(x, detector.projection_shift, precision) for x in products)
    for h in range(2):
        query, key = queries @ detector.detector_query.values()[h], keys @ detector.detector_key.values()[h]
        assert detector.query_shift[h] == np.argmin([error(query, s) for s in range(20)])
        assert detector.key_shift[h] == np.argmin([error(key, s) for s in range(20)])


def test_more_bits_find_more():
    qualities = []
    for precision in (2, 4, 8):
        tokens, _, detector = example(precision)
        x = tokens.astype(float)
        true = np.stack([x @ x.transpose(0, 2, 1)] * 2, axis=1)
        qualities.append(recall(select(detector.scores(tokens), "top_k", retention=0.1), true))
    assert 0.3 < qualities[0] < qualities[1] < qualities[2]
    assert recall(select(true, "top_k", retention=0.1, causal=True), true, causal=True) == 1


def test_recall():
    scores = np.array([[[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 0], [5, 6, 7, 8]]])
    kept = np.array([[[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [1, 1, 1, 1]]], bool)
    assert recall(kept, scores) == 8 / 9
    with pytest.raises(InputError, match="every row must keep one key or more, and none"):
        recall(kept, scores, causal=True)
    with pytest.raises(InputError, match="every row must keep one key or more"):
        recall(np.zeros((2, 2), bool), np.zeros((2, 2)))
    with pytest.raises(InputError, match="kept has shape"):
        recall(kept, scores[0])


def test_an_attention_takes_a_detector():
    tokens, _, detector = example(4)
    shape = DensityTensor((2, 2, 48, 8), 1, 0)
    operator = Attention(
        "a", shape, shape, shape, tokens=ValueTensor(tokens), rule="top_k", retention=0.1, **detector.arguments
    )
    assert np.array_equal(operator.kept_mask(1, 1), select(detector.scores(tokens), "top_k", retention=0.1)[1, 1])


X, P, W = np.ones((1, 4, 5), int), np.ones((5, 3), int), np.ones((2, 3, 3), int)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: quantise_shift(X, -1, 4), "shift must be a whole number of at least 0"),
        (lambda: quantise_shift(X, 63, 4), "shift must be at most 62"),
        (lambda: quantise_shift(X, 1, 3), "precision must be 2, 4 or 8 bits"),
        (lambda: detect(X, P[:4], W, W, 4), r"tokens has shape \(1, 4, 5\), expected \(1, 4, 4\)"),
        (lambda: detect(X[0], P, W, W, 4), "tokens has shape"),
        (lambda: detect(X, P, W[:, :2], W, 4), r"detector_query has shape \(2, 2, 3\), expected \(2, 3, 3\)"),
        (lambda: detect(X, P, W, W[:1], 4), "detector_key has shape"),
        (lambda: detect(X, P, W, W, 4, memory=np.ones((2, 4, 5), int)), "memory has shape"),
        (lambda: detect(X, 2 * P, W, W, 4), "projection holds integers from 2 to 2"),
        (lambda: detect(X, P, 2 * W, W, 2), "detector_query .* range of 2 bits, -2 … 1"),
        (lambda: detect(X, P, W, -9 * W, 4), "detector_key holds"),
        (lambda: detect(X, P, W, W, 4, query_shift=(1,)), "one per head"),
        (lambda: detect(X, P, W, W, 16), "precision"),
        (lambda: select(X, "top_k"), "needs either a retention"),
        (lambda: select(X, "top_k", retention=0), "retention must be above 0"),
        (lambda: select(X, "top_k", keys_per_row=6), "keys_per_row is 6, expected at most the 5 keys"),
        (lambda: select(X, "threshold"), "threshold is None"),
        (lambda: select(X, "best"), "unknown rule 'best'"),
        (lambda: select(X[0, 0], "none"), "scores must be real numbers of shape"),
        (lambda: select(X.astype(float) * np.nan, "none"), "scores must be"),
        (lambda: select(np.ones((5, 4)), "none", causal=True), "as many keys as queries or more"),
        (lambda: sparse_projection(4, 5), "rank must be at most the 4 features"),
        (lambda: sparse_projection(4, 0), "rank must be a whole number"),
        (lambda: detector_weights(np.ones((2, 3))), "must be finite, of shape"),
        (lambda: detector_weights(np.ones((1, 3, 3)) * np.inf), "must be finite"),
    ],
)  # fmt: skip
def test_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_import_is_light():
    code = "import sys, simulator.compress; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


# The trained one.


@pytest.mark.parametrize("precision", [2, 4, 8])
@pytest.mark.parametrize("causal", [False, True])
def test_the_trained_detector_is_the_exported_one(precision, causal):
    torch = pytest.importorskip("torch")
    from simulator.compress.detector_torch import LowRankDetector

    torch.manual_seed(0)
    module = LowRankDetector(features=32, heads=3, rank=8, precision=precision, seed=2, causal=causal)
    x, memory = torch.randn(2, 40, 32), torch.randn(2, 50, 32)
    target = torch.einsum("nlc,hcd,nsd->nhls", x, torch.randn(3, 32, 32) / 32, x)
    module.calibrate(x)
    optimiser = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = module.loss(target, module(x))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.9 * losses[0]
    for cross in (None, memory):
        module.calibrate(x, cross)
        integers = module.integers(x, cross)
        exported = module.export()
        other = None if cross is None else module.tokens(cross).values()
        scores = exported.scores(module.tokens(x).values(), other)
        assert np.array_equal(scores, integers.detach().numpy())
        for numbers in ({"retention": 0.1}, {"keys_per_row": 5}, {"threshold": (0, 3, 9)}, {"threshold": 10**6}, {}):
            rule = ("threshold" if "threshold" in numbers else "top_k") if numbers else "none"
            ours = select(scores, rule, causal=causal, **numbers)
            assert np.array_equal(module.select(integers, rule, **numbers).numpy(), ours)


def test_the_scale_of_the_trained_detector_is_that_of_its_numbers():
    torch = pytest.importorskip("torch")
    from simulator.compress.detector_torch import LowRankDetector

    module = LowRankDetector(features=64, heads=2, rank=32, precision=8, seed=1)
    x = torch.randn(1, 30, 64, generator=torch.Generator().manual_seed(0))
    module.calibrate(x)
    with torch.no_grad():
        projected = x @ module.projection * (3 / 32) ** 0.5
        exact = (projected[:, None] @ module.query_weight) @ (projected[:, None] @ module.key_weight).transpose(-1, -2)
        estimated = module(x)
    assert float(((estimated - exact) ** 2).mean() / (exact**2).mean()) < 0.001
    assert float(module.loss(exact, exact)) == 0


def test_causal_loss_is_of_the_past():
    torch = pytest.importorskip("torch")
    from simulator.compress.detector_torch import LowRankDetector

    module = LowRankDetector(features=4, heads=1, rank=2, causal=True)
    scores = torch.tensor([[[[1.0, 9.0], [2.0, 3.0]]]])
    assert float(module.loss(scores, torch.zeros_like(scores))) == pytest.approx((1 + 4 + 9) / 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"precision": 3}, "precision must be 2, 4 or 8"),
        ({"rank": 33}, "rank must be at most the 32 features"),
        ({"features": 2**18, "rank": 4}, "token_bits is 8"),
        ({"token_bits": 17}, "token_bits is 17"),
        ({"features": 2048, "rank": 2048, "precision": 8}, "rank is 2048, expected at most 1024 at 8 bits"),
        ({"heads": 0}, "heads must be a whole number"),
    ],
)
def test_trained_refused(given, words):
    pytest.importorskip("torch")
    from simulator.compress.detector_torch import LowRankDetector

    with pytest.raises(InputError, match=words):
        LowRankDetector(**({"features": 32, "heads": 1, "rank": 4} | given))
