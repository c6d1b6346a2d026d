"""What `skipper inspect` says is what NumPy says, and what it draws is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cli import main
from simulator.errors import InputError
from simulator.results.drawing import save_figure
from simulator.results.inspection import inspect_trace
from simulator.results.masks import MOST_MAPS, block_densities, mask_maps
from simulator.results.masks_figure import masks_figure
from simulator.trace import (
    Attention,
    Conv2d,
    DensityTensor,
    Linear,
    MaskTensor,
    MatMul,
    Operator,
    Rowwise,
    Trace,
    ValueTensor,
    load_trace,
    save_trace,
)
from simulator.trace.effectual import effectual_macs
from simulator.trace.reference import recompose
from tests.operators import attentions, convolutions, linears, masked, matmuls, trace_of, values


def ones(tensor: object) -> ValueTensor:
    """The mask as values: their products count what is effectual."""
    return ValueTensor(tensor.mask().astype(int), bits=2)


def brute(operator: Operator) -> int:
    if isinstance(operator, Conv2d):
        weight = operator.weight
        if weight is None:
            weight = ValueTensor(recompose(operator.basis.values(), operator.coefficients.values()), bits=32)
        plain = dict(operator.attributes)
        return int(Conv2d("x", ones(operator.input), weight=ones(weight), **plain).reference().sum())
    if isinstance(operator, Linear):
        return int(Linear("x", ones(operator.input), ones(operator.weight)).reference().sum())
    return int(MatMul("x", ones(operator.a), ones(operator.b)).reference().sum())


@settings(max_examples=60)
@given(st.one_of(convolutions(), linears(), matmuls()), st.booleans())
def test_effectual_macs_are_those_of_the_masks(operator: Operator, of_masks: bool) -> None:
    if of_masks and not (isinstance(operator, Conv2d) and operator.is_decomposed):
        assert effectual_macs(masked(operator)) == brute(operator)
    assert effectual_macs(operator) == brute(operator)
    assert effectual_macs(operator) <= operator.macs


def test_a_stack_of_products() -> None:
    rng = np.random.default_rng(0)
    operator = MatMul("m", values(rng, (3, 2, 4, 5), 0.4), values(rng, (3, 2, 5, 6), 0.6))
    assert effectual_macs(operator) == brute(operator)


@settings(max_examples=25)
@given(attentions())
def test_effectual_macs_of_attention_are_of_connections(operator: Attention) -> None:
    found = effectual_macs(operator)
    if operator.rule == "threshold":
        assert found is None
        return
    places = [(image, head) for image in range(operator.images) for head in range(operator.heads)]
    kept = sum(int(operator.kept_mask(*place).sum()) for place in places)
    assert found == kept * (operator.head_size + operator.value_size)


def test_density_tensors_count_as_expected() -> None:
    ends = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
    full = Conv2d("c", DensityTensor((2, 4, 7, 9), 1, 0), weight=DensityTensor((6, 2, 3, 2), 1, 1), **ends)
    half = Conv2d("c", DensityTensor((2, 4, 7, 9), 0.5, 0), weight=DensityTensor((6, 2, 3, 2), 0.25, 1), **ends)
    assert effectual_macs(full) == brute(full)
    assert effectual_macs(half) == brute(full) // 8
    linear = Linear("l", DensityTensor((4, 10), 0.5, 0), DensityTensor((6, 10), 0.5, 1))
    assert effectual_macs(linear) == linear.macs // 4
    assert effectual_macs(Rowwise("r", DensityTensor((4, 10), 0.5, 0), kind="relu")) == 0
    masks = Conv2d("d", MaskTensor.of(np.ones((1, 2, 3, 3), bool)), basis=DensityTensor((2, 2, 2), 1, 0),
                   coefficients=DensityTensor((3, 2, 2), 1, 0))  # fmt: skip
    assert effectual_macs(masks) is None


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = np.random.default_rng(3)
    weight = values(rng, (6, 4, 3, 3), 0.3)
    hidden = MaskTensor.of(rng.random((2, 6, 5, 5)) < 0.4, bits=5)
    mask = rng.random((2, 3, 20, 30)) < 0.3
    mask[..., 0] = True
    unknown = DensityTensor((2, 3, 20, 4), 1, 0), DensityTensor((2, 3, 30, 4), 1, 0)
    return Trace(
        "small $x$",
        (
            Conv2d("conv", values(rng, (2, 4, 7, 7), 0.6), weight=weight, output=hidden),
            Conv2d("next", hidden, weight=DensityTensor((2, 6, 1, 1), 0.3, 0, bits=1)),
            Linear("zero", ValueTensor(np.zeros((2, 8), int)), values(rng, (5, 8), 0.5)),
            Attention("heads", unknown[0], unknown[1], unknown[1], mask=MaskTensor.of(mask)),
            Attention("drawn", unknown[0], unknown[1], unknown[1], rule="top_k", retention=0.2),
        ),
        {"recipe": "here"},
    )


def test_the_numbers_are_those_of_numpy(trace: Trace) -> None:
    found = inspect_trace(trace)
    conv, following, zero, heads, drawn = found.operators
    data, weight, hidden = conv.tensors
    mask = trace.operators[0].weight.mask()
    assert (weight.role, weight.tensor, weight.shape, weight.kind) == ("weight", "conv.weight", (6, 4, 3, 3), "values")
    assert (weight.elements, weight.nonzeros) == (216, mask.sum())
    assert weight.density == mask.sum() / 216
    assert (weight.dense_bytes, weight.nonzero_bytes) == (216, mask.sum())
    counts = {"filter": mask.reshape(6, -1).sum(axis=1), "channel": mask.sum(axis=(0, 2, 3))}
    assert [part.of for part in weight.imbalance] == list(counts)
    for part in weight.imbalance:
        assert part.parts == len(counts[part.of])
        assert part.most_over_mean == pytest.approx(counts[part.of].max() / counts[part.of].mean())
        assert part.variation == pytest.approx(counts[part.of].std() / counts[part.of].mean())
    assert [part.of for part in data.imbalance] == ["channel"]
    assert (hidden.dense_bytes, hidden.bits) == (-(-300 * 5 // 8), 5)
    assert following.tensors[0].tensor == "conv.output"
    given = following.tensors[1]
    assert (given.nonzeros, given.density, given.imbalance) == (round(0.3 * 12), 0.3, ())
    assert zero.tensors[0].imbalance[0].most_over_mean is None
    assert zero.effectual_macs == 0
    rows = trace.operators[3].mask.mask().sum(axis=-1).ravel()
    (part,) = heads.tensors[3].imbalance
    assert (part.of, part.parts) == ("row", 120)
    assert part.most_over_mean == pytest.approx(rows.max() / rows.mean())
    assert heads.effectual_macs == rows.sum() * 8
    assert drawn.effectual_macs == 2 * 3 * 20 * 6 * 8
    assert found.macs == found.known_macs == trace.macs
    assert len(found.tensors) == len(trace.tensors)


def test_the_command_prints_and_tells_the_same(trace: Trace, tmp_path: Path) -> None:
    save_trace(trace, tmp_path / "t.safetensors")
    said = CliRunner().invoke(main, ["inspect", str(tmp_path / "t.safetensors"), "--json"])
    document = json.loads(said.stdout)
    assert (document["trace"], document["digest"]) == (trace.name, trace.digest)
    assert document["macs"]["dense"] == trace.macs
    assert document["bytes"]["dense"] == sum(-(-t.size * t.bits // 8) for t in trace.tensors.values())
    assert document["operators"][0]["tensors"][1]["imbalance"][0]["of"] == "filter"
    text = CliRunner().invoke(main, ["inspect", str(tmp_path / "t.safetensors")]).stdout
    for word in ("conv", "6×4×3×3", "density", "30.0%", "next.weight", "recipe: here", trace.digest[:12], "effectual"):
        assert word in text


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_blocks_hold_all_of_a_mask(rows: int, columns: int, size: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.3
    blocks = block_densities(mask, size)
    high, wide = -(-rows // size), -(-columns // size)
    assert blocks.shape == (-(-rows // high), -(-columns // wide))
    for (r, c), density in np.ndenumerate(blocks):
        assert density == mask[r * high : (r + 1) * high, c * wide : (c + 1) * wide].mean()


class TestMaps:
    def test_flat_as_promised(self, trace: Trace) -> None:
        weight, data, heads, drawn = mask_maps(trace, ["conv.weight", "conv.input", "heads.mask", "drawn.kept"])
        operators = trace.operators
        assert np.array_equal(weight.blocks, operators[0].weight.mask().reshape(6, 36))
        assert np.array_equal(data.blocks, operators[0].input.mask()[0].reshape(4, 49))
        assert (weight.axes, data.axes) == ("K × C·R·S", "C × H·W")
        assert np.array_equal(heads.blocks, operators[3].mask.mask()[0].reshape(60, 30))
        assert np.array_equal(drawn.blocks, np.concatenate([operators[4].kept_mask(0, head) for head in range(3)]))
        assert drawn.density == drawn.blocks.mean()

    def test_a_selection_of_many(self) -> None:
        rng = np.random.default_rng(0)
        many = trace_of(*(Linear(f"l{i}", values(rng, (2, 3), 1), values(rng, (2, 3), 1)) for i in range(20)))
        names = [drawn.tensor for drawn in mask_maps(many)]
        assert len(set(names)) == MOST_MAPS
        assert (names[0], names[-1]) == ("l0.input", "l19.weight")

    def test_what_is_known_before_what_is_drawn(self, trace: Trace) -> None:
        names = [drawn.tensor for drawn in mask_maps(trace)]
        assert names == ["conv.input", "conv.weight", "conv.output", "zero.input", "zero.weight", "heads.mask",
                         "drawn.kept"]  # fmt: skip
        only = trace_of(Linear("l", DensityTensor((2, 3), 1, 0), DensityTensor((2, 3), 1, 0)))
        assert len(mask_maps(only)) == 2

    def test_an_unknown_one(self, trace: Trace) -> None:
        with pytest.raises(InputError, match=r"no tensor 'conv\.wieght'.*nearest names are conv\.weight"):
            mask_maps(trace, ["conv.wieght"])

    @pytest.mark.parametrize("suffix", [".svg", ".png"])
    def test_the_figure_is_the_same_bytes_and_not_empty(self, suffix: str, trace: Trace, tmp_path: Path) -> None:
        for name in ("a", "b"):
            save_figure(masks_figure(trace.name, mask_maps(trace)), tmp_path / name, suffix)
        drawn = (tmp_path / "a").read_bytes()
        assert drawn == (tmp_path / "b").read_bytes()
        if suffix == ".svg":
            for text in ("small $x$", "conv.weight", "6 × 36 (K × C·R·S)", "heads.mask", "<image"):
                assert text in drawn.decode()
        else:
            from PIL import Image

            with Image.open(tmp_path / "a") as picture:
                assert len(np.unique(np.asarray(picture.convert("L")))) > 20

    def test_the_command_draws_the_tensors_named(self, small_trace: Path, tmp_path: Path) -> None:
        figure = tmp_path / "f.svg"
        said = CliRunner().invoke(
            main, ["inspect", str(small_trace), "--figure", str(figure), "--tensor", "first.weight"]
        )
        assert said.exit_code == 0
        assert "first.weight" in figure.read_text()
        assert "first.input" not in figure.read_text()


def test_one_tensor_at_a_time(tmp_path: Path) -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    big = [Linear(f"l{i}", ValueTensor(rng.integers(-9, 9, (4, 1000))), ValueTensor(rng.integers(-9, 9, (500, 1000))))
           for i in range(8)]  # fmt: skip
    save_trace(trace_of(*big), tmp_path / "big.safetensors")
    loaded = load_trace(tmp_path / "big.safetensors")
    inspect_trace(load_trace(tmp_path / "big.safetensors"))
    tracemalloc.start()
    inspect_trace(loaded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 500_000
