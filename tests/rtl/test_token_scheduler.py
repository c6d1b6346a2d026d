"""The out-of-order scheduler in RTL: every load, its cycle and its round, as of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.hardware.bits import pack
from simulator.hardware.token_scheduler import Schedule, TokenScheduler, schedule
from tests.real import DATA, needs_data
from tests.reference import token_scheduler as twin
from tests.rtl.bench import Bench, Builds, Change, Playable, Response, join, needs_verilator

pytestmark = needs_verilator

SOURCES = ("token_scheduler.sv", "bench_token_scheduler.sv")
TOKENS, KEYS = 4, 256
Masks = NDArray[np.bool_]
Loads = list[tuple[int, int, int, int]]
"""(cycle, round, key, mask of the queries served) of each load, the cycle from the first group's taking."""


def built(builds: Builds, keys: int, *changes: Change) -> Bench:
    return builds.bench(SOURCES, {"TOKENS": TOKENS, "KEYS": keys}, *changes)


@pytest.fixture(scope="module")
def bench(builds: Builds) -> Bench:
    return built(builds, KEYS)


def wants_of(kept: Masks, keys: int = KEYS) -> Masks:
    """Deal the queries of a head out to groups: (groups, TOKENS, keys), padded."""
    return np.pad(kept, ((0, -len(kept) % TOKENS), (0, keys - kept.shape[1]))).reshape(-1, TOKENS, keys)


def played(bench: Playable, kept: Masks, keys: int = KEYS) -> Loads:
    """Offer all groups of a head, each until it is taken, to a scheduler of so many keys."""
    wants = wants_of(kept, keys)
    words = join([(np.ones(len(wants)), 1), (wants, 1)], bench.in_words)
    response = Response(bench.play(words, int(kept.sum()) + len(wants) + 10))
    taken, _, issue, round_ends = (response.take(1) for _ in range(4))
    served, key = response.take(TOKENS), response.take((keys - 1).bit_length())
    loads, number = [], 0
    for cycle in range(len(issue)):
        if issue[cycle]:
            loads.append((cycle, number, int(key[cycle]), int(served[cycle])))
        number = 0 if taken[cycle] else number + int(round_ends[cycle])
    return loads


def expected(made: Schedule) -> Loads:
    """One load a cycle from the cycle after a group is taken; the next is taken with the last, or a cycle later."""
    assert made.issues is not None
    loads: Loads = []
    begin, first = 1, 0
    for group, pairs in enumerate(made.pairs.tolist()):
        cycle, before = begin - 1, (-1, -1)
        for number, query, key in made.issues[first : first + pairs].tolist():
            bit = 1 << (query - TOKENS * group)
            if (number, key) == before:
                loads[-1] = (*loads[-1][:3], loads[-1][3] | bit)
            else:
                cycle += 1
                loads.append((cycle, number, key, bit))
            before = number, key
        first += pairs
        begin += max(int(made.loads[group]), 1)
    return loads


def scheduled(kept: Masks) -> Schedule:
    return schedule(pack(kept), TokenScheduler(tokens=TOKENS, order="out_of_order"), with_issues=True)


def random_heads(seed: int) -> list[Masks]:
    """Masks of every density, few keys and many, queries alike and not; some queries want nothing."""
    rng = np.random.default_rng(seed)
    heads = []
    for keys in (1, 2, 5, 16, 64, 100, 197, 256):
        density = rng.random((160, 1))
        shared = rng.random((40, 1, keys)).repeat(TOKENS, axis=1).reshape(160, keys)
        heads.append(np.where(rng.random((160, 1)) < 0.5, rng.random((160, keys)), shared) < density**2)
    return heads


def balanced_heads(seed: int) -> list[Masks]:
    """Masks whose queries all want equally many keys, as a detector with a fixed budget leaves them."""
    rng = np.random.default_rng(seed)
    heads = []
    for keys, budget in ((16, 4), (64, 3), (128, 13), (197, 20), (256, 64)):
        # A few popular keys, as attention has them.
        scores = rng.random((160, keys)) + rng.random(keys) * rng.random()
        heads.append(scores >= np.sort(scores, axis=1)[:, -budget, None])
    return heads


@pytest.mark.parametrize("make", [random_heads, balanced_heads])
def test_synthetic_groups(bench: Bench, make: type[list[Masks]]) -> None:
    for kept in make(6):
        assert played(bench, kept) == expected(scheduled(kept))


@needs_data
def test_groups_of_a_vision_transformer(bench: Bench) -> None:
    heads = np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"].reshape(-1, 197, 197).astype(bool)
    groups = 0
    for kept in heads:
        assert played(bench, kept) == expected(scheduled(kept))
        groups += -(-len(kept) // TOKENS)
    assert groups >= 1000


def test_the_published_example(bench: Bench) -> None:
    wants = [{2, 3, 4, 7}, {0, 1, 2, 3}, {2, 3, 4, 7}, {4, 5, 6, 7}]
    kept = np.array([[key in wanted for key in range(8)] for wanted in wants])
    rounds = [
        (number, key, sum(1 << query for query in queries))
        for number, loads in enumerate(twin.out_of_order(wants))
        for key, queries in loads
    ]
    assert [load[1:] for load in played(bench, kept)] == rounds


BROKEN: dict[str, Change] = {
    "those partly served are not put back": ("token_scheduler.sv", "{(TOKENS'(m) & ~unserved) == '0,", "{1'b0,"),
    "the highest key": ("token_scheduler.sv", "head[m] < lowest", "head[m] > lowest"),
    "any number of sharers": ("token_scheduler.sv", "ones(TOKENS'(m) & unserved)}", "COUNT'(1)}"),
    "a round too early": ("token_scheduler.sv", "round_ends ? wanting :", "round_ends ? wanting & ~served :"),
    "a group too late": ("token_scheduler.sv", "taken = !issue || last", "taken = !issue"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_design_is_caught(name: str, builds: Builds) -> None:
    broken = built(builds, 64, BROKEN[name])

    def differs(kept: Masks) -> bool:
        try:
            return played(broken, kept, 64) != expected(scheduled(kept))
        except TimeoutError:
            return True

    assert any(map(differs, balanced_heads(7)[:2]))


@pytest.mark.parametrize("preferences", [("most", "lowest"), ("alone", "lowest"), ("alone", "most", "highest")])
def test_a_broken_model_is_caught(bench: Bench, preferences: tuple[str, ...]) -> None:
    """A scheduler with a preference left out or turned round issues otherwise than the design."""

    def of_broken_model(kept: Masks) -> list[tuple[int, int, int]]:
        groups = [[set(np.flatnonzero(row).tolist()) for row in group] for group in wants_of(kept)]
        return [
            (number, key, sum(1 << query for query in queries))
            for wants in groups
            for number, loads in enumerate(twin.out_of_order(wants, preferences))
            for key, queries in loads
        ]

    heads = balanced_heads(8)[:3]
    assert any([load[1:] for load in played(bench, kept)] != of_broken_model(kept) for kept in heads)
