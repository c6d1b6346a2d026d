"""Zeros stay zeros, batch norms fold, residuals and norms are operators, and nothing is dropped without a word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.trace import DensityTensor, MaskTensor
from tests.extract.helpers import dequantised, left, near, one, real, run, torch

nn, functional = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normalised(channels):
    """A batch norm that has seen something, one channel pruned, some turned over."""
    norm = nn.BatchNorm2d(channels)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    norm.weight.data[0] = 0
    norm.bias.data.zero_()
    return norm.eval()


def test_the_zeros_of_a_relu_are_the_zeros_of_the_trace():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(64, 3))
    data = torch.randn(2, 3, 8, 8)
    first, second, last = run(model, data).trace.operators
    hidden = model[1](model[0](data))
    assert not (second.input.mask() & ~(hidden != 0).numpy()).any()  # a zero is never anything else
    assert first.output is second.input
    lost = (hidden != 0).numpy() & ~second.input.mask()
    assert (hidden.detach().numpy()[lost] < hidden.max().item() / 253).all()
    assert np.array_equal(second.output.mask(), (model[3](model[2](hidden)) != 0).numpy())
    assert second.output.mask().reshape(2, 64)[last.input.mask()].all()


def test_small_values_that_become_zero_are_counted():
    data = torch.tensor([[127.0, 0.4, 0.6, 0.0, -0.3]])
    layer = nn.Linear(5, 1)
    layer.weight.data[:] = torch.tensor([[0.0, 127.0, -0.2, 1.0, 2.0]])
    found = run(layer, data)
    assert one(found).input.values().tolist() == [[127, 0, 1, 0, 0]]
    assert one(found).weight.values().tolist() == [[0, 127, 0, 1, 2]]
    assert (found.activations.lost, found.activations.nonzero) == (2, 4)
    assert (found.weights.lost, found.weights.nonzero) == (1, 4)
    assert found.trace.provenance["rounded to zero"] == "25.000% of weights, 50.000% of activations"


def test_the_zeros_of_a_pruned_weight_are_kept():
    from torch.nn.utils import prune

    for make in (lambda: nn.Linear(30, 20), lambda: nn.Conv2d(3, 8, 3)):
        layer = make()
        prune.l1_unstructured(layer, "weight", 0.6)
        data = torch.randn(4, 30) if isinstance(layer, nn.Linear) else torch.randn(1, 3, 8, 8)
        found = run(layer, data)
        assert not (one(found).weight.mask() & (layer.weight == 0).numpy()).any()
        assert one(found).weight.density == pytest.approx(0.4, abs=0.01)
        assert found.not_captured == ()  # masking a weight is no work of the run


@pytest.mark.parametrize("inplace", [False, True])
def test_a_batch_norm_folds_into_the_convolution(inplace):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), normalised(8), nn.ReLU(inplace), nn.Conv2d(8, 2, 1))
    model[1].running_mean.zero_()
    data = torch.randn(2, 3, 8, 8)
    found = run(model, data)
    first, second = found.trace.operators
    assert found.not_captured == ()
    assert near(dequantised(first), model[1](model[0](data)))
    assert not first.weight.mask()[0].any()
    assert first.output is second.input
    assert np.array_equal(second.input.mask()[:, 0], np.zeros((2, 6, 6), bool))


def test_a_batch_norm_that_cannot_fold_is_listed():
    model = nn.Sequential(normalised(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), normalised(4), nn.Conv2d(4, 2, 1))
    found = run(model, torch.randn(1, 3, 8, 8))
    assert {each.module for each in found.not_captured} == {"0", "4"}
    assert left(found)["native_batch_norm"].elements >= 144
    assert [each.type for each in found.trace.operators] == ["rowwise", "conv2d", "conv2d"]


def test_shared_weights_with_different_batch_norms_are_different_weights():
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    model = nn.Sequential(conv, normalised(4), conv, normalised(4), conv)
    first, second, third = run(model, torch.randn(1, 4, 6, 6)).trace.operators
    assert len({first.weight.digest, second.weight.digest, third.weight.digest}) == 3
    assert near(real(third.weight), conv.weight, 0.01)
    assert [each.name for each in (first, second, third)] == ["0", "0.2", "0.3"]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=2)

    def forward(self, x):
        y = self.conv2(functional.relu(self.conv1(x)))
        y += x
        return self.conv2(functional.relu_(y))


def test_residuals():
    data = torch.randn(1, 4, 6, 6)
    found = run(Residual(), data)
    kinds = [(each.name, each.attributes.get("kind")) for each in found.trace.operators]
    assert kinds == [("conv1", None), ("conv2", None), ("add", "add"), ("relu", "relu"), ("conv2.2", None)]
    conv1, conv2, add, relu, again = found.trace.operators
    assert add.input is conv2.output
    assert add.other is conv1.input
    assert relu.input is add.output
    assert relu.output is again.input
    assert conv2.weight is again.weight
    assert found.captured == 1
    assert found.not_captured == ()


def test_only_masks_are_kept_of_what_has_no_products():
    found = run(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2)), torch.randn(3, 4))
    _, gelu, norm, last = found.trace.operators
    assert isinstance(gelu.input, MaskTensor | DensityTensor)
    assert norm.output is last.input
    assert norm.output.kind == "values"


def manual_rms(x, gain):
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


@pytest.mark.parametrize(
    ("function", "kind", "rows"),
    [
        (lambda x: functional.layer_norm(x, (8,)), "layer_norm", 12),
        (lambda x: functional.layer_norm(x, (4, 8)), "layer_norm", 3),
        (lambda x: functional.group_norm(x, 2), "layer_norm", 6),
        (lambda x: functional.rms_norm(x, (8,)), "rms_norm", 12),
        (lambda x: manual_rms(x, torch.ones(8)), "rms_norm", 12),
        (lambda x: manual_rms(x.double(), torch.ones(8)).float(), "rms_norm", 12),
        (lambda x: functional.softmax(x, -1), "softmax", 12),
        (lambda x: functional.softmax(x, 1), "softmax", 24),
        (functional.gelu, "gelu", 12),
        (functional.silu, "silu", 12),
        (functional.relu, "relu", 12),
        (lambda x: x + x.flip(0), "add", 12),
        (lambda x: x * x.flip(0), "multiply", 12),
        (lambda x: torch.add(x, x[:1]), "add", 12),
    ],
)
def test_row_wise_operators(function, kind, rows):
    found = run(lambda x: function(x) @ x.mT, torch.randn(3, 4, 8))
    operator = one(found, "rowwise")
    assert (operator.kind, operator.rows, operator.elements) == (kind, rows, 96)
    assert not [each for each in found.not_captured if each.kind == "elements"]


def test_what_is_element_wise_and_no_operator_is_listed():
    found = left(run(lambda x: torch.tanh(x).sigmoid().mean(0) @ x.mT[0] * 2, torch.randn(3, 4, 8)))
    assert {op: each.elements for op, each in found.items() if each.kind == "elements"} == {
        "tanh": 96, "sigmoid": 96, "mean": 32, "mul": 16,
    }  # fmt: skip
    assert all(each.macs == 0 for each in found.values())


def test_names():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.other = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))

        def forward(self, x):
            return self.other(self.linear(x)) @ x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(2))

        def forward(self, x):
            for block in [*self.blocks, self.blocks[0]]:
                x = block(x)
            return nn.Linear(4, 4)(x)

    names = [each.name for each in run(Model(), torch.randn(4, 4)).trace.operators]
    assert names == [
        "blocks.0.linear", "blocks.0.other.0", "blocks.0.matmul", "blocks.1.linear", "blocks.1.other.0",
        "blocks.1.matmul", "blocks.0.linear.2", "blocks.0.other.0.2", "blocks.0.matmul.2", "Linear",
    ]  # fmt: skip


def test_one_tensor_is_held_once():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
            self.c.weight = self.a.weight

        def forward(self, x):
            return self.a(x) + self.b(x.clone()) + self.c(x.view(2, 3, 4)).view(6, 4)

    a, b, c = (each for each in run(Model(), torch.randn(6, 4)).trace.operators if each.macs)
    assert a.input is b.input
    assert a.weight is c.weight
    assert a.weight is not b.weight


def test_memory_that_changes_in_between_is_not_taken_for_what_it_was():
    def function(x, y):
        first = x @ y
        x.mul_(2).relu_()
        return first + x @ y

    data, other = torch.randn(4, 4), torch.randn(4, 4)
    first, second = (each for each in run(function, data.clone(), other).trace.operators if each.macs)
    assert near(real(first.a), data, 0.01)
    assert near(real(second.a), data.relu() * 2, 0.01)
    assert first.b is second.b


def test_memory_that_is_used_again_is_not_taken_for_what_it_was():
    def function(x):
        for number in range(20):
            x = functional.relu(torch.mm(x + number, x))
            x = x / x.norm()
        return x

    found = [each for each in run(function, torch.randn(16, 16)).trace.operators if each.macs]
    assert len({each.a.digest for each in found}) == 20


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions(dtype):
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).to(getattr(torch, dtype))
    data = torch.randn(3, 8, dtype=getattr(torch, dtype))
    first, second = run(model, data).trace.operators
    assert near(real(first.input), data.double(), 0.01)
    assert np.array_equal(first.output.mask() | (model[:2](data) != 0).numpy(), (model[:2](data) != 0).numpy())
    assert second.input is first.output


def test_autocast():
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4), nn.Softmax(-1))
    data = torch.randn(3, 8)

    def function(x):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    found = run(function, data)
    assert [each.type for each in found.trace.operators] == ["linear", "linear", "rowwise"]
    assert near(real(found.trace.operators[0].weight), model[0].weight, 0.02)


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_any_mode_of_gradients(context):
    model, data = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.MultiheadAttention(6, 2)), torch.randn(3, 8)

    class Model(nn.Module):
        def forward(self, x):
            with context():
                x = model[:2](x)
                return model[2](x, x, x)[0]

    with context():
        found = run(Model(), data)
    assert found.trace.operators[-2].type == "attention"
    assert found.trace.operators[0].output.density < 1
    assert found.trace.macs == 3 * 8 * 6 + 4 * 3 * 6 * 6 + 2 * 9 * 6
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_a_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[2].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = torch.randn(1, 3, 5, 5, requires_grad=True)
    run(model, data)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not torch.nn.modules.module._global_forward_pre_hooks
    model(data).sum().backward()
    assert data.grad is not None


def test_what_torch_compile_wraps_runs_as_written():
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    wrapped = nn.Sequential(torch.compile(model), nn.Linear(4, 2))
    data = torch.randn(3, 8)
    assert run(torch.compile(model), data).trace.digest == run(model, data).trace.digest
    assert len(run(wrapped, data).trace.operators) == 3


def test_a_scripted_model():
    model = torch.jit.script(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).eval())
    for each in (model, torch.jit.freeze(model)):
        assert [operator.type for operator in run(each, torch.randn(3, 8)).trace.operators] == ["linear", "linear"]


def test_the_same_run_gives_the_same_trace():
    model, data = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)), torch.randn(1, 3, 6, 6)
    assert run(model, data).trace.digest == run(model, data).trace.digest


def test_complex_numbers_between_products_are_no_hindrance():
    def function(x):
        turned = torch.view_as_complex(x.reshape(3, 4, 2)) * torch.polar(torch.ones(4), torch.arange(4.0))
        return torch.view_as_real(turned).flatten(1) @ x.T

    found = run(function, torch.randn(3, 8))
    assert one(found).macs == 3 * 8 * 3
    assert left(found)["mul"].elements == 12
    layer = nn.Linear(8, 8)
    found = run(lambda x: function(layer(x)), torch.randn(3, 8))
    assert [each.macs for each in found.trace.operators] == [3 * 8 * 8, 3 * 8 * 3]


@pytest.mark.filterwarnings("ignore")
def test_the_branch_that_is_taken_is_in_the_trace():
    def function(x):
        return torch.cond(x.sum() < math.inf, lambda y: y @ y, lambda y: y.sin(), (x,))

    found = run(function, torch.randn(3, 3))
    assert one(found).type == "matmul"
    assert any("cond" in place for place in found.data_dependent)


def test_functions_of_functions_that_hide_operators_are_refused():
    from torch._higher_order_ops.while_loop import while_loop_op

    def function(x):
        return while_loop_op(lambda y: y.sum() < 5, lambda y: (y @ y,), (x,), ())

    with pytest.raises(InputError, match="the model calls 'while_loop', which hides the operators"):
        run(function, torch.randn(3, 3))


def test_a_value_that_is_read_is_told():
    def function(x):
        return x @ x if x.sum() > -math.inf else x

    found = run(function, torch.randn(3, 3))
    assert found.data_dependent
    assert "data read" in found.trace.provenance
    assert run(lambda x: x @ x, torch.randn(3, 3)).data_dependent == ()
