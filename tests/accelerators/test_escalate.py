"""ESCALATE on real data, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.arch import Arch
from simulator.errors import InputError
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, Operator, Trace, ValueTensor
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
    """Dense 1×1 layer, 64 → 192 channels, 4×4 pixels: one pass, one strip of sixteen pixels."""
    operator = Conv2d("pointwise", dense_ones((1, 64, 4, 4)), weight=dense_ones((192, 64, 1, 1), bits=1))
    result = simulate(trace_of(operator), escalate)
    array = result.operators[0].program.stages[1]
    # the first word arrives at 1; each of 16 pixels takes 64 / 16 = 4 cycles: 65;
    # the pipeline fills once: dilution 1, concentration 3, result 1
    assert array.cycles.tolist() == [65 + 5]
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
    # per row: word at 1, five pixels of one cycle each, the MAC row's last cycle: 7; the pipeline: 5; five rows
    assert program.stages[1].cycles.tolist() == [5 * (7 + 5)]
    pairs, landing = 25 * 16 * 192, 32 * 6 * 9 * 9
    assert program.macs.effectual == pairs + landing
    assert program.macs.performed == pairs + 25 * 192 * 9


def test_a_depthwise_layer_uses_every_slice(escalate: Arch[Any]) -> None:
    """3×3 depthwise, 192 channels, 6×6 pixels: one pass, a channel per slice, three words a pixel."""
    operator = Conv2d("dw", dense_ones((1, 192, 6, 6)), weight=dense_ones((192, 1, 3, 3)), padding=1, groups=192)
    program = simulate(trace_of(operator), escalate).operators[0].program
    # per row: six pixels of three broadcast cycles, then the last product: 19; the pipeline: 1; six rows
    assert program.stages[1].cycles.tolist() == [6 * (19 + 1)]


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


def moved(operator: Operator, settings: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return bytes moved and compulsory bytes of each stream."""
    table = simulate(trace_of(operator), load_arch("escalate", settings)).streams
    return dict(zip(table["stream"], zip(table["bytes"], table["compulsory_bytes"], strict=True), strict=True))


@pytest.mark.parametrize("groups", [32, 512])
def test_groups_load_their_own_channels_only(groups: int) -> None:
    """A pass over one group's output channels loads that group's input, so all passes together load it once."""
    if groups == 512:
        weight = {"weight": dense_ones((512, 1, 3, 3))}
    else:
        weight = {"basis": dense_ones((6, 3, 3)), "coefficients": DensityTensor((512, 16, 6), 0.1, 2, bits=1)}
    operator = Conv2d("conv", DensityTensor((1, 512, 28, 28), 0.5, 1), **weight, padding=1, groups=groups)
    for order in ("auto", "channels"):
        size, least = moved(operator, {"tiling.order": order})["input"]
        assert size <= 1.1 * least  # bursts


def test_weights_are_loaded_once_for_a_batch() -> None:
    operator = Conv2d(
        "conv",
        DensityTensor((4, 512, 7, 7), 0.4, 1),
        basis=dense_ones((6, 3, 3)),
        coefficients=DensityTensor((512, 512, 6), 0.05, 2, bits=1),
        padding=1,
    )
    size, least = moved(operator, {})["coefficients"]
    assert size <= 1.1 * least


def test_long_linear_layers_run_in_strips() -> None:
    operator = Linear("ffn", DensityTensor((512, 768), 1.0, 1), weight=DensityTensor((3072, 768), 0.3, 2, bits=1))
    program = simulate(trace_of(operator), load_arch("escalate")).operators[0].program
    assert program.macs.effectual == program.macs.performed
    assert program.tiles >= 512 // 64


