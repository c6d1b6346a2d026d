import numpy as np
import pytest

from simulator.compress import weight_bits
from simulator.trace import Conv2d, DensityTensor, Linear, MaskTensor, ValueTensor

INPUT = ValueTensor(np.ones((1, 8, 4, 4), np.int8))


def test_coefficients_are_coded_and_the_basis_is_plain():
    codes = np.zeros((2, 8, 3), np.int8)
    codes[0, :2, 1] = 1
    basis = ValueTensor(np.ones((3, 3, 3), np.int8))
    operator = Conv2d("c", INPUT, basis=basis, coefficients=ValueTensor(codes, bits=1))
    assert weight_bits(operator) == {
        "fp32": 32 * 2 * 8 * 9,
        "bitmap": 8 * 27 + 48 + 2,
        "two_level": 8 * 27 + 6 + 8 + 2,  # rows of 8 are one block each; one row is in use
        "run_length": 8 * 27 + 2 * (4 + 2),
    }


def test_rows_of_a_weight_run_along_the_input_channels():
    mask = np.zeros((2, 8, 3, 3), bool)
    mask[0, 0] = True
    bits = weight_bits(Conv2d("c", INPUT, weight=MaskTensor.of(mask, bits=8)))
    assert bits["run_length"] == 9 * (4 + 8)


def test_a_dense_weight_is_stored_plain():
    operator = Linear("l", ValueTensor(np.ones((1, 6), np.int8)), ValueTensor(np.ones((4, 6), np.int8)))
    assert weight_bits(operator) == {"fp32": 768, "bitmap": 192, "two_level": 192, "run_length": 192}


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_a_density_is_enough(density):
    weight = DensityTensor((16, 8, 3, 3), density, seed=1, bits=1)
    bits = weight_bits(Conv2d("c", INPUT, weight=weight))
    assert bits["bitmap"] == weight.size + np.count_nonzero(weight.mask())
