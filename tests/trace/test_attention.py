"""Attention: what is kept in each of the four ways, what it costs, what it refuses; row-wise operators."""

import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.trace import (
    Attention,
    DensityTensor,
    MaskTensor,
    Rowwise,
    Trace,
    ValueTensor,
    load_trace,
    quantise,
    save_trace,
)
from simulator.trace.connections import (
    allowed_words,
    count_kept,
    draw_connections,
    kept_per_row,
    pack_rows,
    select,
    unpack_rows,
)
from simulator.trace.detection import detect
from simulator.trace.rowwise import OPERATIONS, operations
from simulator.trace.stored import TensorFile
from tests.trace.helpers import tampered

PAGE = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")


def unknown(*shape):
    return DensityTensor(shape, 1, 0)


def attention(N=1, H=4, G=2, L=6, S=6, D=3, E=2, **given):
    return Attention("a", unknown(N, H, L, D), unknown(N, G, S, D), unknown(N, G, S, E), **given)


def detector(seed=0, N=1, H=4, L=6, C=5, k=3, precision=4, **more):
    rng = np.random.default_rng(seed)
    half = 2 ** (precision - 1)
    return {
        "tokens": ValueTensor(rng.integers(-99, 100, (N, L, C))),
        "projection": ValueTensor(rng.integers(-1, 2, (C, k)), bits=2),
        "detector_query": ValueTensor(rng.integers(-half, half, (H, k, k)), bits=precision),
        "detector_key": ValueTensor(rng.integers(-half, half, (H, k, k)), bits=precision),
        "precision": precision,
        "projection_shift": 4,
        "query_shift": 2,
        "key_shift": tuple(h % 2 for h in range(H)),
        **more,
    }


def detected(**given):
    parts = detector()
    return attention(**(parts | {"rule": "top_k", "retention": 0.4} | given))


# What is kept.


