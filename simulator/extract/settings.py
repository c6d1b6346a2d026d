"""How a model is quantised: checked, and said."""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError
from simulator.extract.report import Extraction
from simulator.trace.checks import real, whole

__all__ = ["checked_bits", "checked_percentile", "checked_seed", "described"]


def checked_bits(bits: Any) -> int:
    """Refuse a width that cannot be.

    Raises:
        InputError: it is not 2 to 16.

    """
    if (width := whole(bits, "bits", 2)) > 16:
        raise InputError(f"bits must be at most 16, not {width}")
    return width


def checked_percentile(percentile: Any) -> float:
    """Refuse a percentile that is none.

    Raises:
        InputError: it is not above 0 to 100.

    """
    if not 0 < (share := real(percentile, "the percentile")) <= 100:
        raise InputError(f"the percentile must be above 0 and at most 100, not {percentile!r}")
    return share


def checked_seed(seed: Any) -> int:
    """Refuse a seed that PyTorch and NumPy do not both take.

    Raises:
        InputError: it is below 0 or does not fit 32 bits.

    """
    if (number := whole(seed, "the seed", 0)) >= 2**32:
        raise InputError(f"the seed must be below 2^32, not {number}")
    return number


def described(found: Extraction, bits: int, percentile: float) -> dict[str, str]:
    """Return what the provenance of a trace says of its numbers."""
    calibration = "maximum" if percentile == 100 else f"percentile {percentile:g}"
    return {
        "quantisation": f"symmetric, {bits} bits; weights per output channel, activations by their {calibration}",
        "rounded to zero": f"{found.weights.share:.3%} of weights, {found.activations.share:.3%} of activations",
        "macs captured": found.captured_in_words,
    }
