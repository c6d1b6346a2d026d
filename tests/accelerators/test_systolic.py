"""The systolic array: SCALE-Sim's cycles, what the buffers make of them, what the PEs do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from simulator import load_arch, simulate
from simulator.accelerators import accelerator
from simulator.errors import InputError
from simulator.results.result import OperatorResult
from simulator.trace import Attention, Conv2d, DensityTensor, Linear, MatMul, Operator, Rowwise
from tests.accelerators.scalesim_runs import (
    DATAFLOWS,
    PRODUCTS,
    Case,
    cases,
    convolutions,
    layer,
    operator_of,
    ours,
    product,
    reference,
    table,
)
from tests.operators import trace_of, values

dataflows = pytest.mark.parametrize("dataflow", list(DATAFLOWS.values()))


def dense(*shape: int, density: float = 1.0, bits: int = 8) -> DensityTensor:
    return DensityTensor(shape, density, 0, bits=bits)


def conv(channels: int = 64, size: int = 56, filters: int = 64, **given: Any) -> Conv2d:
    given = {"padding": 1} | given
    G = given.get("groups", 1)
    return Conv2d("conv", dense(1, channels, size, size), weight=dense(filters, channels // G, 3, 3), **given)


def gemm(m: int, k: int, n: int) -> Linear:
    return Linear("gemm", dense(m, k), weight=dense(n, k))


def run(operator: Operator, check: bool = False, **settings: str) -> OperatorResult:
    parameters = {key.replace("__", "."): value for key, value in settings.items()}
    return simulate(trace_of(operator), load_arch("systolic", parameters), check).operators[0]


def test_the_table_holds_all_cases() -> None:
    assert list(table()) == list(dict.fromkeys(cases()))
    products = {case for case in table() if case.layer[:3] == product(*case.layer[:2], case.layer[5])[:3]}
    assert len({(case.rows, case.columns, case.layer) for case in products if case.rows != 32}) >= 30
    assert PRODUCTS >= 30


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_products_take_as_long_as_in_scale_sim(dataflow: str) -> None:
    theirs = {case: cycles for case, cycles in table().items() if case.dataflow == dataflow}
    for case, cycles in theirs.items():
        assert ours(operator_of(case), case.rows, case.columns, dataflow) == cycles, case


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_the_convolutions_of_resnet18_take_as_long_as_in_scale_sim(dataflow: str) -> None:
    """With their own padding and grouping of weights, not as SCALE-Sim must be told of them."""
    assert len(convolutions()) == 20
    for operator in convolutions():
        assert ours(operator, 32, 32, dataflow) == table()[Case(32, 32, dataflow, layer(operator))], operator.name


@pytest.mark.slow
@pytest.mark.skipif("SCALESIM_PYTHON" not in os.environ, reason="SCALESIM_PYTHON names no interpreter with SCALE-Sim")
def test_scale_sim_itself_still_says_so() -> None:
    """The table is what its command makes: the smallest cases of it, run again."""
    some = sorted(table(), key=lambda case: table()[case])[:30]
    assert [result["cycles"] for result in reference(some)] == [table()[case] for case in some]


def test_the_published_cycles() -> None:
    """Those that SCALE-Sim 3.0 was measured to give: conv 3×3×64×64 at 56×56, and a product 1024³."""
    assert ours(conv(), 32, 32, "os") == 125_047
    assert ours(gemm(1024, 1024, 1024), 32, 32, "os") == 1_112_063


@dataflows
@pytest.mark.parametrize("operator", [conv(), gemm(100, 300, 200), conv(96, 28, 96, groups=96, stride=2)])
def test_a_fast_memory_adds_what_the_first_load_and_the_last_store_take(dataflow: str, operator: Operator) -> None:
    """A cycle for inputs and one for weights of the first tile, one for outputs of the last; all else overlaps."""
    fast = {"dram__bandwidth": "200000 GB/s", "dram__latency": "0 ns", "array__dataflow": dataflow}
    result = run(operator, **fast)
    assert result.cycles - int(result.program.stages[0].cycles.sum()) == 3


@dataflows
def test_groups_follow_each_other(dataflow: str) -> None:
    """Depthwise: as many products of one filter as there are channels."""
    result = run(conv(32, 14, 32, groups=32), array__dataflow=dataflow)
    one = run(conv(1, 14, 1), array__dataflow=dataflow)
    own, single = (each.program.stages[0].cycles.sum() for each in (result, one))
    assert own + 1 == 32 * (single + 1)


@dataflows
@pytest.mark.parametrize("kind", ["conv", "grouped", "linear", "matmul"])
def test_what_the_folds_compute(dataflow: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    operator = {
        "conv": Conv2d("conv", values(rng, (2, 5, 9, 7), 0.5), weight=values(rng, (11, 5, 3, 2), 0.5), padding=(1, 0)),
        "grouped": Conv2d("conv", values(rng, (1, 6, 9, 9), 0.5), weight=values(rng, (9, 2, 3, 3), 0.5), groups=3),
        "linear": Linear("linear", values(rng, (3, 4, 50), 0.5), weight=values(rng, (13, 50), 0.3)),
        "matmul": MatMul("matmul", values(rng, (2, 7, 30), 0.5), values(rng, (2, 30, 9), 0.5)),
    }[kind]
    result = run(operator, True, array__dataflow=dataflow, array__rows="4", array__columns="3")
    assert result.verified
    assert result.program.macs.performed == result.program.macs.dense == operator.macs


def test_a_zero_saves_energy_only_where_it_is_gated() -> None:
    operator = Linear("linear", dense(64, 256, density=0.5), weight=dense(64, 256, density=0.5))
    plain, gated = run(operator), run(operator, pe__zero_gating="true")
    assert plain.cycles == gated.cycles
    assert plain.program.macs == gated.program.macs
    done = [sum(int(a.count.sum()) for a in r.program.actions if a.name == "multiply") for r in (plain, gated)]
    assert done == [plain.program.macs.performed, plain.program.macs.effectual]


@dataflows
def test_attention_is_two_products_for_each_head(dataflow: str) -> None:
    """Worked by hand: of 3 heads, (40 × 16) · (16 × 50), then (40 × 50) · (50 × 24), a softmax between."""
    operator = Attention("heads", dense(1, 3, 40, 16), dense(1, 3, 50, 16), dense(1, 3, 50, 24))
    result = run(operator, array__dataflow=dataflow)
    stacks = [MatMul("p", dense(3, m, k), dense(3, k, n)) for m, k, n in ((40, 16, 50), (40, 50, 24))]
    array, vector = result.program.stages
    alone = [run(stack, array__dataflow=dataflow).program for stack in stacks]
    assert array.cycles.sum() == sum(program.stages[0].cycles.sum() for program in alone)
    assert vector.cycles.sum() >= 2 * 3 * 40 * 50 // 16
    assert result.program.macs.performed == result.program.macs.effectual == operator.macs
    assert {s.name for s in result.program.reads} >= {"query", "key", "weights", "value"}


def test_attention_keeps_what_the_trace_omits() -> None:
    """Nothing is skipped: keys that are masked take as long, and so does the future."""
    maps = [dense(1, 2, 32, 16)] * 3
    plain, causal = (run(Attention("heads", *maps, causal=causal)) for causal in (False, True))
    sparse = run(Attention("heads", *maps, rule="top_k", retention=0.1))
    assert plain.cycles == causal.cycles == sparse.cycles
    assert causal.program.macs.effectual == 2 * sum(range(1, 33)) * 32 < sparse.program.macs.effectual


def test_rows_between_products_take_the_vector_unit() -> None:
    """Worked by hand: a softmax of 100 rows of 64: two additions for each element less one a row, 16 at once."""
    result = run(Rowwise("softmax", dense(100, 64), kind="softmax"))
    assert result.program.stages[0].cycles.tolist() == [794]


def test_small_groups_share_a_tile() -> None:
    """Depthwise, 7 × 7: a group has two folds, so that a tile of 16 folds takes eight groups; each is loaded once."""
    result = run(conv(96, 7, 96, groups=96))
    assert result.program.tiles == 12
    loaded = result.program.reads[0]
    assert loaded.compulsory == 96 * 49 <= loaded.size.sum() <= 96 * 49 + 12 * 63
    assert loaded.offset.tolist() == [8 * 49 * place for place in range(12)]


def test_what_fits_crosses_the_channel_once() -> None:
    """Worked by hand: 64 × 128 inputs and 96 × 128 weights fit, so each is loaded once, 64 × 96 outputs stored once."""
    for dataflow in DATAFLOWS.values():
        result = run(gemm(64, 128, 96), array__dataflow=dataflow)
        sizes = {stream.name: int(stream.size.sum()) for stream in (*result.program.reads, *result.program.writes)}
        assert sizes == {"input": 64 * 128, "weight": 96 * 128, "output": 64 * 96}, dataflow


def test_what_does_not_fit_is_loaded_again() -> None:
    """Worked by hand: 256 × 1024 inputs, a fold's 32 rows fill half of the buffer: all come for each 32 filters."""
    result = run(gemm(256, 1024, 96))
    sizes = {stream.name: int(stream.size.sum()) for stream in result.program.reads}
    assert sizes == {"input": 3 * 256 * 1024, "weight": 96 * 1024}