@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 70), st.booleans())
def test_all_or_the_triangle(H, L, more, causal):
    operator = attention(H=H, G=1, L=L, S=L + more, causal=causal)
    seen = operator.kept_mask(0, H - 1)
    for i in range(L):
        for j in range(L + more):
            assert seen[i, j] == (not causal or j <= i + more)
    words = operator.kept(0, 0)
    assert (words.dtype, words.shape) == (np.uint64, (L, -(-(L + more) // 64)))
    assert count_kept(words).tolist() == seen.sum(axis=1).tolist()


@given(st.integers(1, 9), st.integers(1, 150), st.integers(0, 99))
def test_packing(L, S, seed):
    mask = np.random.default_rng(seed).random((L, S)) < 0.5
    words = pack_rows(mask)
    assert np.array_equal(unpack_rows(words, S), mask)
    for i in range(L):
        assert sum(int(word) << (64 * w) for w, word in enumerate(words[i])) == sum(
            1 << s for s in range(S) if mask[i, s]
        )


@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_given_masks(N, H, L, S, seed):
    mask = np.random.default_rng(seed).random((N, H, L, S)) < 0.5
    mask[..., 0] = True
    operator = attention(N=N, H=H, G=1, L=L, S=S, mask=MaskTensor.of(mask))
    for n in range(N):
        for h in range(H):
            assert np.array_equal(operator.kept_mask(n, h), mask[n, h])


@given(
    st.integers(1, 40),
    st.integers(0, 90),
    st.booleans(),
    st.one_of(st.floats(0.001, 1), st.integers(1, 40)),
    st.integers(0, 9),
)
def test_drawn_masks_are_row_balanced_and_stay(L, more, causal, amount, seed):
    S = L + more
    given = {"retention": amount} if isinstance(amount, float) else {"keys_per_row": min(amount, S)}
    operator = attention(L=L, S=S, rule="top_k", causal=causal, seed=seed, **given)
    words = operator.kept(0, 1)
    for i, count in enumerate(count_kept(words)):
        allowed = i + S - L + 1 if causal else S
        wanted = min(amount, allowed) if isinstance(amount, int) else max(1, int(np.floor(amount * allowed + 0.5)))
        assert count == wanted
    assert not (words & ~allowed_words(L, S, causal)).any()
    assert np.array_equal(words, attention(L=L, S=S, rule="top_k", causal=causal, seed=seed, **given).kept(0, 1))


def test_drawn_masks_differ_by_seed_image_and_head():
    draws = [
        draw_connections(64, 64, retention=0.5, seed=seed, image=image, head=head).tobytes()
        for seed in (0, 1)
        for image in (0, 1)
        for head in (0, 1)
    ]
    assert len(set(draws)) == 8


def test_drawn_masks_are_even():
    counts = sum(
        unpack_rows(draw_connections(512, 300, retention=r, head=i), 300).sum(axis=0) for i, r in ((0, 0.1), (1, 0.9))
    )
    assert abs(counts.mean() - 512) < 1e-9
    assert counts.std() == pytest.approx(np.sqrt(2 * 512 * 0.09), rel=0.2)


def test_a_drawn_mask_for_ever():
    drawn = draw_connections(3, 64, retention=0.25, seed=5)[:, 0].tolist()
    assert drawn == [0x41802090C002D948, 0x3722000200031E28, 0x20101220087B0341]


@pytest.mark.parametrize("causal", [False, True])
def test_long_masks_are_drawn_in_little_time_and_memory(causal):
    operator = attention(H=16, G=16, L=4096, S=4096, rule="top_k", retention=0.1, causal=causal)
    operator.kept(0, 0)
    times = []
    for head in range(3):
        start = time.perf_counter()
        operator.kept(0, head)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1
    tracemalloc.start()
    for head in range(2):
        operator.kept(0, head)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@given(
    st.integers(0, 99),
    st.sampled_from([2, 4, 8]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["top_k", "threshold"]),
)
def test_detected_masks_are_detect_and_select(seed, precision, causal, cross, rule):
    parts = detector(seed, N=2, L=5, precision=precision)
    S = 7 if cross else 5
    if cross:
        parts["memory"] = ValueTensor(np.random.default_rng(seed).integers(-99, 100, (2, 7, 5)))
    how = {"retention": 0.3} if rule == "top_k" else {"threshold": (3, 0, -2, 9)}
    operator = attention(N=2, L=5, S=S, causal=causal, rule=rule, **how, **parts)
    arrays = {key: part.values() if isinstance(part, ValueTensor) else part for key, part in parts.items()}
    scores = detect(**arrays)
    kept = select(scores, rule, causal=causal, **how)
    for n in range(2):
        for h in range(4):
            assert np.array_equal(operator.scores(n, h), scores[n, h])
            assert np.array_equal(operator.kept_mask(n, h), kept[n, h])


def test_a_detector_of_known_shape_only_draws():
    shapes = {"tokens": (1, 6, 5), "projection": (5, 3), "detector_query": (4, 3, 3), "detector_key": (4, 3, 3)}
    given = {role: unknown(*shape) for role, shape in shapes.items()}
    operator = attention(rule="top_k", retention=0.5, **given)
    assert (operator.rank, operator.is_detected) == (3, False)
    assert np.array_equal(operator.kept(0, 2), attention(rule="top_k", retention=0.5).kept(0, 2))
    with pytest.raises(InputError, match=r"'a' \(attention\): there are no estimates"):
        operator.scores(0, 0)


# What it costs and computes.


def test_sizes():
    operator = attention(N=2, H=6, G=2, L=5, S=7, D=3, E=4)
    assert (operator.heads, operator.groups, operator.rank) == (6, 2, None)
    assert operator.output_shape == (2, 6, 5, 4)
    assert operator.macs == 2 * 6 * 5 * 7 * (3 + 4)
    assert [operator.group_of(h) for h in range(6)] == [0, 0, 0, 1, 1, 1]
    assert operator.scale == 3**-0.5
    assert operator.reference() is None
    assert operator.reference_output(0, 0) is None


@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_output_is_the_masked_softmax(seed, G, per_group, L, more, causal):
    rng = np.random.default_rng(seed)
    (H, S, D, E), N = (G * per_group, L + more, 3, 2), 2
    q, k, v = rng.normal(size=(N, H, L, D)), rng.normal(size=(N, G, S, D)), rng.normal(size=(N, G, S, E))
    operator = Attention(
        "a",
        quantise(q, axis=0),
        quantise(k),
        quantise(v),
        scale=0.7,
        causal=causal,
        rule="top_k",
        keys_per_row=min(2, S),
    )

    def number(tensor, *place):
        scale = tensor.scale[place[0]] if isinstance(tensor.scale, tuple) else tensor.scale
        return float(tensor.values()[place]) * scale

    n, h = 1, H - 1
    kept, g = operator.kept_mask(n, h), h * G // H
    result = operator.reference_output(n, h)
    assert result.shape == (L, E)
    for i in range(L):
        keys = [j for j in range(S) if kept[i, j]]
        dots = [
            sum(number(operator.query, n, h, i, d) * number(operator.key, n, g, j, d) for d in range(D)) for j in keys
        ]
        weights = np.exp(0.7 * np.array(dots))
        for e in range(E):
            values = np.array([number(operator.value, n, g, j, e) for j in keys])
            assert result[i, e] == pytest.approx((weights * values).sum() / weights.sum(), rel=1e-9, abs=1e-12)
    everything = operator.reference_output(n, h, allowed_words(L, S, False))
    assert everything.shape == (L, E)


def test_large_scores_do_not_overflow():
    one = ValueTensor(np.full((1, 1, 2, 2), 2**20), bits=32)
    assert np.allclose(Attention("a", one, one, one).reference_output(0, 0), 2**20)


# File and digest.


def every_form():
    rng = np.random.default_rng(3)
    hidden = quantise(rng.normal(size=(1, 4, 6, 3)))
    mask = rng.random((1, 4, 6, 6)) < 0.5
    mask |= np.eye(6, dtype=bool)
    keys = quantise(rng.normal(size=(1, 2, 6, 3)))
    parts = detector(memory=ValueTensor(rng.integers(-9, 9, (1, 6, 5))))
    first = Attention("values", hidden, keys, keys, rule="top_k", retention=0.3, **parts)
    level = Attention("level", hidden, keys, keys, rule="threshold", threshold=3, causal=True, **detector(1))
    given = attention(mask=MaskTensor.of(mask), output=hidden_density())
    drawn = attention(rule="top_k", keys_per_row=2, seed=9)
    names = [first, level, *(Attention(n, o.query, o.key, o.value, o.mask, output=o.output, rule=o.rule,
             keys_per_row=o.keys_per_row, seed=o.seed) for n, o in (("mask", given), ("drawn", drawn)))]  # fmt: skip
    rows = [Rowwise(kind, hidden, hidden if kind in ("add", "multiply") else None, kind=kind) for kind in OPERATIONS]
    return Trace("forms", (*names, *rows))


def hidden_density():
    return unknown(1, 4, 6, 2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("attention") / "forms.safetensors"
    save_trace(every_form(), path)
    return path


def test_round_trip(saved):
    ours, theirs = every_form(), load_trace(saved)
    assert theirs.digest == ours.digest
    for mine, other in zip(ours.operators, theirs.operators, strict=True):
        assert type(mine) is type(other)
        assert (mine.name, mine.attributes, mine.digest) == (other.name, other.attributes, other.digest)
        if isinstance(mine, Attention):
            assert all(np.array_equal(mine.kept(0, h), other.kept(0, h)) for h in range(4))


def test_data_are_read_when_used(saved, monkeypatch):
    read = []
    original = TensorFile.read
    monkeypatch.setattr(TensorFile, "read", lambda self, name: read.append(name) or original(self, name))
    values, _, given, drawn, *rows = load_trace(saved).operators
    assert all((o.macs, o.output_shape, o.attributes) for o in (values, given, drawn))
    assert rows[0].operations
    drawn.kept(0, 0)
    assert read == []
    given.kept(0, 1)
    assert read == ["mask.mask"]
    values.kept(0, 1)
    assert sorted(read[1:]) == [
        f"values.{r}" for r in ("detector_key", "detector_query", "memory", "projection", "tokens")
    ]


def test_digest_is_of_the_work():
    base = detected()
    others = [
        detected(retention=0.5),
        detected(retention=None, keys_per_row=2),
        detected(rule="threshold", retention=None, threshold=1),
        detected(causal=True),
        detected(scale=0.5),
        detected(seed=1),
        detected(key_shift=0),
        detected(projection_shift=0),
        detected(**detector(1)),
    ]
    assert len({o.digest for o in [base, *others]}) == 10
    assert detected(query_shift=(2, 2, 2, 2)).digest == base.digest == detected(scale=3**-0.5).digest


# Row-wise operators.


def test_operations():
    softmax = Rowwise("s", unknown(2, 3, 8), kind="softmax")
    assert (softmax.macs, softmax.reference(), softmax.output_shape) == (0, None, (2, 3, 8))
    assert softmax.operations == {"compare": 42, "add": 90, "exp": 48, "divide": 48}
    assert Rowwise("n", unknown(2, 8), kind="layer_norm").operations == {
        "add": 62,
        "multiply": 52,
        "sqrt": 2,
        "divide": 2,
    }
    assert Rowwise("g", unknown(5), kind="gelu").operations == {"multiply": 5, "add": 5, "exp": 5, "divide": 5}
    assert operations("softmax", 410 * 4096, 4096)["exp"] == 410 * 4096
    with pytest.raises(InputError, match="unknown kind 'softmx'"):
        operations("softmx", 1, 1)


# What is refused.


def bools(*shape):
    return MaskTensor.of(np.ones(shape, bool))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: attention(H=4, G=3), r"'a' \(attention\): key has 3 heads, expected a divisor of the 4"),
        (lambda: Attention("a", unknown(4, 6, 3), unknown(1, 4, 6, 3), unknown(1, 4, 6, 3)), "query .* 4 axes"),
        (lambda: Attention("a", unknown(1, 4, 6, 3), unknown(1, 4, 6, 2), unknown(1, 4, 6, 3)), "key has shape"),
        (lambda: Attention("a", unknown(1, 4, 6, 3), unknown(2, 4, 6, 3), unknown(1, 4, 6, 3)), "key has shape"),
        (lambda: Attention("a", unknown(1, 4, 6, 3), unknown(1, 4, 6, 3), unknown(1, 4, 5, 3)), "value has shape"),
        (lambda: attention(mask=bools(1, 4, 6, 5)), r"mask has shape .* expected \(1, 4, 6, 6\) \(N, H, L, S\)"),
        (lambda: attention(mask=bools(1, 2, 6, 6)), "mask has shape"),
        (lambda: attention(mask=unknown(1, 4, 6, 6)), "mask is known by its density only"),
        (lambda: attention(mask=bools(1, 4, 6, 6), rule="top_k", retention=0.5), "rule is 'top_k', expected 'none'"),
        (lambda: attention(output=unknown(1, 4, 6, 6)), r"output has shape .* expected \(1, 4, 6, 2\)"),
        *(
            (lambda r=r: attention(rule="top_k", retention=r), r"retention must be (above 0 and at most 1|a finite)")
            for r in (0, -0.1, 1.01, float("nan"), "a", True)
        ),
        (lambda: attention(rule="top_k"), "needs either a retention or a number of keys_per_row"),
        (lambda: attention(rule="top_k", retention=0.5, keys_per_row=2), "needs either a retention"),
        (lambda: attention(rule="top_k", keys_per_row=7), "keys_per_row is 7, expected at most the 6 keys"),
        (lambda: attention(rule="top_k", keys_per_row=0), "keys_per_row must be a whole number of at least 1"),
        (lambda: attention(rule="top_k", retention=0.5, threshold=1), "threshold is 1, but the rule .* takes none"),
        (lambda: attention(retention=0.5), "retention is 0.5, but the rule 'none' takes none"),
        (lambda: attention(threshold=3), "threshold is 3, but the rule 'none'"),
        (lambda: attention(rule="top-k", retention=0.5), r"unknown rule 'top-k' \(did you mean 'top_k'\?\)"),
        (lambda: attention(rule="threshold", threshold=3), "'threshold' needs the values of tokens"),
        (lambda: detected(rule="threshold", retention=None), "threshold is None, .* needs one"),
        (lambda: detected(rule="threshold", retention=None, threshold=0.5), "threshold must be a whole number"),
        (lambda: detected(rule="threshold", retention=None, threshold=(1, 2)), r"one per head \(4\), not 2"),
        (lambda: attention(L=7, S=6, causal=True), "causal map needs as many keys as queries or more, not 6 for 7"),
        (lambda: attention(causal=1), "causal must be true or false"),
        (lambda: attention(scale=-1), "scale must be above 0"),
        (lambda: attention(scale=float("inf")), "scale must be a finite number"),
        (lambda: attention(seed=-1), "seed must be a whole number"),
        (lambda: attention(precision=3), "precision must be 2, 4 or 8 bits, not 3"),
        (lambda: attention(projection_shift=63), "projection_shift must be at most 62"),
        (lambda: attention(query_shift=-1), "query_shift must be a whole number of at least 0"),
        (lambda: attention(key_shift=(1, 2)), "key_shift must be one whole number or one per head"),
        (lambda: detected(tokens=None), "tokens is missing, a detector has tokens, projection"),
        (lambda: detected(detector_key=None), "detector_key is missing"),
        (lambda: attention(memory=unknown(1, 6, 5)), "memory is given, but tokens"),
        (lambda: detected(S=8), "memory is missing: 6 tokens cannot stand for 8 keys"),
        (lambda: detected(S=8, memory=unknown(1, 7, 5)), r"memory has shape .* expected \(1, 8, 5\)"),
        (lambda: detected(tokens=unknown(1, 5, 5)), r"tokens has shape .* expected \(1, 6, 5\)"),
        (lambda: detected(tokens=unknown(1, 6)), "tokens has shape .* expected 3 axes"),
        (lambda: detected(projection=unknown(4, 3)), r"projection has shape .* expected \(5, 3\)"),
        (lambda: detected(projection=unknown(5, 6)), "rank 6, expected at most the 5 features"),
        (lambda: detected(detector_query=unknown(2, 3, 3)), r"detector_query has shape .* expected \(4, 3, 3\)"),
        (lambda: detected(detector_key=unknown(4, 3, 4)), r"detector_key has shape .* expected \(4, 3, 3\)"),
        (lambda: attention().kept(0, 4), "has 1 images of 4 heads, no image 0 with head 4"),
        (lambda: attention().kept(-1, 0), "no image -1"),
        (lambda: Rowwise("r", unknown(3), kind="relo"), r"'r' \(rowwise\): unknown kind 'relo' \(did you mean 'relu'"),
        (lambda: Rowwise("r", unknown(3)), "unknown kind ''"),
        (lambda: Rowwise("r", unknown(3), kind=3), "unknown kind 3"),
        (lambda: Rowwise("r", unknown(3), kind="add"), "other is missing, but the kind is 'add'"),
        (lambda: Rowwise("r", unknown(3), unknown(3), kind="relu"), "other is given"),
        (lambda: Rowwise("r", unknown(3), unknown(4), kind="add"), r"other has shape \(4,\), expected \(3,\)"),
        (lambda: Rowwise("r", unknown(3), output=unknown(4), kind="relu"), "output has shape"),
    ],
)  # fmt: skip
def test_refused(make, words):
    with pytest.raises(InputError, match=words) as refusal:
        make()
    assert str(refusal.value).startswith("operator '")


def with_values(role, array, bits=8):
    return {role: ValueTensor(np.asarray(array), bits=bits)}


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (lambda: attention(mask=MaskTensor.of(without((0, 2, 3)))), "mask keeps no key in row 3 of image 0, head 2"),
        (lambda: attention(mask=bools(1, 4, 6, 6), causal=True), "mask keeps the future in row 0 of image 0, head 2"),
        (lambda: detected(**with_values("projection", np.full((5, 3), 2))), "projection holds integers from 2 to 2"),
        (lambda: detected(**with_values("detector_query", np.full((4, 3, 3), 8))), "detector_query .* 4 bits, -8 … 7"),
        (lambda: detected(**with_values("detector_key", np.full((4, 3, 3), -9))), "detector_key holds"),
    ],
)  # fmt: skip
def test_refused_when_read(operator, words, tmp_path):
    save_trace(Trace("t", (operator(),)), tmp_path / "t")
    for made in (operator(), load_trace(tmp_path / "t").operators[0]):
        with pytest.raises(InputError, match=rf"operator 'a' \(attention\): {words}"):
            made.kept(0, 2)


