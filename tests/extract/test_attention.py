"""Attention in all its spellings is one operator, with the connections, the scale and the values of the model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.extract.helpers import dequantised, left, near, one, run, torch

nn, functional = torch.nn, torch.nn.functional
N, H, L, S, D = 2, 4, 9, 9, 8


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def qkv(queries=L, keys=S, groups=H):
    return torch.randn(N, H, queries, D), torch.randn(N, groups, keys, D), torch.randn(N, groups, keys, D + 1)


def manual(q, k, v, mask=None, scale=D**-0.5):
    scores = q @ k.transpose(-1, -2) * scale
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


def spelled(function, *inputs):
    """The attention operator of a function, checked: nothing else computes, and the values are near."""
    found = run(function, *inputs)
    operator = one(found)
    assert operator.type == "attention"
    assert near(dequantised(operator), function(*inputs))
    assert found.captured == 1
    return operator


PAST = torch.ones(L, S, dtype=torch.bool).tril()
SPELLINGS = {
    "sdpa": lambda q, k, v: functional.scaled_dot_product_attention(q, k, v),
    "scale": lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, scale=0.7),
    "operators": lambda q, k, v: manual(q, k, v),
    "query scaled first": lambda q, k, v: manual(q * D**-0.5, k, v, scale=1),
    "divided by a tensor": lambda q, k, v: (q @ k.mT / torch.tensor(math.sqrt(D))).softmax(-1) @ v,
    "einsum": lambda q, k, v: torch.einsum(
        "bhls,bhse->bhle", torch.softmax(torch.einsum("bhld,bhsd->bhls", q, k) * 0.5, -1), v
    ),
    "dropout and casts": lambda q, k, v: (
        functional.dropout(functional.softmax((q @ k.mT) * 0.3, -1, dtype=torch.float64).to(q.dtype), 0.5, False) @ v
    ),
    "bmm": lambda q, k, v: torch.bmm(
        torch.baddbmm(
            torch.zeros(N * H, L, k.shape[2]), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0, alpha=0.4
        ).softmax(-1),
        v.flatten(0, 1),
    ).view(N, H, L, -1),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(spelling):
    operator = spelled(SPELLINGS[spelling], *qkv())
    assert operator.mask is None
    assert not operator.causal
    expected = {"scale": 0.7, "query scaled first": 1.0, "einsum": 0.5, "dropout and casts": 0.3, "bmm": 0.4}
    assert operator.scale == pytest.approx(expected.get(spelling, D**-0.5))
    assert operator.macs == N * H * L * S * (2 * D + 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, attn_mask=PAST),
        lambda q, k, v: functional.scaled_dot_product_attention(
            q, k, v, torch.zeros(L, S).masked_fill(~PAST, -torch.inf)
        ),
        lambda q, k, v: manual(q, k, v, torch.zeros(L, S).masked_fill(~PAST, torch.finfo(torch.float32).min)),
        lambda q, k, v: (q @ k.mT * 0.5).masked_fill(~PAST, float("-inf")).softmax(-1) @ v,
        lambda q, k, v: torch.where(PAST, q @ k.mT, torch.tensor(-1e4)).softmax(-1) @ v,
    ],
)
def test_causal_maps(function):
    operator = spelled(function, *qkv())
    assert operator.causal
    assert operator.mask is None


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize("by_hand", [False, True])
def test_masks(as_float, by_hand):
    allowed = torch.rand(N, 1, L, S) < 0.5
    allowed[..., 0] = True
    mask = torch.zeros(N, 1, L, S).masked_fill(~allowed, -torch.inf) if as_float or by_hand else allowed

    def function(q, k, v):
        return manual(q, k, v, mask) if by_hand else functional.scaled_dot_product_attention(q, k, v, mask)

    operator = spelled(function, *qkv())
    kept = np.array([[operator.kept_mask(n, h) for h in range(H)] for n in range(N)])
    assert np.array_equal(kept, allowed.expand(N, H, L, S).numpy())


def test_a_row_that_may_look_nowhere_keeps_its_first_key():
    allowed = torch.ones(N, 1, L, S, dtype=torch.bool)
    allowed[0, 0, 3] = False
    operator = one(run(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, allowed), *qkv()))
    assert operator.kept_mask(0, 1)[3].tolist() == [True] + [False] * (S - 1)
    assert operator.kept_mask(1, 1).all()


def test_queries_that_see_as_many_keys_from_the_first_on():
    """PyTorch aligns a causal map of fewer queries than keys with the first key, a trace with the last."""
    operator = spelled(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), *qkv(4, 7))
    assert not operator.causal
    assert np.array_equal(operator.kept_mask(0, 0), np.tri(4, 7, dtype=bool))


@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_queries(groups):
    q, k, v = qkv(groups=groups)
    operator = spelled(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, enable_gqa=True), q, k, v)
    assert operator.key.shape == (N, groups, S, D)
    for function in (lambda *given: functional.scaled_dot_product_attention(*given), manual):

        def repeated(q, k, v, function=function):
            return function(q, *(t.repeat_interleave(H // groups, 1) for t in (k, v)))

        assert spelled(repeated, q, k, v).key.shape == (N, groups, S, D)


@pytest.mark.parametrize("shape", [(S, D), (3, S, D), (2, 3, H, S, D)])
def test_other_numbers_of_axes(shape):
    data = [torch.randn(shape) for _ in range(3)]
    operator = spelled(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v), *data)
    assert operator.query.shape[2:] == (S, D)


class Cached(nn.Module):
    """One layer with a cache of keys and values, filled token by token."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(H * D, 3 * H * D)

    def step(self, x, keys, values):
        q, k, v = (t.view(N, 1, H, D).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        return functional.scaled_dot_product_attention(q, keys, values).transpose(1, 2).flatten(2), keys, values

    def forward(self, x, steps):
        keys = values = torch.zeros(N, H, 0, D)
        for _ in range(steps):
            x, keys, values = self.step(x, keys, values)
        return x


def test_decoding_with_a_cache():
    found = run(Cached(), torch.randn(N, 1, H * D), 3)
    attentions = [each for each in found.trace.operators if each.type == "attention"]
    assert [(each.query.shape[2], each.key.shape[2]) for each in attentions] == [(1, 1), (1, 2), (1, 3)]
    assert [each.name for each in found.trace.operators if each.macs] == [
        "qkv", "attention", "qkv.2", "attention.2", "qkv.3", "attention.3",
    ]  # fmt: skip
    weights = {id(each.weight) for each in found.trace.operators if each.type == "linear"}
    assert len(weights) == 1


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multihead_attention(need_weights, batch_first):
    module = nn.MultiheadAttention(32, 4, batch_first=batch_first).eval()
    data = torch.randn(3, 7, 32)
    found = run(lambda x: module(x, x, x, need_weights=need_weights)[0], data)
    types = [each.type for each in found.trace.operators if each.type != "rowwise"]
    assert types == ["linear", "attention", "linear"]
    assert found.trace.macs == 21 * 32 * 32 * 4 + (3 * 49 if batch_first else 7 * 9) * 32 * 2
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_bias_on_the_scores_is_listed_beside_the_operator():
    bias = torch.randn(H, L, S)
    found = run(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, bias[None]), *qkv())
    assert one(found).type == "attention"
    assert one(found).mask is None
    assert left(found)["add"].elements == N * H * L * S
    found = run(lambda q, k, v: manual(q, k, v, bias), *qkv())
    assert one(found).type == "attention"
    assert left(found)["add"].elements == N * H * L * S


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k, v: (q @ k.mT).softmax(-2) @ v,
        lambda q, k, v: (q @ k.mT).sigmoid() @ v,
        lambda q, k, v: (q @ k.mT).softmax(-1).transpose(-1, -2) @ v,
        lambda q, k, v: (-(q @ k.mT)).softmax(-1) @ v,
        lambda q, k, v: (q @ k.mT * -1.0).softmax(-1) @ v,
    ],
)
def test_what_is_no_attention_stays_products(function):
    found = run(function, *qkv())
    assert [each.type for each in found.trace.operators if each.macs] == ["matmul", "matmul"]


def test_scores_that_are_masked_after_they_were_read_are_attention_all_the_same():
    allowed = torch.rand(L, S) < 0.5
    allowed[:, 0] = True

    def function(q, k, v):
        scores = q @ k.mT
        scores *= 0.5
        scores.masked_fill_(~allowed, -torch.inf)
        return scores.softmax(-1) @ v

    operator = spelled(function, *qkv())
    assert operator.scale == pytest.approx(0.5)
    assert np.array_equal(operator.kept_mask(1, 1), allowed.numpy())
