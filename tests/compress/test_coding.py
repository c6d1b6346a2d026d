import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.compress import CODINGS, bitmap_bits, run_length_bits, two_level_bits
from simulator.compress.bitstream import BITSTREAMS
from simulator.errors import InputError

PARAMETERS = {
    "bitmap": st.just({}),
    "two_level": st.fixed_dictionaries({"block": st.sampled_from([1, 3, 16, 32])}),
    "run_length": st.fixed_dictionaries({"run_bits": st.integers(1, 6)}),
}


@st.composite
def rows(draw):
    """Rows of integers with long runs of zeros, and a width they fit."""
    value_bits = draw(st.sampled_from([1, 2, 8]))
    top = 1 if value_bits == 1 else 2 ** (value_bits - 1) - 1
    value = st.integers(1, top).flatmap(lambda v: st.sampled_from([v, -v]))
    parts = draw(st.lists(st.tuples(st.integers(0, 70), value), max_size=12))
    row = [number for zeros, last in parts for number in [0] * zeros + [last]]
    return np.array(row + [0] * draw(st.integers(0, 40)), dtype=np.int64), value_bits


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.data(), row=rows())
def test_the_size_counted_is_the_size_written_and_it_reads_back(coding, data, row):
    values, value_bits = row
    parameters = data.draw(PARAMETERS[coding])
    stream = BITSTREAMS[coding].encode(values, value_bits, **parameters)
    assert CODINGS[coding](values != 0, value_bits, **parameters) == len(stream)
    assert (BITSTREAMS[coding].decode(stream, len(values), value_bits, **parameters) == values).all()


@pytest.mark.parametrize("coding", CODINGS)
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.0, 0.01, 0.3, 1.0]), length=st.integers(0, 80))
def test_every_row_stands_alone(coding, seed, density, length):
    mask = np.random.default_rng(seed).random((3, 4, length)) < density
    bits = CODINGS[coding](mask, 8)
    assert bits.shape == (3, 4)
    assert bits.dtype == np.int64
    assert bits.tolist() == [[int(CODINGS[coding](row, 8)) for row in plane] for plane in mask]


def test_sizes_by_hand():
    mask = np.zeros(40, dtype=bool)
    mask[[0, 33]] = True
    assert bitmap_bits(mask, 8) == 40 + 2 * 8
    assert two_level_bits(mask, 8) == 3 + 16 + 8 + 2 * 8  # blocks of 16, 16 and 8; the second is empty
    assert two_level_bits(mask, 8, block=32) == 2 + 32 + 8 + 2 * 8
    assert run_length_bits(mask, 8) == 4 * (4 + 8)  # 32 zeros: two placeholders of 16, then a run of 0
    assert run_length_bits(mask, 8, run_bits=6) == 2 * (6 + 8)


def test_a_full_run_field_needs_no_placeholder():
    mask = np.zeros(17, dtype=bool)
    mask[15] = True
    assert run_length_bits(mask, 8) == 12
    assert run_length_bits(np.roll(mask, 1), 8) == 24


def test_a_sign_takes_two_bits_where_a_placeholder_must_read_zero():
    assert run_length_bits(np.ones(5, dtype=bool), 1) == 5 * (4 + 2)


@pytest.mark.parametrize(
    ("bases", "density", "ratio"),
    [
        (6, 0.5, 32),
        (6, 0.2, 40),
        (6, 0.1, 43.6),
        (6, 0.05, 45.7),
        (6, 0.02, 47.1),
        (6, 0.01, 47.5),
        (5, 0.5, 38),
        (5, 0.2, 48),
        (5, 0.1, 52),
        (5, 0.05, 55),
        (5, 0.02, 56.5),
        (5, 0.01, 57),
    ],
)
def test_compression_ratio_of_3x3_kernels_under_a_flat_map_with_signs(bases, density, ratio):
    """288 bits of an fp32 kernel over M · (1 + d), counted on real masks; the table rounds to half a unit."""
    filters, channels = 20, 100
    mask = np.zeros((filters, bases, channels), dtype=bool)
    mask[..., : round(density * channels)] = True
    compressed = bitmap_bits(mask, value_bits=1).sum()
    assert 288 * filters * channels / compressed == pytest.approx(ratio, abs=0.5)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_mask_is_boolean_and_widths_are_positive(coding):
    with pytest.raises(InputError, match="a boolean array"):
        CODINGS[coding](np.ones(4), 8)
    with pytest.raises(InputError, match="value_bits is at least 1, not 0"):
        CODINGS[coding](np.ones(4, dtype=bool), 0)


def test_other_widths_are_checked():
    mask = np.ones(4, dtype=bool)
    with pytest.raises(InputError, match="block is at least 1"):
        two_level_bits(mask, 8, block=0)
    with pytest.raises(InputError, match="1 … 32"):
        run_length_bits(mask, 8, run_bits=33)


@pytest.mark.parametrize("coding", BITSTREAMS)
def test_streams_that_cannot_be_are_refused(coding):
    with pytest.raises(InputError, match="does not fit"):
        BITSTREAMS[coding].encode(np.array([200]), 8)
    stream = BITSTREAMS[coding].encode(np.array([0, 5, 7]), 8)
    with pytest.raises(InputError, match=r"ends after|holds 3 elements"):
        BITSTREAMS[coding].decode(stream[:-1], 3, 8)
