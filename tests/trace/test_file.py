"""The file of a trace: what comes back, when it is read, and what is refused."""

import os
import pickle
import subprocess
import sys
import weakref
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from simulator.errors import InputError
from simulator.trace import (
    OPERATORS,
    DensityTensor,
    Linear,
    MaskTensor,
    MatMul,
    Operator,
    Tensor,
    Trace,
    ValueTensor,
    file,
    list_traces,
    load_trace,
    register,
    save_trace,
)
from simulator.trace.stored import TensorFile
from tests.operators import masked, operators, trace_of
from tests.trace.helpers import every_kind, tampered


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "all.safetensors"
    save_trace(every_kind(), path)
    return path


def test_round_trip(saved):
    ours, theirs = every_kind(), load_trace(saved)
    assert theirs.digest == ours.digest
    assert (theirs.name, theirs.provenance, theirs.macs) == (ours.name, ours.provenance, ours.macs)
    for mine, other in zip(ours.operators, theirs.operators, strict=True):
        assert type(mine) is type(other)
        assert (mine.name, mine.attributes, mine.digest) == (other.name, other.attributes, other.digest)
        for role, tensor in mine.tensors.items():
            back = other.tensors[role]
            assert (tensor.header(), tensor.density) == (back.header(), back.density)
            assert np.array_equal(tensor.mask(), back.mask())
            assert (tensor.values() is None) == (back.values() is None)
            if tensor.values() is not None:
                assert np.array_equal(tensor.values(), back.values())
    assert np.array_equal(ours.operators[0].reference(), theirs.operators[0].reference())


def test_shared_tensors_are_stored_once_and_stay_shared(saved):
    trace = load_trace(saved)
    assert trace.operators[0].output is trace.operators[1].input
    assert trace.operators[1].output is trace.operators[4].input
    assert set(load_file(saved)) == {
        "conv1.input",
        "conv1.weight",
        "conv1.output",
        "conv2.basis",
        "conv2.coefficients",
        "conv2.output",
        "scores.b",
    }


def small_tensors():
    seeds = st.integers(0, 1000)
    values = st.builds(
        lambda seed, high, scale: ValueTensor(
            np.random.default_rng(seed).integers(-high, high, (3, 3)), scale, bits=32
        ),
        seeds,
        st.sampled_from([1, 100, 1000, 2**20, 2**31]),
        st.one_of(st.floats(1e-300, 1e300), st.tuples(*[st.floats(0.1, 10)] * 3)),
    )
    masks = st.builds(lambda seed: MaskTensor.of(np.random.default_rng(seed).random((3, 3)) < 0.5, 3), seeds)
    return st.one_of(values, masks, st.builds(DensityTensor, st.just((3, 3)), st.floats(0, 1), seeds))


