"""Whatever cannot be used ends in status 2 and one sentence, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from simulator.arch import list_configs
from simulator.arch.published import list_published
from simulator.cli import main
from simulator.errors import InputError
from simulator.trace import Attention, Conv2d, DensityTensor, MaskTensor, MatMul, Trace, quantise, save_trace
from tests.trace.helpers import tampered

TRACE = "small.safetensors"
RUN = ("run", "escalate", TRACE)
CHIP = importlib.resources.files("simulator.arch_configs").joinpath("escalate.yaml").read_text("utf-8")

DDR4 = importlib.resources.files("simulator.arch_configs").joinpath("memory/ddr4_2400.yaml").read_text("utf-8")


class Desk:
    """A working directory with a good trace in it, and the means to make bad files."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def trace(self, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> tuple[str, ...]:
        """Spoil header or arrays of the trace, and run it."""
        tampered(self.folder / TRACE, self.folder / "bad.safetensors", change)
        return ("run", "escalate", "bad.safetensors")

    def operator(self, operator: Any) -> tuple[str, ...]:
        """Run a trace of one operator."""
        save_trace(Trace("bad", (operator,)), self.folder / "bad.safetensors")
        return ("run", "escalate", "bad.safetensors")

    def chip(self, key: str, value: Any = None, last: str | None = "value") -> tuple[str, ...]:
        """Run with a parameter changed in the YAML file: its ``last``, or the whole of it; None removes it."""
        document = YAML(typ="safe").load(CHIP)
        *sections, name = (*key.split("."), *((last,) if last else ()))
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            del place[name]
        else:
            place[name] = value
        with (self.folder / "chip.yaml").open("w") as file:
            YAML(typ="safe").dump(document, file)
        return ("run", "chip.yaml", TRACE)

    def yaml(self, text: str) -> tuple[str, ...]:
        """Run with this text as the YAML file."""
        self.write("chip.yaml", text)
        return ("run", "chip.yaml", TRACE)

    def memory(self, key: str = "", value: Any = None) -> tuple[str, ...]:
        """Run with a memory of which one value is changed in its YAML file; None removes it."""
        document = YAML(typ="safe").load(DDR4)
        if key:
            section, name = key.split(".")
            if value is None:
                del document[section][name]
            else:
                document[section].setdefault(name, {"source": "assumed", "why": "Bad."})["value"] = value
        with (self.folder / "ddr.yaml").open("w") as file:
            YAML(typ="safe").dump(document, file)
        return (*RUN, "--memory", "ddr.yaml")

    def technology(self, text: str) -> tuple[str, ...]:
        """Run with this text as the technology table."""
        self.write("mine.csv", text)
        return (*RUN, "--set", "technology=mine.csv")

    def listing(self) -> dict[str, bytes | None]:
        """Every file and folder below, with what is in it."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in self.folder.rglob("*")
        }


@pytest.fixture
def desk(small_trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    shutil.copy(small_trace, tmp_path / TRACE)
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


Case = tuple[Callable[[Desk], tuple[str, ...]], tuple[str, ...]]
CASES: dict[str, Case] = {}


def case(name: str, *words: str) -> Callable[[Callable[[Desk], tuple[str, ...]]], None]:
    """Register what to do on the desk, and what the sentence must say."""

    def register(make: Callable[[Desk], tuple[str, ...]]) -> None:
        assert name not in CASES
        CASES[name] = (make, words)

    return register


def edited(header: dict[str, Any], *path: Any, value: Any) -> None:
    *way, last = path
    for step in way:
        header = header[step]
    header[last] = value


# --- the trace -------------------------------------------------------------------------------------------------

case("trace: missing file", "absent.safetensors", "neither a file")(
    lambda desk: ("run", "escalate", "absent.safetensors")
)
case("trace: missing file in a folder", "data/absent.safetensors", "no such file")(
    lambda desk: ("run", "escalate", "data/absent.safetensors")
)
case("trace: misspelt name", "digitscnn", "did you mean 'digits_cnn'?")(lambda desk: ("run", "escalate", "digitscnn"))
case("trace: inspect a missing one", "absent.safetensors")(lambda desk: ("inspect", "absent.safetensors"))


@case("trace: a folder", "there", "folder")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "there").mkdir()
    return ("run", "escalate", "there")


@case("trace: data cut short", "bad.safetensors", "cut short")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "bad.safetensors").write_bytes((desk.folder / TRACE).read_bytes()[:-100])
    return ("run", "escalate", "bad.safetensors")


@case("trace: header cut short", "bad.safetensors", "cut short")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "bad.safetensors").write_bytes((desk.folder / TRACE).read_bytes()[:50])
    return ("run", "escalate", "bad.safetensors")


@case("trace: not safetensors", "bad.safetensors", "not a safetensors file")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("bad.safetensors", "layers: many\n")
    return ("run", "escalate", "bad.safetensors")


@case("trace: empty file", "bad.safetensors", "not a safetensors file")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("bad.safetensors", "")
    return ("run", "escalate", "bad.safetensors")


@case("trace: safetensors of something else", "bad.safetensors", "not a Skipper trace", "'skipper'")
def _(desk: Desk) -> tuple[str, ...]:
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3)}, desk.folder / "bad.safetensors")
    return ("run", "escalate", "bad.safetensors")


case("trace: newer format", "bad.safetensors", "newer Skipper", "format 2")(
    lambda desk: desk.trace(lambda header, arrays: edited(header, "version", value=2))
)
case("trace: no operators", "bad.safetensors", "no operators")(
    lambda desk: desk.trace(lambda header, arrays: edited(header, "operators", value=[]))
)
case("trace: shape contradicts operator", "bad.safetensors", "operator 'linear'", "weight", "(10, 69)", "(10, 70)")(
    lambda desk: desk.trace(
        lambda header, arrays: (
            edited(header, "tensors", "linear.weight", "shape", value=[10, 69]),
            arrays.update({"linear.weight": np.ascontiguousarray(arrays["linear.weight"][:, 1:])}),
        )
    )
)
case("trace: shape contradicts data", "bad.safetensors", "tensor 'linear.weight'", "(10, 71)", "(10, 70)")(
    lambda desk: desk.trace(lambda header, arrays: edited(header, "tensors", "linear.weight", "shape", value=[10, 71]))
)
case("trace: NaN scale", "bad.safetensors", "'linear.weight'", "scale", "positive finite")(
    lambda desk: desk.trace(
        lambda header, arrays: edited(header, "tensors", "linear.weight", "scale", value=float("nan"))
    )
)
case("trace: infinite scale", "bad.safetensors", "'linear.weight'", "scale", "positive finite")(
    lambda desk: desk.trace(
        lambda header, arrays: edited(header, "tensors", "linear.weight", "scale", value=float("inf"))
    )
)
case("trace: NaN in floating-point data", "bad.safetensors", "'linear.weight'", "must be integers")(
    lambda desk: desk.trace(lambda header, arrays: arrays.update({"linear.weight": np.full((10, 70), np.nan)}))
)
case("trace: values too wide, found when read", "bad.safetensors", "'linear.input'", "do not fit 8 bits")(
    lambda desk: desk.trace(lambda header, arrays: arrays.update({"linear.input": np.full((1, 70), 999, np.int16)}))
)
case("trace: unknown type of operator", "bad.safetensors", "'liner'", "did you mean 'linear'?")(
    lambda desk: desk.trace(lambda header, arrays: edited(header, "operators", 4, "type", value="liner"))
)
case("operator that the chip does not run", "bad.safetensors", "escalate", "'scores'", "matmul", "conv2d and linear")(
    lambda desk: desk.operator(MatMul("scores", DensityTensor((4, 5), 0.5, 0), DensityTensor((5, 6), 0.5, 1)))
)
for chip, runs, others in (
    ("scnn", "conv2d, linear and matmul", "attention,embedding_bag,rowwise,spmm"),
    ("systolic", "attention, conv2d, linear, matmul and rowwise", "embedding_bag,spmm"),
    ("dota", "attention, linear and rowwise", "conv2d,embedding_bag,matmul,spmm"),
    ("a3", "it runs attention (", "conv2d,embedding_bag,linear,matmul,rowwise,spmm"),
):
    case(f"{chip}: embeddings, and how to go without", "'tables.0'", "is of type embedding_bag", runs,
         f"--without {others})")(
        lambda desk, chip=chip: ("run", chip, "dlrm_rm1", "--without", "linear,rowwise,matmul")
    )  # fmt: skip
case("scnn: sums wider than any adder", "accumulators.bits", "less than or equal to 32", "48")(
    lambda desk: ("run", "scnn", TRACE, "--set", "accumulators.bits=48")
)
case("8-bit weights of a 1×1 convolution", "bad.safetensors", "'pointwise'", "weight", "8-bit", "ternary")(
    lambda desk: desk.operator(
        Conv2d("pointwise", DensityTensor((1, 4, 5, 5), 0.5, 0), DensityTensor((3, 4, 1, 1), 1, 1))
    )
)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_real_values_that_are_no_numbers_are_refused_when_a_trace_is_built(value: float) -> None:
    with pytest.raises(InputError, match=r"NaN and \d infinite"):
        quantise(np.array([1.0, value, 3.0]))


# --- the configuration -----------------------------------------------------------------------------------------

case("arch: misspelt name", "'escalat'", "did you mean 'escalate'?")(lambda desk: ("run", "escalat", TRACE))
case("arch: show a misspelt name", "'escalat'", "did you mean 'escalate'?")(lambda desk: ("show", "escalat"))
case("arch: missing file", "absent.yaml", "No such file")(lambda desk: ("run", "absent.yaml", TRACE))
case("arch: not text", TRACE, "no architecture")(lambda desk: ("run", TRACE, TRACE))


@case("arch: bytes that are not UTF-8", "chip.yaml", "UTF-8")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "chip.yaml").write_bytes(b"\xff\xfe")
    return ("run", "chip.yaml", TRACE)


case("arch: unknown accelerator", "chip.yaml", "'accelerator'", "did you mean 'escalate'?")(
    lambda desk: desk.chip("accelerator", "escalated", last=None)
)
case("arch: accelerator is no word", "chip.yaml", "'accelerator'", "expected the name")(
    lambda desk: desk.chip("accelerator", 5, last=None)
)
case("key: unknown in a file", "chip.yaml", "'array.block'", "did you mean 'blocks'?")(
    lambda desk: desk.chip("array.block", {"value": 3, "source": "assumed", "why": "Misspelt."}, last=None)
)
case("section: unknown in a file", "chip.yaml", "'arrays'", "did you mean 'array'?")(
    lambda desk: desk.chip("arrays.blocks", {"value": 3, "source": "assumed", "why": "Misspelt."}, last=None)
)
case(
    "key: unknown to --set",
    "escalate.yaml",
    "--set array.block:",
    "did you mean 'array.blocks'?",
    "skipper show",
)(lambda desk: (*RUN, "--set", "array.block=3"))
case("--set without a value", "--set array.blocks", "KEY=VALUE")(lambda desk: (*RUN, "--set", "array.blocks"))
case("--set with an empty value", "escalate.yaml", "'array.blocks'", "integer")(
    lambda desk: (*RUN, "--set", "array.blocks=")
)
case("--set with bad YAML", "--set array.blocks", "not valid YAML")(lambda desk: (*RUN, "--set", "array.blocks=[1"))
case("YAML: key twice", "chip.yaml, line ", 'duplicate key "dram"')(
    lambda desk: desk.yaml(CHIP + "\ndram: {value: 1, source: assumed, why: Twice.}\n")
)
case("YAML: invalid", "chip.yaml, line 4", "not valid YAML")(
    lambda desk: desk.yaml("skipper: 1\naccelerator: escalate\nclock: [1, 2\n")
)
case("YAML: a tab", "chip.yaml, line 2", "not valid YAML")(lambda desk: desk.yaml("skipper: 1\n\tclock: 2\n"))
case("YAML: no such day", "chip.yaml", "not valid YAML")(lambda desk: desk.yaml("skipper: 1\nclock: 2020-02-31\n"))
case("YAML: contains itself", "chip.yaml", "not valid YAML")(lambda desk: desk.yaml("skipper: 1\narray: &a\n  b: *a\n"))
case("YAML: a list", "chip.yaml", "expected a configuration", "found a list")(lambda desk: desk.yaml("- 1\n- 2\n"))
case("YAML: empty", "chip.yaml", "expected a configuration", "found nothing")(lambda desk: desk.yaml(""))
case("key: missing", "chip.yaml", "'mac_row.multipliers' is missing", "expected 8-bit multipliers")(
    lambda desk: desk.chip("mac_row.multipliers", last=None)
)
case("section: missing", "chip.yaml", "'array' is missing", "expected a section")(
    lambda desk: desk.chip("array", last=None)
)
case("key: bare value", "chip.yaml", "'array.blocks'", "source: paper|derived|assumed")(
    lambda desk: desk.chip("array.blocks", 32, last=None)
)
case("key: no source", "chip.yaml", "'array.blocks.source'", "expected one of paper, derived, assumed")(
    lambda desk: desk.chip("array.blocks", last="source")
)
case("key: wrong source", "chip.yaml", "'array.blocks.source'", "'guessed'", "expected one of paper, derived, assumed")(
    lambda desk: desk.chip("array.blocks", "guessed", last="source")
)
case("key: no why", "chip.yaml", "'array.blocks.why'", "expected")(lambda desk: desk.chip("array.blocks", last="why"))
case("key: misspelt why", "chip.yaml", "'array.blocks.whi'", "did you mean 'why'?")(
    lambda desk: desk.chip("array.blocks", "Because.", last="whi")
)
case("format: newer", "chip.yaml", "'skipper'", "newer", "expected 1")(lambda desk: desk.chip("skipper", 2, last=None))
case("format: missing", "chip.yaml", "'skipper'", "expected 'skipper: 1'")(lambda desk: desk.chip("skipper", last=None))
case("format: no number", "chip.yaml", "'skipper'", "expected 1")(lambda desk: desk.chip("skipper", True, last=None))

for key, value, *words in (
    # sizes that nothing has
    ("activation_buffer.size", "0 B", "greater than 0"),
    ("activation_buffer.size", "-64 KiB", "greater than 0"),
    ("clock", "0 Hz", "greater than 0"),
    ("dram.bandwidth", "-1 GB/s", "greater than 0"),
    ("dram.latency", "-1 ns", "greater than or equal to 0"),
    ("array.blocks", 0, "greater than or equal to 1", "0"),
    ("array.blocks", -3, "greater than or equal to 1", "-3"),
    ("array.blocks", 10**30, "less than or equal to 4096"),
    ("activation_buffer.width_bits", 12, "multiple of 8", "12"),
    # sizes beyond what can be counted
    ("dram.latency", "1e30 s", "less than or equal to", "1e30 s"),
    ("clock", "1e30 Hz", "less than or equal to", "1e30 Hz"),
    ("dram.burst", "1 EB", "less than or equal to", "1 EB"),
    ("dram.bandwidth", "1e30 B/s", "less than or equal to", "1e30 B/s"),
    ("mac_row.partial_sum_bits", 8 * 10**21, "at most 1048576", str(8 * 10**21)),
    ("dram.energy_pj_per_bit", 1e300, "at most 1048576", "1e+300"),
    ("channel_accumulation.offsets", [[1, -(2**60)]], "at most 1048576", str(-(2**60))),
    # units
    ("activation_buffer.size", "64 MHz", "64 KiB", "not '64 MHz'"),
    ("clock", "64 KiB", "800 MHz", "not '64 KiB'"),
    ("dram.bandwidth", "25.6 GB", "25.6 GB/s", "not '25.6 GB'"),
    ("dram.latency", "100 cycles", "100 ns", "not '100 cycles'"),
    ("activation_buffer.size", 64, "64 KiB", "which has no unit"),
    ("clock", 800000000, "800 MHz", "which has no unit"),
    ("dram.latency", 0, "100 ns", "which has no unit"),
    ("activation_buffer.size", "64", "64 KiB", "which has no unit"),
    ("activation_buffer.size", "64 K", "64 KiB", "which has no unit"),
    ("activation_buffer.size", "1.5 B", "whole number of B"),
    ("dram.latency", "0.0001 ns", "whole number of picoseconds"),
    ("activation_buffer.size", "large", "64 KiB", "'large'"),
    ("activation_buffer.size", True, "64 KiB", "'True'"),
    ("activation_buffer.size", [64], "64 KiB"),
    # numbers that are none
    ("clock", "inf Hz", "whole number of Hz"),
    ("clock", float("nan"), "800 MHz", "not"),
    ("dram.bandwidth", "nan B/s", "whole number of B/s"),
    ("dram.energy_pj_per_bit", float("inf"), "finite"),
    ("dram.energy_pj_per_bit", float("nan"), "finite"),
    ("dram.energy_pj_per_bit", -1, "greater than or equal to 0"),
    # types
    ("array.blocks", "many", "integer", "'many'"),
    ("array.blocks", "32", "integer", "'32'"),
    ("array.blocks", 2.5, "integer", "2.5"),
    ("array.blocks", True, "integer", "True"),
    ("array.blocks", {"number": 3}, "integer"),
    ("dram.energy_pj_per_bit", True, "number", "True"),
    ("array.slices_own", "columns", "'bases' or 'rows'", "'columns'"),
    ("technology", 45, "string", "45"),
    ("channel_accumulation.offsets", [["a", 0]], "integer"),
):  # fmt: skip
    words = (f"'{key}", *words)
    given = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
    case(f"{key}: {given} in a file", "chip.yaml", *words)(lambda desk, key=key, value=value: desk.chip(key, value))
    case(f"{key}: {given} by --set", "escalate.yaml", *words)(
        lambda desk, key=key, given=given: (*RUN, "--set", f"{key}={given}")
    )

case("a channel too slow for its bursts and the clock", "operator 'first'", "cycles to cross the DRAM channel")(
    lambda desk: (*RUN, "--set", "dram.bandwidth=1 B/s", "--set", "dram.burst=1 TiB")
)
case("name: no word", "chip.yaml", "'name'", "expected the configuration's name", "5")(
    lambda desk: desk.chip("name", 5, last=None)
)
case("name: two lines", "chip.yaml", "'name'", "expected the configuration's name")(
    lambda desk: desk.chip("name", "two\nlines", last=None)
)
case("network_lanes: no power of two", "chip.yaml", "'channel_accumulation.network_lanes'", "a power of two", "48")(
    lambda desk: desk.chip("channel_accumulation.network_lanes", 48)
)
case("offsets: beyond look_ahead", "chip.yaml", "'channel_accumulation'", "(3, 0)", "look_ahead = 2")(
    lambda desk: desk.chip("channel_accumulation.offsets", [[3, 0]])
)
case("look_ahead: less than offsets", "escalate.yaml", "'channel_accumulation'", "look_ahead = 1")(
    lambda desk: (*RUN, "--set", "channel_accumulation.look_ahead=1")
)
case("technology: misspelt", "chip.yaml", "'45mn' is no technology table", "did you mean '45nm'?")(
    lambda desk: desk.chip("technology", "45mn")
)
case("technology: missing file", "absent.csv", "technology", "No such file")(
    lambda desk: (*RUN, "--set", "technology=absent.csv")
)


# --- what does not fit -----------------------------------------------------------------------------------------

for buffer in ("activation_buffer", "output_buffer", "coefficient_buffer"):
    case(f"{buffer}.size: too small for any tile", TRACE, "escalate", "operator '", f"enlarge {buffer}.size")(
        lambda desk, buffer=buffer: (
            *RUN, "--set", f"{buffer}.size=2 B", "--set", f"{buffer}.banks=1", "--set", f"{buffer}.width_bits=8"
        )
    )  # fmt: skip
    case(f"{buffer}.banks: more than there are words", "escalate.yaml", f"'{buffer}.banks'", "are 1 in each; expected")(
        lambda desk, buffer=buffer: (*RUN, "--set", f"{buffer}.banks=1000000")
    )
case("mac_row.line_buffer: too small for any tile", TRACE, "escalate", "operator '", "enlarge mac_row.line_buffer")(
    lambda desk: (*RUN, "--set", "mac_row.line_buffer=2 B")
)
case("show --area: a bank smaller than a word", "'activation_buffer.banks'", "at least the 64 bits of an access")(
    lambda desk: ("show", "escalate", "--area", "--set", "activation_buffer.banks=1000000")
)


# --- technology tables -----------------------------------------------------------------------------------------

HEAD = "kind,size_bytes,width_bits,energy_pj,source,note\n"
case("technology: columns", "mine.csv", "expected the columns kind, size_bytes")(
    lambda desk: desk.technology("kind,energy\nadd_16b,1\n")
)
case("technology: empty", "mine.csv", "expected the columns")(lambda desk: desk.technology(""))
for row, *words in (
    ("add_16b,0,0,much,paper,", "line 2", "expected numbers"),
    ("add_16b,0,0", "line 2", "expected numbers"),
    ("add_16b,0,0,nan,paper,", "line 2", "finite energy_pj"),
    ("add_16b,0,0,-1,paper,", "line 2", "none negative"),
    ("sram_read,64,0,1,paper,", "line 2", "sizes"),
    ("add_16b,0,0,1,,", "line 2", "'add_16b' names no source"),
    ("add_16b,0,0,1,paper,\nadd_16b,0,0,2,paper,", "line 3", "'add_16b' is given before"),
    ("add_16b,0,0,1,paper,", "no energy for"),
):
    case(f"technology: {row!r}", "mine.csv", *words)(lambda desk, row=row: desk.technology(f"{HEAD}{row}\n"))
for row, *words in (
    ("add_16b,0,0,1,-1,paper,", "line 2", "area_mm2, not negative"),
    ("add_16b,0,0,1,small,paper,", "line 2", "expected a number in area_mm2"),
):
    case(f"technology: {row!r}", "mine.csv", *words)(
        lambda desk, row=row: desk.technology(f"{HEAD.replace('source', 'area_mm2,source')}{row}\n")
    )
case("technology: two rows of one size and width", "mine.csv", "line 3", "different size_bytes or width_bits")(
    lambda desk: desk.technology(f"{HEAD}sram_read,64,8,1,paper,\nsram_read,64,8,2,paper,\n")
)
case("show --area: misspelt technology", "45mn", "did you mean '45nm'?")(
    lambda desk: ("show", "escalate", "--area", "--technology", "45mn")
)
case("show --area: an empty technology", "'' is no technology table", "known: 16nm")(
    lambda desk: ("show", "escalate", "--area", "--technology", "")
)
case("show --area: an empty technology of a published chip", "'' is no technology table")(
    lambda desk: ("show", "scnn", "--area", "--technology", "")
)


@case("show --area: a table without the parts", "mine.csv", "no energy for")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("mine.csv", f"{HEAD}sram,64,8,1,paper,\n")
    return ("show", "escalate", "--area", "--technology", "mine.csv")


for _published in sorted(set(list_published()) - set(list_configs())):
    case(f"show --area: {_published} has no parameters", _published, "known from publications only")(
        lambda desk, name=_published: ("show", name, "--area", "--set", "array.blocks=16")
    )
case("show: no chip of that name", "scn", "is no architecture")(lambda desk: ("show", "scn", "--area"))
case("show: area and memory at once", "--area and --memory")(
    lambda desk: ("show", "escalate", "--area", "--memory", "detailed")
)
case("show: a technology without the area", "--area")(lambda desk: ("show", "escalate", "--technology", "45nm"))
case("price: no run", "absent", "expected the folder of a finished run")(
    lambda desk: ("price", "absent", "--technology", "45nm")
)
case("price: misspelt technology", "45mn", "did you mean '45nm'?")(lambda desk: ("price", ".", "--technology", "45mn"))


@case("price: a table that is no table of actions", "bad/actions.parquet", "expected the folder of a finished run")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "bad").mkdir()
    desk.write("bad/actions.parquet", "PAR1")
    return ("price", "bad", "--technology", "45nm")


# --- attention, on the chip that omits weak ones -----------------------------------------------------------------


def heads(desk: Desk, change: Callable[[dict[str, Any]], Any] | None = None, **given: Any) -> tuple[str, ...]:
    """Run attention of 4 heads, 16 queries and keys; ``change`` spoils the header of its trace."""
    maps = [DensityTensor((1, 4, 16, 8), 1.0, 0, bits=16) for _ in range(3)]
    save_trace(Trace("heads", (Attention("heads", *maps, **given),)), desk.folder / "heads.safetensors")
    if change is not None:
        path = desk.folder / "heads.safetensors"
        tampered(path, path, lambda header, _: change(header))
    return ("run", "dota", "heads.safetensors")


def attribute(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: edited(header, "operators", 0, "attributes", name, value=value)


def shape(roles: str, *sizes: int) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        for role in roles.split():
            edited(header, "tensors", f"heads.{role}", "shape", value=list(sizes))

    return change


TOP_K = {"rule": "top_k", "retention": 0.5}
for change, *words in (
    (attribute("retention", 0), "retention", "above 0"),
    (attribute("retention", 1.5), "retention", "1.5"),
    (attribute("retention", -0.1), "retention", "-0.1"),
    (attribute("rule", "best"), "unknown rule 'best'"),
    (attribute("scale", -1), "scale must be above 0"),
    (attribute("precision", 3), "precision must be 2, 4 or 8 bits"),
    (shape("key value", 1, 3, 16, 8), "key has 3 heads", "divisor of the 4 heads"),
    (shape("key", 1, 4, 16, 9), "key has shape"),
    (shape("value", 1, 4, 15, 8), "value has shape"),
):
    case(f"attention: {words}", "heads.safetensors", "'heads'", *words)(
        lambda desk, change=change: heads(desk, change, **TOP_K)
    )
case("attention: more keys than there are", "keys_per_row is 17", "at most the 16 keys")(
    lambda desk: heads(desk, attribute("keys_per_row", 17), rule="top_k", keys_per_row=3)
)
case("attention: a mask of another shape", "mask has shape (1, 4, 8, 32)", "(1, 4, 16, 16)")(
    lambda desk: heads(desk, shape("mask", 1, 4, 8, 32), mask=MaskTensor.of(np.ones((1, 4, 16, 16), np.bool_)))
)


@case("attention: a row without a key", "'heads'", "keeps no key in row 7 of image 0, head 2")
def _(desk: Desk) -> tuple[str, ...]:
    mask = np.ones((1, 4, 16, 16), np.bool_)
    mask[0, 2, 7] = False
    return heads(desk, mask=MaskTensor.of(mask))


case("attention: the future", "'heads'", "keeps the future in row 0 of image 0, head 0")(
    lambda desk: heads(desk, mask=MaskTensor.of(np.ones((1, 4, 16, 16), np.bool_)), causal=True)
)
case("attention: too long for the SRAM", "a sequence of 16 keys takes", "sram.size")(
    lambda desk: (*heads(desk, **TOP_K), "--set", "sram.size=128 B", "--set", "sram.banks=8")
)
for value in ("0", "1.01", "-1", "some", "true", "[0.1]"):
    case(f"attention.retention={value}", "attention.retention", "'trace', 'full' or a number above 0 up to 1")(
        lambda desk, value=value: (*heads(desk, **TOP_K), "--set", f"attention.retention={value}")
    )
case("attention.retention of a mask", "'heads'", "the trace gives a mask")(
    lambda desk: (
        *heads(desk, mask=MaskTensor.of(np.ones((1, 4, 16, 16), np.bool_))),
        *("--set", "attention.retention=0.5"),
    )
)
case("rmmu: no rows left to attend", "detection_rows is 32", "fewer than the 32 rows")(
    lambda desk: (*heads(desk, **TOP_K), "--set", "rmmu.detection_rows=32")
)
case("dota: a convolution", "conv2d", "it runs attention, linear and rowwise")(lambda desk: ("run", "dota", TRACE))
for key, value, *words in (
    ("scheduler.tokens", "17", "scheduler.tokens", "16"),
    ("scheduler.order", "random", "'row_by_row', 'in_order' or 'out_of_order'"),
    ("chips.split", "layers", "'batch' or 'heads'"),
    ("lanes.count", "0", "lanes.count"),
    ("sram.size", "640", "sram.size", "64 KiB"),
    ("sram.banks", "1000000", "'sram.banks'", "655360 bytes in 1000000 banks are 1 in each"),
):
    case(f"dota: {key}={value}", *words)(
        lambda desk, key=key, value=value: (*heads(desk, **TOP_K), "--set", f"{key}={value}")
    )


# --- what looks at finished runs and at traces -----------------------------------------------------------------


def finished(desk: Desk) -> Path:
    """Return the folder of a finished run on the desk."""
    assert CliRunner().invoke(main, [*RUN, "--out", "done"]).exit_code == 0
    return desk.folder / "done"


def summary_changed(desk: Desk, **changes: Any) -> tuple[str, ...]:
    path = finished(desk) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return ("shares", "done")


def operators_changed(desk: Desk, change: Callable[[Any], Any]) -> tuple[str, ...]:
    path = finished(desk) / "operators.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    return ("shares", "done")


case("shares: no such folder", "absent", "expected the folder of a finished run", "there is none")(
    lambda desk: ("shares", "absent")
)
case("shares: a file", TRACE, "expected the folder of a finished run", "found a file")(lambda desk: ("shares", TRACE))
case("shares: another folder", "expected the folder of a finished run", "holds no summary.json")(
    lambda desk: ("shares", ".")
)
case("shares: the second is no run", "absent", "expected the folder of a finished run")(
    lambda desk: ("shares", finished(desk).name, "absent")
)


@case("shares: no table", "done", "expected the folder of a finished run", "holds no operators.parquet")
def _(desk: Desk) -> tuple[str, ...]:
    (finished(desk) / "operators.parquet").unlink()
    return ("shares", "done")


for broken in (b"", b"PAR1", b"PAR1" * 20, b"cycles,energy\n1,2\n"):

    @case(f"shares: a table that is {broken!r:.14}", "operators.parquet", "cannot be read as a Parquet table")
    def _(desk: Desk, broken: bytes = broken) -> tuple[str, ...]:
        (finished(desk) / "operators.parquet").write_bytes(broken)
        return ("shares", "done")


@case("shares: a table cut short", "operators.parquet", "cannot be read as a Parquet table", "finished run")
def _(desk: Desk) -> tuple[str, ...]:
    table = finished(desk) / "operators.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    return ("shares", "done")


for broken in (b"", b'{"cycles": ', b"\xff\xfe", b"[" * 100_000):

    @case(f"shares: a summary that is {broken!r:.14}", "summary.json", "cannot be read as JSON", "finished run")
    def _(desk: Desk, broken: bytes = broken) -> tuple[str, ...]:
        (finished(desk) / "summary.json").write_bytes(broken)
        return ("shares", "done")


@case("shares: a summary that is a list", "summary.json", "no document of keys and values")
def _(desk: Desk) -> tuple[str, ...]:
    (finished(desk) / "summary.json").write_text("[1]")
    return ("shares", "done")


for key, value, expected in (
    ("cycles", "many", "a whole number"),
    ("cycles", True, "a whole number"),
    ("cycles", -3, "0 or more"),
    ("energy_pj", None, "a finite number"),
    ("energy_pj", float("nan"), "a finite number"),
    ("trace", 5, "a text"),
):
    case(f"shares: {key} = {value}", "summary.json", f"'{key}' must be", expected)(
        lambda desk, key=key, value=value: summary_changed(desk, **{key: value})
    )
case("shares: a summary of another run", "operators.parquet", "its cycles sum to", "summary.json says 1;")(
    lambda desk: summary_changed(desk, cycles=1)
)
case("shares: energy of another table", "operators.parquet", "its energy_pj sum to", "summary.json says 1.5;")(
    lambda desk: summary_changed(desk, energy_pj=1.5)
)
case("shares: no column", "operators.parquet", "lacks the column 'bound_by'")(
    lambda desk: operators_changed(desk, lambda table: table.drop(columns="bound_by"))
)
case("shares: no rows", "operators.parquet", "has no rows")(
    lambda desk: operators_changed(desk, lambda table: table[:0])
)
case("shares: an empty cell", "operators.parquet", "'critical_unit' must be a text in every row, not None")(
    lambda desk: operators_changed(desk, lambda table: table.assign(critical_unit=[None, *table["operator"][1:]]))
)


@case("kept: no attention", TRACE, "has no attention operator", "expected one or more")
def _(desk: Desk) -> tuple[str, ...]:
    return ("kept", TRACE)


case("kept: missing file", "absent.safetensors", "neither a file")(lambda desk: ("kept", "absent.safetensors"))


@case("kept: a row without a key", "bad.safetensors", "'heads'", "mask keeps no key in row 1", "one or more")
def _(desk: Desk) -> tuple[str, ...]:
    tensor = DensityTensor((1, 1, 2, 3), 1, 0)
    mask = MaskTensor.of(np.array([[[[True, False], [False, False]]]]))
    desk.operator(Attention("heads", tensor, tensor, tensor, mask=mask))
    return ("kept", "bad.safetensors", "--figure", "kept.svg")


for command in ("shares", "kept"):

    def looking(desk: Desk, *arguments: str, command: str = command) -> tuple[str, ...]:
        """Look at what is there to be looked at."""
        if command == "shares":
            return ("shares", finished(desk).name, *arguments)
        tensor = DensityTensor((1, 1, 2, 3), 1, 0)
        return ("kept", desk.operator(Attention("heads", tensor, tensor, tensor))[-1], *arguments)

    for path, *words in (
        ("figure.eps", "figure.eps", "ends in .svg, .pdf or .png", "not '.eps'"),
        ("figure", "expected a figure that ends in .svg, .pdf or .png"),
        ("..", "expected the name of a file, found a folder"),
        ("absent/figure.svg", "absent/figure.svg", "a folder that exists"),
        (f"{'x' * 300}.svg", "File name too long"),
    ):
        case(f"{command}: --figure {path:.20}", *words)(
            lambda desk, path=path, looking=looking: looking(desk, "--figure", path)
        )


case("shares: figure inside the run folder", "done/shares.svg", "outside")(
    lambda desk: ("shares", finished(desk).name, "--figure", "done/shares.svg")
)


# --- where the results go --------------------------------------------------------------------------------------


@case("out: holds another run", "there", "another run", "--force")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "there").mkdir()
    desk.write("there/summary.json", '{"digests": {"trace": "other"}}')
    return (*RUN, "--out", "there")


@case("out: holds the same run, checked", "there", "checked", "--check", "--force")
def _(desk: Desk) -> tuple[str, ...]:
    assert CliRunner().invoke(main, [*RUN, "--out", "there", "--check"]).exit_code == 0
    return (*RUN, "--out", "there")


@case("out: holds other files", "there", "'thesis.tex'", "not of a run")
def _(desk: Desk) -> tuple[str, ...]:
    (desk.folder / "there").mkdir()
    desk.write("there/thesis.tex", "years of work")
    return (*RUN, "--out", "there", "--force")


@case("out: a file", "there", "expected a folder", "found a file")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("there", "")
    return (*RUN, "--out", "there", "--force")


@case("out: below a file", "there", "is a file")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("there", "")
    return (*RUN, "--out", "there/is/no/folder")


@case("out: the working directory", "'small.safetensors'", "not of a run")
def _(desk: Desk) -> tuple[str, ...]:
    return (*RUN, "--out", ".", "--force")


case("out: a name too long", "File name too long")(lambda desk: (*RUN, "--out", "x" * 300))
case("timeline: missing folder", "absent/timeline.json", "a folder that exists")(
    lambda desk: (*RUN, "--timeline", "absent/timeline.json")
)
case("timeline: inside the run folder", "r/t.json", "outside")(
    lambda desk: (*RUN, "--out", "r", "--timeline", "r/t.json")
)
case("timeline: a folder", "found a folder")(lambda desk: (*RUN, "--timeline", ".."))


# --- memories --------------------------------------------------------------------------------------------------

case("memory: misspelt", "'ddr4_3201' is no memory", "did you mean 'ddr4_3200'?")(
    lambda desk: (*RUN, "--memory", "ddr4_3201")
)
case("memory: missing file", "absent.yaml", "memory", "No such file")(lambda desk: (*RUN, "--memory", "absent.yaml"))
case("memory: show a misspelt one", "'ddr4_3201' is no memory")(
    lambda desk: ("show", "escalate", "--memory", "ddr4_3201")
)
case("memory: the chip names none", "chip.yaml", "'dram.detailed' is missing", "--memory NAME")(
    lambda desk: (*desk.chip("dram.detailed", last=None), "--memory", "detailed")
)
case("memory: the chip names one that is none", "'ddr9' is no memory")(
    lambda desk: (*desk.chip("dram.detailed", "ddr9"), "--memory", "detailed")
)


@case("memory: a chip's file", "chip.yaml", "'memory' is missing")
def _(desk: Desk) -> tuple[str, ...]:
    desk.yaml(CHIP)
    return (*RUN, "--memory", "chip.yaml")


@case("memory: a memory's file as a chip", "ddr.yaml", "'accelerator' is missing")
def _(desk: Desk) -> tuple[str, ...]:
    desk.memory()
    return ("run", "ddr.yaml", TRACE)


@case("memory: not YAML", "ddr.yaml", "not valid YAML")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("ddr.yaml", "skipper: [1\n")
    return (*RUN, "--memory", "ddr.yaml")


for key, value, words in (
    ("controller.mapping", "rochrababgxx", ("'xx' is no part of an address", "co (column)")),
    ("controller.mapping", "rochrababg", ("expected 'co' once",)),
    ("controller.mapping", "", ("expected 'ro' once",)),
    ("controller.page", "half", ("'open' or 'closed'",)),
    ("controller.accepts", 0, ("greater than or equal to 1",)),
    ("controller.bank_queue", 65, ("less than or equal to 64",)),
    ("timing.tRAS", 16, ("at least tRCDRD, which is 17, not 16",)),
    ("timing.tREFI", 419, ("at least tRFC, which is 420, not 419",)),
    ("timing.tCK", 830, ("unit",)),
    ("timing.tCK", "0 ns", ("greater than or equal to 1",)),
    ("timing.CL", None, ("'timing.CL' is missing",)),
    ("timing.tWR", -1, ("greater than or equal to 1",)),
    ("timing.tXP", 8, ("'timing.tXP' is unknown",)),
    ("organisation.channels", 0, ("greater than or equal to 1",)),
    ("organisation.channels", 3, ("expected a power of two, not 3",)),
    ("organisation.rows", 65535, ("expected a power of two, not 65535",)),
    ("organisation.burst_length", 12, ("expected a power of two, not 12",)),
    ("organisation.ranks", "two", ("valid integer",)),
    ("organisation.bus_width", 128, ("a burst of 128 bytes does not divide dram.burst, which is 64",)),
    ("currents.IDD4W", 10, ("at least IDD3N",)),
    ("currents.VDD", 0, ("greater than 0",)),
):
    case(f"memory: {key} = {value}", "ddr.yaml" if len(words[0]) > 60 else "", *words)(
        lambda desk, key=key, value=value: desk.memory(key, value)
    )


case("memory: a clock too slow for it", "escalate.yaml", "'clock' is 1 Hz", "expected at most 10000")(
    lambda desk: (*RUN, "--memory", "detailed", "--set", "clock=1 Hz")
)


@case("memory: too small", "operator 'first'", "its tensors take", "the memory holds 2048")
def _(desk: Desk) -> tuple[str, ...]:
    small = desk.memory("organisation.rows", 1)
    text = (desk.folder / "ddr.yaml").read_text()
    desk.write("ddr.yaml", re.sub(r"(columns:.*?value: )1024", r"\g<1>8", text, flags=re.DOTALL))
    return small


# --- converting and inspecting -----------------------------------------------------------------------------------

CONVERT = ("convert", TRACE, "-o", "out.safetensors")

for name, more, words in (
    ("a glob that matches nothing", ("--only", "layer*"), (TRACE, "matches 'layer*'", "nearest names are")),
    ("a glob to leave out that matches nothing", ("--without", "conv?"), (TRACE, "matches 'conv?'")),
    ("nothing left", ("--without", "*"), (TRACE, "no operator", "expected one or more")),
    ("an unknown type", ("--type", "conv3d"), ("'conv3d'", "did you mean 'conv2d'?")),
    ("a type that is not there", ("--type", "attention"), ("no operator of type attention", "conv2d, linear")),
    ("layers beyond the last", ("--layers", "3:9"), ("'3:9'", "expected 0 to 4")),
    ("a layer that is not there", ("--layers", "frist"), ("'frist'", "nearest names are first")),
    ("layers in the wrong order", ("--layers", "linear:first"), ("'first' comes before 'linear'",)),
    ("samples beyond the last", ("--samples", "0:2"), ("'0:2'", "images", "expected 0 to 0")),
    ("samples that are none", ("--samples", "all"), ("'all' names no images", "0:4")),
    ("samples: a number far too long", ("--samples", "9" * 4000), ("names no images", "9…")),
    ("a density above 1", ("--prune", "weight=1.01"), ("0 … 1", "1.01")),
    ("a density below 0", ("--prune", "weight=-0.1"), ("0 … 1", "-0.1")),
    ("a density that is no number", ("--prune", "weight=half"), ("'weight=half'", "ROLE=DENSITY")),
    ("no density", ("--prune", "weight"), ("'weight'", "ROLE=DENSITY")),
    ("an unknown role", ("--prune", "weights=0.5"), ("'weights'", "did you mean 'weight'?")),
    ("a role that is not there", ("--prune", "query=0.5"), ("role 'query'",)),
    ("a pattern of a role that matches nothing", ("--prune", "fc.weight=0.5"), ("matches 'fc'",)),
    ("channels that M does not divide", ("--prune", "weight=2:4"), ("'first'", "3 channels", "no multiple of 4")),
    ("N above M", ("--prune", "weight=4:2"), ("4:2",)),
    ("per what is unknown", ("--prune", "weight=0.5", "--per", "filtre"), ("did you mean 'filter'?",)),
    ("a negative seed", ("--prune", "weight=0.5", "--seed", "-1"), ("seed", "at least 0")),
    ("an empty name", ("--name", ""), ("name of a trace",)),
    ("the same trace twice", (TRACE,), ("both hold an operator", "the same work", "--name")),
    ("a missing trace", ("absent.safetensors",), ("absent.safetensors", "neither a file")),
    ("in place of the input", ("-o", TRACE, "--force"), (TRACE, "not written over", "another file")),
    ("no trace's name", ("-o", "out.npz"), ("out.npz", ".safetensors")),
    ("into no folder", ("-o", "absent/out.safetensors"), ("absent/out.safetensors", "folder")),
):
    case(f"convert: {name}", *words)(lambda desk, more=more: (*CONVERT, *more))


@case("convert: over another file", "out.safetensors", "exists already", "--force")
def _(desk: Desk) -> tuple[str, ...]:
    desk.write("out.safetensors", "of somebody")
    return CONVERT


@case("convert: in place of a shipped trace", "digits_cnn.safetensors", "not written over")
def _(desk: Desk) -> tuple[str, ...]:
    from simulator.trace.file import trace_path

    (desk.folder / "digits_cnn.safetensors").symlink_to(trace_path("char_transformer"))
    return ("convert", "char_transformer", "-o", "digits_cnn.safetensors", "--force")


@case("convert: clashing traces", "both hold an operator", "different work", "digests")
def _(desk: Desk) -> tuple[str, ...]:
    desk.trace(lambda header, arrays: arrays["linear.input"].fill(3))
    return ("convert", TRACE, "bad.safetensors", "--only", "linear", "-o", "out.safetensors")


@case("convert: data that are not what they say", "bad.safetensors", "do not fit 1 bits")
def _(desk: Desk) -> tuple[str, ...]:
    desk.trace(lambda header, arrays: arrays["linear.weight"].fill(7))
    return ("convert", "bad.safetensors", "-o", "out.safetensors")


case("inspect: a tensor without a figure", "--tensor", "--figure")(
    lambda desk: ("inspect", TRACE, "--tensor", "first.weight")
)
case("inspect: a tensor that is not there", TRACE, "'first.wight'", "nearest names are first.weight")(
    lambda desk: ("inspect", TRACE, "--figure", "f.svg", "--tensor", "first.wight")
)
case("inspect: another suffix", "f.eps", ".svg")(lambda desk: ("inspect", TRACE, "--figure", "f.eps"))


def refusal(desk: Desk, *arguments: str) -> str:
    """Run a command that must be refused; return its sentence."""
    before = desk.listing()
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
    require_sentence(result.stdout, result.stderr)
    assert desk.listing() == before
    return result.stderr


def require_sentence(stdout: str, stderr: str) -> None:
    assert stdout == ""
    assert stderr.startswith("skipper: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert "Traceback" not in stderr
    assert len(stderr) < 400


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_left_behind(name: str, desk: Desk) -> None:
    make, words = CASES[name]
    sentence = refusal(desk, *make(desk))
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("name", ["trace: data cut short", 'array.blocks: "many" in a file', "out: a file"])
def test_the_installed_command_says_the_same(name: str, desk: Desk) -> None:
    make, words = CASES[name]
    arguments = make(desk)
    before = desk.listing()
    done = subprocess.run([sys.executable, "-m", "simulator", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    require_sentence(done.stdout, done.stderr)
    assert desk.listing() == before
    for word in words:
        assert word in done.stderr


def test_what_has_no_price_is_refused_before_it_is_played(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.simulation.play", None)
    assert "no energy for" in refusal(desk, *desk.technology(f"{HEAD}add_16b,0,0,1,paper,\n"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("run",),
        ("run", "escalate"),
        (*RUN, "--fast"),
        ("price", "run"),
        ("simulate",),
        ("show",),
        ("shares",),
        ("kept",),
    ],
)
def test_usage_errors_end_in_status_2(arguments: tuple[str, ...], desk: Desk) -> None:
    before = desk.listing()
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Traceback" not in result.stderr
    assert desk.listing() == before


# --- disks -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small file system on a new folder, where that is permitted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_read_only_disk(desk: Desk) -> None:
    with mounted(desk.folder / "disk", "ro,size=1m"):
        sentence = refusal(desk, *RUN, "--out", "disk/run")
        assert "disk/run" in sentence
        assert "cannot be written to" in sentence
        sentence = refusal(desk, *RUN, "--out", "run", "--timeline", "disk/timeline.json")
        assert "disk/timeline.json" in sentence


@pytest.mark.parametrize("size", ["4k", "16k", "32k"])
def test_full_disk(size: str, desk: Desk) -> None:
    with mounted(desk.folder / "disk", f"size={size}"):
        assert "disk/run: cannot write the results: No space left" in refusal(desk, *RUN, "--out", "disk/run")
        assert "disk/a/b/run" in refusal(desk, *RUN, "--out", "disk/a/b/run")
        if size == "4k":
            sentence = refusal(desk, *RUN, "--out", "run", "--timeline", "disk/timeline.json")
            assert "disk/timeline.json: cannot write the results: No space left" in sentence


def test_full_disk_keeps_the_old_run(desk: Desk) -> None:
    with mounted(desk.folder / "disk", "size=1m") as disk:
        assert CliRunner().invoke(main, [*RUN, "--out", "disk/run"]).exit_code == 0
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        sentence = refusal(desk, *RUN, "--out", "disk/run", "--force", "--set", "array.blocks=4")
        assert "disk/run: cannot write the results: No space left" in sentence


@pytest.mark.parametrize("broken", ["mkdtemp", "rename", "the last rename"])
def test_a_disk_that_fails_leaves_the_old_run_and_nothing_else(
    broken: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CliRunner().invoke(main, [*RUN, "--out", "run"]).exit_code == 0
    rename = os.rename

    def failing(*arguments: Any, **_: Any) -> None:
        if broken != "the last rename" or str(arguments[0]).rpartition("/")[2].startswith(".run-"):
            raise OSError(5, "Input/output error")
        rename(*arguments)

    monkeypatch.setattr(*(("tempfile.mkdtemp", failing) if broken == "mkdtemp" else ("os.rename", failing)))
    sentence = refusal(desk, *RUN, "--out", "run", "--force", "--set", "array.blocks=4")
    assert "run: cannot write the results: Input/output error" in sentence
