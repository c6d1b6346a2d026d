"""Every multiply-accumulate of a model is in the trace or listed beside it; what cannot be seen is said or refused."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.extract import Extraction
from tests.extract.helpers import counted, left, one, run, torch

nn = torch.nn
F = torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def unknown(found: Extraction) -> list[str]:
    return [each.op for each in found.not_captured if each.macs is None]


def drawn(kind: str, rng: Any) -> Any:
    """A layer of a kind, its sizes drawn at random."""
    groups, size = int(rng.choice([1, 2, 4])), int(rng.integers(1, 4))
    stride, dilation, padding = (int(each) for each in rng.integers(1, 3, 3))
    if kind == "conv":
        return nn.Conv2d(4, 8, size, stride, padding, dilation, groups)
    if kind == "transposed":
        return nn.ConvTranspose2d(4, 8, size, stride, 0, 0, groups, dilation=dilation)
    if kind == "volume":
        return nn.Conv3d(4, 8, (1, size, size), 1, (0, padding, padding), groups=groups)
    if kind == "attend":
        return nn.MultiheadAttention(6, min(groups, 3), batch_first=True)
    return nn.Linear(6, 6) if kind == "mix" else nn.Bilinear(6, 6, 6)


class Drawn(nn.Module):
    """Layers drawn at random, one after another, all on (batch, channels, rows, columns)."""

    def __init__(self, rng: Any, layers: int) -> None:
        super().__init__()
        kinds = ["conv", "transposed", "volume", "mix", "attend", "both"]
        self.kinds = [str(kind) for kind in rng.choice(kinds, layers)]
        self.layers = nn.ModuleList(drawn(kind, rng) for kind in self.kinds)

    def forward(self, x: Any) -> Any:
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            if kind in ("conv", "transposed"):
                x = layer(x)
            elif kind == "volume":
                x = layer(x[:, :, None]).squeeze(2)
            elif kind == "attend":
                rows = x.flatten(1, 2)
                x = layer(rows, rows, rows, need_weights=False)[0].reshape(x.shape)
            else:
                x = layer(x, x) if kind == "both" else layer(x)
            x = F.adaptive_avg_pool2d(F.relu(x[:, :4]), 6)
        return x


@pytest.mark.parametrize("seed", range(8))
def test_the_macs_of_models_drawn_at_random_are_those_that_pytorch_counts(seed):
    model, data = Drawn(np.random.default_rng(seed), 5), torch.randn(2, 4, 6, 6)
    found = run(model, data)
    uncounted = sum(each.macs for each in found.not_captured if each.op == "aten::_trilinear")  # PyTorch counts none
    assert found.trace.macs + found.macs_left_out - uncounted == counted(model, data)
    assert not unknown(found)


def test_all_that_pytorch_counts_is_known():
    from torch.utils.flop_counter import flop_registry

    from simulator.extract.kinds import is_product

    names = [str(packet).removeprefix("aten.") for packet in flop_registry if "flex" not in str(packet)]
    assert len(names) > 10
    assert [name for name in names if not is_product(name) and not name.startswith("_scaled_dot_product")] == []


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: torch.conv_tbc(x, torch.ones(3, 4, 5), torch.zeros(5)), "aten::conv_tbc"),
        (lambda x: torch.cdist(x, x), "aten::_euclidean_dist"),
        (lambda x: torch.linalg.inv(x @ x.mT + 9 * torch.eye(30)), "aten::linalg_inv_ex"),
        (lambda x: torch.linalg.eigh(x @ x.mT)[0], "aten::_linalg_eigh"),
    ],
)
def test_products_of_unknown_size_are_listed_as_such(function, op):
    found = run(lambda x: (x @ x.mT, function(x)), torch.randn(30, 30, 4))
    assert unknown(found) == [op]


def test_what_only_sounds_like_a_product_is_none():
    found = run(
        lambda x: F.interpolate(x @ x.mT, 9, mode="linear").norm(dim=-1).rsqrt() + x.sqrt().sum(), torch.rand(2, 4, 4)
    )
    assert unknown(found) == []


def test_experts_without_rows_have_nothing_to_compute():
    experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.LayerNorm(8)) for _ in "123")

    def function(x, chosen):
        made = torch.zeros_like(x)
        for number, expert in enumerate(experts):
            rows = (chosen == number).nonzero()[:, 0]
            made[rows] = expert(x[rows]) * x[rows]
        return made

    found = run(function, torch.randn(6, 8), torch.tensor([0, 0, 2, 2, 2, 0]))
    assert [each.macs for each in found.trace.operators if each.type == "linear"] == [3 * 8 * 4] * 4
    assert found.captured == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mT @ x,
        lambda x: F.conv2d(x[:, None, None], torch.ones(2, 1, 1, 3)),
        lambda x: F.scaled_dot_product_attention(torch.ones(1, 5, 8), x[None], x[None]),
        lambda x: F.softmax(F.gelu(x), -1) + F.relu(x),
        lambda x: F.group_norm(x, 2),
        lambda x: F.layer_norm(x, (8,)),
        lambda x: (x @ torch.ones(8, 3)).relu()[:0].clone(),
        lambda x: F.embedding_bag(torch.zeros(0, 2).long(), torch.ones(9, 4)),
    ],
)
def test_tensors_without_elements_are_no_mistake(function):
    layer = nn.Linear(8, 3)
    found = run(lambda x: layer(x).sum() + function(x[:0]).sum(), torch.randn(4, 8))
    assert (one(found).type, found.captured) == ("linear", 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.relu(x.sum()) + F.silu(x.mean()) + F.gelu(x.max()),
        lambda x: torch.sigmoid(x[0, 0]).square().mean().rsqrt(),
        lambda x: torch.softmax(x.sum(), 0),
        lambda x: (x @ torch.ones(8, 1))[:1].squeeze().relu().exp(),
    ],
)
def test_single_numbers_are_no_operators(function):
    layer = nn.Linear(8, 3)
    found = run(lambda x, factor: layer(x) * factor + function(x), torch.randn(4, 8), torch.tensor(2.0))
    assert {each.type for each in found.trace.operators} == {"linear"}
    assert found.captured == 1


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floating_point_between_products(dtype):
    first, second = nn.Linear(8, 8), nn.Linear(8, 3)
    found = run(lambda x: second(first(x).relu().to(dtype).float()), torch.randn(4, 8))
    assert [each.macs for each in found.trace.operators] == [256, 96]


def test_whole_numbers_are_multiplied_too():
    found = run(lambda x: torch._int_mm(x, x.mT), torch.randint(-128, 128, (32, 32), dtype=torch.int8))
    assert one(found).macs == 32**3


@pytest.mark.parametrize("leave", [lambda x: x.numpy(), np.asarray, np.from_dlpack], ids=["numpy", "asarray", "dlpack"])
def test_values_that_leave_pytorch_are_listed(leave):
    layer = nn.Linear(8, 3)
    found = run(lambda x: layer(x) + torch.from_numpy(leave(x) @ np.ones((8, 3), np.float32)), torch.randn(4, 8))
    assert unknown(found) == ["numpy"]
    assert left(found)["numpy"].bytes == 4 * 8 * 4
    assert found.data_dependent


def test_values_that_python_reads_are_told():
    layer = nn.Linear(8, 3)
    assert run(lambda x: layer(x) * max(x[0].tolist()), torch.randn(4, 8)).data_dependent == ("the model (tolist)",)
    assert not run(lambda x: layer(x) * layer.bias.detach().numpy().size, torch.randn(4, 8)).data_dependent


def test_modules_that_run_in_threads_are_refused():
    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                return self.one(x) + pool.submit(self.other, x).result()

    with pytest.raises(InputError, match="module 'other' runs in a thread of its own, which hides"):
        run(Parallel(), torch.randn(4, 8))


def test_a_model_that_catches_the_refusal_is_refused_all_the_same():
    def function(x):
        try:
            return (x / 0) @ x
        except ValueError:
            return x @ x

    with pytest.raises(InputError, match=r"the model: a factor is .* NaN or infinite"):
        run(function, torch.randn(4, 4))


def test_a_model_that_ends_the_program_is_refused():
    with pytest.raises(InputError, match="raises SystemExit: 3"):
        run(lambda x: exit(3), torch.randn(4, 4))


@pytest.mark.filterwarnings("ignore")
def test_nested_tensors():
    layer = nn.Linear(8, 3)

    def nested(layout):
        return lambda *rows: layer(torch.nested.nested_tensor(list(rows), layout=layout))

    rows = torch.randn(3, 8), torch.randn(5, 8)
    assert run(nested(torch.jagged), *rows).trace.macs == 8 * 8 * 3
    given = torch.nested.nested_tensor(list(rows), layout=torch.jagged)
    assert run(lambda x: layer(x), given).trace.macs == 8 * 8 * 3
    with pytest.raises(InputError, match=r"nested tensors of strided layout, expected layout=torch\.jagged"):
        run(nested(torch.strided), *rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_batch_norm_of_other_sizes_is_left_to_pytorch(dtype):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5)).to(dtype)
    with pytest.raises(InputError, match=r"module '1' raises RuntimeError"):
        run(model, torch.randn(1, 3, 8, 8, dtype=dtype))
    assert math.isclose(run(model[0], torch.randn(1, 3, 8, 8, dtype=dtype)).captured, 1)
