"""The passes of the row-stationary array against the one that is played cycle by cycle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.dataflow.row_stationary import (
    Geometry,
    Mapping,
    Room,
    Shape,
    clipped,
    find_mapping,
    match,
    passes_of,
    time_passes,
)
from simulator.dataflow.windows import Axis
from simulator.hardware.row_stationary import RowStationaryArray
from tests.operators import convolutions
from tests.reference.row_stationary import Networks, Pass, play

EYERISS = {
    "rows": 12, "columns": 14, "filter_spad": 224, "ifmap_spad": 12, "psum_spad": 24, "zero_gating": True,
    "filter_words": 4, "ifmap_words": 1, "psum_words": 4, "fifo": 1,
    "weights_order": "interleaved", "starts_with": "any", "pipeline": 3,
}  # fmt: skip


def array(**changed: object) -> RowStationaryArray:
    return RowStationaryArray.model_validate(EYERISS | changed)


@st.composite
def mappings(draw: st.DrawFn, shape: Shape) -> Mapping:
    """Draw a mapping of few or of many passes: the second half has all filters and channels in a pass."""
    p, q, e = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    some = {name: draw(st.integers(1, 5)) for name in "mnrt"}
    if draw(st.booleans()):
        some |= {"m": shape.filters, "r": -(-shape.channels // q), "t": -(-shape.filters // p)}
    return clipped(Mapping(p=p, q=q, e=e, **some), shape)


@settings(deadline=None, max_examples=80)
@given(convolutions(("dense",)), st.data())
def test_passes_are_those_played_cycle_by_cycle(operator, data):
    """Every pass of a layer: cycles, gated and multiplied pairs, and the sums."""
    right = operator.dilation[1] * (operator.kernel_size[1] - 1) + 1
    machine = array(
        ifmap_spad=5 * right + data.draw(st.integers(0, 4)),
        ifmap_words=data.draw(st.integers(1, 5)),
        psum_words=data.draw(st.integers(1, 5)),
        filter_words=data.draw(st.integers(1, 5)),
        fifo=data.draw(st.integers(1, 4)),
        weights_order=data.draw(st.sampled_from(("interleaved", "rows_down", "rows_up"))),
        starts_with=data.draw(st.sampled_from(("any", "all"))),
        pipeline=data.draw(st.integers(0, 4)),
    )
    networks = Networks(
        machine.filter_words,
        machine.ifmap_words,
        machine.psum_words,
        machine.weights_order,
        machine.starts_with == "all",
        machine.fifo,
        machine.pipeline,
    )
    first = match(operator, Geometry(machine, Mapping(m=1, n=1, e=1, p=1, q=1, r=1, t=1), False), False)
    mapping = data.draw(mappings(first.shape))
    found = match(operator, Geometry(machine, mapping, False), True)
    passes, timing, layer = found.passes, found.timing, found.layer
    assume(len(passes) <= 60)
    inputs, weights = layer.input_values(), layer.weight_values()
    sums = np.zeros(layer.output_shape, np.int64)
    (n0, n1), (k0, k1), (c0, c1), (y0, y1) = (
        span.T for span in (passes.images, passes.filters, passes.channels, passes.outputs)
    )
    sizes = np.column_stack((n1 - n0, k1 - k0, c1 - c0, y1 - y0, passes.heights))
    for alike in np.split(np.arange(len(passes)), np.flatnonzero((sizes[1:] != sizes[:-1]).any(axis=1)) + 1):
        _, f, c, e, _ = sizes[alike[0]].tolist()
        played = play(
            [
                Pass(
                    inputs[n0[i] : n1[i], passes.group[i], c0[i] : c1[i]].tolist(),
                    weights[passes.group[i], k0[i] : k1[i], c0[i] : c1[i]].tolist(),
                    operator.padding[0] - int(y0[i]) * operator.stride[0],
                    bool(passes.loads_weights[i]),
                )
                for i in alike
            ],
            e,
            operator.stride,
            operator.dilation,
            operator.padding[1],
            -(-c // mapping.r),
            -(-f // mapping.t),
            networks,
            machine.ifmap_spad,
        )
        before = 0
        for i, ours in zip(alike, played, strict=True):
            windows, drain = timing.windows[i] + timing.sums[i], machine.pipeline if i == alike[-1] else 0
            assert (ours.end - before, drain) == (timing.cycles[i] - drain, timing.drains[i]), i
            assert timing.waits[i] == min(max(ours.begin - before, 0), ours.end - before - windows), i
            assert ours.multiplied == found.multiplied[i]
            assert ours.multiplied + ours.gated == timing.steps[i]
            sums[n0[i] : n1[i], passes.group[i], k0[i] : k1[i], y0[i] : y1[i]] += np.array(ours.sums)
            before = ours.end
    np.testing.assert_array_equal(found.output, operator.reference())
    np.testing.assert_array_equal(layer.as_output(sums), operator.reference())


def test_a_window_waits_for_no_column_that_its_taps_jump_over():
    """Taps at -2, 0 and 2 of two columns: the first window needs column 0 alone, which comes in a cycle."""
    array_of_one, axis = array(ifmap_spad=5, ifmap_words=1), Axis(2, 3, 1, 2, 2)
    shape, mapping = Shape(1, 1, 1, 1, Axis(1, 1, 1, 0, 1), axis), Mapping(m=1, n=1, e=1, p=1, q=1, r=1, t=1)
    timing = time_passes(shape, mapping, array_of_one, passes_of(shape, mapping))
    assert timing.waits.tolist() == [1]


ALEXNET = {
    "conv1": (Shape(4, 1, 3, 96, Axis(227, 11, 4, 0, 1), Axis(227, 11, 4, 0, 1)), (96, 1, 7, 16, 1, 1, 2)),
    "conv2": (Shape(4, 2, 48, 128, Axis(27, 5, 1, 2, 1), Axis(27, 5, 1, 2, 1)), (64, 1, 27, 16, 2, 1, 1)),
    "conv3": (Shape(4, 1, 256, 384, Axis(13, 3, 1, 1, 1), Axis(13, 3, 1, 1, 1)), (64, 4, 13, 16, 4, 1, 4)),
    "conv4": (Shape(4, 2, 192, 192, Axis(13, 3, 1, 1, 1), Axis(13, 3, 1, 1, 1)), (64, 4, 13, 16, 3, 2, 2)),
    "conv5": (Shape(4, 2, 192, 128, Axis(13, 3, 1, 1, 1), Axis(13, 3, 1, 1, 1)), (64, 4, 13, 16, 3, 2, 2)),
}


@pytest.mark.parametrize(("layer", "pes", "macs"), [
    ("conv1", 154, 2_787_840), ("conv2", 135, 6_635_520), ("conv3", 156, 3_833_856),
    ("conv4", 156, 2_875_392), ("conv5", 156, 1_916_928),
])  # fmt: skip
def test_the_papers_mappings_of_alexnet(layer, pes, macs):
    """Active PEs as published; MAC cycles are Sparseloop's, whose mappings round 55 and 27 columns up to 56 and 28."""
    shape, parameters = ALEXNET[layer]
    mapping = Mapping(**dict(zip("mnepqrt", parameters, strict=True)))
    assert Room(array(), 25 * 2048, 2 * 2048).fits(mapping, shape)
    passes = passes_of(shape, mapping)
    timing = time_passes(shape, mapping, array(), passes)
    assert timing.used.max() == pes
    S = shape.horizontal.kernel
    filters, channels = (np.diff(span)[:, 0] for span in (passes.filters, passes.channels))
    own = -(-filters // mapping.t) * -(-channels // mapping.r) * S
    images = np.diff(passes.images)[:, 0]
    cycles = int((images * shape.horizontal.outputs * own).sum())
    assert cycles == macs
    sparseloop = {"conv1": 2_838_528, "conv2": 6_881_280}.get(layer, macs)
    padded = {"conv1": (56, 55), "conv2": (28, 27)}.get(layer, (1, 1))
    assert cycles * padded[0] == sparseloop * padded[1]


def test_passes_of_conv1_by_hand():
    """22 rows of PEs get 44 words each, in turn; 55 windows of 16 · (11 + 1); 10 PEs up.

    The last of 968 words comes to the bottom of the second set: four MACs later it adds. Of the next pass each row has
    a word in its FIFO; the second word of the row that adds last, finds a place two cycles after
    its last MAC, and 934 follow it.
    """
    shape, parameters = ALEXNET["conv1"]
    mapping = Mapping(**dict(zip("mnepqrt", parameters, strict=True)))
    for starts, after_the_last in (("any", 4), ("all", 176)):
        machine = array(starts_with=starts)
        timing = time_passes(shape, mapping, machine, passes_of(shape, mapping))
        first, later = 968 + after_the_last + 10 + 16, 2 + 934 + after_the_last + 10
        assert (timing.cycles - 54 * 16 * 12)[:4].tolist() == [first, later, later, later]


LAWS = (
    ("starts_with", "all", "any"),
    ("fifo", 1, 2),
    ("fifo", 2, 5),
    ("ifmap_spad", 12, 16),
    ("ifmap_words", 1, 2),
    ("psum_words", 1, 3),
    ("filter_words", 2, 4),
)


@settings(deadline=None)
@given(
    st.sampled_from([1, 3, 5]),
    st.integers(1, 2),
    st.lists(st.integers(1, 4), min_size=7, max_size=7),
    st.sampled_from(("interleaved", "rows_down", "rows_up")),
    st.sampled_from(LAWS),
)
def test_more_places_and_wider_networks_never_let_a_pass_end_later(kernel, stride, sizes, order, law):
    axis = Axis(14, kernel, stride, kernel // 2, 1)
    shape = Shape(4, 1, 7, 20, axis, axis)
    mapping = clipped(Mapping(**dict(zip("mnepqrt", sizes, strict=True))), shape)
    mapping = mapping.model_copy(update={"q": min(mapping.q, 12 // kernel)})
    passes = passes_of(shape, mapping)
    key, *values = law
    less, more = (
        np.cumsum(time_passes(shape, mapping, array(**{"weights_order": order, key: value}), passes).cycles)
        for value in values
    )
    assert (less >= more).all()


@pytest.mark.parametrize("rule", ["bytes", "cycles", "product"])
@pytest.mark.parametrize("layer", list(ALEXNET))
def test_found_mappings_fit_and_are_no_worse_than_the_papers(layer, rule):
    shape, parameters = ALEXNET[layer]
    room = Room(array(), 25 * 2048, 2 * 2048)
    found, given_one = find_mapping(shape, room, rule), Mapping(**dict(zip("mnepqrt", parameters, strict=True)))
    assert found is not None
    assert room.fits(found, shape)

    def cost(mapping: Mapping) -> tuple[int, int]:
        passes = passes_of(shape, mapping)
        cycles = int(time_passes(shape, mapping, array(), passes).cycles.sum())
        n, f, c, e = (np.diff(span)[:, 0] for span in (passes.images, passes.filters, passes.channels, passes.outputs))
        rows = np.diff(passes.rows)[:, 0]
        weights = f * c * shape.vertical.kernel * shape.horizontal.kernel * passes.loads_weights
        ifmaps = n * c * rows * shape.horizontal.size * passes.loads
        ofmaps = n * f * e * shape.horizontal.outputs * passes.last
        return int((weights + ifmaps + ofmaps).sum()), cycles

    ours, theirs = cost(found), cost(given_one)
    if rule == "bytes":
        assert ours[0] <= theirs[0]
    elif rule == "cycles":
        assert ours[1] <= theirs[1] * 1.01  # a last pass that is not whole is counted as whole in the search
    else:
        assert ours[0] * ours[1] <= theirs[0] * theirs[1] * 1.01
