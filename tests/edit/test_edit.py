"""Traces made of others hold what they promise, and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_arch, load_trace, simulate
from simulator.cli import main
from simulator.edit import Pruning, Selection, convert_traces, image_count, merge, prune, select, take_samples
from simulator.edit.places import places
from simulator.errors import InputError
from simulator.trace import (
    Attention,
    Conv2d,
    DensityTensor,
    Linear,
    MaskTensor,
    MatMul,
    Rowwise,
    Trace,
    ValueTensor,
    quantise,
    save_trace,
)
from tests.operators import attentions, convolutions, trace_of, values


def chain(images: int = 3) -> Trace:
    """Convolutions that share their activations, and a linear layer on as many images."""
    rng, fixed = np.random.default_rng(5), np.random.default_rng(6)
    hidden = values(rng, (images, 8, 6, 6), 0.5)
    last = MaskTensor.of(rng.random((images, 4, 6, 6)) < 0.4)
    first = Conv2d("a.conv", values(rng, (images, 3, 6, 6), 1), weight=values(fixed, (8, 3, 3, 3), 0.9), output=hidden,
                   padding=1)  # fmt: skip
    second = Conv2d("b.conv", hidden, weight=values(fixed, (4, 8, 1, 1), 0.7, bits=1), output=last)
    third = Linear("b.fc", values(rng, (images, 16), 0.6), MaskTensor.of(fixed.random((5, 16)) < 0.5))
    return Trace("chain", (first, second, third), {"recipe": "tests"})


def digests(trace: Trace) -> list[str]:
    return [operator.digest for operator in trace.operators]


class TestSelect:
    @pytest.mark.parametrize(
        ("how", "names"),
        [
            ({"names": ["b.*"]}, ["b.conv", "b.fc"]),
            ({"names": ["a.*", "*.fc"]}, ["a.conv", "b.fc"]),
            ({"types": ["conv2d"]}, ["a.conv", "b.conv"]),
            ({"types": ["conv2d"], "names": ["b.*"]}, ["b.conv"]),
            ({"layers": ["1:"]}, ["b.conv", "b.fc"]),
            ({"layers": ["0", "b.fc"]}, ["a.conv", "b.fc"]),
            ({"layers": ["a.conv:b.conv"]}, ["a.conv", "b.conv"]),
            ({"layers": ["2,0"]}, ["a.conv", "b.fc"]),
            ({"without": ["b.*"]}, ["a.conv"]),
            ({}, ["a.conv", "b.conv", "b.fc"]),
        ],
    )
    def test_what_stays(self, how: dict, names: list[str]) -> None:
        trace = chain()
        found = select(trace, **how)
        assert [operator.name for operator in found.operators] == names
        assert all(operator in trace.operators for operator in found.operators)
        assert ("convert 1" in found.provenance) == bool(how)

    def test_a_name_with_a_colon_and_brackets(self) -> None:
        trace = Trace("t", tuple(replace(o, name=f"x[{i}]:y") for i, o in enumerate(chain().operators)))
        assert len(select(trace, layers=["x[0]:y:x[1]:y"]).operators) == 2
        assert len(select(trace, names=["x[1]:y"]).operators) == 1

    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"names": ["c.*"]}, r"matches 'c\.\*'; the nearest names are"),
            ({"types": ["conv"]}, "unknown type of operators 'conv' .did you mean 'conv2d'"),
            ({"types": ["matmul"]}, "has no operator of type matmul; it has conv2d, linear"),
            ({"layers": ["3"]}, "beyond the last, expected 0 to 2"),
            ({"layers": ["1:1"]}, "range '1:1' .* is empty"),
            ({"layers": ["b.fc:a.conv"]}, "'a.conv' comes before 'b.fc'"),
            ({"layers": ["a.conv:c"]}, "no operator 'c'"),
            ({"names": ["a.*"], "types": ["linear"]}, "is left by names a.*; types linear"),
            ({"without": ["*"]}, "is left by without"),
        ],
    )
    def test_refused(self, how: dict, words: str) -> None:
        with pytest.raises(InputError, match=words):
            select(chain(), **how)


@given(st.integers(1, 9), st.data())
def test_places_are_those_of_python(count: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(begin + 1, count))
    assert places(f"{begin}:{end}", count, "x") == list(range(count))[begin:end]
    assert places(f"{begin}:", count, "x") == list(range(count))[begin:]
    assert places(f":{end}", count, "x") == list(range(count))[:end]
    for text in (f"{count}", f"0:{count + 1}", f"{begin},{begin}", "", "-1", "1:2:3", "a", f"{end}:{begin}"):
        with pytest.raises(InputError):
            places(text, count, "x")


class TestSamples:
    def test_every_tensor_with_images_and_no_other(self) -> None:
        trace = chain()
        found = take_samples(trace, [2, 0])
        for whole, part in zip(trace.operators, found.operators, strict=True):
            assert np.array_equal(part.input.mask(), whole.input.mask()[[2, 0]])
            assert part.weight is whole.weight
        assert found.operators[0].output is found.operators[1].input
        assert np.array_equal(found.operators[1].output.mask(), trace.operators[1].output.mask()[[2, 0]])
        assert np.array_equal(found.operators[0].reference(), trace.operators[0].reference()[[2, 0]])
        assert image_count(found) == 2

    def test_all_images_in_order_are_the_trace(self) -> None:
        assert digests(take_samples(chain(), [0, 1, 2])) == digests(chain())

    def test_tokens_of_all_images_in_one_axis(self) -> None:
        rng = np.random.default_rng(0)
        conv, tokens = chain(2).operators[0], values(rng, (10, 4), 1)
        stacked = MatMul("m", values(rng, (6, 2, 3), 1), values(rng, (6, 3, 4), 1))
        trace = trace_of(conv, Linear("l", tokens, values(rng, (3, 4), 1)), stacked)
        found = take_samples(trace, [1])
        assert np.array_equal(found.operators[1].input.values(), tokens.values()[5:])
        assert np.array_equal(found.operators[2].reference(), stacked.reference()[3:])

    def test_scales_of_images_stay_with_them(self) -> None:
        tensor = quantise(np.random.default_rng(0).normal(size=(4, 3, 2)), axis=0)
        found = take_samples(trace_of(Rowwise("r", tensor, kind="relu")), [3, 1])
        assert found.operators[0].input.scale == (tensor.scale[3], tensor.scale[1])

    def test_the_first_images_keep_what_is_drawn(self) -> None:
        tensor = DensityTensor((3, 2, 5, 5), 0.5, 1)
        trace = trace_of(Conv2d("c", tensor, weight=DensityTensor((2, 2, 3, 3), 0.5, 2)))
        found = take_samples(trace, [0, 1]).operators[0]
        assert np.array_equal(found.input.mask(), tensor.mask()[:2])
        assert np.array_equal(found.weight.mask(), trace.operators[0].weight.mask())

    @settings(max_examples=15)
    @given(attentions())
    def test_attention_keeps_the_connections_of_its_images(self, operator: Attention) -> None:
        image = operator.images - 1
        if operator.rule == "top_k" and not operator.is_detected:
            image = 0
        found = take_samples(trace_of(operator), [image]).operators[0]
        for head in range(operator.heads):
            assert np.array_equal(found.kept(0, head), operator.kept(image, head))

    @settings(max_examples=10)
    @given(convolutions(("dense", "decomposed")))
    def test_images_run_alone_do_the_work_they_do_together(self, operator: Conv2d) -> None:
        chip = load_arch("escalate", {"array.slices_own": "rows"})
        trace = trace_of(operator)
        whole = simulate(trace, chip).summary["macs"]
        alone = [simulate(take_samples(trace, [i]), chip).summary["macs"] for i in range(image_count(trace))]
        for kind in ("dense", "effectual"):
            assert sum(macs[kind] for macs in alone) == whole[kind]

    @pytest.mark.parametrize("images", [[], [3], [-1], [0, 0]])
    def test_images_that_are_not_there(self, images: list[int]) -> None:
        with pytest.raises(InputError, match="different numbers from 0 to 2"):
            take_samples(chain(), images)

    def test_operators_that_disagree(self) -> None:
        one, two = chain(2).operators[0], replace(chain(3).operators[1], name="other")
        with pytest.raises(InputError, match=r"'a\.conv' is of 2 images, 'other' of 3"):
            take_samples(trace_of(one, two), [0])

    def test_operators_that_are_not_of_images(self) -> None:
        rng = np.random.default_rng(0)
        product = MatMul("m", values(rng, (2, 3), 1), values(rng, (3, 4), 1))
        with pytest.raises(InputError, match=r"operator 'm' \(matmul\) has no axis of images"):
            take_samples(trace_of(chain(2).operators[0], product), [0])
        with pytest.raises(InputError, match="no tensor with an axis of images"):
            take_samples(trace_of(product), [0])
        with pytest.raises(InputError, match="no multiple of the 2 images"):
            take_samples(trace_of(chain(2).operators[0], chain(3).operators[2]), [0])


class TestMerge:
    def test_slices_merge_to_the_whole(self, tmp_path: Path) -> None:
        whole = chain()
        for place in range(3):
            save_trace(select(whole, layers=[str(place)]), tmp_path / f"{place}.safetensors")
        found = merge([load_trace(tmp_path / f"{place}.safetensors") for place in range(3)])
        assert digests(found) == digests(whole)
        assert [operator.name for operator in found.operators] == [operator.name for operator in whole.operators]
        assert found.operators[0].output is found.operators[1].input
        assert found.tensors.keys() == whole.tensors.keys()
        assert found.name == "chain"
        assert found.provenance["recipe"] == "tests"

    def test_names_that_clash_get_those_of_their_traces(self) -> None:
        one, two = chain(), replace(chain(2), name="other")
        two = replace(two, operators=(*two.operators[:2], replace(two.operators[2], name="own")), provenance={"x": "y"})
        found = merge([one, two])
        assert [operator.name for operator in found.operators] == [
            "chain.a.conv", "chain.b.conv", "b.fc", "other.a.conv", "other.b.conv", "own",
        ]  # fmt: skip
        assert found.name == "chain+other"
        assert found.operators[0].weight is found.operators[3].weight  # the same content, once
        assert found.operators[0].input is not found.operators[3].input
        assert {"1 chain: recipe": "tests", "2 other: x": "y"}.items() <= found.provenance.items()
        assert digests(found) == digests(one) + digests(two)

    def test_equal_tensors_of_one_trace_stay_two(self) -> None:
        def pair(name: str) -> Trace:
            one, two = (ValueTensor(np.eye(3, dtype=int)) for _ in range(2))
            return Trace(name, (MatMul(f"{name} m", one, two),))

        found = merge([pair("a"), pair("b")]).operators
        assert found[0].a is not found[0].b
        assert found[1].a in (found[0].a, found[0].b)

    @pytest.mark.parametrize(("other", "words"), [(chain(), "the same work"), (chain(2), "different work .digests")])
    def test_traces_of_one_name_that_clash(self, other: Trace, words: str) -> None:
        with pytest.raises(InputError, match=rf"both hold an operator 'chain\.\w\.\w+', {words}"):
            merge([chain(), other])

    def test_one_or_none(self) -> None:
        trace = chain()
        assert merge([trace]) is trace
        with pytest.raises(InputError, match="nothing to merge"):
            merge([])


WEIGHTS = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))


def weighted(seed: int, shape: tuple[int, ...], density: float, mask: bool = False) -> Trace:
    rng = np.random.default_rng(seed)
    weight = values(rng, shape, density)
    known = MaskTensor.of(weight.mask()) if mask else weight
    data = values(rng, (1, shape[1], 4, 4), 0.5)
    return trace_of(
        Conv2d("conv", data, weight=known, output=DensityTensor((1, shape[0], *(5 - n for n in shape[2:])), 1, 0))
    )


class TestPrune:
    @given(st.integers(0, 99), WEIGHTS, st.floats(0, 1), st.sampled_from(("tensor", "filter", "channel")))
    def test_the_largest_stay_and_no_more_than_asked(self, seed: int, shape: tuple, density: float, per: str) -> None:
        trace = weighted(seed, shape, 0.8)
        old = trace.operators[0].weight.values().astype(int)
        new = prune(trace, Pruning("weight", density, per=per)).operators[0].weight.values().astype(int)
        assert np.array_equal(new[new != 0], old[new != 0])
        axis = {"tensor": None, "filter": 0, "channel": 1}[per]
        rows = (np.moveaxis(x, axis, 0).reshape(shape[axis], -1) if per != "tensor" else x.reshape(1, -1)
                for x in (old, new))  # fmt: skip
        for before, after in zip(*rows, strict=True):
            wanted = min(int(np.floor(density * len(before) + 0.5)), np.count_nonzero(before))
            assert np.count_nonzero(after) == wanted
            gone = np.abs(before[(after == 0) & (before != 0)])
            assert not gone.size or not wanted or gone.max() <= np.abs(after[after != 0]).min()

    @given(st.integers(0, 99), WEIGHTS, st.floats(0, 1))
    def test_a_mask_by_chance_exactly(self, seed: int, shape: tuple, density: float) -> None:
        trace = weighted(seed, shape, 0.8, mask=True)
        old, how = trace.operators[0].weight.mask(), Pruning("weight", density)
        new = prune(trace, how, seed).operators[0].weight
        assert isinstance(new, MaskTensor)
        assert not (new.mask() & ~old).any()
        assert np.count_nonzero(new.mask()) == min(int(np.floor(density * old.size + 0.5)), np.count_nonzero(old))
        assert prune(trace, how, seed).operators[0].weight.digest == new.digest

    def test_seeds_and_names_choose_otherwise(self) -> None:
        trace, how = weighted(1, (16, 16, 3, 3), 0.9, mask=True), Pruning("weight", 0.3)
        other = trace_of(replace(trace.operators[0], name="other"))
        found = {prune(t, how, seed).operators[0].weight.digest for t in (trace, other) for seed in (0, 1)}
        assert len(found) == 4

    @given(
        st.integers(0, 99), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4), st.integers(1, 4), st.booleans()
    )
    def test_of_every_group_the_largest(self, seed: int, K: int, groups: int, N: int, M: int, mask: bool) -> None:
        N = min(N, M)
        trace = weighted(seed, (K, groups * M, 2, 3), 0.7, mask)
        old = trace.operators[0].weight.mask().reshape(K, groups, M, 6)
        found = prune(trace, Pruning("weight", group=(N, M))).operators[0].weight
        new = found.mask().reshape(K, groups, M, 6)
        assert np.array_equal(new.sum(axis=2), np.minimum(old.sum(axis=2), N))
        assert not (new & ~old).any()
        if not mask:
            sizes = np.abs(trace.operators[0].weight.values().astype(int)).reshape(K, groups, M, 6)
            gone = np.where(old & ~new, sizes, 0).max(axis=2)
            assert (gone <= np.where(new, sizes, 999).min(axis=2)).all()

    def test_ties_by_index(self) -> None:
        weight = ValueTensor(np.array([[1, -1, 0, 1, -2, 1]]))
        trace = trace_of(Linear("fc", values(np.random.default_rng(0), (2, 6), 1), weight))
        assert prune(trace, Pruning("weight", 0.5)).operators[0].weight.values().tolist() == [[1, -1, 0, 0, -2, 0]]
        assert prune(trace, Pruning("weight", group=(1, 3))).operators[0].weight.values().tolist() == [
            [1, 0, 0, 0, -2, 0]
        ]

    def test_a_density_is_lowered_to_a_part_of_its_mask(self) -> None:
        whole = DensityTensor((8, 8, 3, 3), 0.5, 3)
        trace = trace_of(Conv2d("c", DensityTensor((1, 8, 5, 5), 1, 0), weight=whole))
        less = prune(trace, Pruning("weight", 0.2)).operators[0].weight
        assert (less.kind, less.density) == ("density", 0.2)
        assert not (less.mask() & ~whole.mask()).any()
        assert prune(trace, Pruning("weight", 0.8)).operators[0].weight.density == 0.5
        grouped = prune(trace, Pruning("weight", group=(2, 4))).operators[0].weight
        assert grouped.mask().reshape(8, 2, 4, 9).sum(axis=2).max() == 2

    def test_outputs_stay_where_they_are_read(self) -> None:
        trace = chain()
        first, second, third = prune(trace, Pruning("weight", 0.1)).operators
        assert first.output is second.input is trace.operators[0].output
        assert second.output is None
        assert third.weight.kind == "mask"

    def test_only_what_a_pattern_names(self) -> None:
        trace = chain()
        found = prune(trace, Pruning.parse("b.c*.weight=0.1"))
        assert found.operators[0] is trace.operators[0]
        assert found.operators[2] is trace.operators[2]
        assert found.operators[1].weight.density == pytest.approx(0.1, abs=0.02)

    def test_a_shared_tensor_stays_one(self) -> None:
        found = prune(chain(), Pruning("input", 0.25))
        assert found.operators[0].output is found.operators[1].input
        assert found.operators[1].input.density == 0.25
        assert found.operators[1].output is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("weight=0.2", Pruning("weight", 0.2)),
            ("weight=2:4", Pruning("weight", group=(2, 4))),
            ("layer1.*.weight=1e-1", Pruning("weight", 0.1, names="layer1.*")),
        ],
    )
    def test_as_written(self, text: str, expected: Pruning) -> None:
        assert Pruning.parse(text) == expected
        assert Pruning.parse(str(expected)) == expected

    @pytest.mark.parametrize(
        ("text", "per", "words"),
        [
            ("weight=1.5", "tensor", "lies in 0 … 1, not 1.5"),
            ("weight=-0.5", "tensor", "lies in 0 … 1"),
            ("weight=nan", "tensor", "'weight=nan' is no pruning"),
            ("weight", "tensor", "'weight' is no pruning"),
            ("=0.5", "tensor", "'=0.5' is no pruning"),
            ("wieght=0.5", "tensor", "no role 'wieght' to prune .did you mean 'weight'"),
            ("mask=0.5", "tensor", "no role 'mask' to prune"),
            ("weight=5:4", "tensor", "N lies in 0 … M"),
            ("weight=0:0", "tensor", "N lies in 0 … M"),
            ("weight=2:4", "filter", "it is not per filter"),
            ("weight=0.5", "filters", "not per 'filters' .did you mean 'filter'"),
            ("weight=2:3", "tensor", r"operator 'b\.conv'.*whose 8 channels are no multiple of 3"),
            ("weight=2:5", "tensor", r"operator 'a\.conv'.*whose 3 channels are no multiple of 5"),
            ("c.weight=0.5", "tensor", "matches 'c'"),
            ("b.*.key=0.5", "tensor", r"matches 'b\.\*'|no operator that matches"),
            ("key=0.5", "tensor", "has no operator with a tensor of the role 'key'"),
            ("input=0.5", "filter", "no axis of filters"),
        ],
    )
    def test_refused(self, text: str, per: str, words: str) -> None:
        with pytest.raises(InputError, match=words):
            prune(chain(), Pruning.parse(text, per))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--per", "filter"], "--per says how to prune; expected --prune ROLE=DENSITY, too"),
        (["--samples", "٣"], "'٣' names no images of trace 'digits_cnn', expected numbers"),
        (["--samples", "3:1"], "the range '3:1' of images of trace 'digits_cnn' is empty"),
        (["--samples", "0:9"], "'0:9' names images of trace 'digits_cnn' beyond the last, expected 0 to 3"),
        (["--samples", "-1"], "'-1' names no images of trace"),
        (["--samples", "0:2,1"], "names images of trace 'digits_cnn' twice (1)"),
        (["--layers", "conv4:conv1"], "operator 'conv1' comes before 'conv4'"),
        (["--layers", "conv1:"], "has no operator ''"),
        (["--without", "*"], "no operator of trace 'digits_cnn' is left by without *"),
        (["--prune", "coefficients=2:7"], "whose 32 channels are no multiple of 7"),
        (["--name", "a\nb"], "the name of a trace must be a printable text"),
    ],
)
def test_what_cannot_be_converted_leaves_no_file(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["convert", "digits_cnn", *arguments, "-o", str(tmp_path / "out.safetensors")])
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_everything_at_once_is_told_and_runs(tmp_path: Path) -> None:
    trace = chain()
    how = [Pruning.parse("b.conv.weight=2:4"), Pruning("weight", 0.3)]
    made = convert_traces([trace], Selection(types=["conv2d"]), "1:", how, name="part")
    assert made.name == "part"
    assert list(made.provenance.items()) == [
        ("recipe", "tests"),
        ("convert 1", f"from chain, digest {trace.digest}"),
        ("convert 2", "select types conv2d"),
        ("convert 3", "images 1,2 of 3"),
        ("convert 4", "prune b.conv.weight=2:4"),
        ("convert 5", "prune weight=0.3"),
    ]
    save_trace(made, tmp_path / "part.safetensors")
    again = load_trace(tmp_path / "part.safetensors")
    assert again.digest == made.digest
    pruned, whole = (
        simulate(again, load_arch("escalate"), check=True),
        simulate(select(trace, types=["conv2d"]), load_arch("escalate")),
    )
    assert pruned.summary["verified"] is True
    assert pruned.summary["macs"]["effectual"] < whole.summary["macs"]["effectual"]
