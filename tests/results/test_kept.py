"""Kept connections are counted as they are, and drawn where they are."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from simulator.cli import main
from simulator.errors import InputError
from simulator.results.drawing import save_figure
from simulator.results.kept import density_map, kept_connections, kept_document
from simulator.results.kept_figure import MOST_HEADS, MOST_OPERATORS, kept_figure
from simulator.trace import Attention, DensityTensor, Linear, MaskTensor, Trace, save_trace
from simulator.trace.connections import pack_rows


def unknown(*shape: int) -> DensityTensor:
    return DensityTensor(shape, 1, 0)


def attention(name: str = "heads", N: int = 1, H: int = 2, L: int = 6, S: int = 6, **given: object) -> Attention:
    return Attention(name, unknown(N, H, L, 4), unknown(N, H, S, 4), unknown(N, H, S, 4), **given)


def drawn(seed: int, N: int, H: int, L: int, S: int, causal: bool) -> np.ndarray:
    """Masks that keep the first key of every row and some more, none of the future."""
    rng = np.random.default_rng(seed)
    mask = rng.random((N, H, L, S)) < rng.random((N, H, 1, 1))
    mask[..., 0] = True
    return mask & np.tri(L, S, S - L, dtype=bool) if causal else mask


def masked(name: str, mask: np.ndarray, causal: bool = False) -> Attention:
    N, H, L, S = mask.shape
    return attention(name, N, H, L, S, mask=MaskTensor.of(mask), causal=causal)


@pytest.fixture
def trace() -> Trace:
    operators = []
    for layer in range(2):
        operators.append(Linear(f"layers.{layer}.attention.qkv", unknown(1, 30, 8), unknown(24, 8)))
        mask = drawn(layer, 2, 3, 30, 40, causal=layer == 1)
        operators.append(masked(f"layers.{layer}.attention.heads", mask, causal=layer == 1))
    return Trace("small $transformer$", tuple(operators))


@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(0, 70), st.booleans())
def test_counts_are_those_of_the_mask(seed: int, N: int, H: int, L: int, more: int, causal: bool) -> None:
    mask = drawn(seed, N, H, L, S := L + more, causal)
    (found,) = kept_connections(Trace("t", (masked("a", mask, causal),)))
    may = int(np.tri(L, S, S - L).sum()) if causal else L * S
    assert (found.operator, found.images, found.queries, found.keys, found.allowed) == ("a", N, L, S, may)
    for head, own in zip(found.heads, np.moveaxis(mask, 1, 0), strict=True):
        rows = own.sum(axis=2)
        assert head.pairs == own.sum() / N
        assert head.of_allowed == pytest.approx(own.sum() / N / may)
        assert head.of_map == pytest.approx(own.mean())
        assert (head.fewest, head.most) == (rows.min(), rows.max())
        assert head.balance == pytest.approx(np.mean([row.mean() / row.max() for row in rows]))
    assert [head.head for head in found.heads] == list(range(H))


def test_all_connections_and_balanced_rows() -> None:
    dense, causal, balanced = kept_connections(
        Trace("t", (attention("a"), attention("b", causal=True), attention("c", rule="top_k", keys_per_row=2)))
    )
    assert [head.of_map for head in dense.heads] == [1, 1]
    assert [head.of_allowed for head in causal.heads] == [1, 1]
    assert causal.heads[0].of_map == 21 / 36
    assert causal.heads[0].balance == 3.5 / 6
    assert {(head.pairs, head.fewest, head.most, head.balance) for head in balanced.heads} == {(12, 2, 2, 1)}


@given(st.integers(0, 99), st.integers(1, 20), st.integers(0, 90), st.booleans(), st.integers(1, 12))
def test_a_map_holds_the_density_of_its_blocks(seed: int, L: int, more: int, causal: bool, size: int) -> None:
    S = L + more
    mask = drawn(seed, 1, 1, L, S, causal)[0, 0]
    may = np.tri(L, S, more, dtype=bool) if causal else np.ones((L, S), bool)
    found = density_map(pack_rows(mask), S, causal, size)
    high, wide = -(-L // size), -(-S // size)
    assert found.shape == (-(-L // high), -(-S // wide))
    assert max(found.shape) <= size
    for (row, column), density in np.ndenumerate(found):
        block = np.s_[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        assert np.isnan(density) == (not may[block].any())
        assert np.isnan(density) or density == mask[block].sum() / may[block].sum()


def test_a_map_that_is_small_enough_is_the_mask(trace: Trace) -> None:
    operator = trace.operators[1]
    assert isinstance(operator, Attention)
    for image in range(2):
        for head, found in enumerate(kept_connections(trace, image)[0].maps):
            assert np.array_equal(found, operator.kept_mask(image, head))
    assert kept_connections(trace)[0].maps == ()


def test_a_trace_without_attention_is_refused(trace: Trace) -> None:
    with pytest.raises(InputError, match="'t' has no attention operator, expected one or more"):
        kept_connections(Trace("t", trace.operators[:1]))


@pytest.mark.parametrize(
    ("operators", "heads", "queries", "keys"), [(1, 1, 1, 1), (1, 4, 5, 90), (2, 16, 9, 9), (30, 40, 90, 5)]
)
def test_nothing_overlaps_or_leaves_the_page(operators: int, heads: int, queries: int, keys: int) -> None:
    work = Trace("t", tuple(attention(f"layers.{i}.heads", 1, heads, queries, keys) for i in range(operators)))
    figure = kept_figure("t" * 60, kept_connections(work, 0), 0)
    FigureCanvasAgg(figure).draw()
    page = figure.bbox
    panels = [axes.get_tightbbox() for axes in figure.axes]
    texts = [text.get_window_extent() for text in figure.texts]
    for box in panels + texts:
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
    for one, other in itertools.combinations(panels + texts, 2):
        assert not one.shrunk(0.98, 0.98).overlaps(other.shrunk(0.98, 0.98))
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == min(operators, MOST_OPERATORS) * min(heads, MOST_HEADS)


def test_what_is_drawn_is_what_is_kept(trace: Trace) -> None:
    found = kept_connections(trace, 1)
    figure = kept_figure(trace.name, found, 1)
    shares, *maps = [axes for axes in figure.axes if axes.images or axes.texts]
    cells = shares.collections[0].get_array()
    assert cells is not None
    assert np.allclose(cells, [[100 * head.of_allowed for head in operator.heads] for operator in found])
    expected = [map_ for operator in found for map_ in operator.maps]
    for axes, map_ in zip(maps, expected, strict=True):
        assert np.allclose(np.ma.filled(axes.images[0].get_array(), np.nan), 100 * map_, equal_nan=True)
    assert len({axes.images[0].get_clim() for axes in maps}) == 1


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_trace_gives_the_same_bytes(suffix: str, trace: Trace, tmp_path: Path) -> None:
    for name in "ab":
        save_figure(kept_figure(trace.name, kept_connections(trace, 0), 0), tmp_path / name, suffix)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_command_prints_every_head(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "t.safetensors")
    figure = tmp_path / "kept.svg"
    done = CliRunner().invoke(main, ["kept", str(tmp_path / "t.safetensors"), "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    rows = [line.split()[-7:] for line in done.stdout.splitlines()[2:8]]
    heads = [head for operator in kept_connections(trace) for head in operator.heads]
    assert rows == [
        [
            str(head.head), f"{head.pairs:,.1f}", f"{head.of_allowed:.2%}", f"{head.of_map:.2%}", str(head.fewest),
            str(head.most), f"{head.balance:.3f}",
        ]
        for head in heads
    ]  # fmt: skip
    assert "2 attention operators, 6 heads" in done.stdout
    text = figure.read_text("utf-8")
    assert all(word in text for word in ("small $transformer$", "layers.1.attention.heads", "head 2", "the future"))


def test_the_command_prints_json(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "t.safetensors")
    done = CliRunner().invoke(main, ["kept", str(tmp_path / "t.safetensors"), "--json"])
    document = json.loads(done.stdout)
    assert document == {"schema_version": 1, **kept_document(trace, kept_connections(trace))}
    assert (
        document["operators"][1]["heads"][2]["share_of_allowed"] > document["operators"][1]["heads"][2]["share_of_map"]
    )