@settings(max_examples=40, deadline=None)
@given(st.lists(small_tensors(), min_size=1, max_size=3), st.text(), st.data())
def test_any_trace_comes_back(tmp_path_factory, tensors, remark, data):
    pick = st.sampled_from(tensors)
    operators = [MatMul(f"m{i}", data.draw(pick), data.draw(pick)) for i in range(3)]
    trace = Trace("drawn", operators, {"remark": remark})
    folder = tmp_path_factory.mktemp("drawn")
    save_trace(trace, folder / "a")
    back = load_trace(folder / "a")
    assert back.digest == trace.digest
    save_trace(back, folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


@settings(max_examples=60, deadline=None)
@given(operators())
def test_any_operator_comes_back(tmp_path_factory, operator):
    folder = tmp_path_factory.mktemp("drawn")
    trace = trace_of(operator, replace(masked(operator), name="masked"))
    save_trace(trace, folder / "a")
    back = load_trace(folder / "a")
    assert back.digest == trace.digest
    assert [o.macs for o in back.operators] == [operator.macs] * 2
    for role, tensor in operator.tensors.items():
        same = back.operators[0].tensors[role]
        assert np.array_equal(same.mask(), tensor.mask())
        if isinstance(tensor, ValueTensor):
            assert np.array_equal(same.values(), tensor.values())
    assert back.operators[1].attributes == operator.attributes


def test_same_bytes_in_another_process(saved, tmp_path):
    code = "import sys; from tests.trace.helpers import every_kind; from simulator.trace import save_trace;"
    code += "save_trace(every_kind(), sys.argv[1])"
    other = tmp_path / "other"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    subprocess.run([sys.executable, "-c", code, other], check=True, env=environment)
    assert other.read_bytes() == saved.read_bytes()


def test_data_are_read_when_used_and_not_kept(saved, monkeypatch):
    read = []
    original = TensorFile.read
    monkeypatch.setattr(TensorFile, "read", lambda self, name: read.append(name) or original(self, name))
    trace = load_trace(saved)
    first, shape = trace.operators[0], trace.operators[0].output_shape
    assert shape == (1, 8, 7, 7)
    assert trace.macs
    assert read == []
    first.weight.values()
    first.output.mask()
    first.weight.values()
    assert read == ["conv1.weight", "conv1.output", "conv1.weight"]
    first.weight.digest, first.weight.digest, first.weight.density, first.weight.density  # noqa: B018
    assert read[3:] == ["conv1.weight", "conv1.weight"]


def test_import_is_light():
    code = "import sys, simulator.trace; "
    code += "print([m for m in ('safetensors', 'numba', 'simpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_replacing_the_file_leaves_an_open_trace_alone(tmp_path):
    path = tmp_path / "t"
    save_trace(every_kind(), path)
    trace = load_trace(path)
    changed = Trace("other", (MatMul("m", *[ValueTensor(np.eye(2, dtype=int))] * 2),))
    save_trace(changed, path, force=True)
    assert trace.digest == every_kind().digest
    assert load_trace(path).digest == changed.digest
    with pytest.raises(InputError, match="changed since the trace was loaded"):
        pickle.loads(pickle.dumps(trace))


def test_a_loaded_trace_pickles(saved):
    assert pickle.loads(pickle.dumps(load_trace(saved))).digest == every_kind().digest


def test_a_loaded_trace_can_replace_its_own_file(tmp_path):
    path = tmp_path / "t"
    save_trace(every_kind(), path)
    before = path.read_bytes()
    save_trace(load_trace(path), path, force=True)
    assert path.read_bytes() == before


def test_new_operator_needs_no_new_format(tmp_path, monkeypatch):
    monkeypatch.setattr("simulator.trace.operator.OPERATORS", dict(OPERATORS))
    monkeypatch.setitem(OPERATORS, "lookup", None)

    @register
    @dataclass(frozen=True, eq=False)
    class Lookup(Operator):
        type: ClassVar[str] = "lookup"
        roles: ClassVar[tuple[str, ...]] = ("table", "rows")
        table: Tensor
        rows: Tensor | None = None
        tokens: tuple[int, ...] = ()
        output_shape, macs = (1,), 0

        def reference(self):
            return None

    save_trace(Trace("t", (Lookup("e", DensityTensor((5, 2), 0.5, 0), tokens=(3, 1)),)), tmp_path / "t")
    (operator,) = load_trace(tmp_path / "t").operators
    assert isinstance(operator, Lookup)
    assert operator.tokens == (3, 1)


# What save_trace refuses.


def test_an_existing_file_is_kept_unless_forced(saved):
    with pytest.raises(InputError, match=r"all\.safetensors: the file exists already; force=True"):
        save_trace(every_kind(), saved)


def test_unwritable_places(tmp_path):
    (tmp_path / "a file").write_bytes(b"")
    places = [
        tmp_path,
        tmp_path / "none" / "t",
        tmp_path / "a file" / "t",
        tmp_path / ("x" * 300),
        tmp_path / "a\0b",
    ]
    for place in places:
        with pytest.raises(InputError) as refusal:
            save_trace(every_kind(), place)
        assert str(refusal.value).startswith(f"{place}: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written(tmp_path, monkeypatch, call, error):
    path = tmp_path / "t"
    path.write_bytes(b"precious")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as refusal:
        save_trace(every_kind(), path, force=True)
    assert "No space left" in str(refusal.value) or expected is KeyboardInterrupt
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


# Shipped traces.


def test_shipped_traces_by_name(saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file, "_shipped", lambda: {"all": saved})
    assert list_traces() == ["all"]
    assert load_trace("all").digest == load_trace("all.safetensors").digest == every_kind().digest
    (tmp_path / "all").mkdir()
    assert load_trace("all").name == "every kind"
    with pytest.raises(InputError, match=r"'al' is neither a file \(/.*/al\) nor .* \(did you mean 'all'\?\)"):
        load_trace("al")


def test_no_shipped_traces(monkeypatch):
    monkeypatch.setattr(file, "_shipped", dict)
    with pytest.raises(InputError, match="no traces are shipped"):
        load_trace("al")


def test_the_shipped_traces_load():
    for name in list_traces():
        assert load_trace(name).digest


# What load_trace refuses.


def test_files_that_are_no_traces(tmp_path, saved):
    whole, path = saved.read_bytes(), tmp_path / "t.safetensors"
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:100], whole[:5], b"", b"text " * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"t\.safetensors: not a safetensors file, or one cut short"):
            load_trace(path)
    for metadata in (None, {"format": "pt"}):
        save_file({"a": np.ones(3)}, path, metadata)
        with pytest.raises(InputError, match=r"t\.safetensors: .*not a Skipper trace"):
            load_trace(path)
    with pytest.raises(InputError, match="there is no such file"):
        load_trace(tmp_path / "none")
    with pytest.raises(InputError, match="there is no such file"):
        load_trace(f"{tmp_path}/none")
    for folder in (tmp_path, str(tmp_path), "/"):
        with pytest.raises(InputError, match="this is a folder"):
            load_trace(folder)
    with pytest.raises(InputError, match="cannot be opened"):
        load_trace(tmp_path / ("x" * 300))


