"""The roofline of all points (Williams, Waterman, Patterson, CACM 52(4), 2009): work per byte against work per second.

Work is multiply-accumulates that the chip performed, bytes are those that crossed the DRAM's bus; so no point lies
above the ceilings of its own design.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.report.pareto import Floats
from simulator.report.quantities import finished

if TYPE_CHECKING:
    import pandas as pd

PEAKS = ("peak_macs_per_s", "peak_bandwidth_gb_s")


def has_roofline(frame: pd.DataFrame) -> bool:
    """Tell whether a dataset holds the peaks; those of an earlier version do not."""
    return all(peak in frame and bool(frame[peak].notna().any()) for peak in PEAKS)


def roofline(frame: pd.DataFrame) -> pd.DataFrame:
    """Return where each finished point lies below its roof.

    Args:
        frame: the dataset of a sweep.

    Returns:
        As many rows as points that did not fail: ``intensity``, performed MACs per byte that crossed the DRAM's bus,
        ``macs_per_s``, performed, and ``roof``, the least of both ceilings at that intensity, in MAC/s.

    """
    import pandas as pd

    done = finished(frame)
    moved = (done["bandwidth_gb_s"] * 1e9 * done["seconds"]).to_numpy(np.float64)
    performed = done["macs_performed"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        intensity = np.where(moved > 0, performed / moved, np.nan)
    roof = np.minimum(done["peak_macs_per_s"], intensity * done["peak_bandwidth_gb_s"] * 1e9)
    rate = performed / done["seconds"].to_numpy(np.float64)
    return pd.DataFrame({"intensity": intensity, "macs_per_s": rate, "roof": np.asarray(roof, np.float64)})


def ceilings(frame: pd.DataFrame, most: int) -> tuple[Floats, Floats]:
    """Return the different peaks of the units that compute (MAC/s) and DRAM channels (B/s) of all designs, ascending.

    Args:
        frame: the dataset.
        most: of each; of more only the least and the greatest are returned.

    """
    done = finished(frame)

    def few(values: pd.Series) -> Floats:
        found = np.unique(values.dropna().to_numpy(np.float64))
        return found if len(found) <= most else found[[0, -1]]

    return few(done[PEAKS[0]]), few(done[PEAKS[1]] * 1e9)
