"""Banks of a buffer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from simulator.accelerators import accelerator, load_arch, parts_of
from simulator.hardware.buffer import Buffer


@pytest.mark.parametrize(("size", "banks", "bank"), [(4096, 16, 256), (100, 3, 34), (8, 1, 8)])
def test_a_bank_is_its_share_rounded_up(size: int, banks: int, bank: int) -> None:
    assert Buffer(size=size, banks=banks, ports=1, width_bits=64).bank == bank


@pytest.mark.parametrize(("size", "banks", "width"), [(64, 10, 64), (7, 1, 64), (1, 1, 16)])
def test_a_bank_holds_a_word(size: int, banks: int, width: int) -> None:
    with pytest.raises(ValidationError, match=f"{size} bytes in {banks} banks are"):
        Buffer(size=size, banks=banks, ports=1, width_bits=width)


@pytest.mark.parametrize("banks", [15, 16])
def test_what_leaks_is_what_is_read(banks: int) -> None:
    """One size of a bank throughout, also where banks do not divide the buffer."""
    arch = load_arch("escalate", {"activation_buffer.banks": str(banks)})
    parts = [p for p in parts_of(accelerator("escalate"), arch.chip) if p.component == "activation_buffer"]
    assert {part.size for part in parts} == {arch.chip.activation_buffer.bank}
