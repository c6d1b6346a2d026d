"""Tensors: what they hold, what they refuse."""

import hashlib
import pickle
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simulator.errors import InputError
from simulator.trace import DensityTensor, MaskTensor, ValueTensor, quantise

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)


@given(hnp.arrays(np.int64, SHAPES, elements=st.integers(-128, 128)))
def test_values_are_kept(data):
    tensor = ValueTensor(data, scale=0.5)
    assert np.array_equal(tensor.values(), data)
    assert np.array_equal(tensor.mask(), data != 0)
    assert tensor.shape == data.shape
    assert tensor.size == data.size
    assert tensor.density == np.count_nonzero(data) / data.size


@given(hnp.arrays(np.bool_, SHAPES))
def test_mask_is_kept(mask):
    tensor = MaskTensor.of(mask, bits=4)
    assert np.array_equal(tensor.mask(), mask)
    assert tensor.values() is None
    assert tensor.density == mask.mean()
    assert (tensor.shape, tensor.bits, tensor.kind) == (mask.shape, 4, "mask")


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-128, 127, "int8"),
        (0, 127, "int8"),
        (0, 255, "uint8"),
        (-1, 255, "int16"),
        (0, 65535, "uint16"),
        (-1, 65535, "int32"),
        (0, 2**32 - 1, "uint32"),
    ],
)
def test_smallest_type(low, high, dtype):
    assert ValueTensor(np.array([low, high]), bits=32).values().dtype == dtype


def test_values_are_a_copy():
    data = np.array([1, 0, 2])
    tensor = ValueTensor(data)
    data[0] = 0
    assert tensor.values().tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="read-only"):
        tensor.values()[0] = 5


def test_value_order_does_not_matter_to_digest():
    data = np.arange(24).reshape(2, 3, 4)
    assert ValueTensor(data).digest == ValueTensor(np.asfortranarray(data).astype(np.uint8)).digest


def test_digest_tells_contents_apart():
    data, mask = np.array([[1, 0], [0, 1]]), np.array([[True, False], [False, True]])
    tensors = [
        ValueTensor(data),
        ValueTensor(data, scale=2),
        ValueTensor(data, bits=4),
        ValueTensor(data, (1.0, 1.0)),
        ValueTensor(data.reshape(4)),
        ValueTensor(data.T[::-1]),
        ValueTensor(data * 255),
        ValueTensor(data * -1),
        MaskTensor.of(mask),
        MaskTensor.of(mask, 4),
        MaskTensor.of(~mask),
        MaskTensor.of(mask.reshape(4)),
        DensityTensor((2, 2), 0.5, 0),
        DensityTensor((2, 2), 0.5, 1),
        DensityTensor((2, 2), 0.25, 0),
    ]
    assert len({tensor.digest for tensor in tensors}) == len(tensors)


@given(st.floats(0, 1), st.integers(0, 2**70))
def test_density_is_drawn_the_same_each_time(density, seed):
    tensor = DensityTensor((3, 5), density, seed)
    assert np.array_equal(tensor.mask(), DensityTensor([3, 5], density, seed).mask())
    assert tensor.density == density


def test_density_stream_never_changes():
    mask = DensityTensor((1001,), 0.3, seed=2024).mask()
    assert hashlib.sha256(np.packbits(mask)).hexdigest() == EXPECTED_STREAM


EXPECTED_STREAM = "3c6d51757e6a7840e85d28fa476c118b513b36925db1bda4856511f30e8e639e"


def test_density_is_near():
    assert abs(DensityTensor((1000, 1000), 0.3, 1).mask().mean() - 0.3) < 0.002
    assert not DensityTensor((1000,), 0, 1).mask().any()
    assert DensityTensor((1000,), 1, 1).mask().all()


def test_density_is_fast():
    tensor = DensityTensor((7_000_000,), 0.3, 0)
    best = min(_seconds(tensor.mask) for _ in range(5))
    assert best < 0.06


def _seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_density_digest_draws_nothing(monkeypatch):
    monkeypatch.setattr(DensityTensor, "mask", lambda self: pytest.fail("drawn"))
    assert DensityTensor((10**9, 10**3), 0.5, 0).digest


