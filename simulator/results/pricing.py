"""Price a finished run again: action counts times another technology table."""

from __future__ import annotations

from pathlib import Path

from simulator.arch import Technology
from simulator.errors import InputError
from simulator.results.result import energy_by, price


def reprice(folder: Path, technology: Technology) -> dict[str, float]:
    """Return picojoules by component of the run in ``folder`` with ``technology``; nothing is simulated.

    Raises:
        InputError: the folder holds no run, or the table lacks a kind of action.

    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    path = folder / "actions.parquet"
    try:
        actions = pq.read_table(path).to_pydict()
        energies = price(actions, technology)
    except (OSError, ArrowException, KeyError):
        raise InputError(f"{path}: cannot be read; expected the folder of a finished run") from None
    return energy_by(actions, energies, "component")
