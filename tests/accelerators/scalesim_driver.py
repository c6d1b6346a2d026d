"""Run SCALE-Sim on layers given as JSON on standard input; for an interpreter that has it, and nothing of ours.

Each case: rows and columns of the array, dataflow (os, ws or is), and ``layer``: height and width of the padded input
map, height and width of the filters, channels, filters, stride. Printed, as JSON, in the last line: the cycles and
stall cycles of its compute report, and the seconds that the run took.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 512
WriteRequestBuffer: 512
[layout]
IfmapCustomLayout: False
FilterCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
LAYOUT_COLUMNS = 13


def run(case: dict[str, object], folder: Path) -> dict[str, float]:
    """Run one case in ``folder``."""
    from scalesim.scale_sim import scalesim  # type: ignore[import-not-found]

    config, topology, layout = folder / "config.cfg", folder / "topology.csv", folder / "layout.csv"
    config.write_text(CONFIG.format(**case))
    shape = case["layer"]
    assert isinstance(shape, list)
    topology.write_text("name,h,w,r,s,c,k,stride,sparsity,\n" + ",".join(map(str, ["layer", *shape, "1:1"])) + ",\n")
    layout.write_text("header,\n" + ",".join(["layer", *["1"] * LAYOUT_COLUMNS]) + ",\n")
    start = time.perf_counter()
    simulation = scalesim(
        save_disk_space=True, verbose=False, config=str(config), topology=str(topology), layout=str(layout)
    )
    simulation.run_scale(top_path=str(folder))
    seconds = time.perf_counter() - start
    with next(folder.rglob("COMPUTE_REPORT.csv")).open() as file:
        report = {k.strip(): v for k, v in next(csv.DictReader(file)).items() if k}
    return {
        "cycles": int(float(report["Total Cycles"])),
        "stalls": int(float(report["Stall Cycles"])),
        "seconds": seconds,
    }


def main() -> None:
    """Run all cases; SCALE-Sim's own prints are dropped."""
    results = []
    for case in json.load(sys.stdin):
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            results.append(run(case, Path(folder)))
        print(json.dumps(case), json.dumps(results[-1]), file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
