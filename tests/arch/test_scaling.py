"""Scaling between nodes: factors are ratios, so that there and back is nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.arch.scaling import area_factor, energy_factor

NODES = st.integers(16, 90)


@given(NODES, NODES, NODES)
def test_factors_chain(a: int, b: int, c: int) -> None:
    for factor in (energy_factor, area_factor):
        assert factor(a, a) == 1
        assert factor(a, b) * factor(b, c) == pytest.approx(factor(a, c), rel=1e-12)


@given(NODES, NODES)
def test_a_smaller_node_takes_less(a: int, b: int) -> None:
    small, large = sorted((a, b))
    assert energy_factor(large, small) <= 1
    assert area_factor(large, small) <= 1


def test_figures_of_hwcomponents() -> None:
    """Its 8-bit and 16-bit MACs and 8-bit register, of Aladdin's 40 nm, at 45, 28 and 22 nm, to the last digit."""
    for at_40, digits, figures in (
        (12.68 / 16 + 0.21 / 4, 3, (0.972, 0.499, 0.286)),
        (12.68 / 4 + 0.21 / 2, 2, (3.77, 1.93, 1.11)),
        (8 * 0.009, 3, (0.083, 0.043, 0.024)),
    ):
        assert tuple(round(at_40 * energy_factor(40, node), digits) for node in (45, 28, 22)) == figures


def test_areas_are_the_published_row() -> None:
    assert area_factor(45, 32) == 0.46
    assert area_factor(45, 65) == 1.5
    assert area_factor(40, 45) == pytest.approx((45 / 40) ** 2, rel=0.01)  # between two of the paper's nodes


def test_supply_voltage_counts_where_given() -> None:
    assert energy_factor(45, 45, 0.9, 0.9) == 1
    assert energy_factor(45, 45, 0.9, 1.1) > 1


@pytest.mark.parametrize("node", [15, 91])
def test_no_rule_beyond_the_nodes(node: int) -> None:
    with pytest.raises(ValueError, match=f"{node} nm lies outside 16 to 90 nm"):
        energy_factor(45, node)
