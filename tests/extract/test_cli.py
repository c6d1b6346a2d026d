"""`skipper extract` from the command line; whatever it cannot use ends in one sentence and status 2."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.errors import InputError
from simulator.extract import capture
from simulator.trace import load_trace
from tests.extract.helpers import torch

NETS = """
import numpy as np
import torch
from torch import nn

def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.layer = nn.Embedding(50, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.out = nn.Linear(16, 50)
        self.out.weight = self.words.weight

    def forward(self, words, mask=None):
        return self.out(self.layer(self.words(words), src_key_padding_mask=mask))

class Net:
    linear = nn.Linear(4, 4)

class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return torch.from_numpy(self.linear(x).numpy() @ np.ones((4, 4), np.float32))

class Adds(nn.Module):
    def forward(self, x):
        return torch.tanh(x + 1)

class Caught(nn.Module):
    def forward(self, x):
        try:
            return (x / 0) @ x
        except ValueError:
            return x @ x

class Threads(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        from concurrent.futures import ThreadPoolExecutor
        return ThreadPoolExecutor(1).submit(self.linear, x).result()

class Repeats(nn.Module):
    def forward(self, x):
        from torch._higher_order_ops.while_loop import while_loop_op
        return while_loop_op(lambda y: y.sum() < 5, lambda y: (y @ y,), (x,), ())

class Ends(nn.Module):
    def forward(self, x):
        raise SystemExit(3)

class Huge(nn.Module):
    def forward(self, x):
        return x @ torch.zeros(1).expand(4, 2**30)

class Small(nn.Module):
    def forward(self, x):
        return nn.functional.linear(x, x)

class Nested(nn.Module):
    def forward(self, x):
        return torch.nested.nested_tensor([x, x]) * 2

def pruned():
    model = nn.Linear(4, 4)
    model.weight.data[0] = float("nan")
    return model

class Infinite(nn.Module):
    def forward(self, x):
        return (x / 0) @ x

class Fourier(nn.Module):
    def forward(self, x):
        return (torch.fft.fft(x) @ torch.fft.fft(x)).real

def needs(argument):
    return None

def fails():
    raise ValueError("the sky\\nis blue")

def meta():
    with torch.device("meta"):
        return nn.Linear(4, 4)

number = 3
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    for name in ("nets", "broken", "leaves"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in ("nets", "broken", "leaves"):
        sys.modules.pop(name, None)


def skipper(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


CNN = ("extract", "nets:cnn", "--input", "1x3x8x8", "-o", "out.safetensors")


def test_from_a_model_to_a_run(desk):
    code, out, _ = skipper(*CNN, "--hybrid", "6")
    assert code == 0
    assert "3 operators (2 conv2d, 1 linear)" in out
    assert "100.0000% of the MACs are captured" in out
    assert "aten::mean" in out
    assert "wrote out.safetensors" in out
    assert skipper("inspect", "out.safetensors")[0] == 0
    assert skipper("run", "escalate", "out.safetensors", "--check")[0] == 0
    assert not [path for path in desk.iterdir() if path.name.startswith((".", "tmp"))]


def test_words_to_dota_without_what_one_does_not_want(desk):
    source = ("--input", "2x12:int64:50", "--input", "mask=2x12:bool", "-o", "words.safetensors", "--name", "words")
    assert skipper("extract", "nets:Words", *source)[0] == 0
    trace = load_trace("words.safetensors")
    assert trace.name == "words"
    assert sum(each.type == "attention" for each in trace.operators) == 1
    assert skipper("run", "dota", "words.safetensors", "--out", "all")[0] == 0
    code, out, _ = skipper("run", "dota", "words.safetensors", "--without", "rowwise, attention", "--out", "some")
    attention = next(each.macs for each in trace.operators if each.type == "attention")
    assert code == 0
    assert "left out: 5 operators (rowwise, attention)" in out
    left = json.loads(Path("some/summary.json").read_text())["left_out"]
    assert left == {
        "types": ["rowwise", "attention"], "operators": 5, "macs": attention, "macs_share": attention / trace.macs,
    }  # fmt: skip
    assert "left_out" not in json.loads(Path("all/summary.json").read_text())


def test_the_seed_draws_weights_and_inputs(desk):
    digests = []
    for seed in ("0", "0", "1"):
        skipper(*CNN, "--seed", seed, "--force")
        digests.append(load_trace("out.safetensors").digest)
    assert digests[0] == digests[1] != digests[2]


def trained(path: Path, name: str = "nets:cnn") -> torch.nn.Module:
    from simulator.extract.loading import load_model

    model = load_model(name, seed=7)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_model

        save_model(model, path)
    else:
        torch.save(model.state_dict() if path.suffix == ".pt" else {"state_dict": model.state_dict()}, path)
    return model


@pytest.mark.parametrize("name", ["weights.pt", "weights.ckpt", "weights.safetensors"])
@pytest.mark.parametrize("model", ["nets:cnn", "nets:Words"])
def test_weights_from_a_file(desk, name, model):
    expected = trained(Path(name), model)
    data = {"nets:cnn": "1x3x8x8", "nets:Words": "1x5:int64:50"}[model]
    assert skipper("extract", model, "--input", data, "--weights", name, "-o", "out.safetensors")[0] == 0
    from simulator.extract.loading import load_inputs

    found = capture(expected, load_inputs((data,))[0], name="out").trace
    assert load_trace("out.safetensors").digest == found.digest


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_inputs_from_a_file(desk, suffix):
    data = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    path = f"image.{suffix}"
    if suffix == "npy":
        np.save(path, data)
    elif suffix == "npz":
        np.savez(path, data)
    else:
        from safetensors.numpy import save_file

        save_file({"input": data}, path)
    assert skipper(*CNN[:3], path, *CNN[4:])[0] == 0
    values = load_trace("out.safetensors").operators[0].input
    assert np.allclose(values.values() * values.scale, data, atol=0.02)


Case = tuple[Callable[[Path], tuple[str, ...]], tuple[str, ...]]


def with_input(text: str, model: str = "nets:cnn") -> tuple[str, ...]:
    return ("extract", model, "--input", text, "-o", "out.safetensors")


def with_weights(change: Callable[[dict], object]) -> tuple[str, ...]:
    model = trained(Path("weights.pt"))
    torch.save(change(dict(model.state_dict())), "weights.pt")
    return (*CNN, "--weights", "weights.pt")


def written(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def weights_file(name: str, content: bytes) -> tuple[str, ...]:
    return (*CNN, "--weights", written(name, content))


def saved(array: np.ndarray, **options: bool) -> str:
    np.save("in.npy", array, **options)
    return "in.npy"


def nothing() -> str:
    np.savez("in.npz")
    return "in.npz"


CASES: dict[str, Case] = {
    "no colon": (lambda _: with_input("1x3x8x8", "nets"), ("nets", "MODULE:CALLABLE")),
    "no such module": (lambda _: with_input("1x3x8x8", "nests:cnn"), ("no module 'nests'",)),
    "a module that does not import": (lambda _: with_input("1x4", "broken:a"), ("broken", "nothing_of_that_name")),
    "a module that ends the program": (lambda _: with_input("1x4", "leaves:a"), ("leaves", "SystemExit: 3")),
    "no such callable": (lambda _: with_input("1x4", "nets:cmn"), ("has no 'cmn'", "did you mean 'cnn'?")),
    "no callable": (lambda _: with_input("1x4", "nets:number"), ("type int", "expected a callable")),
    "a callable that raises": (lambda _: with_input("1x4", "nets:fails"), ("ValueError: the sky",)),
    "a callable that needs arguments": (lambda _: with_input("1x4", "nets:needs"), ("TypeError", "argument")),
    "not a model": (lambda _: with_input("1x4", "nets:Net"), ("returns a Net", "torch.nn.Module")),
    "no values": (lambda _: with_input("1x4", "nets:meta"), ("'meta'", "no values")),
    "channels that do not fit": (lambda _: with_input("1x4x8x8"), ("(1, 4, 8, 8)", "module '0'", "3 channels")),
    "an image too small": (lambda _: with_input("1x3x1x1"), ("does not run", "module '3'")),
    "too many inputs": (lambda _: (*CNN, "--input", "1x4"), ("does not run", "TypeError")),
    "an unknown name": (lambda _: (*CNN, "--input", "picture=1x4"), ("does not run", "picture")),
    "a name twice": (lambda _: (*CNN, "--input", "a=1", "--input", "a=2"), ("'a' is given twice",)),
    "words out of range": (lambda _: with_input("1x9:int64:1000", "nets:Words"), ("module 'words'", "IndexError")),
    "a wrong type": (lambda _: with_input("1x9", "nets:Words"), ("module 'words'", "RuntimeError")),
    "no such input": (lambda _: with_input("image.npy"), ("image.npy", "neither a file nor a shape")),
    "another type of input": (lambda _: with_input(written("in.png", b"")), ("in.png", ".npy")),
    "an input cut short": (lambda _: with_input(written("in.npy", b"\x93NUMPY")), ("in.npy", "not a file of arrays")),
    "an input of objects": (
        lambda _: with_input(saved(np.array([{}, 1]), allow_pickle=True)), ("in.npy", "allow_pickle=False"),
    ),
    "an input of texts": (lambda _: with_input(saved(np.array(["a"]))), ("in.npy", "<U1", "no tensors")),
    "an input of complex numbers": (
        lambda _: with_input(saved(np.ones((1, 3, 8, 8), complex))), ("complex128", "real numbers"),
    ),
    "an input that is not finite": (
        lambda _: with_input(saved(np.full((1, 3, 8, 8), np.nan, np.float32))), ("module '0'", "192 elements are NaN"),
    ),
    "an empty input": (lambda _: with_input("1x0x8x8"), ("at least 1",)),
    "too large an input": (lambda _: with_input("1x3x100000x100000"), ("30000000000 elements", "2^31")),
    "a type that cannot be drawn": (lambda _: with_input("1x3:complex64"), ("'complex64'", "float32")),
    "a bound of real numbers": (lambda _: with_input("1x3:float32:9"), ("a bound goes with whole numbers",)),
    "a bound of nothing": (lambda _: with_input("1x3:int64:0"), ("cannot be drawn below 0",)),
    "weights that are missing": (
        lambda _: with_weights(lambda state: {k: v for k, v in state.items() if k != "0.bias"}), ("lacks '0.bias'",),
    ),
    "weights too many": (
        lambda _: with_weights(lambda state: {**state, "9.bias": state["0.bias"]}), ("holds '9.bias'", "has not"),
    ),
    "weights of another shape": (
        lambda _: with_weights(lambda state: {**state, "0.bias": torch.zeros(3)}), ("0.bias", "size mismatch"),
    ),
    "a list of weights": (lambda _: with_weights(lambda state: list(state.values())), ("expected a state dict",)),
    "a whole model": (
        lambda _: with_weights(lambda state: trained(Path("weights.pt"))), ("more than tensors", "torch.nn"),
    ),
    "a pickle that runs code": (
        lambda _: weights_file("weights.pt", pickle.dumps(os.system, protocol=2)), ("more than tensors", "system"),
    ),
    "a newer pickle": (lambda _: weights_file("weights.pt", pickle.dumps(os.system)), ("more than tensors",)),
    "an empty file": (lambda _: weights_file("weights.pt", b""), ("weights.pt", "not a PyTorch file")),
    "a broken archive": (lambda _: weights_file("weights.pt", b"PK\x03\x04"), ("weights.pt", "not a PyTorch file")),
    "weights that are none": (lambda _: weights_file("weights.pt", b"none"), ("weights.pt", "not a PyTorch file")),
    "safetensors that are none": (
        lambda _: weights_file("weights.safetensors", b"none"), ("weights.safetensors", "not a safetensors file"),
    ),
    "no such weights": (lambda _: (*CNN, "--weights", "absent.pt"), ("absent.pt", "no such file")),
    "operators hidden from PyTorch": (
        lambda _: with_input("2x4", "nets:Outside"), ("does not come from its inputs", "NumPy"),
    ),
    "no operators": (lambda _: with_input("2x4", "nets:Adds"), ("no operator", "aten::tanh")),
    "numbers that are not finite": (lambda _: with_input("4x4", "nets:Infinite"), ("NaN or infinite",)),
    "numbers that are not finite, caught": (lambda _: with_input("4x4", "nets:Caught"), ("NaN or infinite",)),
    "weights that are not finite": (
        lambda _: with_input("2x4", "nets:pruned"), ("its weight", "4 of 16 elements are NaN"),
    ),
    "a thread": (lambda _: with_input("2x4", "nets:Threads"), ("module 'linear' runs in a thread", "hides")),
    "a loop that depends on the data": (lambda _: with_input("2x2", "nets:Repeats"), ("'while_loop'", "hides")),
    "a model that ends the program": (lambda _: with_input("2x4", "nets:Ends"), ("raises SystemExit: 3",)),
    "too large a tensor": (lambda _: with_input("2x4", "nets:Huge"), ("4294967296 elements", "2^31")),
    "a type that is hardly a number": (
        lambda _: with_input(saved(np.ones((2, 4), np.uint16)), "nets:Small"), ("its input", "uint16", "float16"),
    ),
    "nested tensors": (lambda _: with_input("2x4", "nets:Nested"), ("nested tensors", "torch.jagged")),
    "no axis": (lambda _: with_input(saved(np.float32(3))), ("does not run", "()")),
    "an archive of no arrays": (lambda _: with_input(nothing()), ("does not run", "no tensor")),
    "a seed below zero": (lambda _: (*CNN, "--seed", "-1"), ("seed", "-1")),
    "too large a seed": (lambda _: (*CNN, "--seed", "9" * 30), ("seed", "9999")),
    "complex weights": (
        lambda _: with_weights(lambda state: {**state, "0.bias": torch.ones(16, dtype=torch.complex64)}),
        ("'0.bias' is complex there, real in the model",),
    ),
    "weights without names": (lambda _: with_weights(lambda state: {1: torch.ones(3)}), ("expected a state dict",)),
    "weights within weights": (lambda _: with_weights(lambda state: {"model": state}), ("expected a state dict",)),
    "products of complex numbers": (lambda _: with_input("4x4", "nets:Fourier"), ("complex64", "real numbers")),
    "bits": (lambda _: (*CNN, "--bits", "17"), ("bits", "at most 16")),
    "one bit": (lambda _: (*CNN, "--bits", "1"), ("bits", "at least 2")),
    "a percentile": (lambda _: (*CNN, "--percentile", "0"), ("percentile", "above 0")),
    "no bases": (lambda _: (*CNN, "--hybrid", "0"), ("0",)),
    "another suffix": (lambda _: (*CNN[:-1], "out.pt"), ("out.pt", ".safetensors")),
    "no such folder": (lambda _: (*CNN[:-1], "there/out.safetensors"), ("there", "folder")),
    "a file in the way": (lambda _: (*CNN[:-1], written("o.safetensors", b"x")), ("o.safetensors", "--force")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input(desk, name):
    arguments, words = CASES[name][0](desk), CASES[name][1]
    before = {path.name: path.read_bytes() for path in desk.iterdir() if path.is_file()}
    code, out, err = skipper(*arguments)
    assert code == 2, out + err
    assert out == ""
    (line,) = err.strip().splitlines()
    assert line.startswith("skipper: ")
    assert "Traceback" not in line
    for word in words:
        assert word in line
    assert {path.name: path.read_bytes() for path in desk.iterdir() if path.is_file()} == before


def test_without_pytorch(desk, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, err = skipper(*CNN)
    assert code == 2
    assert "pip install 'skipper-simulator[torch]'" in err
    with pytest.raises(InputError, match="PyTorch is not installed"):
        capture(None, None)


@pytest.mark.parametrize("arguments", [("--without", "pooling"), ("--without", "conv2d,linear")])
def test_leaving_out_what_is_not_there_or_all(desk, arguments):
    assert skipper(*CNN, "--hybrid", "6")[0] == 0
    code, _, err = skipper("run", "escalate", "out.safetensors", *arguments)
    assert code == 2
    assert "--without" in err
    assert "unknown type" in err or "no operators but" in err


def test_the_rest_of_the_command_does_not_import_pytorch():
    code = "import sys, simulator.cli, simulator.extract; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("model", "inputs", "options", "words"),
    [
        (lambda x: x, torch.ones(1), {}, "must be a torch.nn.Module, not function"),
        (torch.nn.Linear(2, 2), 3, {}, "inputs must be a tensor"),
        (torch.nn.Linear(2, 2), {1: 2}, {}, "names of inputs"),
        (torch.nn.Linear(2, 2), torch.ones(1, 2), {"bits": 2.5}, "bits must be a whole number"),
        (torch.nn.Linear(2, 2), torch.ones(1, 2), {"percentile": "all"}, "percentile must be a finite number"),
        (torch.nn.LazyLinear(2), torch.ones(1, 2), {}, "lazy parameters"),
        (torch.nn.Linear(2, 2), torch.ones(1, 2, device="meta"), {}, "device 'meta'"),
    ],
)
def test_bad_arguments(model, inputs, options, words):
    with pytest.raises(InputError, match=words):
        capture(model, inputs, **options)
