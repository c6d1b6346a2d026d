"""Well-known models, their weights drawn, built from the configurations of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

import pytest

from simulator import load_arch, simulate
from simulator.compress import hybrid_quantise
from simulator.trace import without
from tests.extract.helpers import counted, run, torch

transformers = pytest.importorskip("transformers", reason="needs Hugging Face's transformers")

TINY_TEXT = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def build(architecture: str, config: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return getattr(transformers, architecture)(getattr(transformers, config)(**settings)).eval()


def words(length: int, most: int = 90) -> Any:
    return torch.randint(most, (1, length), generator=torch.Generator().manual_seed(0))


def images(size: int) -> Any:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def ran(found: Any, chip: str) -> tuple[int, float]:
    """Operators run and their share of the MACs: ESCALATE takes ternary weights, DOTA what transformers are made of."""
    trace = found.trace
    types = {operator.type for operator in trace.operators}
    unable = types - ({"conv2d", "linear"} if chip == "escalate" else {"linear", "attention", "rowwise"})
    if unable:
        trace, _ = without(trace, sorted(unable))
    result = simulate(hybrid_quantise(trace) if chip == "escalate" else trace, load_arch(chip))
    return len(result.operators), result.summary["macs"]["dense"] / found.trace.macs


SMALL = {
    "resnet": (
        "ResNetForImageClassification", "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"},
        images(32), "escalate",
    ),
    "mobilenet": (
        "MobileNetV2ForImageClassification", "MobileNetV2Config", {"depth_multiplier": 0.25}, images(32), "escalate",
    ),
    "vit": (
        "ViTForImageClassification", "ViTConfig",
        {"image_size": 32, "patch_size": 8, **{k: v for k, v in TINY_TEXT.items() if k != "vocab_size"}},
        images(32), "dota",
    ),
    "bert": ("BertModel", "BertConfig", TINY_TEXT, words(12), "dota"),
    "gpt2": (
        "GPT2LMHeadModel", "GPT2Config", {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4}, words(12), "dota",
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**TINY_TEXT, "num_key_value_heads": 2}, words(12), "dota"),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_small_ones(name):
    architecture, config, settings, data, chip = SMALL[name]
    model = build(architecture, config, **settings)
    found = run(model, data)
    assert found.captured == 1
    assert found.trace.macs == counted(model, data)
    operators, share = ran(found, chip)
    assert operators
    assert share > (0.7 if name == "vit" else 0.9)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_attention_by_hand_is_the_attention_of_pytorch(name):
    architecture, config, settings, data, _ = SMALL[name]
    traces = []
    for attention in ("sdpa", "eager"):
        found = run(build(architecture, config, **settings, attn_implementation=attention), data)
        traces.append([each for each in found.trace.operators if each.type == "attention"])
    assert len(traces[0]) == len(traces[1]) == 2
    for ours, theirs in zip(*traces, strict=True):
        assert (ours.name, ours.causal, ours.macs) == (theirs.name, theirs.causal, theirs.macs)
        assert ours.key.shape == theirs.key.shape
        for role in ("query", "key", "value") if ours is traces[0][0] else ():
            assert ours.tensors[role].digest == theirs.tensors[role].digest


def test_a_padded_sequence():
    model = build("BertModel", "BertConfig", **TINY_TEXT)
    mask = torch.ones(1, 12, dtype=torch.long)
    mask[:, 9:] = 0
    found = run(lambda ids, mask: model(ids, attention_mask=mask).last_hidden_state, words(12), mask)
    attention = next(each for each in found.trace.operators if each.type == "attention")
    assert attention.kept_mask(0, 0).sum(1).tolist() == [9] * 12


def test_decoding_with_a_cache():
    model = build("LlamaForCausalLM", "LlamaConfig", **{**TINY_TEXT, "num_key_value_heads": 2})
    with torch.no_grad():
        cache = model(words(12), use_cache=True).past_key_values
    found = run(lambda word: model(word, past_key_values=cache, use_cache=True).logits, words(1))
    attentions = [each for each in found.trace.operators if each.type == "attention"]
    assert [(each.query.shape, each.key.shape) for each in attentions] == [((1, 4, 1, 8), (1, 2, 13, 8))] * 2
    assert not any(each.mask or each.causal for each in attentions)


def test_experts_are_layers_of_their_own():
    model = build("MixtralForCausalLM", "MixtralConfig", **TINY_TEXT, num_key_value_heads=2, num_local_experts=4)
    found = run(model, words(12))
    assert found.captured == 1
    assert all(each.macs is not None for each in found.not_captured)
    experts = [each for each in found.trace.operators if ".experts." in each.name and each.type == "linear"]
    assert sum(each.input.shape[0] for each in experts) == 2 * 2 * 2 * 12  # layers, products, experts of a word, words
    assert sum(each.macs for each in experts) == 2 * 2 * 12 * 3 * 32 * 64


LARGE = {
    "ResNet-50": ("ResNetForImageClassification", "ResNetConfig", {}, images(224), "escalate", 4.09e9),
    "MobileNetV2": ("MobileNetV2ForImageClassification", "MobileNetV2Config", {}, images(224), "escalate", 0.300e9),
    "ViT-B/16": ("ViTForImageClassification", "ViTConfig", {}, images(224), "dota", 17.56e9),
    "BERT-base": ("BertModel", "BertConfig", {}, words(128), "dota", 11.17e9),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {}, words(128), "dota", 16.11e9),
    "Llama, small": (
        "LlamaForCausalLM", "LlamaConfig",
        {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
         "num_key_value_heads": 2, "vocab_size": 8000}, words(128), "dota", 3.49e9,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_ones(name):
    architecture, config, settings, data, chip, macs = LARGE[name]
    model = build(architecture, config, **settings)
    found = run(model, data)
    assert found.captured == 1
    assert found.trace.macs == pytest.approx(macs, rel=0.01)
    assert ran(found, chip)[1] > 0.99