def test_sums_that_do_not_fit_go_to_memory_and_back() -> None:
    """Worked by hand: 1024 × 32 sums of 4 bytes, 128 KiB; three folds of the reduction: two leave sums, two take up."""
    result = run(gemm(1024, 96, 32), array__dataflow="weight")
    sizes = {stream.name: int(stream.size.sum()) for stream in (*result.program.reads, *result.program.writes)}
    assert sizes["partial_sums"] == sizes["spilled_sums"] == 2 * 1024 * 32 * 4
    larger = run(gemm(1024, 96, 32), array__dataflow="weight", output_buffer__size="256 KiB")
    assert "partial_sums" not in [stream.name for stream in larger.program.reads]


@dataflows
def test_a_halo_is_loaded_once_where_tiles_follow_each_other(dataflow: str) -> None:
    """All 64 filters at once: whatever the dataflow, rows that two tiles share stay, or are few."""
    result = run(conv(16, 56, 32), array__dataflow=dataflow, array__columns="32")
    moved = next(stream for stream in result.program.reads if stream.name == "input")
    assert moved.compulsory == 16 * 56 * 56
    if dataflow == "output":
        assert moved.size.sum() <= moved.compulsory + 64 * result.program.tiles


def test_inputs_that_no_window_covers_stay_where_they_are() -> None:
    result = run(Conv2d("conv", dense(1, 64, 56, 56), weight=dense(64, 64, 1, 1), stride=2))
    assert result.program.reads[0].compulsory == 64 * 28 * 28


