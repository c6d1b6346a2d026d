"""SpAtten: pruning against its rule, the top-k engine against its twin, the public behaviour model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.dataflow.cascade_pruning import Cascade, Progressive, Pruning
from simulator.dataflow.spatten_model import DRAIN, Head, layer_cycles
from simulator.hardware.quick_select import TopK, select_largest
from simulator.results.result import OperatorResult
from simulator.trace import Attention, DensityTensor, MaskTensor, ValueTensor
from simulator.trace.connections import unpack_rows
from tests.operators import trace_of
from tests.reference import cascade_pruning, quick_select

FREE = {"dram__bandwidth": "100000 GB/s", "dram__latency": "0 ns"}


def run(operator: Any, check: bool = False, **given_: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in given_.items()}
    return simulate(trace_of(operator), load_arch("spatten", parameters), check).operators[0]


def dense(length: int, heads: int = 12, size: int = 64, **given_: Any) -> Attention:
    return Attention("heads", *(DensityTensor((1, heads, length, size), 1.0, 0) for _ in range(3)), **given_)


@pytest.mark.parametrize(
    ("length", "fetched", "key_bits", "value_bits", "published"),
    [(128, 128, 12, 12, 300948), (512, 512, 12, 12, 4739028), (384, 100, 6, 4, 723120), (65, 65, 4, 8, 87600)],
)
def test_the_public_behaviour_model(length: int, fetched: int, key_bits: int, value_bits: int, published: int) -> None:
    """What bert.cpp of mit-han-lab/spatten prints for BERT-base, 12 layers of 12 heads."""
    heads = [Head(length, fetched, 64, key_bits, value_bits)] * 12
    assert 12 * layer_cycles(heads) == published


def test_the_public_behaviour_model_of_an_eighth() -> None:
    assert 12 * layer_cycles([Head(384, 100, 64, 6, 4)] * 12, channels=2, multipliers=64) == 5553636


@pytest.mark.parametrize("length", [128, 512])
def test_dense_attention_differs_from_the_public_model_in_its_dram_alone(length: int) -> None:
    """The public model adds the cycles of all fetches; here all but the first go on beside the queries."""
    result = run(dense(length), **FREE)
    heads = [Head(length, length)] * 12
    fetches = 12 * 2 * (length * 64 // 32 // 16)
    assert result.program.stages[0].cycles.sum() == layer_cycles(heads) - fetches
    assert DRAIN == 103


@settings(deadline=None, max_examples=100)
@given(
    numbers=st.lists(st.integers(0, 40), min_size=1, max_size=80), data=st.data(), comparators=st.integers(1, 20),
    latency=st.integers(0, 5),
)  # fmt: skip
def test_quick_select_is_its_twin(numbers: list[int], data: st.DataObject, comparators: int, latency: int) -> None:
    k = data.draw(st.integers(1, len(numbers)))
    array = np.array(numbers, np.float64)
    found = select_largest(array, k, comparators, latency, np.zeros_like(array))
    assert found == quick_select.largest(numbers, k, comparators, latency)
    assert found[0] == sorted(numbers, reverse=True)[k - 1]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 70), causal=st.booleans(), tokens=st.sampled_from((0.05, 0.5, 1.0)),
    values=st.sampled_from((0.1, 0.7, 1.0)),
)  # fmt: skip
def test_pruning_is_the_rule(seed: int, n: int, causal: bool, tokens: float, values: float) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-30000, 30001, (3, 1, 2, n, 6))  # so wide that no two scores are equal
    tensors = [ValueTensor(values_, 1e-4, bits=16) for values_ in drawn]
    operator = Attention("heads", *tensors, causal=causal)
    pruning = Pruning(connections="own", tokens=tokens, heads=1.0, values=values)
    cascade = Cascade(operator, pruning, Progressive(high=8, low=4, threshold=0.1), TopK(comparators=4, latency=3))
    allowed = np.stack([operator.kept(0, head) for head in range(2)])
    kept = [unpack_rows(words, n) for words in cascade.select(operator, 0, allowed)]
    heads = [tuple((tensor.values()[0, head] * 1e-4).tolist() for tensor in tensors[:2]) for head in range(2)]
    alive, expected = cascade_pruning.prune(heads, operator.scale, unpack_rows(allowed[0], n).tolist(), tokens, values)
    assert cascade.alive[0].tolist() == alive
    assert [head.tolist() for head in kept] == expected
    assert cascade.own[0, 0][:, 1].tolist() == kept[0].sum(axis=1).tolist()


def test_a_mask_prunes_the_tokens_that_nobody_keeps() -> None:
    """By hand: 4 heads of 16 queries and 64 keys, 8 kept by all: a cycle for 8 keys, and one for 8 values."""
    mask = np.zeros((1, 4, 16, 64), np.bool_)
    mask[..., ::8] = True
    shapes = (1, 4, 16, 64), (1, 4, 64, 64), (1, 4, 64, 64)
    operator = Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes), mask=MaskTensor.of(mask))
    result = run(operator, **FREE)
    assert result.program.stages[0].cycles.sum() == 4 * 16 * 1 + 103 + 1
    streams = {stream.name: stream.compulsory for stream in result.program.reads}
    assert streams["key"] == streams["value"] == 4 * 8 * 64
    assert streams["query"] == 4 * 16 * 64 * 12 // 8


def test_a_query_that_takes_few_values_waits_for_top_k() -> None:
    """By hand: all 64 tokens are kept by some query, each query keeps 8: Q·Kᵀ and softmax take 8 cycles, A·V one."""
    mask = np.zeros((1, 1, 8, 64), np.bool_)
    for query in range(8):
        mask[0, 0, query, query * 8 : query * 8 + 8] = True
    shapes = (1, 1, 8, 64), (1, 1, 64, 64), (1, 1, 64, 64)
    operator = Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes), mask=MaskTensor.of(mask))
    result = run(operator, **FREE)
    engine = result.timeline.units["top_k"][1][0]
    assert engine >= 8 * (64 // 16 + 3)
    assert result.program.macs.performed == 8 * 64 * 64 + 8 * 8 * 64
    assert result.program.macs.effectual == 8 * 8 * 128
    assert run(operator, top_k__comparators="64", top_k__latency="0", **FREE).cycles < result.cycles


def values(n: int = 64, heads: int = 4, size: int = 16, spread: float = 0.05) -> Attention:
    rng = np.random.default_rng(0)
    return Attention("heads", *(ValueTensor(rng.integers(-99, 100, (2, heads, n, size)), spread) for _ in range(3)))


def test_heads_are_pruned_by_their_output() -> None:
    operator = values()
    whole, half = run(operator, check=True), run(operator, check=True, pruning__heads="0.5")
    assert whole.verified
    assert half.verified
    assert half.program.macs.effectual * 2 == whole.program.macs.effectual
    assert half.program.macs.dense == whole.program.macs.dense
    assert half.cycles < whole.cycles


def test_flat_weights_want_the_low_bits() -> None:
    sharp, flat = values(spread=0.1), values(spread=0.001)
    twice = [run(operator, pruning__values="1.0", **FREE) for operator in (sharp, flat)]
    once = [run(operator, pruning__values="1.0", quantisation__threshold="0", **FREE) for operator in (sharp, flat)]
    assert twice[1].program.macs.performed > 1.4 * once[1].program.macs.performed
    assert twice[0].program.macs.performed < 1.2 * once[0].program.macs.performed
    low = {stream.name: stream.compulsory for stream in twice[1].program.reads}["key_low_bits"]
    assert low == 2 * 4 * 32 * 16 * 4 // 8  # of half of the tokens of each head
    assert {stream.name: stream.compulsory for stream in once[1].program.reads}["key_low_bits"] == 0
