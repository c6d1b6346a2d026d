"""Eyeriss: AlexNet as measured on the chip, real masks, gating, run lengths, given mappings, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from simulator import load_arch, load_trace, simulate
from simulator.accelerators.eyeriss import geometry
from simulator.compress import run_length_bits
from simulator.dataflow.row_stationary import Coding, Stored
from simulator.errors import InputError
from simulator.results.result import OperatorResult, Result
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, Trace
from tests.operators import trace_of
from tests.real import DATA, needs_data

MEASURED = {"conv1": 16.5, "conv2": 39.2, "conv3": 21.8, "conv4": 16.0, "conv5": 10.0}
"""Processing time of AlexNet's convolutions, batch 4, in ms: JSSC 2017."""
MOVED = {"conv1": 5.0, "conv2": 4.0, "conv3": 3.0, "conv4": 2.1, "conv5": 1.3}
"""Their bytes to and from DRAM in MB, likewise."""


def alexnet() -> Trace:
    trace = load_trace("alexnet_groups", {"batch": 4, "measured": 1})
    return Trace("alexnet", tuple(o for o in trace.operators if o.type == "conv2d"))


def processing(operator: OperatorResult) -> float:
    """Milliseconds in which the array has work, transfers of feature maps left out."""
    return int(operator.program.stages[0].cycles.sum()) / 200_000


@pytest.fixture(scope="module")
def measured() -> Result:
    return simulate(alexnet(), load_arch("eyeriss"))


@pytest.mark.parametrize("name", MEASURED)
def test_a_convolution_takes_the_time_that_was_measured(measured, name):
    (operator,) = (o for o in measured.operators if o.name == name)
    assert processing(operator) == pytest.approx(MEASURED[name], rel=0.1)


def test_alexnet_takes_the_time_that_was_measured(measured):
    assert {o.name: o.program.mapping for o in measured.operators} == dict.fromkeys(MEASURED, "given")
    assert measured.cycles / 200_000 == pytest.approx(115.3, rel=0.1)  # transfers included


def test_alexnet_moves_the_bytes_that_were_measured(measured):
    moved = {o.name: (o.read_bytes + o.write_bytes) / 1e6 for o in measured.operators}
    assert moved == pytest.approx(MOVED, rel=0.15)
    assert sum(moved.values()) == pytest.approx(15.4, rel=0.05)


def test_found_mappings_come_as_near():
    found = simulate(alexnet(), load_arch("eyeriss", {"mapping.given": "[]"}))
    for operator in found.operators:
        assert operator.program.mapping == "found"
        assert processing(operator) == pytest.approx(MEASURED[operator.name], rel=0.1), operator.name


@needs_data
@pytest.mark.parametrize(("layer", "pairs"), [("L07", 1702140), ("L13", 1144158), ("L19", 1457458), ("L25", 948572)])
def test_effectual_macs_of_real_masks(layer, pairs):
    with np.load(DATA / "mobilenet_masks" / f"{layer}.npz") as masks:
        weights, activations = masks["weights"] != 0, masks["activations"] != 0
    data = MaskTensor.of(np.ascontiguousarray(activations.transpose(2, 0, 1))[None])
    conv = Conv2d(layer, data, weight=MaskTensor.of(weights[:, :, None, None]))
    macs = simulate(trace_of(conv), load_arch("eyeriss")).operators[0].program.macs
    assert macs.effectual == pairs
    assert macs.performed == int(activations.sum()) * len(weights)  # zeros of the ifmap are gated, weights' are not


def conv(density: float) -> Conv2d:
    return Conv2d(
        "conv", DensityTensor((2, 24, 20, 20), density, 1), weight=DensityTensor((40, 24, 3, 3), 0.5, 2), padding=1
    )


def test_zeros_save_energy_and_no_cycle():
    results = [simulate(trace_of(conv(density)), load_arch("eyeriss")) for density in (0.1, 0.9)]
    sparse, dense = (result.operators[0].program for result in results)
    assert sparse.stages[0].cycles.sum() == dense.stages[0].cycles.sum()
    assert sparse.macs.performed < dense.macs.performed / 5
    ungated = simulate(trace_of(conv(0.1)), load_arch("eyeriss", {"array.zero_gating": "false"}))
    assert ungated.operators[0].program.macs.performed == conv(0.1).macs
    assert sum(results[0].energies) < sum(ungated.energies)
    assert results[0].cycles == ungated.cycles


