"""The channel-accumulation unit in RTL: every sum, and its cycle, as of the kernel that plays rows of pixels."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.hardware import channel_accumulation, pe_array
from simulator.hardware.bits import pack
from simulator.hardware.butterfly import concentrate, control_bits
from simulator.hardware.pe_array import RECORD, PEArray, Rows, accumulate, assign
from simulator.trace import Conv2d, ValueTensor, load_trace
from tests.reference import channel_accumulation as twin
from tests.reference.pe_array import recurrence
from tests.rtl.accumulation_settings import SETTINGS, Setting
from tests.rtl.bench import Bench, Builds, Change, Numbers, Playable, Response, join, needs_verilator

pytestmark = needs_verilator

SOURCES = ("butterfly.sv", "channel_accumulation.sv", "bench_channel_accumulation.sv")


@dataclass(frozen=True)
class Row:
    """A row of pixels before one vector of coefficients: (C,) of -1, 0, 1 and (pixels, C)."""

    coefficients: Numbers
    activations: Numbers


def random_rows(seed: int, count: int, setting: Setting) -> list[Row]:
    """Rows of 1 to 10 pixels and of any number of channels; dense, sparse and empty pixels."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        channels = rng.integers(1, setting.lanes * setting.words + 1)
        pixels = rng.integers(1, 11)
        coefficients = rng.integers(0, 2, channels) * 2 - 1
        coefficients[rng.random(channels) >= rng.choice([0, 0.1, 0.25, 0.5, 1])] = 0
        activations = rng.integers(1, 128, (pixels, channels)) * rng.choice([-1, 1], (pixels, channels))
        activations[rng.random((pixels, channels)) >= rng.choice([0, 0.1, 0.4, 0.8, 1], (pixels, 1))] = 0
        rows.append(Row(coefficients, activations))
    return rows