def put(*path_and_value):
    *path, key, value = path_and_value

    def change(header, _):
        for step in path:
            header = header[step]
        header[key] = value

    return change


def drop(*path):
    def change(header, _):
        for step in path[:-1]:
            header = header[step]
        del header[path[-1]]

    return change


def array(name, make):
    return lambda _, arrays: arrays.update({name: make(arrays[name])})


CONV1, FC = ("operators", 0), ("operators", 2)
WEIGHT, HIDDEN, DENSITY = (("tensors", name) for name in ("conv1.weight", "conv1.output", "fc.input"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header, _: "{", "is not JSON"),
        (lambda header, _: "[" * 100_000, "is not JSON"),
        (lambda header, _: "[]", "the header must be an object"),
        (put("format", "other"), "format is 'other', expected 'skipper-trace'"),
        (put("version", 7), r"made by a newer Skipper \(format 7; this one reads 1\)"),
        (put("version", 0), "version is 0"),
        (put("version", True), "'version' of the header must be a whole number"),
        (put("version", "1"), "'version' of the header must be a whole number"),
        *((drop(key), f"lacks the key '{key}'") for key in ("format", "version", "name", "operators", "tensors")),
        (drop("provenance"), "lacks the key 'provenance'"),
        (put("name", 3), "'name' of the header must be a text"),
        (put("name", ""), "the name of a trace must be"),
        (put("provenance", {"year": 3}), "must map texts to texts"),
        (put("operators", []), "has no operators"),
        (put("operators", {}), "must be a list"),
        (put(*CONV1, 3), "every entry of 'operators' must be an object"),
        (
            put(*CONV1, "type", "conv3d"),
            r"'conv1' has the unknown type 'conv3d' \(did .* 'conv2d'\?\); known: attention, conv2d, embedding_bag",
        ),
        (put(*CONV1, "name", "conv2"), "2 operators called 'conv2'"),
        *((drop(*CONV1, key), f"operator 'conv1' lacks the key '{key}'") for key in ("type", "tensors", "attributes")),
        (drop(*CONV1, "name"), "an operator lacks the key 'name'"),
        (put(*CONV1, "attributes", "strides", 2), r"unknown attribute 'strides' \(did you mean 'stride'"),
        (put(*CONV1, "attributes", "name", "x"), "unknown attribute 'name'"),
        (put(*CONV1, "attributes", "stride", [0, 1]), "stride must be a whole number"),
        (put(*CONV1, "attributes", "stride", None), "stride must be a whole number"),
        (
            put(*CONV1, "tensors", "weights", "conv1.weight"),
            r"unknown role 'weights' \(did you mean 'weight'",
        ),
        (
            put(*CONV1, "tensors", "weight", "nothing"),
            "its weight is the tensor 'nothing', which the header does not",
        ),
        (put(*CONV1, "tensors", "weight", [1]), "role 'weight' of operator 'conv1' must be a text"),
        (put(*CONV1, "tensors", "weight", "conv1.output"), r"'conv1' \(conv2d\): weight has shape"),
        (drop(*CONV1, "tensors", "input"), r"'conv1' \(conv2d\): input is missing"),
        (drop(*FC, "tensors", "weight"), r"'fc' \(linear\): weight is missing"),
        (put(*WEIGHT[:1], "conv1.weight", 3), "tensor 'conv1.weight' must be an object"),
        *((drop(*WEIGHT, key), f"'conv1.weight' lacks the key '{key}'") for key in ("kind", "shape", "bits", "scale")),
        *((drop(*DENSITY, key), f"'fc.input' lacks the key '{key}'") for key in ("density", "seed")),
        (put(*WEIGHT, "kind", "valeus"), r"unknown kind 'valeus' \(did you mean 'values'"),
        (put(*WEIGHT, "shape", [8, 27]), r"with shape \(8, 27\), expected that of its data, \(8, 3, 3, 3\)"),
        (put(*WEIGHT, "bits", 0), "tensor 'conv1.weight': bits"),
        *((put(*WEIGHT, "scale", s), "'conv1.weight': a scale must be") for s in (0, -1, float("nan"), float("inf"))),
        *((put(*WEIGHT, "scale", s), "'conv1.weight': a scale must be") for s in (None, "1", {}, [float("nan")] * 8)),
        (put(*WEIGHT, "scale", [1.0]), "one per index of the first axis"),
        (put(*HIDDEN, "shape", [1, 8, 7, 70]), "'conv1.output': a packed mask of shape"),
        (put(*HIDDEN, "shape", [0]), "'conv1.output': every size"),
        *((put(*DENSITY, "density", d), "'fc.input': a density must be") for d in (-0.5, 1.5, float("nan"), None, [])),
        (put(*DENSITY, "seed", -1), "seed must be"),
        (put(*DENSITY, "shape", []), "must be a list of one size"),
        (put(*DENSITY, "shape", [5, 8]), r"'fc' \(linear\): weight has shape \(4, 9\), expected \(4, 8\)"),
        (
            lambda _, arrays: arrays.pop("conv1.weight"),
            "'conv1.weight' is declared, but the file does not hold",
        ),
        (
            lambda _, arrays: arrays.pop("conv1.output"),
            "'conv1.output' is declared, but the file does not hold",
        ),
        (array("conv1.weight", lambda a: a.astype(np.float32)), "'conv1.weight': values must be integers"),
        (
            array("conv1.weight", lambda a: np.full(a.shape, np.nan)),
            "'conv1.weight': values must be integers",
        ),
        (array("conv1.weight", lambda a: a.astype(np.complex64)), "'conv1.weight' has the type C64"),
        (array("conv1.output", lambda a: a.astype(np.int8)), "'conv1.output': a packed mask"),
    ],
)
def test_bad_headers(saved, tmp_path, change, words):
    path = tampered(saved, tmp_path / "bad.safetensors", change)
    with pytest.raises(InputError, match=words) as refusal:
        load_trace(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("conv1.weight", lambda a: np.full(a.shape, 300), "integers from 300 to 300 do not fit 8 bits"),
        ("scores.b", lambda a: np.full(a.shape, 2**63 - 1), "do not fit"),
    ],
)
def test_bad_contents_are_found_when_read(saved, tmp_path, name, make, words):
    path = tampered(saved, tmp_path / "bad.safetensors", array(name, make))
    tensor = load_trace(path).tensors[name]
    with pytest.raises(InputError, match=rf"bad\.safetensors: tensor '{name}'.*{words}"):
        tensor.mask()


