"""ESCALATE on real data, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import Arch
from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, Trace, ValueTensor
from tests.operators import trace_of
from tests.real import DATA, cifar_images, needs_data, resnet20


@pytest.fixture(scope="module")
def escalate() -> Arch[Any]:
    return load_arch("escalate")


@needs_data
def test_resnet20_on_real_images_is_exact(escalate: Arch[Any]) -> None:
    images, labels = cifar_images(4)
    trace, scores = resnet20(images)
    assert list(scores.argmax(axis=1)) == labels  # these are the activations of a network that works
    result = simulate(trace, escalate, check=True)
    assert len(result.operators) == 20
    assert {o.program.mapping for o in result.operators} == {"dense", "decomposed", "accumulated"}
    assert [o.verified for o in result.operators] == [True] * 20


@needs_data
@pytest.mark.parametrize(
    ("layer", "effectual"), [("07", 1_702_140), ("13", 1_144_158), ("19", 1_457_458), ("25", 948_572)]
)
def test_effectual_macs_of_mobilenet_masks(escalate: Arch[Any], layer: str, effectual: int) -> None:
    """The published ground truth (Sparseloop, MICRO 2022) of four pruned 1×1 layers."""
    masks = np.load(DATA / "mobilenet_masks" / f"L{layer}.npz")
    operator = Conv2d(
        "pointwise",
        MaskTensor.of(masks["activations"].transpose(2, 0, 1)[None]),
        weight=MaskTensor.of(masks["weights"][:, :, None, None], bits=1),
    )
    result = simulate(trace_of(operator), escalate)
    assert result.summary["macs"]["effectual"] == effectual
    assert result.summary["macs"]["performed"] == effectual


def dense_ones(shape: tuple[int, ...], bits: int = 8) -> ValueTensor:
    return ValueTensor(np.ones(shape, np.int64), bits=bits)


def test_a_pointwise_layer_by_hand(escalate: Arch[Any]) -> None:
    """Dense 1×1 layer, 64 → 192 channels, 4×4 pixels: one pass, rows of four pixels."""
    operator = Conv2d("pointwise", dense_ones((1, 64, 4, 4)), weight=dense_ones((192, 64, 1, 1), bits=1))
    result = simulate(trace_of(operator), escalate)
    array = result.operators[0].program.stages[1]
    # per row: the first word arrives at 1; each of 4 pixels takes 64 / 16 = 4 cycles: 17; 4 rows;
    # once per tile the pipeline: dilution 1, concentration 3, result 1
    assert array.cycles.tolist() == [4 * 17 + 5]
    assert result.summary["macs"] == {"dense": 196_608, "effectual": 196_608, "performed": 196_608}
    # the weights reach the slices first: 192 × (64 + 64) bits at 128 bytes a cycle
    assert result.operators[0].program.stages[0].cycles.tolist() == [192 * 16 // 128]
    streams = dict(zip(result.streams["stream"], result.streams["bytes"], strict=True))
    assert streams == {"input": 16 * 72, "weight": 192 * 16, "output": 16 * (192 + 24)}


def test_a_decomposed_layer_by_hand(escalate: Arch[Any]) -> None:
    """Dense 3×3 layer of six bases, 16 → 32 channels, 5×5 pixels, no padding: every CA and MAC row is in step."""
    operator = Conv2d(
        "conv", dense_ones((1, 16, 5, 5)), basis=dense_ones((6, 3, 3)), coefficients=dense_ones((32, 16, 6), bits=1)
    )
    result = simulate(trace_of(operator), escalate, check=True)
    assert result.verified is True
    program = result.operators[0].program
    # per row: word at 1, five pixels of one cycle each, and the MAC row's last cycle: 7; five rows; pipeline 5
    assert program.stages[1].cycles.tolist() == [5 * 7 + 5]
    pairs, landing = 25 * 16 * 192, 32 * 6 * 9 * 9
    assert program.macs.effectual == pairs + landing
    assert program.macs.performed == pairs + 25 * 192 * 9


def test_a_depthwise_layer_uses_every_slice(escalate: Arch[Any]) -> None:
    """3×3 depthwise, 192 channels, 6×6 pixels: one pass, a channel per slice, three words a pixel."""
    operator = Conv2d("dw", dense_ones((1, 192, 6, 6)), weight=dense_ones((192, 1, 3, 3)), padding=1, groups=192)
    program = simulate(trace_of(operator), escalate).operators[0].program
    # per row: six pixels of three broadcast cycles, then the last product: 19; six rows; pipeline 1
    assert program.stages[1].cycles.tolist() == [6 * 19 + 1]


def test_the_window_only_helps_and_ideal_is_best() -> None:
    operator = Conv2d(
        "conv",
        DensityTensor((1, 256, 6, 6), 0.5, 1),
        basis=dense_ones((6, 3, 3)),
        coefficients=DensityTensor((32, 256, 6), 0.3, 2, bits=1),
        padding=1,
    )
    none = {"channel_accumulation.look_ahead": "0", "channel_accumulation.offsets": "[]"}
    ideal = {"channel_accumulation.concentration": "ideal"}
    busy = []
    for settings in (none, {}, ideal):
        result = simulate(trace_of(operator), load_arch("escalate", settings))
        _, states = result.operators[0].timeline.units["channel_accumulation"]
        busy.append(int(states[0]))
    assert busy[0] > busy[1] > busy[2]


def test_weights_stay_on_chip_where_they_fit(escalate: Arch[Any]) -> None:
    """All traffic is compulsory where the buffers are large, and grows where they are small; the work is the same."""
    operator = Conv2d(
        "conv",
        DensityTensor((2, 64, 24, 24), 0.4, 1),
        basis=dense_ones((6, 3, 3)),
        coefficients=DensityTensor((128, 64, 6), 0.05, 2, bits=1),
        padding=1,
    )
    large = {f"{name}_buffer.size": "4 MiB" for name in ("activation", "coefficient", "output")}
    small = {"activation_buffer.size": "16 KiB", "coefficient_buffer.size": "8 KiB"}
    results = [simulate(trace_of(operator), load_arch("escalate", settings)) for settings in (large, small)]
    moved = []
    for result in results:
        bursts = 64 * result.operators[0].program.tiles * 4
        moved.append(sum(result.streams["bytes"]) - sum(result.streams["compulsory_bytes"]))
        assert moved[0] <= bursts
    assert moved[1] > 10 * moved[0]
    effectual = [result.summary["macs"]["effectual"] for result in results]
    assert effectual[0] == effectual[1]


def test_long_rows_are_cut_where_the_line_buffer_is_short() -> None:
    """Segments overlap by the kernel's reach: more is performed, the effectual work and the values are the same."""
    rng = np.random.default_rng(0)
    operator = Conv2d(
        "conv",
        ValueTensor(rng.integers(-5, 6, (1, 12, 7, 40))),
        basis=ValueTensor(rng.integers(-9, 9, (4, 3, 3))),
        coefficients=ValueTensor(rng.integers(-1, 2, (10, 12, 4)), bits=1),
        padding=1,
    )
    whole, cut = (
        simulate(trace_of(operator), load_arch("escalate", settings), check=True)
        for settings in ({}, {"mac_row.line_buffer": "128 B"})
    )
    assert whole.verified is cut.verified is True
    assert whole.summary["macs"]["effectual"] == cut.summary["macs"]["effectual"]
    assert whole.summary["macs"]["performed"] < cut.summary["macs"]["performed"]