@given(
    hnp.arrays(np.float64, SHAPES, elements=st.floats(-1e300, 1e300)),
    st.integers(2, 16),
    st.sampled_from([None, 0]),
)
def test_quantise_is_near_and_keeps_zeros(array, bits, axis):
    tensor = quantise(array, bits, axis)
    assert tensor.bits == bits
    assert not tensor.mask()[array == 0].any()
    scale = np.reshape(tensor.scale, (-1,) + (1,) * (array.ndim - 1))
    assert (np.abs(tensor.values() * scale - array) <= scale * 0.5000001).all()


def test_quantise_per_channel():
    tensor = quantise(np.array([[1.0, -2.0], [0.0, 0.0]]), axis=0)
    assert tensor.values().tolist() == [[64, -127], [0, 0]]
    assert tensor.scale == (2 / 127, 1.0)
    assert quantise([0.5, -0.5, 0.0], bits=1).values().tolist() == [1, -1, 0]


def test_tensors_pickle():
    for tensor in (
        ValueTensor(np.array([1, 2])),
        MaskTensor.of(np.ones(3, bool)),
        DensityTensor((3,), 0.5, 0),
    ):
        assert pickle.loads(pickle.dumps(tensor)).digest == tensor.digest


ONES = np.ones((2, 3), np.int8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ValueTensor(np.ones(3)), "integers with a scale, not float64; quantise"),
        (lambda: ValueTensor(np.array([1.0, np.nan, np.inf])), "1 NaN and 1 infinite"),
        (lambda: ValueTensor(np.ones(3, bool)), "MaskTensor.of"),
        (lambda: ValueTensor(np.array(["a"])), "integers"),
        (lambda: ValueTensor(np.int8(3)), "one size or more"),
        (lambda: ValueTensor(np.empty((2, 0), np.int8)), "at least 1"),
        (lambda: ValueTensor(np.array([-129])), "from -129 to -129 do not fit 8 bits"),
        (lambda: ValueTensor(np.array([-1, 2]), bits=1), "do not fit 1 bits"),
        (lambda: ValueTensor(np.array([0, 256])), "0 … 255"),
        (lambda: ValueTensor(ONES, bits=0), "bits must be a whole number of at least 1"),
        (lambda: ValueTensor(ONES, bits=33), "at most 32"),
        (lambda: ValueTensor(ONES, bits=True), "bits"),
        (lambda: ValueTensor(ONES, bits=8.0), "bits"),
        *(
            (lambda s=s: ValueTensor(ONES, scale=s), "positive finite")
            for s in (0, -1.0, np.nan, np.inf, "1", None, True, (1.0, np.nan), np.array([1.0, 0.0]), 10**400)
        ),
        (lambda: ValueTensor(ONES, scale=(1.0, 2.0, 3.0)), r"first axis \(2\), not 3"),
        (lambda: MaskTensor.of(ONES), "booleans"),
        (lambda: MaskTensor.of(np.ones((0,), bool)), "at least 1"),
        (lambda: MaskTensor(np.zeros(2, np.uint8), (3,)), r"shape \(1,\)"),
        (lambda: MaskTensor(np.zeros(1, np.int8), (3,)), "uint8"),
        (lambda: MaskTensor(np.array([8], np.uint8), (3,)), "beyond its 3 elements"),
        *((lambda d=d: DensityTensor((3,), d, 0), "from 0 to 1") for d in (-0.1, 1.1, np.nan, np.inf, "x", None, True)),
        (lambda: DensityTensor((), 0.5, 0), "one size or more"),
        (lambda: DensityTensor((3, 0), 0.5, 0), "at least 1"),
        (lambda: DensityTensor((3, -1), 0.5, 0), "at least 1"),
        (lambda: DensityTensor((3, 1.5), 0.5, 0), "whole number"),
        (lambda: DensityTensor(3, 0.5, 0), "list of one size"),
        (lambda: DensityTensor((3,), 0.5, -1), "seed"),
        (lambda: DensityTensor((3,), 0.5, None), "seed"),
        (lambda: quantise([1.0, np.nan]), "1 NaN and 0 infinite"),
        (lambda: quantise([1.0, -np.inf]), "0 NaN and 1 infinite"),
        (lambda: quantise([1j]), "real numbers"),
        (lambda: quantise([[1.0]], axis=1), "axis"),
        (lambda: quantise([], bits=8), "at least 1"),
        (lambda: quantise([1.0], bits=64), "at most 32"),
    ],
)
def test_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
