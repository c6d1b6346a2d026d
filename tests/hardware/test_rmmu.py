"""Dense blocks against the twin that steps every row every cycle; rates against a grid of 4-bit multipliers."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.hardware.rmmu import PRODUCTS, RMMU, multiply_block, multiply_dense, precision_of
from tests.reference import rmmu as twin

FX16 = np.iinfo(np.int16)


@st.composite
def layers(draw: st.DrawFn) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Draw tokens (T, C) and weights (K, C) of 16 bits, extreme ones among them."""
    tokens, reduction, outputs = draw(st.integers(0, 7)), draw(st.integers(1, 50)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    extreme = draw(st.booleans())

    def operands(count: int) -> NDArray[np.int16]:
        if extreme:
            return rng.choice([FX16.min, FX16.max], (count, reduction)).astype(np.int16)
        return rng.integers(FX16.min, FX16.max + 1, (count, reduction)).astype(np.int16)

    return operands(tokens), operands(outputs)


widths = st.sampled_from((1, 2, 3, 4, 8, 16))


def unit(rows: int = 32, width: int = 16, detection_rows: int = 0) -> RMMU:
    return RMMU(rows=rows, width=width, detection_rows=detection_rows)


@settings(max_examples=300)
@given(layers(), widths)
def test_a_block_equals_the_stepped_twin(layer: tuple[NDArray[np.int16], NDArray[np.int16]], width: int) -> None:
    """As many cycles of the rows; then the last sum leaves multipliers and tree, and is added up."""
    tokens, weights = layer
    expected = twin.block(tokens.tolist(), weights.tolist(), width)
    sums = np.zeros((len(tokens), len(weights)), np.int64)
    cycles = multiply_block(tokens, weights, width, sums)
    assert cycles == expected.working == len(tokens) * -(-tokens.shape[1] // width)
    assert expected.total == (cycles + unit(width=width).fill if len(tokens) else 0)
    np.testing.assert_array_equal(sums, np.array(expected.sums, np.int64).reshape(sums.shape))
    np.testing.assert_array_equal(sums, tokens.astype(np.int64) @ weights.astype(np.int64).T)
    assert multiply_block(tokens, None, width, None) == cycles


@settings(max_examples=150)
@given(layers(), widths, st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_layer_equals_the_stepped_twin(
    layer: tuple[NDArray[np.int16], NDArray[np.int16]], width: int, rows: int, lanes: int, seed: int
) -> None:
    """Lanes without tokens, and a last block of fewer outputs than rows, among them."""
    tokens, weights = layer
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(tokens) + 1, lanes - 1)).tolist()
    bounds = [0, *cuts, len(tokens)]
    sums, cycles = multiply_dense(tokens, weights, bounds, unit(rows, width))
    expected, taken = twin.dense(tokens.tolist(), weights.tolist(), bounds, rows, width)
    assert cycles.tolist() == [[block.working for block in lane] for lane in taken]
    np.testing.assert_array_equal(sums, np.array(expected, np.int64).reshape(sums.shape))
    np.testing.assert_array_equal(sums, tokens.astype(np.int64) @ weights.astype(np.int64).T)


def test_sums_are_added_to_those_before() -> None:
    """A reduction that is split goes on where it was."""
    rng = np.random.default_rng(3)
    tokens, weights = rng.integers(-99, 99, (5, 40)), rng.integers(-99, 99, (7, 40))
    sums = np.zeros((5, 7), np.int64)
    for part in (slice(0, 24), slice(24, 40)):
        multiply_block(np.ascontiguousarray(tokens[:, part]), np.ascontiguousarray(weights[:, part]), 16, sums)
    np.testing.assert_array_equal(sums, tokens @ weights.T)


@pytest.mark.parametrize(("bits", "products"), [(16, 1), (8, 4), (4, 16), (2, 64)])
def test_products_of_a_grid_of_multipliers(bits: int, products: int) -> None:
    """A product of so many bits takes bits/4 × bits/4 of the 4 × 4 multipliers; of two bits, a quarter of one."""
    assert Fraction(16) / Fraction(bits, 4) ** 2 == products == PRODUCTS[bits]


@given(st.integers(0, 10**12), st.integers(1, 64), widths, st.sampled_from((2, 4, 8, 16)))
def test_cycles_of_so_many_products(products: int, rows: int, width: int, bits: int) -> None:
    cycles = unit(width=width).cycles(np.array([products]), rows, bits)
    assert cycles.tolist() == [ceil(Fraction(products, rows * width * PRODUCTS[bits]))]


def test_cycles_by_hand() -> None:
    """Detection of 4 queries, 197 keys, rank 16 on 4 rows of INT4: 4·197·16 / (4·16·16) = 12.3."""
    assert unit().cycles(np.array([4 * 197 * 16]), 4, 4).tolist() == [13]
    assert [unit(width=width).fill for width in (1, 2, 3, 4, 5, 16, 17)] == [1, 2, 3, 3, 4, 5, 6]


def test_precisions() -> None:
    assert [precision_of(bits) for bits in range(1, 17)] == [2, 2, 4, 4, 8, 8, 8, 8] + [16] * 8
    with pytest.raises(ValueError):
        precision_of(17)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"width": 0}, {"detection_rows": -1}, {"detection_rows": 32}], ids=str)
def test_a_unit_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RMMU.model_validate({"rows": 32, "width": 16, "detection_rows": 4, **wrong})