def shipped_rows(seed: int, count: int) -> list[Row]:
    """Rows of pixels of the shipped network's layers, each with one of the layer's vectors of coefficients."""
    rng = np.random.default_rng(seed)
    trace = load_trace(Path(__file__).parents[2] / "traces" / "digits_cnn.safetensors")
    layers = [layer for layer in trace.operators if isinstance(layer, Conv2d) and layer.coefficients is not None]
    rows = []
    for layer in layers:
        assert isinstance(layer.input, ValueTensor)
        assert isinstance(layer.coefficients, ValueTensor)
        images, coefficients = layer.input.values(), layer.coefficients.values()
        for _ in range(count // len(layers)):
            pixels = images[rng.integers(len(images)), :, rng.integers(images.shape[2])].T
            vector = coefficients[rng.integers(len(coefficients)), :, rng.integers(coefficients.shape[2])]
            rows.append(Row(vector.astype(np.int64), pixels.astype(np.int64)))
    return rows


def fields(setting: Setting, rows: list[Row]) -> list[tuple[NDArray[Any], int]]:
    """All words of all rows: offered, begins a row, ends a pixel, map, coefficients' map, signs, controls, values."""
    n = setting.lanes
    parts: dict[str, list[Numbers]] = {name: [] for name in ("first", "last", "map", "coefficients", "values")}
    for row in rows:
        pixels, channels = row.activations.shape
        words, missing = -(-channels // n), -channels % n
        values = np.pad(row.activations, ((0, 0), (0, missing))).reshape(pixels * words, n)
        parts["values"].append(concentrate(values, values != 0))
        parts["map"].append(values != 0)
        parts["coefficients"].append(np.tile(np.pad(row.coefficients, (0, missing)).reshape(words, n), (pixels, 1)))
        parts["first"].append(np.arange(pixels * words) == 0)
        parts["last"].append(np.arange(pixels * words) % words == words - 1)
    first, last, maps, coefficients, values = (np.concatenate(part) for part in parts.values())
    signs = (coefficients < 0).astype(np.int64)
    if setting.dilution == "run_time":
        signs = concentrate(signs, coefficients != 0)
    return [
        (np.ones(len(first)), 1), (first, 1), (last, 1), (maps, 1), (coefficients != 0, 1), (signs, 1),
        (control_bits(coefficients != 0), 1), (values, 8),
    ]  # fmt: skip


Sums = list[list[tuple[int, int, int]]]
"""Per row, of each pixel: the cycle, from the row's first word, in which its last word enters the queue; that in
which its sum stands in the result register; the sum."""


class WrongCountError(AssertionError):
    """Sums are missing, or there are too many."""


def played(bench: Playable, setting: Setting, rows: list[Row]) -> Sums:
    table = fields(setting, rows)
    words, first, pixels = join(table), table[1][0], [len(row.activations) for row in rows]
    response = Response(bench.play(words, 100 * len(words) + 100))
    ready, _, finished, entered = (response.take(1) for _ in range(4))
    sums = response.take(32, signed=True)
    began = np.flatnonzero(ready)[: len(words)][first]
    cycles, entries = np.flatnonzero(finished), np.flatnonzero(entered)
    ends = np.cumsum(pixels)
    if len(cycles) != ends[-1] or len(entries) != ends[-1]:
        raise WrongCountError(f"{len(cycles)} sums of {ends[-1]} pixels")
    return [
        [
            (int(entry - start), int(cycle - start), int(sums[cycle]))
            for entry, cycle in zip(entries[end - count : end], cycles[end - count : end], strict=True)
        ]
        for start, end, count in zip(began, ends, pixels, strict=True)
    ]


def standing(setting: Setting, arrive: list[int], finish: list[int], sums: list[int]) -> list[tuple[int, int, int]]:
    """Turn the recurrence's instants into cycles: the networks come before the queue, the result register last.

    What is done within n cycles is done in cycle n - 1, counted from 0.
    """
    result_register = 1
    networks = setting.unit.latency - result_register
    return [
        (arrived + networks - 1, finished + networks + result_register - 1, total)
        for arrived, finished, total in zip(arrive, finish, sums, strict=True)
    ]


def accumulated_prefixes(
    setting: Setting, row: Row, array: PEArray, mac_cycles: int, accumulate: Callable[..., Any] = accumulate
) -> tuple[Numbers, Numbers]:
    """Play the first pixel of a row, the first two, and so on; returns the records (pixels, …), and all sums."""
    pixels, channels = row.activations.shape
    activations = row.activations[np.concatenate([np.arange(end) for end in range(1, pixels + 1)])]
    maps, signs = (pack(chosen[None]).T.copy() for chosen in (row.coefficients != 0, row.coefficients < 0))
    starts = np.concatenate(([0], np.cumsum(np.arange(1, pixels + 1))))
    records, sums = accumulate(
        Rows(pack(activations != 0), np.full(len(activations), -(-channels // setting.lanes)), starts),
        maps, assign(range(1), 1, 1, "bases"), setting.unit.window(), array, mac_cycles,
        signs, activations[activations != 0],
    )  # fmt: skip
    return records, sums


def by_kernel(setting: Setting, rows: list[Row], accumulate: Callable[..., Any] = accumulate) -> Sums:
    """Without a MAC row, a prefix of a row takes until the sum of its last pixel."""
    array = PEArray(blocks=1, slices=1, slices_own="bases", input_queue=setting.queue, result_queue=1)
    found = []
    for row in rows:
        records, sums = accumulated_prefixes(setting, row, array, 0, accumulate)
        arrive = records[:, 0] - records[:, RECORD.index("broadcast_fill_drain")]
        totals = sums[-len(row.activations) :, 0].tolist()
        found.append(standing(setting, arrive.tolist(), records[:, 0].tolist(), totals))
    return found


def by_twin(setting: Setting, rows: list[Row], look_ahead: int, offsets: tuple[tuple[int, int], ...]) -> Sums:
    found = []
    for row in rows:
        results = [
            twin.accumulate(row.coefficients.tolist(), pixel, setting.adders, look_ahead, offsets, setting.lanes)
            for pixel in row.activations.tolist()
        ]
        words = -(-len(row.coefficients) // setting.lanes)
        times = recurrence([[[result.cycles] for result in results]], [words] * len(results), setting.queue, 1, 0)
        found.append(standing(setting, times.arrive, times.finish[0], [result.total for result in results]))
    return found


@pytest.fixture(scope="module", params=list(SETTINGS))
def setting(request: pytest.FixtureRequest) -> Setting:
    return SETTINGS[request.param]


@pytest.fixture(scope="module")
def bench(setting: Setting, builds: Builds) -> Bench:
    return builds.bench(SOURCES, setting.parameters())


def test_random_rows(bench: Bench, setting: Setting) -> None:
    rows = random_rows(9, 1000, setting)
    assert played(bench, setting, rows) == by_kernel(setting, rows)


def test_rows_of_the_shipped_network(bench: Bench, setting: Setting) -> None:
    rows = shipped_rows(16, 200)
    assert max(np.abs(row.activations).max() for row in rows) < 128
    assert any(row.coefficients.any() and row.activations.any() for row in rows)
    assert played(bench, setting, rows) == by_kernel(setting, rows)


def test_the_twin(bench: Bench, setting: Setting) -> None:
    rows = random_rows(10, 25, setting)
    assert played(bench, setting, rows) == by_twin(setting, rows, setting.look_ahead, setting.offsets)


def test_a_broken_model_is_caught(bench: Bench, setting: Setting) -> None:
    """A model that looks ahead a row too far or too little, or aside a lane too far, differs from the design."""
    rows = random_rows(11, 60, setting)
    found = played(bench, setting, rows)
    ahead, offsets = setting.look_ahead, setting.offsets
    assert found != by_twin(setting, rows, ahead + 1, offsets)
    assert found != by_twin(setting, rows, ahead - 1, tuple(offset for offset in offsets if offset[0] < ahead))
    assert found != by_twin(setting, rows, ahead, tuple((row, lanes + 1) for row, lanes in offsets))


def broken_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> Callable[..., Any]:
    """Compile the kernels with a piece of the accumulation unit's text replaced; returns their ``accumulate``."""
    made: Any = None
    for module, name in ((channel_accumulation, "broken_unit"), (pe_array, "broken_array")):
        assert module.__file__
        text = Path(module.__file__).read_text()
        if made is None:
            assert text.count(old) == 1
            text = text.replace(old, new)
        text = text.replace("from simulator.hardware.channel_accumulation", "from broken_unit")
        path = folder / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, made)
        spec.loader.exec_module(made)
    accumulate: Callable[..., Any] = made.accumulate
    return accumulate


SMALL = SETTINGS["h1_d3_a8"]


@pytest.fixture(scope="module")
def small_bench(builds: Builds) -> Bench:
    return builds.bench(SOURCES, SMALL.parameters())


def test_a_broken_kernel_is_caught(small_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that passes over one row more than the window looks ahead differs from the design."""
    rows = random_rows(12, 100, SMALL)
    broken = broken_kernel(tmp_path, monkeypatch, "(skipped[t] >= look_ahead)", "(skipped[t] > look_ahead)")
    found = played(small_bench, SMALL, rows)
    assert found == by_kernel(SMALL, rows)
    assert found != by_kernel(SMALL, rows, broken)


CHANGES = {
    "a row less passed over": ("for (int k = 1; k <= LOOK_AHEAD; k++)", "for (int k = 1; k < LOOK_AHEAD; k++)"),
    "a lane too far aside": ("(lane + 32'(ASIDE", "(lane + 1 + 32'(ASIDE"),
    "signs left behind": ("negative_work >> (k * ADDERS)", "negative_work"),
    "a queue full a pixel early": ("waiting != WAITING'(QUEUE) || adders_free", "waiting != WAITING'(QUEUE)"),
    "no passing by an empty queue": ("passes_by = enters && adders_free && waiting == '0", "passes_by = 1'b0"),
    "words joined with gaps": ("count_all = joined + word_count", "count_all = joined + COUNT'(LANES)"),
    "signs not diluted": ("negative_0 <= diluted", "negative_0 <= coefficient_signs"),
}
BROKEN: dict[str, Change] = {name: ("channel_accumulation.sv", *change) for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_design_is_caught(name: str, builds: Builds) -> None:
    rows = random_rows(13, 100, SMALL)
    broken = builds.bench(SOURCES, SMALL.parameters(), BROKEN[name])
    try:
        found = played(broken, SMALL, rows)
    except (TimeoutError, WrongCountError):
        return
    assert found != by_kernel(SMALL, rows)
