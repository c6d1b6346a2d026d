"""Quantities as they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simulator.arch import Part
from simulator.arch.units import Bytes, BytesPerSecond, Hertz, Picoseconds


class Quantities(Part):
    size: Bytes = 1
    clock: Hertz = 1
    bandwidth: BytesPerSecond = 1
    latency: Picoseconds = 0


def read(key: str, value: object) -> Any:
    """Read a value as a configuration file's."""
    return getattr(Quantities.model_validate_json(json.dumps({key: value}), strict=True), key)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("size", "64 KiB", 65536),
        ("size", "64KiB", 65536),
        ("size", "64 kB", 64000),
        ("size", "64 B", 64),
        ("size", "1.5 MiB", 1572864),
        ("size", "1 GiB", 2**30),
        ("clock", "800 MHz", 800_000_000),
        ("clock", "1.1 GHz", 1_100_000_000),
        ("clock", "1 Hz", 1),
        ("bandwidth", "25.6 GB/s", 25_600_000_000),
        ("bandwidth", "512 MiB/s", 2**29),
        ("latency", "100 ns", 100_000),
        ("latency", "0.5 ns", 500),
        ("latency", "1 ps", 1),
        ("latency", "2 us", 2_000_000),
        ("latency", "0 s", 0),
        ("size", "1 TiB", 2**40),
        ("clock", "100 GHz", 10**11),
        ("bandwidth", "256 TiB/s", 2**48),
        ("latency", "1 ms", 10**9),
    ],
)
def test_quantities_become_base_units(key: str, text: str, expected: int) -> None:
    value = read(key, text)
    assert value == expected
    assert type(value) is int


@pytest.mark.parametrize(
    ("key", "text"),
    [("size", "1 EB"), ("clock", "1e30 Hz"), ("bandwidth", "1e30 B/s"), ("latency", "1e30 s"), ("latency", "1001 us")],
)
def test_what_no_hardware_has_is_refused(key: str, text: str) -> None:
    with pytest.raises(ValidationError, match="less than or equal to"):
        read(key, text)


@given(st.integers(0, 10**6))
def test_no_tenth_of_a_nanosecond_is_lost_in_binary(tenths: int) -> None:
    assert read("latency", f"{tenths / 10} ns") == 100 * tenths


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 64), ("size", 64.0), ("size", "64"), ("size", "64 K"), ("size", "64 MHz"), ("size", "64 Kib"),
        ("size", "64 kiB/s"), ("size", "1.5 B"), ("size", "0 B"), ("size", "-1 B"), ("size", "inf B"),
        ("size", "nan B"), ("size", ""), ("size", "B"), ("size", "KiB 64"), ("size", None), ("size", True),
        ("size", ["64 KiB"]), ("size", {}),
        ("clock", 800_000_000), ("clock", "64 KiB"), ("clock", "0 Hz"), ("clock", "1 ns"), ("clock", "0.5 Hz"),
        ("bandwidth", "25.6 GB"), ("bandwidth", "25.6 Gb/s"), ("bandwidth", "1 GB/ns"),
        ("latency", 0), ("latency", "-1 ns"), ("latency", "0.1 ps"), ("latency", "100 Hz"), ("latency", "100 cycles"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_an_example(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        read(key, value)
    message = caught.value.errors()[0]["msg"]
    assert "expected a quantity in " in message or "Input should be greater than" in message


def test_code_may_give_base_units() -> None:
    assert Quantities(size=64, clock=10**9, latency=0).size == 64
