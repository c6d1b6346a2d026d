"""Traces in memory."""

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.trace import DensityTensor, Linear, MatMul, Trace
from tests.trace.helpers import every_kind

X = DensityTensor((4, 4), 0.5, 0)


def test_macs_are_the_sum():
    trace = every_kind()
    assert trace.macs == sum(operator.macs for operator in trace.operators)


def test_tensors_once():
    trace = every_kind()
    assert trace.operators[0].output is trace.operators[1].input
    assert "conv1.output" in trace.tensors
    assert "conv2.input" not in trace.tensors
    assert len(set(map(id, trace.tensors.values()))) == len(trace.tensors)


def test_digest_is_of_all():
    base = Trace("t", (MatMul("a", X, X),))
    others = [
        Trace("u", base.operators),
        Trace("t", (MatMul("b", X, X),)),
        Trace("t", (Linear("a", X, X),)),
        Trace("t", base.operators, {"model": "m"}),
        Trace("t", (MatMul("a", X, DensityTensor((4, 4), 0.5, 0)),)),
        Trace("t", (MatMul("a", X, X), MatMul("b", X, X))),
    ]
    assert len({trace.digest for trace in [base, *others]}) == 7
    assert every_kind().digest == every_kind().digest


def test_provenance_is_a_copy():
    provenance = {"model": "m"}
    trace = Trace("t", [MatMul("a", X, X)], provenance)
    provenance["model"] = "n"
    assert trace.provenance == {"model": "m"}
    assert isinstance(trace.operators, tuple)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Trace("t", ()), "trace 't' has no operators"),
        (
            lambda: Trace("t", (MatMul("a", X, X), Linear("a", X, X))),
            "2 operators called 'a', expected unique",
        ),
        (lambda: Trace("", (MatMul("a", X, X),)), "name of a trace"),
        (lambda: Trace("t", (np.ones(3),)), "holds a ndarray"),
        (lambda: Trace("t", MatMul("a", X, X)), "needs a list of operators"),
        (lambda: Trace("t", (MatMul("a", X, X),), {"year": 2024}), "texts to texts"),
        (lambda: Trace("t", (MatMul("a", X, X),), "model"), "texts to texts"),
    ],
)
def test_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
