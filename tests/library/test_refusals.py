"""Workload files, settings and tables that cannot be used are refused in one sentence."""

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.errors import InputError
from simulator.library import load_trace

GOOD = """
skipper: 1
description: A layer.
sources: [made up]
parameters:
  k: {value: 4, meaning: Channels.}
input: {shape: [1, 3, 8, 8]}
layers:
  - {type: conv, name: conv, out: k, kernel: 3}
"""
LAYER = "  - {type: conv, name: conv, out: k, kernel: 3}"

CASES = {
    "no version": (("skipper: 1", ""), "key 'skipper' is missing; expected 1"),
    "newer": (("skipper: 1", "skipper: 2"), "key 'skipper' is 2; expected 1"),
    "no YAML": (("sources: [made up]", "sources: ["), "not valid YAML"),
    "no layers": ((LAYER, ""), "layers: expected a list of one layer or more, not nothing"),
    "no input": (("input: {shape: [1, 3, 8, 8]}", ""), "key 'input' is missing"),
    "unknown key": (("sources", "source"), "unknown key 'source' (did you mean 'sources'?)"),
    "unknown type": (("type: conv", "type: conv2d"), "layer 1 has the unknown type 'conv2d' (did you mean 'conv'?)"),
    "no type": (("type: conv, ", ""), "layer 1 lacks the key 'type'"),
    "unknown parameter": (("kernel: 3", "kernal: 3"), "unknown key 'kernal' (did you mean 'kernel'?)"),
    "missing parameter": ((", kernel: 3", ""), "layer 1 (conv): key 'kernel' is missing; expected Size of the kernel"),
    "list for a number": (("out: k", "out: [1, 2, 3]"), "layer 1 (conv): key 'out'"),
    "expression that is none": (("out: k", "out: k +"), "layer 'conv': out: 'k +' is no arithmetic expression"),
    "unknown name": (("out: k", "out: kk"), "layer 'conv': out: 'kk': unknown name 'kk' (did you mean 'k'?)"),
    "negative size": (("out: k", "out: k - 9"), "out is 'k - 9' = -5, expected a whole number of at least 1"),
    "fraction": (("out: k", "out: k / 3"), "expected a whole number"),
    "density": (
        ("kernel: 3", "kernel: 3, weight_density: 1.5"),
        "weight_density is 1.5, expected a number from 0 to 1",
    ),
    "density nan": (("kernel: 3", "kernel: 3, weight_density: .nan"), "weight_density"),
    "kernel too large": (("kernel: 3", "kernel: 30, padding: 0"), "expected at least the reach of the kernel (30, 30)"),
    "elements": (("[1, 3, 8, 8]", "[4, 3, 30000, 30000]"), "input has 4 × 3 × 30000 × 30000 = 10800000000 elements"),
    "repeats": (("kernel: 3", "kernel: 3, repeat: 1000000000"), "repeat is 1000000000, expected at most"),
    "repeats of nothing": (
        (LAYER, "  - {type: group, repeat: 90000, layers: [{type: reshape, to: flat, repeat: 90000}]}"),
        "the workload has more than 1000000 layers",
    ),
    "deep blocks": (
        (
            LAYER,
            "  - {type: group, block: b0}\nblocks:\n"
            + "\n".join(f"  b{n}: {{layers: [{{type: group, block: b{n + 1}}}]}}" for n in range(300)),
        ),
        "blocks lie within blocks more than 40 deep",
    ),
    "groups": (("kernel: 3", "kernel: 3, groups: 2"), "groups is 2, expected a divisor of both C = 3 and K = 4"),
    "unknown block": ((LAYER, "  - {type: group, block: stage}"), "there is no block 'stage'"),
    "group of nothing": ((LAYER, "  - {type: group}"), "needs either layers or a block"),
    "blocks in a circle": (
        (LAYER, "  - {type: group, block: a}\nblocks: {a: {layers: [{type: group, block: a}]}}"),
        "blocks hold each other in a circle: a → a",
    ),
    "argument": (
        (LAYER, "  - {type: group, block: a, with: {x: 1}}\nblocks: {a: {arguments: [y], layers: [{type: pool}]}}"),
        "block 'a' takes no 'x'; known: y",
    ),
    "ways that do not fit": (
        (LAYER, "  - {type: branches, join: add, branches: [[], [{type: conv, out: 4, kernel: 3}]]}"),
        "ways of shapes (1, 3, 8, 8) and (1, 4, 8, 8) cannot be joined by 'add'",
    ),
    "linear on images": (
        (LAYER, "  - {type: attention, heads: 2}"),
        "its input has shape (1, 3, 8, 8), expected (N, L, C)",
    ),
    "ways that end in an operator": (
        (LAYER, "  - {type: branches, join: first, operator: true, branches: [[], []]}"),
        "only two ways that are added or multiplied are an operator",
    ),
    "product of a vector": (
        (f"input: {{shape: [1, 3, 8, 8]}}\nlayers:\n{LAYER}", "input: {shape: [8]}\nlayers: [{type: matmul, out: 1}]"),
        "its input has shape (8,), expected (…, m, k)",
    ),
    "shape of more": ((LAYER, "  - {type: reshape, to: shape, shape: [k, 50]}"), "shape is (4, 50), expected as many"),
    "shape of nothing": ((LAYER, "  - {type: reshape, to: shape}"), "key 'shape' belongs to 'to: shape'"),
    "shape beside another": ((LAYER, "  - {type: reshape, to: flat, shape: [192]}"), "key 'shape' belongs to"),
    "density of the other": (
        (LAYER, "  - {type: matmul, out: k, other_density: 2}"),
        "other_density is 2, expected a number from 0 to 1",
    ),
    "a name twice": ((LAYER, f"{LAYER}\n{LAYER}"), "2 operators called 'conv'"),
    "nothing to do": ((LAYER, "  - {type: pool}"), "the workload has no operators"),
    "parameter that is none": (("value: 4", "value: [4]"), "parameters 'k': key 'value"),
    "name of a parameter": (("  k: {", "  K K: {"), "K K"),
    "number of many digits": (("value: 4", f"value: {'9' * 400}"), "a number of 400 digits is too large"),
    "type that is a list": (("type: conv", "type: [conv]"), "layer 1 has the unknown type ['conv']"),
    "type that is a section": (("type: conv", "type: {a: 1}"), "layer 1 has the unknown type {'a': 1}"),
    "half a character": (("A layer.", '"\\ud800"'), "not valid YAML"),
    "holds itself": (("description: A layer.", "description: &a {x: *a}"), "not valid YAML: Circular reference"),
    "counts that are none": (("layers:", "published: hi\nlayers:"), "key 'published' is \"hi\""),
    "word of expressions": (
        ("  k: {", "  channels: {value: 1, meaning: C.}\n  k: {"),
        "parameter 'channels' is a word of",
    ),
    "word of Python": (("  k: {", "  if: {value: 1, meaning: C.}\n  k: {"), "parameter 'if' is a word of expressions"),
    "word of settings": (("  k: {", "  profile: {value: 1, meaning: C.}\n  k: {"), "parameter 'profile' is a word of"),
    "name of dots": (("name: conv", "name: .."), "key 'name': string should match pattern"),
    "not even a number": (("out: k", "out: null"), "key 'out' should be a number or an expression, not None"),
    "bool for a number": (("out: k", "out: true"), "key 'out' should be a number or an expression, not True"),
    "repeat below zero": (
        ("kernel: 3", "kernel: 3, repeat: -1"),
        "repeat is -1, expected a whole number of at least 0",
    ),
    "repeat in part": (("kernel: 3", "kernel: 3, repeat: 1.5"), "repeat is 1.5, expected a whole number"),
    "a layer's key twice": (("out: k", "out: k, out: 3"), 'line 9: not valid YAML: found duplicate key "out"'),
    "a parameter twice": (("  k: {", "  k: {value: 1, meaning: C.}\n  k: {"), 'found duplicate key "k"'),
    "two documents": ((LAYER, f"{LAYER}\n---\na: 1"), "not valid YAML: but found another document"),
    "an argument twice": (
        (LAYER, "  - {type: group, block: a, with: {x: 1}}\nblocks: {a: {arguments: [x, x], layers: [{type: pool}]}}"),
        "block 'a': arguments x, x: expected each once",
    ),
    "arguments of no block": (
        (LAYER, "  - {type: group, with: {x: 1}, layers: [{type: pool}]}"),
        "key 'with' gives arguments to a block, and there is none",
    ),
    "margin of a pooling": (
        (LAYER, "  - {type: pool, kernel: 2, padding: 4}"),
        "padding is (4, 4), expected at most half the window (2, 2)",
    ),
    "extra that is no token": ((LAYER, "  - {type: reshape, to: flat, extra: 1}"), "extra goes before tokens"),
    "look-ups": (
        (LAYER, "  - {type: embedding_bags, tables: 8, rows: 9, features: 4, lookups: 40000000}"),
        "the workload has 320000000 look-ups in tables, more than the 2^28 that are drawn",
    ),
    "elements of a result": (
        (LAYER, "  - {type: conv, out: 1, kernel: 1, padding: 100000}"),
        "output has 1 × 1 × 200008 × 200008 = 40003200064 elements, more than 2^31",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_files(name, tmp_path):
    (old, new), words = CASES[name]
    assert old in GOOD
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new), "utf-8")
    with pytest.raises(InputError) as refusal:
        load_trace(path)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith(str(path))
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


