"""Masks that are drawn have the statistics that they were asked for, and are always the same."""

from __future__ import annotations

import hashlib
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.library import load_trace
from simulator.synthesis import (
    ActivationProfile,
    BlockProfile,
    GroupProfile,
    Profile,
    WeightProfile,
    draw_activations,
    draw_attention,
    draw_blocks,
    draw_groups,
    draw_weights,
    fit_activations,
    fit_attention,
    fit_graph,
    fit_weights,
    replay,
)
from simulator.synthesis.activations import Component
from simulator.synthesis.attention import AttentionProfile, HeadProfile
from simulator.synthesis.gaussian import Stream, correlation, exceeded, hermite, levels, quantiles, spread
from simulator.trace.graph import draw_matrix

CLUSTERED = ActivationProfile(
    channels=(0.05, 0.2, 0.4, 0.9),
    shared=Component(image=0.05, local=0.15, reach=0.8),
    own=Component(image=0.1, local=0.5, reach=0.7),
)


def lag(mask: np.ndarray, axis: int) -> float:
    """The mean covariance of neighbours, channel by channel."""
    centred = mask - mask.mean(axis=(0, 2, 3), keepdims=True)
    ahead = np.moveaxis(centred, axis, 0)
    return float((ahead[1:] * ahead[:-1]).mean())


def test_a_profile_is_found_again_in_what_it_draws() -> None:
    mask = draw_activations(CLUSTERED, (16, 48, 40, 40), seed=1)
    assert np.sort(mask.mean(axis=(0, 2, 3)))[[0, -1]] == pytest.approx([0.05, 0.9], abs=0.01)
    fitted = fit_activations(mask)
    assert fitted.shared.local == pytest.approx(0.15, abs=0.05)
    assert fitted.own.local == pytest.approx(0.5, abs=0.08)
    assert fitted.own.reach == pytest.approx(0.7, abs=0.08)
    assert fitted.own.image == pytest.approx(0.1, abs=0.06)
    again = draw_activations(fitted, mask.shape, seed=2)
    assert again.mean() == pytest.approx(mask.mean(), abs=0.005)
    for axis in (2, 3):
        assert lag(again, axis) == pytest.approx(lag(mask, axis), rel=0.1)


def test_independent_masks_are_fitted_as_such() -> None:
    mask = np.random.default_rng(0).random((4, 64, 20, 20)) < 0.3
    fitted = fit_activations(mask)
    assert max(fitted.shared.local, fitted.shared.image, fitted.own.local, fitted.own.image) < 0.03


def test_weights_have_the_filters_channels_and_places_asked_for() -> None:
    profile = WeightProfile(
        density=0.3, filters=(0.1, 0.5), channels=(0.2, 0.4), places=(0.1, 0.3, 0.5), ordered=True, kernel=0.6
    )
    mask = draw_weights(profile, (200, 100, 3), seed=3)
    filters = np.sort(mask.mean(axis=(1, 2)))
    assert filters[0] == pytest.approx(0.1, abs=0.005)
    assert filters[-1] == pytest.approx(0.5, abs=0.005)
    assert mask.mean(axis=(0, 1)) == pytest.approx([0.1, 0.3, 0.5], abs=0.05)
    assert fit_weights(mask).kernel == pytest.approx(0.6, abs=0.1)


def test_blocks_and_groups() -> None:
    blocks = draw_blocks(BlockProfile(density=0.25, filters=4, channels=8), (32, 64, 3, 3), seed=0)
    tiles = blocks.reshape(8, 4, 8, 8, 9).sum(axis=(1, 3, 4))
    assert set(np.unique(tiles)) == {0, 4 * 8 * 9}
    assert blocks.mean() == 0.25
    groups = draw_groups(GroupProfile(keep=2, of=4), (16, 30, 3, 3), seed=0)
    assert (groups[:, :28].reshape(16, 7, 4, 9).sum(axis=2) == 2).all()
    assert groups[:, 28:].all()


