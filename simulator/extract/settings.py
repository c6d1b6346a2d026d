"""What a run is told, checked, and what it hands back."""

from __future__ import annotations

from typing import Any

from simulator.errors import InputError
from simulator.extract.recorder import Recorder
from simulator.extract.report import Extraction, as_text, by_op
from simulator.trace import Trace
from simulator.trace.checks import real, whole

__all__ = ["checked_bits", "checked_percentile", "checked_seed", "concluded"]


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


def concluded(recorder: Recorder, name: str, source: dict[str, str], bits: int, percentile: float) -> Extraction:
    """Return what came of a run.

    Args:
        recorder: what kept the operators.
        name: of the trace.
        source: what the provenance says of the model, its inputs and what ran it.
        bits: of a value.
        percentile: of the magnitudes of an activation.

    Raises:
        InputError: nothing was captured.

    """
    operators, left = tuple(recorder.operators()), recorder.not_captured()
    if not any(operator.macs for operator in operators):
        ran = ", ".join(each.op for each in by_op(left)[:5])
        raise InputError(f"no operator with multiply-accumulates was captured{f'; it ran {ran}' if ran else ''}")
    weights, activations = (recorder.tensors.rounding(constant) for constant in (True, False))
    trace = Trace(name, operators)
    found = Extraction(trace, left, tuple(recorder.read), weights, activations)
    calibration = "maximum" if percentile == 100 else f"percentile {percentile:g}"
    trace.provenance.update(
        {
            **source,
            "quantisation": f"symmetric, {bits} bits; weights per output channel, activations by their {calibration}",
            "rounded to zero": f"{weights.share:.3%} of weights, {activations.share:.3%} of activations",
            "macs captured": found.captured_in_words,
            "not captured": as_text(by_op(left)),
        }
    )
    if found.data_dependent:
        trace.provenance["data read"] = "; ".join(found.data_dependent)
    return found
