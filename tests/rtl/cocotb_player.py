"""The harness as a cocotb test: plays words into a bench and writes down what it answers, cycle by cycle.

Does in a simulator what ``harness.cpp`` does, with the same files: SKIPPER_STIMULUS, SKIPPER_RESPONSE, and
SKIPPER_LIMIT cycles at most. What is heard is compared by the test that started the simulator.
"""

from __future__ import annotations

import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge, RisingEdge


@cocotb.test()
async def play(dut: HierarchyObject) -> None:
    """Hold each word until a cycle in which the bench is ready; then zeros, until it is no longer busy."""
    octets, row_octets = Path(os.environ["SKIPPER_STIMULUS"]).read_bytes(), len(dut.stimulus) // 8
    rows = [int.from_bytes(octets[first : first + row_octets], "little") for first in range(0, len(octets), row_octets)]
    heard = bytearray()
    cocotb.start_soon(Clock(dut.clock, 2, unit="ns").start())
    dut.reset.value = 1
    dut.stimulus.value = 0
    for _ in range(2):
        await RisingEdge(dut.clock)
    dut.reset.value = 0
    row = 0
    for _ in range(int(os.environ["SKIPPER_LIMIT"])):
        dut.stimulus.value = rows[row] if row < len(rows) else 0
        await FallingEdge(dut.clock)
        response = dut.response.value.to_unsigned()
        heard += response.to_bytes(len(dut.response) // 8, "little")
        ready, busy = response & 1, response & 2
        if row == len(rows) and not busy:
            Path(os.environ["SKIPPER_RESPONSE"]).write_bytes(heard)
            return
        await RisingEdge(dut.clock)
        row = min(row + ready, len(rows))
    raise TimeoutError("the bench is still busy")
