"""DOTA on transformers: what is omitted, what that saves, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.accelerators import accelerator
from simulator.compress.detector import calibrate, detector_weights
from simulator.errors import InputError
from simulator.results.result import OperatorResult
from simulator.trace import (
    Attention,
    Conv2d,
    DensityTensor,
    Linear,
    MaskTensor,
    Rowwise,
    Trace,
    ValueTensor,
    load_trace,
)
from tests.operators import trace_of
from tests.real import DATA, needs_data


def dense(*shape: int, bits: int = 16) -> DensityTensor:
    return DensityTensor(shape, 1.0, 0, bits=bits)


def attention(n: int = 256, heads: int = 4, size: int = 32, images: int = 1, **given: Any) -> Attention:
    maps = [dense(images, heads, n, size) for _ in range(3)]
    return Attention("heads", *maps, **given)


def detector(n: int, features: int = 64, heads: int = 4, rank: int = 16, images: int = 1) -> dict[str, Any]:
    """A detector of which only the shape is known: the mask is drawn, the detection is paid for."""
    return {
        "tokens": dense(images, n, features, bits=8),
        "projection": dense(features, rank, bits=2),
        "detector_query": dense(heads, rank, rank, bits=4),
        "detector_key": dense(heads, rank, rank, bits=4),
    }


def run(operator: Any, **settings: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in settings.items()}
    return simulate(trace_of(operator), load_arch("dota", parameters)).operators[0]


def busy(result: OperatorResult, unit: str) -> int:
    return int(result.timeline.units[unit][1][0])


@cache
def shipped() -> Trace:
    return load_trace("char_transformer")


def heads_of(trace: Trace) -> list[Attention]:
    return [operator for operator in trace.operators if isinstance(operator, Attention)]


def test_a_dense_layer_takes_the_cycles_of_the_datapath() -> None:
    """Worked by hand: 16 tokens on 4 lanes, 48 inputs, 40 outputs.

    Two blocks of outputs (32 and 8), each 4 tokens · 3 steps and log2(16) + 1 cycles to fill.
    """
    result = run(Linear("linear", dense(16, 48), weight=dense(40, 48)))
    assert result.program.stages[0].cycles.tolist() == [4 * 3 + 5] * 2
    assert result.program.macs.performed == 16 * 48 * 40
    assert busy(result, "pe_rows") == 4 * 4 * 3 * 40


def test_a_group_takes_the_cycles_of_the_datapath() -> None:
    """Worked by hand: one lane, 4 queries, 64 keys, heads of 32, a detector of rank 16 at INT4, 25 % kept.

    Before: X·P 64·64·16 ÷ (4 rows · 16 · 4) at INT8, W̃ (4 + 64)·16² ÷ (4·16·16) at INT4. Then, in a row: detection
    4·64·16 ÷ (4·16·16), the filter's pass 64 ÷ 16, 16 rounds, Q·Kᵀ 16·4·32 ÷ (28·16), softmax 2 · 64 ÷ 16, A·V.
    """
    operator = Attention(
        "heads", dense(1, 1, 4, 32), dense(1, 1, 64, 32), dense(1, 1, 64, 32), rule="top_k", retention=0.25,
        memory=dense(1, 64, 64, bits=8), **detector(4, heads=1),
    )  # fmt: skip
    result = run(operator, lanes__count="1", sram__banks="1024", rmmu__detection_rows="4")
    project = -(-4 * 64 * 16 // (4 * 16 * 4)) + 64 * 64 * 16 // (4 * 16 * 4)
    before = project + -(-68 * 16 * 16 // (4 * 16 * 16))
    rows = -(-16 * 4 * 32 // (28 * 16))
    assert result.program.stages[0].cycles.tolist() == [before + 4 + 4 + 16 + rows + 8 + rows]


@pytest.mark.parametrize("order", ["row_by_row", "in_order", "out_of_order"])
def test_published_queries(order: str) -> None:
    """The unit vector of the scheduler through the chip: 16, 11 or 8 keys and as many values."""
    mask = np.zeros((1, 1, 4, 8), np.bool_)
    for query, keys in enumerate(((2, 3, 4, 7), (0, 1, 2, 3), (2, 3, 4, 7), (4, 5, 6, 7))):
        mask[0, 0, query, keys] = True
    maps = dense(1, 1, 4, 16), dense(1, 1, 8, 16), dense(1, 1, 8, 16)
    result = run(Attention("heads", *maps, mask=MaskTensor.of(mask)), scheduler__order=order, sram__width_bits="256")
    loads = {"row_by_row": 16, "in_order": 11, "out_of_order": 8}[order]
    read = next(a for a in result.program.actions if (a.component, a.name) == ("sram", "read"))
    assert read.count.sum() == 4 * 2 + 2 * loads  # queries of 32 bytes and outputs; a key and a value each
    assert busy(result, "scheduler") == (16 if order == "row_by_row" else 4)


def test_the_less_is_kept_the_nearer_to_the_bound_of_detection() -> None:
    """Cycles fall with the retention, and what is left is detection, softmax, loads, or what the report says."""
    operator = attention(512, rule="top_k", retention=0.5, **detector(512))
    results = [run(operator, attention__retention=part) for part in ("0.2", "0.1", "0.05", "0.02")]
    cycles = [result.cycles for result in results]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < cycles[0]
    assert run(operator, attention__retention="full").cycles > cycles[0]
    for result in results:
        assert busy(result, "detection_rows") == busy(results[0], "detection_rows")
        assert result.critical in result.timeline.units


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ({"rmmu__detection_rows": "1", "link__bytes_per_cycle": "4096", "sram__banks": "1024"}, "detection_rows"),
        ({"mfu__exponentials": "1", "link__bytes_per_cycle": "4096"}, "mfu"),
        ({"link__bytes_per_cycle": "8"}, "link"),
        ({"sram__banks": "1", "link__bytes_per_cycle": "4096"}, "lane_sram"),
        ({"filter__comparators": "1", "link__bytes_per_cycle": "4096"}, "filter"),
        ({"dram__bandwidth": "1 GB/s"}, "dram"),
    ],
)
def test_the_report_names_what_stops_it(settings: dict[str, str], unit: str) -> None:
    result = run(attention(rule="top_k", retention=0.05, **detector(256)), **settings)
    assert result.critical == unit


def test_detection_overlaps_attention_unless_they_share_all_rows() -> None:
    operator = attention(512, rule="top_k", retention=0.1, **detector(512))
    own, shared = run(operator), run(operator, rmmu__detection_rows="0")
    assert own.phases["both"] > 0.5 * own.phases["detection"] > 0
    assert own.phases["detection"] + own.phases["attention"] - own.phases["both"] <= 1
    assert shared.phases["both"] == 0
    assert "pe_rows" in shared.timeline.units
    assert run(operator, attention__retention="full").phases["detection"] == 0


def test_chips_share_a_batch_or_the_heads() -> None:
    operator = attention(256, images=4, rule="top_k", retention=0.1, **detector(256, images=4))
    settings = {"dram__bandwidth": "10000 GB/s", "dram__latency": "0 ns"}
    one = run(operator, **settings)
    for split in ("batch", "heads"):
        four = run(operator, chips__count="4", chips__split=split, **settings)
        assert one.cycles / 4 <= four.cycles < one.cycles / 3.5
        assert four.program.macs == one.program.macs
    alone = run(attention(256, rule="top_k", retention=0.1), **settings)
    three = run(attention(256, rule="top_k", retention=0.1), chips__count="3", **settings)
    assert three.cycles == alone.cycles  # one sequence keeps one chip busy
    assert three.timeline.units["pe_rows"][1][0] == alone.timeline.units["pe_rows"][1][0]


def test_heads_that_share_keys_load_them_once() -> None:
    maps = dense(2, 8, 64, 16), dense(2, 2, 64, 16), dense(2, 2, 64, 16)
    result = run(Attention("heads", *maps))
    moved = {stream.name: int(stream.size.sum()) for stream in result.program.reads}
    assert moved == {"query": 2 * 8 * 64 * 32, "key": 2 * 2 * 64 * 32, "value": 2 * 2 * 64 * 32}


def test_a_sequence_too_long_for_two_heads_at_once_waits_for_its_keys() -> None:
    """Beside 8192 keys there is no room for those of the next head: one tile at a time, more parts."""
    short, long = (run(attention(n, heads=2, size=64, rule="top_k", retention=0.01)) for n in (1024, 8192))
    assert (short.program.depth, short.program.tiles) == (2, 2)
    assert long.program.depth == 1
    assert long.program.tiles > 2


def test_what_is_kept_is_checked_where_only_the_detector_has_values() -> None:
    given = heads_of(shipped())[0]
    maps = [dense(2, 4, 512, 16) for _ in range(3)]
    operator = replace(given, query=maps[0], key=maps[1], value=maps[2])
    assert simulate(trace_of(operator), load_arch("dota"), check=True).verified is True


def test_rows_that_also_detect_are_bound_by_both() -> None:
    result = run(attention(256, rule="top_k", retention=0.05, **detector(256)), rmmu__detection_rows="0")
    rows = result.program.floors["pe_rows"]
    assert result.program.macs.performed / (4 * 32 * 16) + 256 * 256 * 16 / (4 * 32 * 16 * 16) < rows <= result.cycles


def test_every_chip_reads_the_projection() -> None:
    operator = attention(64, images=4, rule="top_k", retention=0.1, **detector(64, images=4))
    for chips in (1, 3, 9):
        reads = run(operator, chips__count=str(chips)).program.reads
        projection = next(stream for stream in reads if stream.name == "projection")
        assert projection.size.sum() == min(chips, 4) * 64 * 16 * 2 // 8


def test_what_is_computed_between_products_is_paid_for() -> None:
    """16 exponentials and 16 divisions per cycle and lane: 4 × 100 elements of a softmax, 25 cycles."""
    result = run(Rowwise("softmax", dense(4, 100), kind="softmax"))
    additions = -(-(100 * 2 - 1) // 16)
    assert result.program.stages[0].cycles.tolist() == [max(-(-100 // 16), additions)]


@pytest.mark.parametrize("retention", ["trace", "full", "0.2"])
def test_the_shipped_transformer_is_verified(retention: str) -> None:
    result = simulate(shipped(), load_arch("dota", {"attention.retention": retention}), check=True)
    assert result.verified is True
    assert all(o.verified is True for o in result.operators if o.program.macs.dense)


@pytest.mark.parametrize("precision", [2, 4, 8])
@pytest.mark.parametrize("rule", ["top_k", "threshold"])
def test_the_selection_is_the_reference_bit_for_bit(precision: int, rule: str) -> None:
    """On the real tokens of the shipped transformer, ties and row balance included."""
    operator = heads_of(shipped())[1]
    tokens, projection = operator.tokens, operator.projection
    assert isinstance(tokens, ValueTensor)
    assert isinstance(projection, ValueTensor)
    rng = np.random.default_rng(precision)
    shape = (operator.heads, projection.shape[1], projection.shape[1])
    weights = (detector_weights(np.eye(shape[1]) + 0.1 * rng.normal(size=shape), precision) for _ in range(2))
    made = calibrate(tokens.values(), projection, *weights, precision)
    chosen = {"retention": 0.1, "threshold": None} if rule == "top_k" else {"retention": None, "threshold": 3}
    changed = replace(operator, rule=rule, keys_per_row=None, **chosen, **made.arguments)
    result = simulate(trace_of(changed), load_arch("dota"), check=True)
    assert result.verified is True
    kept = changed.kept_mask(0, 0)
    scores = changed.scores(0, 0)
    assert any(len(np.unique(row[: i + 1])) < i + 1 for i, row in enumerate(scores)), "no ties to break"
    if rule == "top_k":
        seen = np.arange(1, len(kept) + 1)
        np.testing.assert_array_equal(kept.sum(axis=1), np.maximum(1, np.floor(0.1 * seen + 0.5)))


def test_a_wrong_selection_or_value_is_noticed() -> None:
    """The check can fail: one connection exchanged, or one output beyond the tolerance."""
    operator, chip = heads_of(shipped())[0], load_arch("dota").chip
    model = accelerator("dota")
    match = model.match(operator, model.geometry(operator, chip), True)
    output = match.output
    assert operator.agrees(output)
    swapped = output.kept.copy()
    swapped[1, 2, 300, 0] ^= np.uint64(1)
    assert not operator.agrees(replace(output, kept=swapped))
    off = output.values.copy()
    off[0, 1, 100, 3] += 2.1 * output.tolerance[0, 1, 100]
    assert not operator.agrees(replace(output, values=off))
    scale = np.abs(output.values).max(axis=-1)
    assert np.median(output.tolerance / scale) < 0.01, "a tolerance of a percent would hide errors"


@needs_data
def test_real_masks_of_deit_tiny() -> None:
    """Loads of all orders on 36 real heads, between the union of each group's keys and row by row."""
    keep = np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"]
    keep = keep | (np.eye(197, dtype=bool) & ~keep.any(axis=-1, keepdims=True))
    maps = [dense(12, 3, 197, 64) for _ in range(3)]
    operator = Attention("heads", *maps, mask=MaskTensor.of(keep))
    cycles = {}
    for order in ("row_by_row", "in_order", "out_of_order"):
        cycles[order] = run(operator, scheduler__order=order, link__bytes_per_cycle="16").cycles
    print(cycles)
    assert cycles["out_of_order"] < cycles["in_order"] < cycles["row_by_row"]


def test_refusals() -> None:
    with pytest.raises(InputError, match="conv2d"):
        run(Conv2d("conv", dense(1, 3, 8, 8), weight=dense(4, 3, 3, 3)))
    with pytest.raises(InputError, match="a sequence of 60000 keys takes"):
        run(attention(60000, heads=1, rule="top_k", retention=0.001))
    mask = MaskTensor.of(np.ones((1, 4, 16, 16), np.bool_))
    with pytest.raises(InputError, match="the trace gives a mask"):
        run(attention(16, mask=mask), attention__retention="0.5")


def test_omission_saves_energy_and_time() -> None:
    trace = trace_of(attention(512, rule="top_k", retention=0.1, **detector(512)))
    full, omitted = (simulate(trace, load_arch("dota", {"attention.retention": part})) for part in ("full", "trace"))
    assert omitted.cycles < full.cycles
    assert omitted.summary["energy_pj"] < full.summary["energy_pj"]
    assert omitted.summary["macs"]["performed"] < 0.11 * full.summary["macs"]["performed"]
