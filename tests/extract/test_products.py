"""Convolutions, fully connected layers and products of matrices: what is captured is what the module computed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.extract.helpers import counted, dequantised, left, near, one, run, torch

nn = torch.nn


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("module", "shape", "attributes"),
    [
        (nn.Conv2d(3, 8, 3, bias=False), (2, 3, 9, 9), {}),
        (nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, bias=False), (1, 4, 9, 8), {"groups": 2}),
        (nn.Conv2d(6, 12, 3, groups=6, padding="same", bias=False), (1, 6, 5, 5), {"groups": 6, "padding": (1, 1)}),
        (nn.Conv2d(4, 4, 4, padding="same", bias=False), (1, 4, 6, 6), {"padding": (1, 1)}),
        (nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular", bias=False), (1, 3, 6, 6), {"padding": (0, 0)}),
        (nn.Conv1d(3, 8, 5, 2, 2, 1, groups=1, bias=False), (2, 3, 20), {"stride": (1, 2), "padding": (0, 2)}),
        (nn.Conv2d(3, 8, 3, bias=False).to(memory_format=torch.channels_last), (2, 3, 9, 9), {}),
        (nn.Conv2d(3, 8, 3, bias=False), (3, 9, 9), {}),
    ],
)
def test_convolutions(module, shape, attributes):
    if shape[0] == 2 and len(shape) == 4:
        data = torch.randn(shape).to(memory_format=torch.channels_last)
    else:
        data = torch.randn(shape)
    found = run(module, data)
    operator = one(found)
    assert near(dequantised(operator), module(data))
    assert operator.macs == counted(module, data)
    assert found.captured == 1
    if tuple(attributes) != ("padding",) or module.kernel_size != (4, 4):  # an even kernel is padded before
        assert {key: operator.attributes[key] for key in attributes} == attributes


def test_what_no_convolution_of_the_trace_does_is_listed_with_its_macs():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 2, stride=2))
    data = torch.randn(1, 2, 6, 6)
    found = run(model, data)
    (transposed,) = found.not_captured
    assert (transposed.op, transposed.module, transposed.kind) == ("aten::convolution", "1", "products")
    assert transposed.macs == 4 * 36 * 3 * 4
    assert found.captured == pytest.approx(2592 / (2592 + 1728))
    volume = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 27, 4))
    data = torch.randn(1, 1, 3, 3, 3)
    found = run(volume, data)
    assert found.trace.macs + found.macs_left_out == counted(volume, data)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (2, 2, 3, 7)])
def test_fully_connected_layers(shape):
    module = nn.Linear(7, 5, bias=False)
    data = torch.randn(shape)
    operator = one(run(module, data))
    assert operator.type == "linear"
    assert operator.input.shape == shape
    assert near(dequantised(operator), module(data))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x @ w,
        lambda x, w: torch.addmm(torch.zeros(5), x, w),
        lambda x, w: torch.einsum("ik,kj->ij", x, w),
        lambda x, w: torch.matmul(x[None], w)[0],
        lambda x, w: torch.mm(x, w),
        lambda x, w: torch.stack([torch.mv(w.t(), row) for row in x[:1]]),
    ],
)
def test_a_product_with_a_parameter_is_a_fully_connected_layer(function):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(7, 5))

        def forward(self, x):
            return function(x, self.weight)

    model, data = Layer(), torch.randn(3, 7)
    operator = one(run(model, data))
    assert operator.type == "linear"
    assert operator.weight.shape == (5, 7)
    assert len(operator.weight.scale) == 5
    assert near(dequantised(operator), model(data))


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda a, b: a @ b, ((4, 6), (6, 5))),
        (lambda a, b: a @ b, ((2, 3, 4, 6), (2, 3, 6, 5))),
        (lambda a, b: a @ b, ((2, 3, 4, 6), (6, 5))),
        (lambda a, b: a @ b, ((2, 1, 4, 6), (3, 6, 5))),
        (torch.bmm, ((3, 4, 6), (3, 6, 5))),
        (lambda a, b: torch.baddbmm(torch.zeros(1), a, b), ((3, 4, 6), (3, 6, 5))),
        (lambda a, b: torch.einsum("bik,bkj->bij", a, b), ((3, 4, 6), (3, 6, 5))),
        (lambda a, b: torch.tensordot(a, b, 1), ((4, 6), (6, 5))),
        (lambda a, b: torch.dot(a, b), ((6,), (6,))),
        (lambda a, b: a @ b, ((4, 6), (6,))),
    ],
)
def test_products_of_activations(function, shapes):
    data = [torch.randn(shape) for shape in shapes]
    operator = one(run(function, *data))
    assert operator.type == "matmul"
    assert near(dequantised(operator), function(*data))


def test_a_stack_of_sparse_matrices_is_listed_with_the_macs_of_what_is_stored():
    matrices = (torch.rand(3, 10, 10) < 0.3).float().to_sparse()

    def function(x):
        return torch.bmm(matrices, x @ x.mT)

    found = run(function, torch.randn(3, 10, 6))
    assert left(found)["bmm"].macs == matrices._nnz() * 10
    assert found.trace.macs == 3 * 10 * 10 * 6


def test_recurrent_layers_are_taken_step_by_step():
    model, data = nn.LSTM(6, 5, batch_first=True), torch.randn(2, 4, 6)
    found = run(model, data)
    assert found.trace.macs + found.macs_left_out == 2 * 4 * (6 * 20 + 5 * 20)
    assert {operator.type for operator in found.trace.operators if operator.macs} == {"linear"}
    weights = {id(operator.weight) for operator in found.trace.operators if operator.type == "linear"}
    assert len(weights) == 2


def test_values_are_those_that_quantise_makes():
    from simulator.trace import quantise

    module, data = nn.Linear(7, 5), torch.randn(3, 7)
    operator = one(run(module, data))
    expected = quantise(data.numpy()), quantise(module.weight.detach().numpy(), axis=0)
    assert operator.input.digest == expected[0].digest
    assert operator.weight.digest == expected[1].digest
    assert one(run(module, data, bits=12)).input.digest == quantise(data.numpy(), 12).digest


def test_large_tensors_are_quantised_in_blocks_as_they_are_in_one(monkeypatch):
    from simulator.extract import quantising

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10))
    data = torch.randn(1, 6, 6, 3).permute(0, 3, 1, 2)
    whole = run(model, data).trace.digest
    monkeypatch.setattr(quantising, "BLOCK", 16)
    assert run(model, data).trace.digest == whole


def test_a_percentile_saturates_what_is_larger():
    data = torch.cat([torch.full((1, 99), 1.0), torch.full((1, 1), 1000.0)], 1)
    operator = one(run(nn.Linear(100, 2), data, percentile=99))
    assert set(np.unique(operator.input.values())) == {127}
    assert operator.input.scale == pytest.approx(1 / 127)
