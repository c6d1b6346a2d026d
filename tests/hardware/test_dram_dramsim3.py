"""Random requests and settings against DRAMsim3 itself, where its source is at hand: every command of whole runs.

``DRAMSIM3=<checkout> pytest -m slow tests/hardware/test_dram_dramsim3.py`` compiles it, which takes half a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.hardware.dram_requests import simulate_requests
from simulator.hardware.dram_state import COMMANDS
from simulator.hardware.dram_timing import Dram, read_memory

SOURCE = Path(os.environ.get("DRAMSIM3", "/nowhere"))
CASES = 400
PROTOCOLS = {
    "ddr4_2400": "DDR4", "ddr4_3200": "DDR4", "lpddr4_2400_x32": "LPDDR4", "hbm2_8ch": "HBM", "hbm2_8ch_il64": "HBM",
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SOURCE / "src").is_dir(), reason="DRAMSIM3 names no checkout of DRAMsim3"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("dramsim3") / "driver"
    unused = ("thermal.cc", "thermal_replay.cc", "main.cc", "cpu.cc")
    sources = [file for file in sorted((SOURCE / "src").glob("*.cc")) if file.name not in unused]
    own = Path(__file__).parents[1] / "reference" / "dramsim3_driver.cc"
    folders = [f"-I{SOURCE / folder}" for folder in ("src", "ext/headers", "ext/fmt/include")]
    flags = ["-O2", "-std=c++11", "-w", "-DCMD_TRACE", "-DFMT_HEADER_ONLY=1"]
    subprocess.run(["g++", *flags, *folders, own, *sources, "-o", program], check=True)
    return program


def ini(dram: Dram, protocol: str) -> str:
    """Write a configuration as DRAMsim3 reads it; HBM's columns are halved there."""
    o, t, c = dram.organisation, dram.timing, dram.controller
    times = t.model_dump(exclude={"tCK", "tCCD_L_WR"}) | {"tCK": t.tCK / 1000, "tRCD": t.tRCDRD}
    sections: dict[str, dict[str, Any]] = {
        "dram_structure": {
            "protocol": protocol, "bankgroups": o.bank_groups, "banks_per_group": o.banks_per_group, "rows": o.rows,
            "columns": o.columns // (2 if protocol == "HBM" else 1), "device_width": o.device_width,
            "BL": o.burst_length, "hbm_dual_cmd": c.dual_issue,
        },
        "timing": times,
        "system": {
            "channel_size": o.capacity // o.channels // 2**20, "channels": o.channels, "bus_width": o.bus_width,
            "address_mapping": c.mapping, "queue_structure": "PER_BANK", "refresh_policy": "RANK_LEVEL_STAGGERED",
            "row_buf_policy": "OPEN_PAGE" if c.page == "open" else "CLOSE_PAGE",
            "cmd_queue_size": c.bank_queue, "trans_queue_size": c.read_queue,
        },
        "other": {"output_level": 0, "epoch_period": 10**8},
    }  # fmt: skip
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


def random_memory(rng: np.random.Generator) -> tuple[str, Dram]:
    """Return a shipped memory with other timing, queues, page policy and mapping."""
    name = str(rng.choice(list(PROTOCOLS)))
    document = read_memory(name).chip.model_dump()
    times, control = document["timing"], document["controller"]
    if rng.random() < 0.5:
        for key, low, high in (("tFAW", 16, 60), ("tRTP", 4, 14), ("tWR", 10, 40), ("tRP", 8, 30), ("tRTRS", 0, 4)):
            times[key] = int(rng.integers(low, high))
        times["tCCD_L"] = times["tCCD_L_WR"] = int(rng.integers(times["tCCD_S"], 10))
        times["tWTR_L"] = int(rng.integers(times["tWTR_S"], 20))
        times["tREFI"] = int(rng.integers(3 * times["tRFC"], 10 * times["tRFC"]))
        times["tPPD"] *= int(rng.integers(0, 3))
    if rng.random() < 0.5:
        queue = int(rng.integers(9, 64))
        control |= {"bank_queue": int(rng.integers(1, 12)), "read_queue": queue, "write_buffer": queue}
    if rng.random() < 0.5:
        control["mapping"] = "".join(rng.permutation(["ro", "ch", "ra", "bg", "ba", "co"]))
    if rng.random() < 0.3:
        control["page"] = "closed"
    if rng.random() < 0.3:
        control["dual_issue"] = False
    return name, Dram.model_validate(document)


def random_requests(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arrival, address and write of streams, walks, random and hot lines, paced or not."""
    count, lines = int(rng.integers(200, 3000)), int(2 ** rng.uniform(1, 24))
    kind = rng.integers(4)
    if kind == 0:
        line = rng.integers(0, lines, count)
    elif kind == 1:
        line = np.arange(count) % lines
    elif kind == 2:
        streams = int(rng.integers(2, 6))
        which = rng.integers(0, streams, count)
        strides = 2 ** rng.integers(0, 9, streams)
        line = rng.integers(0, 2**23, streams)[which] + np.arange(count) // streams * strides[which]
    else:
        hot = rng.integers(0, max(1, lines // 64), count)
        line = np.where(rng.random(count) < 0.5, hot, rng.integers(0, 2**24, count))
    write = rng.random(count) < rng.choice([0, 0.1, 0.3, 0.5, 0.9, 1])
    pauses = rng.integers(0, rng.choice([1, 2, 10, 200]), count) * (rng.random(count) < rng.random())
    return np.cumsum(pauses), line * 64, write


def theirs(folder: Path, channel: int) -> list[tuple[int, ...]]:
    """Read the commands of a channel: cycle, command, rank, group, bank, row, column."""
    names = {"read_p": "read", "write_p": "write"}
    commands = []
    for row in (folder / f"dramsim3ch_{channel}cmd.trace").read_text().splitlines():
        cycle, command, _, *place, at, column = row.split()
        number = COMMANDS.index(names.get(command, command))
        commands.append((int(cycle), number, *map(int, place), int(at, 16), int(column, 16)))
    return commands


def test_whole_runs_equal_dramsim3_command_by_command(driver: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for case in range(CASES):
        name, dram = random_memory(rng)
        arrival, address, write = random_requests(rng)
        (tmp_path / "config.ini").write_text(ini(dram, PROTOCOLS[name]))
        kinds = np.where(write, "WRITE", "READ")
        rows = zip(address.tolist(), kinds.tolist(), arrival.tolist(), strict=True)
        (tmp_path / "trace").write_text("".join(f"{a:#x} {kind} {cycle}\n" for a, kind, cycle in rows))
        accepts = str(dram.controller.accepts)
        run = [driver, tmp_path / "config.ini", tmp_path / "trace", accepts, tmp_path]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        ours = simulate_requests(arrival, address, write, dram, commands=10**6)
        assert ours.counts.cycles == int(done.stdout.split()[-1]), (case, name)
        for channel in range(dram.organisation.channels):
            rows_here = ours.commands[ours.commands[:, 2] == channel]
            assert [tuple(row) for row in np.delete(rows_here, 2, axis=1).tolist()] == theirs(tmp_path, channel), case
