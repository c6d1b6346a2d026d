"""Windows of a convolution against plain loops over outputs and taps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from simulator.dataflow.windows import Axis, Frame, cumulative


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    axis = Axis(*(draw(st.integers(*span)) for span in ((1, 14), (1, 5), (1, 4), (0, 4), (1, 3))))
    assume(axis.outputs >= 1)
    return axis


def positions(axis: Axis, output: int) -> list[int]:
    """Input positions of one window, in the order of its taps; None where it is padding."""
    return [output * axis.stride - axis.padding + tap * axis.dilation for tap in range(axis.kernel)]


@given(axes(), st.data())
def test_touched(axis: Axis, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, axis.outputs - 1))
    last = data.draw(st.integers(first + 1, axis.outputs))
    expected = {p for q in range(first, last) for p in positions(axis, q) if 0 <= p < axis.size}
    assert axis.touched(range(first, last)).tolist() == sorted(expected)


@given(axes())
def test_meetings_and_landing(axis: Axis) -> None:
    expected = np.zeros((axis.kernel, axis.size))
    landing = 0
    for output in range(axis.outputs):
        for tap, position in enumerate(positions(axis, output)):
            if 0 <= position < axis.size:
                expected[tap, position] += 1
                landing += 1
    np.testing.assert_array_equal(axis.meetings(), expected)
    assert axis.landing == landing


@given(axes(), axes(), st.integers(1, 2), st.integers(1, 20), st.integers(0, 2**32))
def test_frame(vertical: Axis, horizontal: Axis, images: int, at_once: int, seed: int) -> None:
    frame = Frame(images, vertical, horizontal, at_once)
    assert [q for segment in frame.segments for q in segment.outputs] == list(range(horizontal.outputs))
    assert all(len(segment.outputs) <= at_once for segment in frame.segments)
    array = np.random.default_rng(seed).integers(0, 99, (images, vertical.size, horizontal.size, 3))
    pixels = frame.pixels(array, range(1, 3))
    expected = [
        array[image, row, column, 1:3]
        for image, segment in frame.planes
        for row in frame.rows
        for column in segment.columns
    ]
    assert pixels.tolist() == [pixel.tolist() for pixel in expected]
    starts = frame.starts
    assert starts[-1] == len(pixels)
    sums = [pixels[a:b, 0].sum() for a, b in pairwise(starts)]
    assert frame.per_row(pixels[:, 0]).reshape(-1).tolist() == sums


@given(axes(), st.data())
def test_reach(axis: Axis, data: st.DataObject) -> None:
    """The rows of a span of outputs, found again among all rows that are streamed."""
    frame = Frame(1, axis, Axis(1, 1, 1, 0, 1), 1)
    first = data.draw(st.integers(0, axis.outputs - 1))
    last = data.draw(st.integers(first + 1, axis.outputs))
    low, high = frame.reach(first, last)
    assert set(axis.touched(range(first, last))) <= set(frame.rows[low:high])
    if high > low:
        needed = axis.touched(range(first, last))
        assert (frame.rows[low], frame.rows[high - 1]) == (needed[0], needed[-1])


def test_cumulative() -> None:
    assert cumulative(np.array([[1, 2, 3], [0, 5, 0]])).tolist() == [[0, 1, 3, 6], [0, 0, 5, 5]]