HEAD = HeadProfile(
    density=0.1,
    queries=(1.0, 0.2, 0.1, 0.08),
    keys=(1.0, 0.5, 0.1, 0.07),
    distances={0: 0.9, 1: 0.6},
    local=0.5,
    reach=0.7,
)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.booleans(), st.integers(0, 2**32))
def test_attention_keeps_a_key_in_every_row_and_nothing_of_the_future(
    L: int, more: int, causal: bool, seed: int
) -> None:
    mask = draw_attention(AttentionProfile(heads=(HEAD,)), (1, 2, L, L + more), seed, causal)
    assert mask.any(axis=-1).all()
    assert not (causal and (mask & ~np.tri(L, L + more, more, dtype=bool)).any())


def test_attention_has_global_tokens_local_connections_and_neighbours_that_agree() -> None:
    mask = draw_attention(AttentionProfile(heads=(HEAD,)), (1, 1, 256, 256), seed=5)[0, 0]
    columns = np.sort(mask.mean(axis=0))[::-1]
    assert columns[0] > 0.97
    assert columns[1] == pytest.approx(0.5, abs=0.06)
    assert mask.diagonal().mean() > 0.75
    assert mask.diagonal(1).mean() > 0.45
    plain = draw_attention(AttentionProfile(heads=(HEAD.model_copy(update={"local": 0.0}),)), (1, 1, 256, 256), 5)[0, 0]
    assert (mask[1:] & mask[:-1]).sum() > 1.1 * (plain[1:] & plain[:-1]).sum()
    again = fit_attention(mask[None, None]).heads[0]
    assert again.density == pytest.approx(mask.mean(), abs=1e-5)
    assert set(again.distances) >= {0, 1}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kept", ["all", "one", "diagonal"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 7), (40, 60)])
def test_extreme_masks_are_fitted_and_drawn(kept: str, size: tuple[int, int], causal: bool) -> None:
    L, S = size
    allowed = np.tri(L, S, S - L, dtype=bool) if causal else np.ones(size, dtype=bool)
    first = np.arange(S) == np.zeros((L, 1))
    mask = {"all": allowed, "one": first, "diagonal": np.eye(L, S, S - L, dtype=bool)}[kept]
    drawn = draw_attention(fit_attention(mask[None, None], causal), (1, 1, L, S), 0, causal)
    assert drawn.any(axis=-1).all()
    assert not (drawn & ~allowed[None, None]).any()
    if kept == "all":
        assert (drawn[0, 0] == allowed).all()
    if not causal:
        assert drawn.sum() == pytest.approx(mask.sum(), abs=1 + L // 4)


def causal_mask(lengths: np.ndarray, keys: int) -> np.ndarray:
    """So many of its first keys for each row, which causal attention allows: (1, 1, L, S)."""
    mask: np.ndarray = (np.arange(keys) < lengths[:, None])[None, None]
    return mask


@pytest.mark.parametrize("more", [0, 40])
@pytest.mark.parametrize("kind", ["as many each", "the same part"])
def test_causal_rows_keep_their_lengths_by_position(kind: str, more: int) -> None:
    """Row i has i + 1 keys at most: what is kept is how many it has, not how many some row has."""
    most = np.arange(300) + 1 + more
    lengths = np.minimum(most, 20) if kind == "as many each" else np.ceil(0.2 * most)
    fitted = fit_attention(causal_mask(lengths, 300 + more), causal=True)
    drawn = draw_attention(fitted, (1, 1, 300, 300 + more), 3, causal=True)[0, 0].sum(axis=1)
    assert fitted.heads[0].ordered
    assert np.abs(drawn - lengths).max() <= 1
    longer = draw_attention(fitted, (1, 1, 500, 500 + more), 3, causal=True)[0, 0].sum(axis=1)
    assert np.abs(longer[:290] - lengths[:290]).max() <= 1


def test_causal_rows_vary_as_much_as_they_did() -> None:
    rng, most = np.random.default_rng(0), np.arange(400) + 1
    lengths = np.clip(np.round(0.3 * most * (1 + 0.3 * rng.standard_normal(400))), 1, most)
    fitted = fit_attention(causal_mask(lengths, 400), causal=True)
    drawn = draw_attention(fitted, (1, 1, 400, 400), 1, causal=True)[0, 0].sum(axis=1)
    assert fitted.heads[0].varied == pytest.approx(0.3, abs=0.06)
    for part in np.array_split(np.arange(400), 5):
        assert drawn[part].mean() == pytest.approx(lengths[part].mean(), rel=0.12)
    assert (drawn / (0.3 * most))[50:].std() == pytest.approx(0.3, abs=0.06)


def test_long_sequences_take_seconds() -> None:
    started = time.process_time()
    mask = draw_attention(AttentionProfile(heads=(HEAD,)), (1, 1, 4096, 4096), 0)
    print(f"{time.process_time() - started:.1f} s")
    assert mask.mean() == pytest.approx(0.08, abs=0.03)
    assert time.process_time() - started < 60


def test_the_exponent_of_a_graph_is_found_again() -> None:
    fitted = fit_graph(draw_matrix(20_000, 20_000, 160_000, 2.6, 1)[0])
    assert fitted.per_row == 8
    assert fitted.exponent == pytest.approx(2.6, abs=0.2)
    assert fit_graph(np.arange(11) * 3).exponent == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 300))
