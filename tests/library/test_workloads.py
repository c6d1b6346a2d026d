"""The shipped workloads count what is published, and are described as they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from ruamel.yaml import YAML

import simulator
from simulator.errors import InputError
from simulator.library import list_workloads, load_trace, load_workload, read_workload
from simulator.library.page import count, counts, schema_text, workloads_page
from simulator.library.schema import Document
from simulator.trace import Conv2d, EmbeddingBag, Linear, MatMul, SpMM
from tests.benchmarks.networks import resnet18
from tests.library.test_refusals import CASES, GOOD
from tests.real import DATA, needs_data

ROOT = Path(__file__).parents[2]
WORKS = sorted((ROOT / "experiments" / "works").glob("*.yaml"))
GPT3 = ROOT / "experiments" / "works" / "gpt3_layer.yaml"
ASKED = {
    "alexnet", "alexnet_groups", "vgg16", "googlenet", "resnet18", "resnet34", "resnet50", "resnet152", "mobilenetv2",
    "squeezenet", "efficientnet_b0", "vgg16_cifar10", "resnet18_cifar10", "resnet20_cifar10", "resnet56_cifar10",
    "resnet152_cifar10", "mobilenetv2_cifar10", "bert_base", "bert_large", "gpt2", "gpt2_medium", "vit_b16",
    "deit_tiny", "deit_small", "deit_base", "lra_text", "lra_retrieval", "lra_image", "lra_pathfinder", "llama3_8b",
    "llama3_8b_decode", "dlrm_rm1", "dlrm_rm2", "dlrm_rm3",
    *(f"gcn_{graph}" for graph in ("cora", "citeseer", "reddit", "arxiv", "products")),
    *(f"graphsage_{graph}" for graph in ("cora", "citeseer", "reddit", "arxiv", "products")),
}  # fmt: skip


def test_every_model_asked_for_is_there():
    assert set(list_workloads()) == ASKED


@pytest.mark.parametrize("name", list_workloads())
def test_counts_equal_the_published(name):
    counted = count(name)
    assert [known for known in counted.published if not known.agrees] == []
    assert counted.parameters > 0


def test_every_image_net_model_is_exact():
    """As torchvision counts them; of these nine all numbers are published."""
    exact = {c.name for c in counts() for k in c.published if k.of == "parameters" and "e" not in k.value}
    assert len(exact) >= 15


def test_page_and_schema_are_up_to_date():
    assert (ROOT / "docs" / "workloads.md").read_text("utf-8") == workloads_page(), "skipper workloads --page"
    assert (ROOT / "workloads" / "schema.json").read_text("utf-8") == schema_text(), "skipper workloads --schema"
    schema = json.loads(schema_text())
    assert schema["properties"]["layers"]["items"]["discriminator"]["propertyName"] == "type"


def test_the_schema_refuses_what_the_reader_refuses():
    with pytest.raises(ValidationError):
        Document.model_validate({"skipper": 1, "layers": [{"type": "conv", "out": 3}]})


def test_resnet18_is_that_of_the_benchmarks():
    settings = {"bases": 6, "weight_density": 0.05, "activation_density": 0.4}
    ours, theirs = load_trace("resnet18", settings), resnet18()
    mine = {o.name: o for o in ours.operators}
    assert len(mine) == len(theirs.operators)
    for operator in theirs.operators:
        twin = mine[operator.name]
        assert twin.macs == operator.macs
        assert {r: t.shape for r, t in twin.tensors.items() if r != "output"} == {
            r: t.shape for r, t in operator.tensors.items()
        }


def test_settings_change_the_work_and_a_seed_the_masks():
    short, long = (load_trace("bert_base", {"seq": seq, "depth": 1}) for seq in ("64", 128))
    assert long.macs > 2 * short.macs - 10**7
    assert short.digest == load_trace("bert_base", {"seq": 64, "depth": 1}).digest
    one, other = (load_trace("resnet20_cifar10", {"weight_density": 0.5, "seed": seed}) for seed in (0, 1))
    masks = [trace.operators[3].weight.mask() for trace in (one, other)]
    assert not np.array_equal(*masks)
    assert [mask.mean() for mask in masks] == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_output_of_a_layer_is_the_input_of_the_next():
    first, second = load_trace("vgg16").operators[:2]
    assert first.output is second.input


def test_products_of_activations():
    """The current tensor, as it was stored, by another of the density that is said; batches go along."""
    operators = {
        o.name: o for o in load_trace(GPT3, {"batch": 2, "seq": 3, "keys": 5, "activation_density": 0.5}).operators
    }
    queries, weights = operators["qk"], operators["av"]
    assert isinstance(queries, MatMul)
    assert (queries.a.shape, queries.b.shape, queries.output.shape) == ((48, 3, 128), (48, 128, 5), (48, 3, 5))
    assert (queries.b.density, queries.b.bits) == (pytest.approx(0.5, abs=0.02), 16)
    assert weights.a is operators["softmax"].output
    assert weights.output_shape == (48, 3, 128)
    assert operators["wo"].input.shape == (2, 3, 24 * 128)
    assert operators["qkv.q"].input is operators["qkv.v"].input is operators["norm1"].output


def test_decoding_looks_at_the_cache():
    operators = {o.name: o for o in load_trace("llama3_8b_decode", {"keys": 1000}).operators}
    heads = operators["layer.0.attention.self.heads"]
    assert (heads.query_count, heads.key_count, heads.groups, heads.causal) == (1, 1000, 8, True)


def test_tables_are_looked_up_as_their_popularity_says():
    uniform, skewed = (load_trace("dlrm_rm1", {"batch": 16, "skew": skew}) for skew in (0, 1.2))
    distinct = []
    for trace in (uniform, skewed):
        bag = next(o for o in trace.operators if isinstance(o, EmbeddingBag))
        rows, starts = bag.bags_of_rows()
        assert (len(rows), len(starts)) == (16 * 80, 17)
        distinct.append(len(set(rows.tolist())))
    assert distinct[0] > 1270
    assert distinct[1] < 700


def test_layers_of_one_graph_draw_one_matrix():
    products = [o for o in load_trace("gcn_cora").operators if isinstance(o, SpMM)]
    (starts, indices), (again, same) = (o.matrix() for o in products)
    assert starts.tolist() == again.tolist()
    assert indices.tolist() == same.tolist()
    assert products[0].nonzeros == 10556 + 2708


@needs_data
def test_densities_of_scnn_are_read_as_they_are():
    table = DATA / "scnn_layer_densities.csv"
    trace = load_trace("vgg16", {"densities": str(table), "layers": "VGG_"})
    densities = {o.name: (o.weight.density, o.input.density) for o in trace.operators if isinstance(o, Conv2d)}
    assert densities["conv1_2"] == pytest.approx((0.217, 0.506), abs=0.001)
    assert all(o.weight.density == 1 for o in trace.operators if isinstance(o, Linear))
    alone = load_trace(table)
    assert len(alone.operators) == 73
    assert load_trace(table, {"layers": "VGG_"}).macs == sum(o.macs for o in trace.operators if isinstance(o, Conv2d))
    with pytest.raises(InputError, match="both 'ALEX_conv2_1' and 'VGG_conv2_1' may be 'conv2_1'"):
        load_trace("vgg16", {"densities": str(table)})
    with pytest.raises(
        InputError, match=r"'ALEX_conv3' has R, S, C, K = \(3, 3, 256, 384\), expected those of 'conv3'"
    ):
        load_trace("alexnet", {"densities": str(table), "layers": "ALEX_conv3"})


@pytest.mark.parametrize(
    ("chip", "name", "settings"),
    [
        ("escalate", "resnet20_cifar10", {"bases": 6, "weight_density": 0.1, "activation_density": 0.4}),
        ("dota", "bert_base", {"depth": 1, "seq": 64, "retention": 0.2, "rank": 16}),
        ("dota", "deit_tiny", {"depth": 1}),
        ("dota", "llama3_8b", {"depth": 1, "seq": 8, "keys": 64}),
    ],
)
def test_chips_run_workloads(chip, name, settings):
    trace = load_trace(name, {**settings})
    trace = replace(trace, operators=trace.operators[:10])
    result = simulator.simulate(trace, simulator.load_arch(chip))
    assert result.summary["macs"]["dense"] == trace.macs


def test_names_do_not_depend_on_how_often_a_layer_is_repeated():
    one, two = ([o.name for o in load_trace("bert_base", {"depth": depth}).operators] for depth in (1, 2))
    assert set(one) < set(two)


def test_the_package_opens_workloads():
    assert simulator.load_trace("resnet20_cifar10").name == "resnet20_cifar10"
    assert simulator.load_trace("resnet20_cifar10", {"batch": 2}).name == "resnet20_cifar10 batch=2"
    assert load_workload("gpt2").parameter_count == 124_439_808


def test_the_example_of_the_docs_is_a_workload(tmp_path):
    page = (ROOT / "docs" / "writing_workloads.md").read_text("utf-8")
    (tmp_path / "example.yaml").write_text(page.split("```yaml\n")[1].split("```")[0], "utf-8")
    names = [o.name for o in load_trace(tmp_path / "example.yaml").operators]
    assert names == ["stem", "block.0.conv1", "block.0.conv2", "block.1.conv1", "block.1.conv2", "fc"]
    assert read_workload(tmp_path / "example.yaml")[1] == "example"


def yaml_of(text):
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def editor():
    """What an editor checks a file with: the schema that is shipped."""
    schema = json.loads((ROOT / "workloads" / "schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", [*list_workloads(), *(work.stem for work in WORKS), "docs"])
def test_the_schema_accepts_every_workload(name, editor):
    page = (ROOT / "docs" / "writing_workloads.md").read_text("utf-8").split("```yaml\n")[1].split("```")[0]
    files = {path.stem: path for path in (*(ROOT / "workloads").glob("*.yaml"), *WORKS)}
    text = page if name == "docs" else files[name].read_text("utf-8")
    assert [f"{list(error.path)}: {error.message}" for error in editor.iter_errors(yaml_of(text))] == []


WRONG_TO_AN_EDITOR = (
    "no version", "newer", "unknown key", "unknown type", "no type", "unknown parameter", "missing parameter",
    "list for a number", "type that is a list", "type that is a section", "counts that are none", "name of dots",
    "not even a number", "bool for a number", "parameter that is none", "name of a parameter",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG_TO_AN_EDITOR)
def test_the_schema_refuses_broken_files(name, editor):
    (old, new), _ = CASES[name]
    assert editor.is_valid(yaml_of(GOOD))
    assert not editor.is_valid(yaml_of(GOOD.replace(old, new)))


@pytest.mark.parametrize(
    "text",
    [
        "skipper: 1\nlayers: [{type: pool, with: {a: 1}}]",
        "skipper: 1\nlayers: [{type: branches, join: sum, branches: [[]]}]",
        "skipper: 1\nlayers: [{type: branches, join: add, branches: []}]",
        "skipper: 1\nlayers: []",
        "skipper: 1\nlayers: [{type: conv, out: 3, kernel: [1, 2, 3]}]",
        "skipper: 1\nblocks: {a: {arguments: ['x y'], layers: []}}",
        "skipper: 1\npublished: [{count: macs, value: 3000, source: me}]",
        "skipper: 1\nsources: []",
        "skipper: 1\ninput: {shape: []}",
        "[]",
    ],
)
def test_the_schema_refuses(text, editor):
    assert not editor.is_valid(yaml_of(text))
