"""A trace without some of its operators says what is missing."""

import pytest

from simulator.errors import InputError
from simulator.trace import without
from tests.trace.helpers import every_kind


def test_what_is_left_out_is_counted():
    trace = every_kind()
    convolutions = [each for each in trace.operators if each.type == "conv2d"]
    rest, left = without(trace, ["conv2d", "conv2d"])
    assert list(rest.operators) == [each for each in trace.operators if each.type != "conv2d"]
    assert (left.types, left.operators, left.macs) == (
        ("conv2d",),
        len(convolutions),
        sum(each.macs for each in convolutions),
    )
    assert left.share == pytest.approx(left.macs / trace.macs)
    assert left.summary["macs_share"] == left.share
    assert (rest.name, rest.provenance) == (trace.name, trace.provenance)


def test_unknown_types_and_all_types_are_refused():
    trace = every_kind()
    with pytest.raises(InputError, match=r"unknown type of operators 'conv2' \(did you mean 'conv2d'\?\)"):
        without(trace, ["conv2"])
    with pytest.raises(InputError, match="no operators but those"):
        without(trace, {each.type for each in trace.operators})
