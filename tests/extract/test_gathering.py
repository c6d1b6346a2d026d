"""Bags of embeddings and sparse products become operators; what they are made of is not lost."""

from __future__ import annotations

import numpy as np
import pytest

from tests.extract.helpers import left, near, one, real, run, torch

nn = torch.nn


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
def test_embedding_bags(mode, padding):
    bags = nn.EmbeddingBag(20, 6, mode=mode, padding_idx=padding)
    words = torch.randint(0, 20, (4, 5))
    words[1] = 3
    found = run(nn.Sequential(bags, nn.Linear(6, 2)), words)
    operator = one(found, "embedding_bag")
    assert (operator.mode, operator.name, found.not_captured) == (mode, "0", ())
    assert operator.lengths.values().tolist() == [sum(word != padding for word in row) for row in words.tolist()]
    if mode != "mean":
        assert near(operator.reference() * operator.table.scale, bags(words))


def test_what_no_bag_of_the_trace_does_is_listed():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.bags, self.words, self.linear = nn.EmbeddingBag(9, 4, mode="sum"), nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, words, weights):
            return self.linear(self.bags(words, per_sample_weights=weights) + self.words(words).sum(1))

    found = left(run(Weighted(), torch.randint(0, 9, (3, 5)), torch.randn(3, 5)))
    assert found["embedding"].kind == "movement"
    assert found["embedding"].bytes == 15 * 4 * 4
    assert any("embedding_bag" in op for op in found)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_products_with_sparse_matrices(weighted, layout):
    matrix = (torch.rand(10, 10) < 0.3).float() * (torch.randn(10, 10) if weighted else 1)
    adjacency = {"coo": matrix.to_sparse, "csr": matrix.to_sparse_csr, "csc": matrix.to_sparse_csc}[layout]()

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x):
            return torch.sparse.mm(adjacency, self.linear(x))

    model, data = Graph(), torch.randn(10, 4)
    found = run(model, data)
    operator = one(found, "spmm")
    assert operator.macs == int((matrix != 0).sum()) * 6
    assert (operator.values is not None) == weighted
    result = operator.reference() * operator.dense.scale * (operator.values.scale if weighted else 1)
    assert near(result, model(data))
    assert np.allclose(real(one(found, "linear").input), data, atol=0.02)
    vector = run(lambda x: adjacency @ x, data[:, 0])
    assert one(vector, "spmm").macs == int((matrix != 0).sum())