@pytest.mark.parametrize("slices_own", ["bases", "rows"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_no_buffer_gives_more_than_its_ports(slices_own: str, kernel: int) -> None:
    """What passes the ports in a stage takes as long as the ports need."""
    settings = {"array.slices_own": slices_own, "dram.bandwidth": "1000 GB/s"}
    for buffer in ("activation_buffer", "coefficient_buffer", "output_buffer"):
        settings |= {f"{buffer}.banks": "2"}
    data = DensityTensor((1, 256, 14, 14), 1.0, 1)
    if kernel == 1:
        operator = Conv2d("conv", data, weight=DensityTensor((64, 256, 1, 1), 0.05, 2, bits=1))
    else:
        coefficients = DensityTensor((64, 256, 6), 0.05, 2, bits=1)
        operator = Conv2d("conv", data, basis=dense_ones((6, 3, 3)), coefficients=coefficients, padding=1)
    program = simulate(trace_of(operator), load_arch("escalate", settings)).operators[0].program
    accesses = {(a.component, a.name): a.count for a in program.actions if a.component.endswith("_buffer")}
    stages = {stage.name: stage.cycles for stage in program.stages}
    ports = (
        ("activation_buffer", "read", "array"),
        ("coefficient_buffer", "read", "coefficient_fetch"),
        ("output_buffer", "write", "output_drain"),
    )
    for buffer, access, stage in ports:
        words = accesses[buffer, access]
        if buffer == "coefficient_buffer":
            words = words[1:]  # the basis goes to the MAC rows beside the first fetch
            assert (2 * stages[stage][1:] >= words).all()
        else:
            assert (2 * stages[stage] >= words).all()


def test_sums_that_do_not_fit_are_refused_when_checked() -> None:
    operator = Conv2d(
        "conv", ValueTensor(np.full((1, 512, 3, 3), 127)), basis=dense_ones((2, 3, 3)),
        coefficients=dense_ones((2, 512, 2), bits=1),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"'conv': a sum reaches 65024, which channel_accumulation.result_bits = 16"):
        simulate(trace_of(operator), load_arch("escalate"), check=True)
    wide = {"channel_accumulation.result_bits": "32", "mac_row.partial_sum_bits": "16"}
    with pytest.raises(InputError, match=r"which mac_row.partial_sum_bits = 16 does not hold"):
        simulate(trace_of(operator), load_arch("escalate", wide), check=True)


def test_activations_of_another_width_are_refused(escalate: Arch[Any]) -> None:
    operator = Conv2d("conv", dense_ones((1, 8, 4, 4), bits=16), weight=dense_ones((4, 8, 1, 1), bits=1))
    with pytest.raises(InputError, match=r"operator 'conv': input has 16-bit values, but the chip holds 8-bit ones"):
        simulate(trace_of(operator), escalate)


def test_line_buffers_hold_all_open_rows() -> None:
    """Dilation opens more output rows at a time, a stride fewer: columns are cut where they do not fit."""

    def tiles(**attributes: int) -> int:
        operator = Conv2d("conv", dense_ones((1, 2, 28, 28)), weight=dense_ones((2, 2, 3, 3)), padding=1, **attributes)
        settings = {"mac_row.line_buffer": f"{3 * 28 * 4} B", "tiling.rows": "28"}
        return simulate(trace_of(operator), load_arch("escalate", settings)).operators[0].program.tiles

    assert [tiles(), tiles(dilation=2), tiles(stride=2)] == [1, 2, 1]


def test_dilution_may_be_done_beforehand() -> None:
    operator = Conv2d("conv", dense_ones((1, 64, 4, 4)), weight=dense_ones((8, 64, 1, 1), bits=1))
    cycles, components = [], []
    for dilution in ("run_time", "precomputed"):
        result = simulate(trace_of(operator), load_arch("escalate", {"channel_accumulation.dilution": dilution}))
        cycles.append(int(result.operators[0].program.stages[1].cycles[0]))
        components.append("dilution" in result.summary["energy_by_component_pj"])
    assert cycles[0] == cycles[1] + 1
    assert components == [True, False]
