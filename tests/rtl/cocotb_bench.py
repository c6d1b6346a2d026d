"""Benches that cocotb drives: the same designs and stimuli as with the C++ harness, at some 10⁴ cycles a second."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.rtl import bench
from tests.rtl.bench import Builds, Change, Parameters, Words

PORTS = '`verilator_config\npublic_flat_rw -module "bench" -var "*"\n'
"""What cocotb has to see of a design."""


def missing() -> str | None:
    """Name what tests under cocotb need and this machine lacks."""
    if importlib.util.find_spec("cocotb") is None or importlib.util.find_spec("cocotb_tools") is None:
        return "cocotb is not installed: pip install skipper-simulator[rtl]"
    from find_libpython import find_libpython

    if find_libpython() is None:
        return "cocotb needs Python as a shared library, and this one has none"
    return bench.missing()


needs_cocotb = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass(frozen=True)
class CocotbBench:
    """A built bench that cocotb plays."""

    folder: Path
    in_words: int
    out_words: int

    def play(self, stimulus: Words, limit: int) -> Words:
        from cocotb_tools.check_results import get_results
        from cocotb_tools.runner import get_runner

        assert stimulus.shape[1] == self.in_words
        with tempfile.TemporaryDirectory(prefix="cocotb_") as name:
            folder = Path(name)
            np.ascontiguousarray(stimulus, "<u4").tofile(folder / "stimulus")
            results = get_runner("verilator").test(
                test_module="tests.rtl.cocotb_player", hdl_toplevel="bench", hdl_toplevel_lang="verilog",
                build_dir=self.folder, test_dir=folder, results_xml=str(folder / "results.xml"),
                log_file=str(folder / "log"),
                extra_env={
                    "SKIPPER_STIMULUS": str(folder / "stimulus"),
                    "SKIPPER_RESPONSE": str(folder / "response"),
                    "SKIPPER_LIMIT": str(limit),
                },
            )  # fmt: skip
            assert get_results(results) == (1, 0), (folder / "log").read_text()
            return np.fromfile(folder / "response", "<u4").reshape(-1, self.out_words)


def words(header: str, port: str) -> int:
    """Words of a port, of the header that Verilator made."""
    found = re.search(rf"VL_(?:IN|OUT)W\(&{port},\d+,\d+,(\d+)\)", header)
    assert found, f"no port {port}"
    return int(found[1])


def build(builds: Builds, sources: Sequence[str], parameters: Parameters, *changes: Change) -> CocotbBench:
    """Build a bench of ``sources``, the last of which holds it, for cocotb."""
    import cocotb_tools.config

    texts = bench.changed(sources, changes)

    def make(folder: Path) -> None:
        (folder / "ports.vlt").write_text(PORTS)
        files = bench.verilate(folder, texts, parameters, ("--vpi", "--prefix", "Vtop", "ports.vlt"))
        driver = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
        flags = [*bench.include_flags(), f"-I{folder / 'made'}"]
        objects = bench.compile_side_by_side(folder, flags, {"whole": (files, "-O0"), "driver": ([driver], "-O0")})
        runtime = builds.runtime("verilated", "verilated_threads") + builds.runtime("verilated_vpi", level="-O0")
        libraries = str(cocotb_tools.config.libs_dir)
        linked = [f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator", "-pthread"]
        subprocess.run(["g++", *objects, *runtime, "-o", "bench", *linked], cwd=folder, check=True)

    folder = builds.once(f"cocotb_{bench.digest(texts, parameters)}", make)
    header = (folder / "made" / "Vtop.h").read_text()
    return CocotbBench(folder, words(header, "stimulus"), words(header, "response"))