def test_circles_of_files(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"skipper: 1\nextends: {other}.yaml\n", "utf-8")
    with pytest.raises(InputError, match=r"a\.yaml: workloads extend each other in a circle: .*a\.yaml → .*b\.yaml → "):
        load_trace(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("skipper: 1\nextends: resnet19\n", "utf-8")
    with pytest.raises(
        InputError, match=r"a\.yaml: 'resnet19' is neither a shipped workload \(did you mean 'resnet18'\?\)"
    ):
        load_trace(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("skipper: 1\nextends: absent.yaml\n", "utf-8")
    with pytest.raises(InputError, match=r"absent\.yaml: cannot read the workload: No such file"):
        load_trace(tmp_path / "a.yaml")


def test_a_circle_is_seen_by_any_path(tmp_path):
    (tmp_path / "a.yaml").write_text(f"skipper: 1\nextends: ../{tmp_path.name}/a.yaml\n", "utf-8")
    with pytest.raises(InputError, match="extend each other in a circle") as refusal:
        load_trace(tmp_path / "a.yaml")
    assert str(refusal.value).count("→") == 1


def test_every_file_of_a_chain_is_checked(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: resnet18\n", "utf-8")
    with pytest.raises(InputError, match=r"a\.yaml: key 'skipper' is missing; expected 1"):
        load_trace(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(GOOD.replace("  k: {value: 4, meaning: Channels.}", "  - k"), "utf-8")
    text = "skipper: 1\nextends: b.yaml\nparameters: {j: {value: 1, meaning: One.}}\n"
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"a\.yaml: key 'parameters' of 'b\.yaml': expected a mapping of keys"):
        load_trace(tmp_path / "a.yaml")


def test_a_file_extends_a_shipped_one(tmp_path):
    (tmp_path / "wide.yaml").write_text(
        "skipper: 1\nextends: resnet18\nparameters: {image: {value: 64, meaning: Size.}}\n"
    )
    trace = load_trace(tmp_path / "wide.yaml")
    assert trace.operators[0].input.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18", "imag=64"), "neither resnet18 nor the chip has such a parameter (did you mean 'image'?)"),
        (("resnet18", "array.block=64"), "(did you mean 'array.blocks'?)"),
        (("resnet18", "image=abc"), "parameter 'image': 'abc': unknown name"),
        (("resnet18", "image="), "parameter 'image': '' is no arithmetic expression"),
        (("resnet18", "bases=1.5"), "bases is 1.5, expected a whole number of at least 0"),
        (("resnet18", "densities=absent.csv"), "absent.csv: cannot read the density table: No such file"),
        (("resnet18", "densities="), "parameter 'densities' is empty, expected a file"),
        (("resnet18", "layers=VGG_"), "parameter 'layers' chooses rows of a table; expected 'densities', too"),
        (("digits_cnn", "workload.seq=3"), "digits_cnn: a trace has no parameters, only a workload has"),
        (("digits_cnn", "seq=3"), "--set seq: escalate.yaml has no such parameter"),
        (("restnet18", "image=64"), "--set image: escalate.yaml has no such parameter"),
        (("mine.yaml", "clock=3"), "--set clock: both mine.yaml and the chip have it; workload.clock is the former's"),
    ],
)
def test_settings(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(GOOD.replace("  k: {", "  clock: {value: 4, meaning: Clash.}\n  k: {"), "utf-8")
    done = CliRunner().invoke(main, ["run", "escalate", arguments[0], "--set", arguments[1]])
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "the density table lacks the column 'layer'; the table is empty"),
        ("layer,weight,input_density\n", "lacks the column 'weight_density'"),
        ("layer,weight_density,input_density\n", "the density table has no layer, expected one or more"),
        ("layer,layer,weight_density,input_density\nconv,conv,1,1\n", "has the column 'layer' twice"),
        ("layer,weight_density,input_density\n,1,1\n", "line 2: layer is '', expected a printable name"),
        ("layer,weight_density,input_density\nconv,1,1,1\n", "line 2: expected 3 fields, one for each column"),
        ("layer,weight_densty,input_density\nconv,1,1\n", "'weight_density' (did you mean 'weight_densty'?)"),
        (
            "layer,weight_density,input_density\nconv,1.5,1\n",
            "line 2: weight_density is '1.5', expected a number from 0",
        ),
        ("layer,weight_density,input_density\nconv,nan,1\n", "weight_density is 'nan'"),
        ("layer,weight_density,input_density\nconv,1\n", "line 2: expected 3 fields, one for each column"),
        ("layer,weight_density,input_density\nconv,1,1\nconv,1,1\n", "line 3: the layer 'conv' stands twice"),
        (
            "layer,weight_density,input_density\ncomv,1,1\n",
            "no row is a layer of the workload: 'comv' (did you mean 'conv'?)",
        ),
    ],
)
def test_tables(table, words, tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "table.csv").write_text(table, "utf-8")
    with pytest.raises(InputError) as refusal:
        load_trace(tmp_path / "mine.yaml", {"densities": str(tmp_path / "table.csv")})
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "conv,1,1,99999,99999,1,1,99999,1",
            "the layer 'conv' has a tensor of 999970000299999 elements, more than 2^31",
        ),
        (f"conv,1,1,{'9' * 5000},1,1,1,1,1", "expected a whole number of at least 1 and 10 digits"),
        ("conv,1,1,0,1,1,1,1,1", "line 2: R is '0', expected a whole number of at least 1"),
        ("conv,1,1,1,,1,1,1,1", "the layer 'conv' has no shape"),
    ],
)
def test_tables_of_shapes(row, words, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"layer,weight_density,input_density,R,S,P,Q,C,K\n{row}\n", "utf-8")
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("layer,weight_density,input_density,R,S,P,Q,C,K\nconv,1,1,1,1,1,1,1,1\n", "utf-8-sig")
    assert load_trace(path).operators[0].name == "conv"
