"""A model as a user writes it is captured as it is."""

from __future__ import annotations

import json

import pytest

from simulator.trace import load_trace, save_trace
from tests.extract.helpers import counted, run, torch
from tests.extract.user_model import inputs, model


@pytest.fixture(scope="module")
def found():
    torch.manual_seed(0)
    return run(model(), *inputs())


def test_nearly_all_macs_are_captured(found):
    assert 0.99 <= found.captured < 1
    assert found.macs_left_out == 2 * 112 * 4 * 4 * 4  # nn.Bilinear
    assert all(each.macs is not None for each in found.not_captured)
    assert found.data_dependent == ()


def test_the_macs_are_those_that_pytorch_counts(found):
    torch.manual_seed(0)
    assert found.trace.macs == counted(model(), *inputs())


def test_every_spelling_of_attention_is_one_operator(found):
    attentions = {each.name: each for each in found.trace.operators if each.type == "attention"}
    assert list(attentions) == [
        "encoder.0.attention.attention", "encoder.1.attention.attention", "builtin.layers.0.self_attn.attention",
        "decoder.0.own.attention", "decoder.0.cross.attention", "decoder.1.own.attention", "decoder.1.cross.attention",
    ]  # fmt: skip
    assert not attentions["encoder.0.attention.attention"].kept_mask(0, 0)[:, -2:].any()
    assert attentions["decoder.0.own.attention"].causal
    assert attentions["decoder.0.cross.attention"].groups == 2
    assert not [each for each in found.trace.operators if each.attributes.get("kind") == "softmax"][2:]


def test_the_batch_is_kept(found):
    assert {each.tensors["input"].shape[0] for each in found.trace.operators if each.type == "conv2d"} == {2}


def test_it_is_the_same_from_its_file(found, tmp_path):
    save_trace(found.trace, tmp_path / "user.safetensors")
    loaded = load_trace(tmp_path / "user.safetensors")
    assert loaded.digest == found.trace.digest
    columns, *rows = json.loads(loaded.provenance["not captured"])
    assert columns[:2] == ["op", "module"]
    assert {row[0] for row in rows} == {each.op for each in found.not_captured}