def test_stray_bits_are_found_when_read(tmp_path):
    layer = Linear("l", MaskTensor.of(np.ones((1, 3), bool)), DensityTensor((2, 3), 1, 0))
    save_trace(Trace("t", (layer,)), tmp_path / "a")
    path = tampered(tmp_path / "a", tmp_path / "b", array("l.input", lambda a: a | 8))
    with pytest.raises(InputError, match=r"b: tensor 'l\.input': bits are set beyond its 3 elements"):
        load_trace(path).operators[0].input.mask()


def test_larger_integer_types_mean_the_same(saved, tmp_path):
    path = tampered(saved, tmp_path / "wide", array("conv1.weight", lambda a: a.astype(np.int64)))
    assert load_trace(path).digest == every_kind().digest


def test_the_file_is_that_of_the_library_byte_for_byte(tmp_path):
    tensors = [
        ValueTensor(np.array([[low, high]]), bits=32)
        for low, high in ((-1, 1), (0, 255), (-300, 3), (0, 2**16 - 1), (-(2**31), 5), (0, 2**32 - 1))
    ]
    operators = [Linear(f'é \\ "{i}"', tensor, tensor) for i, tensor in enumerate(tensors)]
    save_trace(Trace("types", operators, {"text": "“quoted”\n\t\x7f\u2028 \\"}), tmp_path / "types.safetensors")
    content = (tmp_path / "types.safetensors").read_bytes()
    stored = {f"{each.name}.input": each.input.content() for each in operators}
    with safe_open(tmp_path / "types.safetensors", "numpy") as file:
        assert content == save(stored, metadata=file.metadata())


def test_saving_holds_one_tensor_at_a_time(tmp_path):
    class Slow(MaskTensor):
        held = 0
        most = 0

        def content(self):
            content = super().content().copy()
            Slow.held += 1
            Slow.most = max(Slow.most, Slow.held)
            weakref.finalize(content, self.freed)
            return content

        @staticmethod
        def freed():
            Slow.held -= 1

    tensors = [Slow.of(np.ones((1, 100), bool) * bool(i % 2)) for i in range(8)]
    operators = [Linear(f"linear{i}", tensor, tensor) for i, tensor in enumerate(tensors)]
    save_trace(Trace("many", operators), tmp_path / "many.safetensors")
    assert Slow.most <= 2