def test_eight_bit_pointwise_weights_are_refused(escalate: Arch[Any]) -> None:
    operator = Linear("fc", dense_ones((1, 8)), weight=dense_ones((4, 8)))
    with pytest.raises(InputError, match=r"operator 'fc': its weights have 8-bit values"):
        simulate(Trace("t", (operator,)), escalate)


def test_groups_keep_their_order(escalate: Arch[Any]) -> None:
    """Many groups with different contents: each is matched with its own channels."""
    rng = np.random.default_rng(1)
    operator = Conv2d(
        "grouped",
        ValueTensor(rng.integers(0, 2, (1, 96, 3, 3)) * np.arange(96)[None, :, None, None] % 7),
        weight=ValueTensor(rng.integers(-1, 2, (32, 3, 1, 1)), bits=1),
        groups=32,
    )
    assert simulate(trace_of(operator), escalate, check=True).verified is True


@pytest.mark.parametrize("settings", [{}, {"activation_buffer.size": "8 KiB", "coefficient_buffer.size": "4 KiB"}])
def test_addresses_cover_each_tensor(settings: dict[str, str]) -> None:
    """What the tiles move, by offset, is the whole of every tensor as stored, and nothing beyond it."""
    operator = Conv2d(
        "conv",
        DensityTensor((2, 64, 12, 12), 0.4, 1),
        basis=dense_ones((6, 3, 3)),
        coefficients=DensityTensor((96, 64, 6), 0.1, 2, bits=1),
        padding=1,
    )
    program = simulate(trace_of(operator), load_arch("escalate", settings)).operators[0].program
    for stream in (*program.reads, *program.writes):
        touched = np.zeros(stream.compulsory + 64, np.bool_)
        for offset, size in zip(stream.offset, stream.size, strict=True):
            assert offset + size < stream.compulsory + 64
            touched[offset : offset + size] = True
        assert touched[: stream.compulsory].all()
