"""Candidate selection and attention side by side: banks of keys, each with selectors and one module that attends.

Keys are dealt out to the banks in turn, and within a bank to its selectors. For a query each selector looks at a key
per cycle and hands those kept to its bank's module, which attends one per cycle; meanwhile the next query is hashed and
the output of the one before is divided. The slowest of these sets the pace of a query.

Source: Ham et al., "ELSA", ISCA 2021; how keys are dealt out is assumed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from simulator.arch.part import Part
from simulator.hardware.jit import kernel

RECORD: Final = ("fullest", "kept")
"""Of a query: connections of the bank that has most, and of all."""


class Banks(Part):
    """Configuration of the banks."""

    count: Annotated[int, Field(ge=1)]
    """Banks of keys and values, each with a module that attends, P_a."""
    selectors: Annotated[int, Field(ge=1)]
    """Selectors of each, P_c."""
    features: Annotated[int, Field(ge=1)]
    """Numbers of a key, and of a value, that a module multiplies per cycle."""
    dividers: Annotated[int, Field(ge=1)]
    """Outputs divided per cycle, m_o."""


@kernel
def deal(kept: Any, banks: Any, records: Any, issues: Any) -> None:
    """Deal what queries keep out to banks.

    kept (L, W) words; records (L, 2) int64 out; issues (pairs, 3) int32 out, or (0, 3): place in the bank, query, key.
    """
    held = np.zeros(banks, np.int64)
    issued = 0
    for query in range(kept.shape[0]):
        held[:] = 0
        for key in range(64 * kept.shape[1]):
            if kept[query, key >> 6] >> (key & 63) & 1:
                if issues.shape[0]:
                    issues[issued, 0], issues[issued, 1], issues[issued, 2] = held[key % banks], query, key
                issued += 1
                held[key % banks] += 1
        records[query, 0], records[query, 1] = held.max(), held.sum()