@pytest.mark.parametrize(
    ("operator", "settings", "told"),
    [
        (Attention("heads", *[dense(1, 2, 8, 4, bits=16)] * 3), {}, "set pe.operand_bits to 16"),
        (
            Rowwise("norm", dense(4, 800), kind="layer_norm"),
            {"input_buffer__size": "800 B"},
            "enlarge input_buffer.size",
        ),
        (gemm(64, 64, 8), {"input_buffer__size": "32 B"}, "enlarge input_buffer.size"),
        (gemm(8, 64, 64), {"weight_buffer__size": "32 B"}, "enlarge weight_buffer.size"),
        (gemm(64, 64, 64), {"output_buffer__size": "128 B"}, "enlarge output_buffer.size"),
        (gemm(8, 64, 8), {"array__rows": "64"}, "enlarge input_buffer.banks"),
        (Linear("wide", dense(4, 8, bits=16), weight=dense(4, 8)), {}, "set pe.operand_bits to 16"),
    ],
)
def test_refusals_name_the_operator_and_what_to_change(operator: Operator, settings: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as refusal:
        run(operator, **settings)
    assert told in str(refusal.value)
    assert operator.name in str(refusal.value)


def test_an_unknown_dataflow_is_refused() -> None:
    """SCALE-Sim takes it for output stationary and says nothing."""
    with pytest.raises(InputError, match=r"array\.dataflow.*'output', 'weight' or 'input'"):
        load_arch("systolic", {"array.dataflow": "zz"})


@pytest.mark.parametrize("wanted", [1, 7, 256, 1024, 4608, 16384])
def test_resized(wanted: int) -> None:
    model = accelerator("systolic")
    chip = load_arch("systolic", model.resized(load_arch("systolic").chip, wanted)).chip
    assert model.multipliers(chip) == pytest.approx(wanted, rel=0.02)
    assert max(chip.array.rows, chip.array.columns) <= 2.1 * min(chip.array.rows, chip.array.columns) or wanted < 8
    model.geometry(gemm(64, 64, 64), chip)
