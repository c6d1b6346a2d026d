"""Expressions are arithmetic and nothing else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.library.expression import evaluate

NAMES = {"seq": 512, "i": 0, "width": 64.5}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("seq // 16 + 1", 33),
        ("2 if i == 0 else 1", 2),
        ("-seq % 7", -512 % 7),
        ("seq / 4", 128),
        ("width * 2", 129),
        ("not i and seq > 3", 1),
        ("max(seq, 600) - min(1, 2)", 599),
        ("ceil(seq / 100)", 6),
        ("1 / 4", 0.25),
    ],
)
def test_arithmetic(text, number):
    result = evaluate(text, NAMES)
    assert result == number
    assert type(result) is type(number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sequ * 2", r"unknown name 'sequ' \(did you mean 'seq'\?\)"),
        ("__import__('os')", "only numbers, names"),
        ("seq.real", "unknown name .seq.real."),
        ("'a' * 9", "only numbers, names"),
        ("[1] * 9", "only numbers, names"),
        ("2 ** 99", "only numbers, names"),
        ("(lambda: 1)()", "only numbers, names"),
        ("seq +", "no arithmetic expression"),
        ("", "no arithmetic expression"),
        ("1 / i", "divides by zero"),
        ("9" * 30, "too large"),
        ("1e308 * 10", "too large"),
        ("+".join("1" * 400), "longer than 500"),
        ("(" * 99 + "1" + ")" * 99, ""),
    ],
)
def test_what_is_no_arithmetic_is_refused(text, words):
    if words:
        with pytest.raises(InputError, match=words):
            evaluate(text, NAMES)
    else:
        assert evaluate(text, NAMES) == 1


@given(st.text(max_size=40))
def test_any_text_gives_a_number_or_a_sentence(text):
    try:
        assert math.isfinite(evaluate(text, NAMES))
    except InputError as error:
        assert len(str(error)) > 10  # noqa: PT017 - both ways out are right
