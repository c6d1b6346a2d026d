"""Scaling of energies and areas between technology nodes, by one published rule.

Source: Stillmaker & Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm to
7 nm", Integration 58, 2017, pp. 74-81: tables of coefficients as found in two public implementations that agree,
Accelergy-Project/hwcomponents (scaling/techscaling.py) and wromaszkan/nodeScale (nodeScale.py).

The energy of a gate is a·V² + b·V + c with coefficients of its node, and areas go as one row of the paper's table. A
node between two of the paper's lies on the straight line between them. Every factor is a ratio of two such values, so
that scaling there and back changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

RULE = "Stillmaker & Baas 2017"
VOLTS = 0.8
"""Supply at which both nodes are compared, as hwcomponents does: one figure, so that the node alone counts."""

ENERGY: Mapping[int, tuple[float, float, float]] = {
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
}
"""a, b, c by node (nm): low power at 45 and 32 nm, high performance below, as hwcomponents takes them."""

AREA: Mapping[int, float] = {90: 2.8, 65: 1.5, 45: 1.0, 32: 0.46, 20: 0.21, 16: 0.19}
"""Area of the same circuit by node (nm), that of 45 nm being 1; two digits, as published."""


def energy_factor(source: int, target: int, source_volts: float = VOLTS, target_volts: float = VOLTS) -> float:
    """Return what a dynamic energy (pJ) at ``source`` nm is multiplied with to be one at ``target`` nm.

    Raises:
        ValueError: a node outside 16 to 90 nm.

    """
    return _gate(target, target_volts) / _gate(source, source_volts)


def area_factor(source: int, target: int) -> float:
    """Return what an area at ``source`` nm is multiplied with to be one at ``target`` nm; errors as above."""
    return _between(AREA, target) / _between(AREA, source)


def _gate(node: int, volts: float) -> float:
    return _between({at: a * volts**2 + b * volts + c for at, (a, b, c) in ENERGY.items()}, node)


def _between(values: Mapping[int, float], node: int) -> float:
    low, high = (max((n for n in values if n <= node), default=0), min((n for n in values if n >= node), default=0))
    if not low or not high:
        raise ValueError(f"{node} nm lies outside {min(values)} to {max(values)} nm")
    along = (node - low) / (high - low) if high > low else 0.0
    return (1 - along) * values[low] + along * values[high]
