"""Tables keep their values and types on the way to disk."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from simulator.results.folder import _arrow

ROWS = st.tuples(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(0, 1),
    st.booleans(),
    st.none(),
)


@given(st.lists(ROWS, min_size=1))
def test_every_value_survives(rows: list[tuple]) -> None:
    names = ("text", "whole", "real", "perhaps", "truth", "nothing")
    columns = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    table = _arrow(columns)
    assert table.to_pydict() == columns
    types = {field.name: str(field.type) for field in table.schema}
    assert types["perhaps"] == ("double" if any(v is not None for v in columns["perhaps"]) else "null")
    del types["perhaps"]
    assert types == {"text": "string", "whole": "int64", "real": "double", "truth": "bool", "nothing": "null"}


def test_text_that_looks_like_a_date_or_a_number_stays_text() -> None:
    columns = {"operator": ["2020-01-01", "2020-01-01 10:00:00", "7"], "cycles": [1, 2, 3]}
    assert _arrow(columns).to_pydict() == columns


def test_many_rows_keep_one_type() -> None:
    columns = {"name": [f"operator {i}" for i in range(60_000)], "pj": [*[None] * 59_999, math.pi]}
    assert _arrow(columns).to_pydict() == columns