def stored(mask: np.ndarray, form: str = "auto") -> Stored:
    return Stored(mask, mask.shape, Coding(5, 3, 8), form, np.ones(mask.shape[3], np.bool_))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.4, 1.0])
def test_run_lengths_are_packed_three_to_a_word(density):
    mask = np.random.default_rng(0).random((2, 2, 3, 9, 40)) < density
    pairs = run_length_bits(mask.reshape(2, 2, 3, -1), 16, 5) // 21
    assert stored(mask, "rlc").size == int((-(-pairs // 3)).sum()) * 8
    assert stored(mask, "plain").size == mask.size * 2
    assert stored(mask).size == min(stored(mask, "rlc").size, mask.size * 2)


def test_pieces_of_a_map_are_whole_words_of_each_plane():
    mask = np.random.default_rng(1).random((2, 1, 3, 8, 10)) < 0.3
    fmap = stored(mask, "rlc")
    spans = np.array([[0, 2], [0, 1]]), np.array([[0, 3], [1, 2]]), np.array([[0, 8], [2, 5]])
    sizes = fmap.pieces(np.zeros(2, np.int64), *spans)
    assert sizes[0] == fmap.size
    flat = np.flatnonzero(mask[0, 0, 1])
    zeros = np.diff(flat, prepend=-1) - 1
    rows = flat // 10
    assert sizes[1] == -(-int((1 + zeros // 32)[(rows >= 2) & (rows < 5)].sum()) // 3) * 8


def test_a_given_mapping_that_does_not_fit_is_passed_over():
    conv3 = next(o for o in alexnet().operators if o.name == "conv3")
    assert geometry(conv3, load_arch("eyeriss").chip).given
    assert not geometry(conv3, load_arch("eyeriss", {"array.columns": "12"}).chip).given


def test_what_is_loaded_once():
    """Weights that all passes share stay in the scratchpads, ifmaps under a single block of channels in the buffer."""
    small = Conv2d("conv", DensityTensor((4, 3, 32, 32), 1, 1), weight=DensityTensor((16, 3, 3, 3), 1, 2), padding=1)
    streams = {s.name: s for s in simulate(trace_of(small), load_arch("eyeriss")).operators[0].program.reads}
    assert streams["weight"].size.sum() == -(-streams["weight"].compulsory // 64) * 64
    wide = Linear("linear", DensityTensor((1, 4), 1, 1), weight=DensityTensor((5000, 4), 1, 2))
    streams = {s.name: s for s in simulate(trace_of(wide), load_arch("eyeriss")).operators[0].program.reads}
    assert streams["input"].size.sum() == 64


@pytest.mark.parametrize(("kernel", "settings", "key"), [
    ((13, 3), {}, "array.rows"),
    ((3, 13), {}, "array.ifmap_spad"),
    ((3, 3), {"array.filter_spad": "2"}, "array.filter_spad"),
    ((3, 3), {"global_buffer.bank": "8 B", "global_buffer.filter_banks": "1"}, "global_buffer.filter_banks"),
    ((3, 3), {"global_buffer.bank": "32 B", "global_buffer.fmap_banks": "1"}, "global_buffer.fmap_banks"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(kernel, settings, key):
    large = Conv2d("large", DensityTensor((1, 1, 20, 20), 1, 1), weight=DensityTensor((1, 1, *kernel), 1, 2))
    with pytest.raises(InputError, match=f"operator 'large'.*enlarge {key}$"):
        geometry(large, load_arch("eyeriss", settings).chip)


def test_operands_have_sixteen_bits():
    wide = Linear("wide", DensityTensor((1, 4), 1, 1, bits=32), weight=DensityTensor((4, 4), 1, 2))
    with pytest.raises(InputError, match="operator 'wide': input has 32 bits"):
        geometry(wide, load_arch("eyeriss").chip)
