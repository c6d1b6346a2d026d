"""Sanger: sub-rows and passes against the array cycle by cycle, prediction against its rule, the public models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.accelerators.sanger import Prediction, predict
from simulator.dataflow.sanger_model import closed_form, subrows, tile_cycles, tile_model
from simulator.errors import InputError
from simulator.hardware.score_stationary import ScoreStationaryArray, split_rows
from simulator.results.result import OperatorResult
from simulator.trace import Attention, DensityTensor, MaskTensor, ValueTensor
from simulator.trace.connections import pack_rows, unpack_rows
from tests.operators import trace_of
from tests.real import DATA, needs_data
from tests.reference import score_stationary as twin


def run(operator: Any, check: bool = False, **given: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in given.items()}
    return simulate(trace_of(operator), load_arch("sanger", parameters), check).operators[0]


def heads(mask: np.ndarray[Any, Any], size: int = 64) -> Attention:
    """Attention of which the mask (N, H, L, S) is known, and no values."""
    N, H, L, S = mask.shape
    shapes = (N, H, L, size), (N, H, S, size), (N, H, S, size)
    return Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes), mask=MaskTensor.of(mask))


def deit() -> np.ndarray[Any, Any]:
    return np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"]


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 150)),
    keys=st.integers(1, 70),
    pes=st.integers(1, 20),
    density=st.sampled_from((0.0, 0.1, 0.5, 1.0)),
    seed=st.integers(0, 2**32),
)
def test_rows_are_split_as_by_hand(shape: tuple[int, int], keys: int, pes: int, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    records = np.zeros((shape[0], -(-shape[1] // keys)), np.int64)
    issues = np.zeros((int(mask.sum()), 3), np.int32)
    split_rows(pack_rows(mask), keys, pes, records, issues)
    tiles = twin.split(mask.tolist(), keys, pes)
    expected = [(n, s.query, key) for tile in tiles for n, s in enumerate(tile) for key in s.keys]
    assert issues.tolist() == [list(issue) for issue in expected]
    for tile, subrows_of in enumerate(tiles):
        counts = np.bincount([s.query for s in subrows_of], minlength=shape[0])
        assert records[:, tile].tolist() == counts.tolist()
    without = np.zeros_like(records)
    split_rows(pack_rows(mask), keys, pes, without, np.zeros((0, 3), np.int32))
    assert (without == records).all()


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 9), pes=st.integers(1, 5), features=st.integers(1, 9), values=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_a_pass_takes_the_cycles_of_the_array(rows: int, pes: int, features: int, values: int, seed: int) -> None:
    """Features enter one by one, and the last row is as many cycles behind as there are rows."""
    rng = np.random.default_rng(seed)
    array = ScoreStationaryArray(rows=rows, pes=pes, keys=8, exponential=1)
    mask = rng.random((12, 8)) < 0.5
    queries, keys = rng.integers(-9, 9, (12, features)), rng.integers(-9, 9, (8, features))
    passes = twin.pack(twin.split(mask.tolist(), 8, pes)[0], rows)
    seen = np.zeros((12, 8))
    for subrows_of in passes:
        scores, cycles = twin.products(subrows_of, queries.tolist(), keys.tolist(), rows)
        again = twin.products([], np.zeros((1, values)).tolist(), [[0.0] * values], rows)[1]
        assert array.cycles(features, values) == cycles + array.exponential + again
        for subrow, own in zip(subrows_of, scores, strict=True):
            seen[subrow.query, list(subrow.keys)] = own
    np.testing.assert_array_equal(seen, np.where(mask, queries @ keys.T, 0))


@needs_data
def test_real_masks_take_the_passes_of_the_twin() -> None:
    """A layer of DeiT-Tiny: 3 heads of 197 queries, packed over all of them."""
    mask = deit()[5]
    result = run(heads(mask[None]))
    passes = [sum(len(twin.pack(tile, 64)) for tile in twin.split(mask[head].tolist(), 64, 16)) for head in range(3)]
    assert result.program.stages[1].cycles.tolist() == [n * (64 + 64 + 1 + 64 + 64) for n in passes]
    tiles_of_scores = 4 * 4
    assert result.program.stages[0].cycles.tolist() == 3 * [tiles_of_scores * (64 + 64 + 64 - 1 + 64)]


def softmax_rule(query: Any, key: Any, allowed: Any, scale: float, threshold: float) -> list[list[bool]]:
    """The rule in plain Python: 4 bits, softmax, threshold, and of each row the best."""
    low = []
    for rows in (query, key):
        top = max(abs(int(x)) for head in rows for row in head for x in row) or 1
        low.append([[[round(int(x) * (7 / top)) for x in row] for row in head] for head in rows])
        scale *= top / 7
    kept = []
    for q, row_allowed in zip(low[0][0], allowed, strict=True):
        scores = [sum(a * b for a, b in zip(q, k, strict=True)) * scale for k in low[1][0]]
        best = max(s for s, a in zip(scores, row_allowed, strict=True) if a)
        weights = [math.exp(s - best) if a else 0.0 for s, a in zip(scores, row_allowed, strict=True)]
        row = [w > threshold * sum(weights) for w in weights]
        row[weights.index(max(weights))] = True
        kept.append(row)
    return kept


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 70), causal=st.booleans(), threshold=st.sampled_from((0.0, 0.02, 0.3))
)
def test_prediction_is_the_rule(seed: int, n: int, causal: bool, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    tensors = [ValueTensor(rng.integers(-99, 100, (1, 1, n, 8)), 0.02) for _ in range(3)]
    operator = Attention("heads", *tensors, causal=causal)
    prediction = Prediction(connections="own", precision="INT4", threshold=threshold)
    allowed = operator.kept(0, 0)[None]
    kept = unpack_rows(predict(operator, 0, allowed, prediction)[0], n)
    values = [tensor.values()[0] for tensor in tensors]
    expected = softmax_rule(values[0], values[1], unpack_rows(allowed[0], n), operator.scale * 0.02 * 0.02, threshold)
    differing = kept != np.array(expected)
    assert differing.sum() <= 1  # one on the very threshold


def test_values_decide_unless_the_trace_shall() -> None:
    rng = np.random.default_rng(0)
    tensors = [ValueTensor(rng.integers(-99, 100, (1, 2, 64, 16)), 0.05) for _ in range(3)]
    operator = Attention("heads", *tensors, rule="top_k", keys_per_row=5)
    own, given_ = run(operator, check=True), run(operator, check=True, prediction__connections="trace")
    assert own.verified
    assert given_.verified
    assert given_.program.macs.effectual == 2 * 64 * 5 * 32
    assert own.program.macs.effectual != given_.program.macs.effectual
    stricter = run(operator, prediction__threshold="0.02")
    assert stricter.program.macs.effectual < own.program.macs.effectual


def test_other_operators_and_long_sequences_are_refused() -> None:
    long = heads(np.ones((1, 1, 8, 4096), np.bool_))
    with pytest.raises(InputError, match=r"4096 keys and values of a head .* enlarge sram\.size"):
        run(long)
    assert run(long, sram__size="4 MiB").cycles


@pytest.mark.parametrize(
    ("length", "density", "first", "second"),
    [
        (128, 0.17, 0.00024346624, 0.00024156606008888889),
        (384, 0.08, 0.0007107379199999999, 0.0007034241024),
        (512, 0.17, 0.00104071168, 0.001030511365688889),
        (512, 0.27, 0.00113246208, 0.0011414274048000001),
        (1024, 0.27, 0.00254803968, 0.0028556918784000004),
    ],
)
def test_the_public_models(length: int, density: float, first: float, second: float) -> None:
    """What bench_sanger.py and bench_sanger_v2.py of hatsu3/Sanger return at load balance 0.75, to the last digits."""
    assert closed_form(density, 0.75, length) == pytest.approx(first, rel=1e-14)
    assert tile_model(density, 0.75, length) == pytest.approx(second, rel=1e-14)


def test_the_published_figures() -> None:
    assert round(closed_form(0.17, 0.75, 128) * 1e3, 3) == 0.243
    assert round(closed_form(0.17, 0.75, 512) * 1e3, 3) == 1.041


def test_our_passes_are_the_tiles_of_the_public_model() -> None:
    """A mask of the balance that the model is given: 12 of each 16 PEs busy, in one sub-row of each query."""
    rng = np.random.default_rng(0)
    length, kept = 512, 12
    chosen = rng.permuted(np.tile(np.arange(64), (length * 8, 1)), axis=1)[:, :kept] < 64
    assert chosen.all()
    mask = np.zeros((length, 8, 64), np.bool_)
    places = rng.permuted(np.tile(np.arange(64), (length, 8, 1)), axis=2)[..., :kept]
    np.put_along_axis(mask, places, True, axis=2)
    result = run(heads(mask.reshape(1, 1, length, length)))
    density, balance = kept / 64, kept / 16
    assert subrows(density, balance, length) == length
    passes = 8 * length // 64
    assert result.program.stages[1].cycles.sum() == passes * (64 + 64 + 1 + 64 + 64)
    assert tile_cycles(density, balance, length) == (768 + 64) + (length + 64)