def test_a_distribution_keeps_its_mean_and_its_order(densities: list[float], count: int) -> None:
    knots = quantiles(np.array(densities))
    assert np.mean(knots) == pytest.approx(np.mean(densities), abs=1e-4)
    again = spread(knots, count)
    assert all(a <= b + 1e-4 for a, b in pairwise(again))


def test_correlations_of_bits_and_of_the_field_agree() -> None:
    stream, rho = Stream(1), 0.6
    one = stream.normal(400_000)
    other = np.float32(rho) * one + np.float32(np.sqrt(1 - rho**2)) * stream.normal(400_000)
    bits = [(field > level).astype(float) for field, level in ((one, 0.3), (other, 1.1))]
    covariance = float(np.cov(*bits)[0, 1])
    terms = hermite(np.array([0.3, 1.1]))
    assert correlation(covariance, terms[:, 0] * terms[:, 1]) == pytest.approx(rho, abs=0.02)
    assert one.std() == pytest.approx(1, abs=0.01)
    assert exceeded(levels(np.array([0.01, 0.3, 0.9]))) == pytest.approx([0.01, 0.3, 0.9], abs=1e-6)


def test_a_seed_always_draws_the_same() -> None:
    """Kept from when this was written: today or tomorrow, here or elsewhere."""
    weights = WeightProfile(
        density=0.3, filters=(0.1, 0.5), channels=(0.3,), places=(0.2, 0.4), ordered=True, kernel=0.3
    )
    masks = (
        draw_activations(CLUSTERED, (1, 8, 12, 12), 7),
        draw_weights(weights, (8, 8, 2), 7),
        draw_attention(AttentionProfile(heads=(HEAD,)), (1, 1, 32, 32), 7),
    )
    digests = [hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:12] for mask in masks]
    assert digests == ["66432b679e32", "4a88c7063afb", "41f61d8538bb"]
    assert not np.array_equal(masks[0], draw_activations(CLUSTERED, (1, 8, 12, 12), 8))


def test_resnet18_at_full_size_takes_about_a_second() -> None:
    trace = load_trace("resnet18")
    weights = WeightProfile(density=0.3, filters=(0.2, 0.4), channels=(0.3,), places=(0.3,), ordered=False, kernel=0.3)
    parts = {f"{o.name}.input": CLUSTERED for o in trace.operators if o.type == "conv2d"}
    parts |= {f"{o.name}.weight": weights for o in trace.operators}
    started = time.process_time()
    drawn = replay(trace, Profile("mine", parts))
    taken = time.process_time() - started
    print(f"{taken:.2f} s")
    assert drawn.operators[3].weight.density == pytest.approx(0.3, abs=0.01)
    assert drawn.operators[1].output is drawn.operators[2].input
    assert taken < 10, "about two seconds where nothing else runs"
