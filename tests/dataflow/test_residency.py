"""What tiles of a systolic array load, against sets of operands."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dataflow.folds import Pieces, Product
from simulator.dataflow.layers import layer_of
from simulator.dataflow.residency import Filled, Need, fill
from simulator.hardware.systolic_array import AXES, SystolicArray
from simulator.trace import Conv2d
from tests.operators import convolutions
from tests.reference.systolic_tiles import Piece, gather


def needed(product: Product, m0: int, m1: int, k0: int, k1: int) -> frozenset[tuple[int, int, int, int]]:
    layer, (image, y, x), (r, s) = product.layer, product.windows, product.taps
    found = set()
    for m in range(m0, m1):
        for k in range(k0, k1):
            tap, channel = divmod(k, layer.channels)
            row, column = int(y[m] + r[tap]), int(x[m] + s[tap])
            if 0 <= row < layer.vertical.size and 0 <= column < layer.horizontal.size:
                found.add((int(image[m]), row, column, channel))
    return frozenset(found)


@settings(max_examples=60, deadline=None)
@given(
    convolutions(("dense",)),
    st.sampled_from(sorted(AXES)),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 60)),
    st.tuples(*[st.integers(1, 400)] * 3),
    st.sampled_from((8, 16)),
    st.integers(1, 8),
)
def test_tiles_load_what_sets_say(
    operator: Conv2d,
    dataflow: str,
    shape: tuple[int, int, int],
    halves: tuple[int, int, int],
    bits: int,
    most: int,
) -> None:
    rows, columns, steps = shape
    product = Product(layer_of(operator))
    pieces = Pieces(SystolicArray(rows=rows, columns=columns, dataflow=dataflow), product.extents, steps)
    count = len(pieces.row)
    weights = Need(pieces.row, 1 + pieces.row % 5 * 10)
    outputs = Need(pieces.column, 1 + pieces.column % 3 * 20)
    filled: Filled = fill(product, pieces, weights, outputs, halves, bits, most)
    spans = np.array([*pieces.span(0), *pieces.span(1)]).T.tolist()
    sets = {span: needed(product, *span) for span in {tuple(span) for span in spans}}
    slow = [
        Piece(
            sets[tuple(spans[piece])],
            (int(weights.region[piece]), int(weights.size[piece])),
            (int(outputs.region[piece]), int(outputs.size[piece])),
            bool(pieces.last[piece]),
        )
        for piece in range(count)
    ]
    layer = product.layer
    whole = layer.images * layer.vertical.size * layer.horizontal.size * layer.channels * bits // 8
    kept = sum({piece.weights[0]: piece.weights[1] for piece in slow}.values())
    expected = gather(slow, halves, bits // 8, (whole <= halves[0], kept <= halves[1]), most)
    assert filled.tile.tolist() == expected.tile
    assert (filled.inputs * 8 // bits).tolist() == expected.inputs
    assert filled.weights.tolist() == expected.weights
    assert filled.touched * 8 // bits == expected.touched
