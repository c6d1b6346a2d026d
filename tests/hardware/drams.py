"""Random memories to compare models on."""

from __future__ import annotations

from hypothesis import strategies as st

from simulator.hardware.dram_timing import Dram


@st.composite
def drams(draw: st.DrawFn) -> Dram:
    """Small memories with short times, in which everything happens often."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    def power(high: int) -> int:
        return 2 ** number(0, high)

    burst = power(2) * 2
    rcd, ras, ccd, wtr, rrd, cwl = number(2, 6), number(8, 14), number(1, 4), number(1, 3), number(1, 3), number(2, 5)
    accepts = draw(st.sampled_from([1, 1, 2, 8]))
    groups, banks, ranks, rfc = power(2), power(1), power(1), number(4, 20)
    parts = draw(st.permutations(("ro", "ch", "ra", "bg", "ba", "co")))
    write_buffer = number(2, 12)
    return Dram.model_validate({
        "organisation": {
            "channels": power(1), "ranks": ranks, "bank_groups": groups, "banks_per_group": banks,
            "rows": 2 ** number(1, 4), "columns": burst * power(3), "device_width": 8, "bus_width": 8 * power(1),
            "burst_length": burst, "data_rate": 2,
        },
        "timing": {
            "tCK": 1000, "AL": number(0, 2), "CL": cwl + number(0, 4), "CWL": cwl, "tRCDRD": rcd,
            "tRCDWR": number(2, 6), "tRP": number(2, 6), "tRAS": ras, "tRFC": rfc, "tREFI": number(130, 300) * ranks,
            "tRRD_S": rrd, "tRRD_L": rrd + number(0, 3), "tFAW": number(rrd, 20), "tWTR_S": wtr,
            "tWTR_L": wtr + number(0, 3), "tWR": number(2, 8), "tRTP": number(2, 6), "tCCD_S": ccd,
            "tCCD_L": ccd + number(0, 3), "tCCD_L_WR": ccd + number(0, 6), "tRTRS": number(0, 2), "tPPD": number(0, 2),
        },
        "currents": dict.fromkeys(("VDD", "IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5AB"), 1.0),
        "controller": {
            "mapping": "".join(parts), "accepts": accepts, "read_queue": number(1, 8),
            "write_buffer": write_buffer, "write_low": number(0, write_buffer - 1), "bank_queue": number(1, 4),
            "row_hit_cap": number(1, 4), "page": draw(st.sampled_from(["open", "open", "closed"])),
            "scheduler": draw(st.sampled_from(["fr_fcfs_cap", "fr_fcfs_cap", "fr_fcfs", "fcfs"])),
            "refresh": draw(st.sampled_from(["rank", "rank", "none"])), "dual_issue": draw(st.booleans()),
        },
    })  # fmt: skip
