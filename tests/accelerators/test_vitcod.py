"""ViTCoD: columns parted as the rule says, engines against their twin, the public simulator on its own masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, simulate
from simulator.dataflow.vitcod_model import Cycles, Layer, attention_cycles
from simulator.hardware.polarised_columns import polarise
from simulator.results.result import OperatorResult
from simulator.trace import Attention, DensityTensor, MaskTensor, ValueTensor
from simulator.trace.connections import pack_rows
from tests.operators import trace_of
from tests.real import DATA, needs_data
from tests.reference import polarised_columns as twin

FREE = {"dram__bandwidth": "100000 GB/s", "dram__latency": "0 ns"}


def run(operator: Any, check: bool = False, **given_: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in given_.items()}
    return simulate(trace_of(operator), load_arch("vitcod", parameters), check).operators[0]


def masked(mask: np.ndarray[Any, Any], size: int = 64) -> Attention:
    N, H, L, S = mask.shape
    shapes = (N, H, L, size), (N, H, S, size), (N, H, S, size)
    return Attention("heads", *(DensityTensor(shape, 1.0, 0) for shape in shapes), mask=MaskTensor.of(mask))


def deit() -> np.ndarray[Any, Any]:
    return np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"]


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 90)), share=st.sampled_from((0.0, 0.25, 1.0)),
    density=st.sampled_from((0.05, 0.3, 1.0)), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_columns_are_parted_as_by_hand(shape: tuple[int, int], share: float, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    records, issues = np.zeros((shape[0], 3), np.int64), np.zeros((int(mask.sum()), 3), np.int32)
    polarise(pack_rows(mask), shape[1], share, records, issues)
    dense, sparse = twin.part(mask.tolist(), share)
    assert (records[:, 2] == len(dense)).all()
    assert records[:, 0].tolist() == mask[:, dense].sum(axis=1).tolist()
    first = [(0, query, key) for key in dense for query in np.flatnonzero(mask[:, key]).tolist()]
    assert list(map(tuple, issues.tolist())) == first + [(1, query, key) for query, key in sparse]


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 60)), lines=st.integers(2, 20), width=st.integers(1, 9),
    features=st.integers(1, 20), density=st.sampled_from((0.1, 0.5)), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_engines_take_the_cycles_of_the_twin(
    shape: tuple[int, int], lines: int, width: int, features: int, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    mask[:, 0] = True
    result = run(
        masked(mask[None, None], features), auto_encoder__ratio="1", lines__count=str(lines), lines__width=str(width)
    )
    product = twin.play(mask.tolist(), 0.254, lines, width, features)
    assert result.program.stages[0].cycles.tolist() == [2 * product]


@needs_data
@pytest.mark.parametrize("layer", range(12))
def test_real_masks_take_the_cycles_of_the_twin(layer: int) -> None:
    """DeiT-Tiny at 95 %: three heads, whose queries and keys are decoded from two."""
    mask = deit()[layer]
    result = run(masked(mask[None]), **FREE)
    decoder = -(-2 * 197 * 64 * 2 // 512)
    expected = [2 * twin.play(head.tolist(), 50 / 197, 64, 8, 64) + decoder for head in mask]
    assert result.program.stages[0].cycles.tolist() == expected
    assert result.program.macs.effectual == int(mask.sum()) * 128


def stand_ins(threshold: int) -> list[Layer]:
    layers = []
    for layer in deit():
        columns = layer[0].sum(axis=0)
        dense = columns > threshold
        layers.append(Layer(197, int(dense.sum()), int(columns[~dense].sum())))
    return layers


@needs_data
def test_the_public_simulator() -> None:
    """The log that GATECH-EIC/ViTCoD ships (vitcod_atten_0.95_wo.txt), and what ViTCoD.py prints at other settings."""
    assert attention_cycles(stand_ins(50), 3, 2 / 3) == Cycles(loading=9492, decoding=4728, computing=4709)
    assert attention_cycles(stand_ins(50), 3, 2 / 3).total == 9492
    assert attention_cycles(stand_ins(180), 3, 1.0) == Cycles(loading=14220, decoding=4728, computing=3682)


def test_the_auto_encoder_trades_bytes_for_work() -> None:
    mask = np.random.default_rng(0).random((1, 4, 64, 64)) < 0.1
    mask[..., 0] = True
    squeezed, whole = run(masked(mask)), run(masked(mask), auto_encoder__ratio="1")
    moved = [{s.name: s.compulsory for s in result.program.reads} for result in (squeezed, whole)]
    assert moved[0]["query"] * 2 == moved[1]["query"] == 4 * 64 * 64
    assert moved[0]["key"] * 2 == moved[1]["key"]
    assert moved[0]["value"] == moved[1]["value"]
    assert squeezed.program.stages[0].cycles.sum() - whole.program.stages[0].cycles.sum() == 4 * 2 * 64 * 64 * 2 // 512
    assert squeezed.phases["decoder"] > whole.phases["decoder"] == 0


def test_values_are_those_of_the_mask() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((2, 3, 50, 50)) < 0.1
    mask[..., :2] = True
    tensors = [ValueTensor(rng.integers(-99, 100, (2, 3, 50, 16)), 0.02) for _ in range(3)]
    assert run(Attention("heads", *tensors, mask=MaskTensor.of(mask)), check=True).verified
