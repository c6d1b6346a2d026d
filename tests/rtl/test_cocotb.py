"""Each part once more with cocotb as its driver: what it answers is compared with the kernels as in the other tests."""

from __future__ import annotations

import numpy as np

from tests.rtl import (
    accumulation_settings,
    cocotb_bench,
    test_butterfly,
    test_channel_accumulation,
    test_mac_row,
    test_token_scheduler,
)
from tests.rtl.bench import Builds, Playable

pytestmark = cocotb_bench.needs_cocotb


def mismatching_networks(bench: Playable) -> list[tuple[str, str]]:
    rng = np.random.default_rng(21)
    masks = test_butterfly.random_masks(rng, 300, 16)
    payload, valid = test_butterfly.payload_of(rng, masks), rng.random(300) < 0.7
    return test_butterfly.mismatches(bench, masks, payload, valid)


def test_words_through_the_butterflies(builds: Builds) -> None:
    bench = cocotb_bench.build(builds, test_butterfly.SOURCES, {"LANES": 16})
    assert mismatching_networks(bench) == []


def test_a_broken_design_is_caught(builds: Builds) -> None:
    change = test_butterfly.BROKEN["a cycle too early"]
    bench = cocotb_bench.build(builds, test_butterfly.SOURCES, {"LANES": 16}, change)
    assert mismatching_networks(bench) == [("pipelined", "gather"), ("pipelined", "scatter")]


def test_loads_of_the_token_scheduler(builds: Builds) -> None:
    keys = 64
    parameters = {"TOKENS": test_token_scheduler.TOKENS, "KEYS": keys}
    bench = cocotb_bench.build(builds, test_token_scheduler.SOURCES, parameters)
    kept = test_token_scheduler.balanced_heads(22)[1]
    assert test_token_scheduler.played(bench, kept, keys) == test_token_scheduler.expected(
        test_token_scheduler.scheduled(kept)
    )


def test_sums_of_the_accumulation_unit(builds: Builds) -> None:
    setting = accumulation_settings.SETTINGS["h1_d3_a8"]
    rows = test_channel_accumulation.random_rows(23, 40, setting)
    bench = cocotb_bench.build(builds, test_channel_accumulation.SOURCES, setting.parameters())
    assert test_channel_accumulation.played(bench, setting, rows) == test_channel_accumulation.by_kernel(setting, rows)


def test_partial_sums_of_the_mac_row(builds: Builds) -> None:
    setting = test_mac_row.SETTINGS["3x3_w4_stride_2"]
    images = test_mac_row.random_images(24, 8, setting)
    bench = cocotb_bench.build(builds, test_mac_row.SOURCES, setting.parameters())
    assert test_mac_row.played(bench, setting, images) == test_mac_row.by_kernels(setting, images)