def without(row):
    mask = np.ones((1, 4, 6, 6), bool)
    mask[row] = False
    return mask


def test_refused_outputs():
    one = ValueTensor(np.ones((1, 1, 2, 2), int))
    with pytest.raises(InputError, match="kept is bool of shape"):
        Attention("a", one, one, one).reference_output(0, 0, np.ones((2, 2), bool))


def test_refused_files(saved, tmp_path):
    def change(header, _):
        header["operators"][0]["attributes"]["retention"] = 2

    path = tampered(saved, tmp_path / "bad", change)
    with pytest.raises(InputError, match=r"bad: operator 'values' \(attention\): retention must be above 0"):
        load_trace(path)


def test_rounding_of_the_number_kept():
    assert kept_per_row(np.array([1, 5, 10, 15, 100]), retention=0.1).tolist() == [1, 1, 1, 2, 10]
    assert kept_per_row(np.array([1, 5]), keys=3).tolist() == [1, 3]


def test_what_the_page_shows_is_true():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"quantise": quantise, "DensityTensor": DensityTensor, "rng": np.random.default_rng(0)}
    exec(compile(blocks[1], "docs/traces.md", "exec"), names)
    assert (count_kept(names["attention"].kept(0, 3)) == 13).all()
    assert (count_kept(names["synthetic"].kept(0, 3)) == 410).all()


def test_the_table_of_the_page_is_the_one_that_counts():
    table = PAGE.split("### Row-wise operators")[1]
    heads, *rows = (re.split(r" *\| *", line)[1:-2] for line in re.findall(r"^\|.*\|$", table, re.MULTILINE))
    shown = {}
    for kind, *cells in (row for row in rows if "-" not in row[0]):
        for name, cell in zip(heads[1:], cells, strict=True):
            if cell:
                formula = re.sub(r"(\d)([er])", r"\1*\2", cell.replace("−", "-"))
                shown[kind, name] = [eval(formula, {"e": e, "r": r}) for e, r in ((0, 1), (1, 0), (7, 3))]
    counted = {
        (kind, name): [operations(kind, e, r)[name] for e, r in ((0, 1), (1, 0), (7, 3))]
        for kind, parts in OPERATIONS.items()
        for name in parts
    }
    assert shown == counted
