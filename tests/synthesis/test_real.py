"""What is drawn from a fitted profile runs as the real masks do. Profiles are fitted to masks, never to cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator import load_arch, load_trace, simulate
from simulator.accelerators import accelerator
from simulator.synthesis import Profile, fit_profile, read_profile, replay
from simulator.trace import Attention, Conv2d, DensityTensor, MaskTensor, Operator, SpMM, Trace, ValueTensor
from tests.real import DATA, cifar_images, needs_data, resnet20

FITTED = ("input", "weight", "coefficients")


@pytest.fixture(scope="module")
def real() -> Trace:
    return resnet20(cifar_images(4)[0])[0]


def independent(operator: Operator, roles: tuple[str, ...]) -> Operator:
    """The operator with masks of the same densities and nothing else."""
    changes = {
        role: MaskTensor.of(DensityTensor(tensor.shape, tensor.density, place).mask(), bits=tensor.bits)
        for place, (role, tensor) in enumerate(operator.tensors.items())
        if role in roles
    }
    return replace(operator, **changes)


def through_a_file(profile: Profile, folder: Path) -> Profile:
    path = folder / "profile.yaml"
    path.write_text(profile.dump(), "utf-8")
    read = read_profile(path)
    assert read.tensors == profile.tensors
    return read


@needs_data
def test_resnet20_on_escalate(real: Trace, tmp_path: Path) -> None:
    """Cycles of every layer within 3 % of the real masks', weights and activations drawn."""
    profile = through_a_file(fit_profile(real), tmp_path)
    assert len(profile.dump()) < 20_000
    chip = load_arch("escalate")
    plain = Trace("independent", tuple(independent(o, FITTED) for o in real.operators))
    runs = [simulate(trace, chip).operators for trace in (real, replay(real, profile), plain)]
    print("\nlayer            density   cycles  fitted  independent")
    errors = []
    for layer, (true, drawn, naive) in zip(real.operators, zip(*runs, strict=True), strict=True):
        errors.append(drawn.cycles / true.cycles - 1)
        density = layer.tensors["input"].density
        off = naive.cycles / true.cycles - 1
        print(f"{layer.name:16} {density:7.1%} {true.cycles:8} {errors[-1]:+7.2%} {off:+12.2%}")
    assert max(map(abs, errors)) < 0.03


@needs_data
def test_a_profile_is_replayed_at_another_size(real: Trace, tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(fit_profile(real).dump(), "utf-8")
    settings = {"bases": 6, "image": 48, "batch": 2, "profile": str(path)}
    trace = load_trace("resnet20_cifar10", settings)
    for drawn, original in zip(trace.operators, real.operators, strict=True):
        for role in FITTED:
            if role in drawn.tensors:
                assert drawn.tensors[role].density == pytest.approx(original.tensors[role].density, abs=0.01)
    assert trace.operators[3].tensors["input"].shape == (2, 16, 48, 48)
    assert trace.digest == load_trace("resnet20_cifar10", settings).digest
    assert trace.digest != load_trace("resnet20_cifar10", {**settings, "seed": 1}).digest


def key_loads(operator: Attention, chip: Any) -> int:
    model = accelerator("dota")
    match: Any = model.match(operator, model.geometry(operator, chip), False)
    return int(match.of("loads").sum())


@needs_data
def test_deit_tiny_on_dota() -> None:
    """Key loads of every layer within 5 % of the real masks'."""
    keep = np.load(DATA / "deit_tiny_attention_masks_95.npz")["keep"]
    maps = DensityTensor((1, 3, 197, 64), 1, 0, bits=16)
    real = Trace(
        "deit",
        tuple(Attention(f"layer.{n}", maps, maps, maps, mask=MaskTensor.of(mask[None])) for n, mask in enumerate(keep)),
    )
    profile = fit_profile(real)
    drawn = replay(real, profile)
    rng = np.random.default_rng(0)
    chip = load_arch("dota").chip
    errors = []
    print("\nlayer      loads  fitted  independent")
    for n, (true, twin) in enumerate(zip(real.operators, drawn.operators, strict=True)):
        assert isinstance(true, Attention)
        assert isinstance(twin, Attention)
        naive = rng.random((1, *keep[n].shape)) < keep[n].mean(axis=(1, 2))[:, None, None]
        naive[..., 0] |= ~naive.any(axis=-1)
        loads = [key_loads(o, chip) for o in (true, twin, replace(true, mask=MaskTensor.of(naive)))]
        errors.append(loads[1] / loads[0] - 1)
        print(f"layer {n:2} {loads[0]:8} {errors[-1]:+7.2%} {loads[2] / loads[0] - 1:+12.2%}")
    assert max(map(abs, errors)) < 0.05


def test_causal_attention_on_dota() -> None:
    """Key loads of every layer of the shipped transformer, which is causal, within 5 % of the real connections'."""
    trace = load_trace("char_transformer")
    real = [o for o in trace.operators if isinstance(o, Attention)]
    twins = {o.name: o for o in replay(trace, fit_profile(trace)).operators}
    chip = load_arch("dota").chip
    print("\nlayer                      loads  fitted")
    for one in real:
        twin = twins[one.name]
        assert isinstance(twin, Attention)
        assert twin.mask is not None
        lengths = twin.mask.mask().sum(axis=-1)
        for n, h in np.ndindex(lengths.shape[:2]):
            assert np.abs(lengths[n, h] - one.kept_mask(n, h).sum(axis=-1)).max() <= 1
        loads = key_loads(one, chip), key_loads(twin, chip)
        print(f"{one.name:24} {loads[0]:7} {loads[1] / loads[0] - 1:+7.2%}")
        assert loads[1] == pytest.approx(loads[0], rel=0.05)


@needs_data
def test_squeezenet_on_escalate() -> None:
    """Cycles of every layer with pruned weights within 3 % of the real masks'; activations are drawn, 40 % dense."""
    from safetensors.numpy import load_file

    operators = []
    for name, weight in load_file(DATA / "squeezenet_pruned.safetensors").items():
        if name.endswith(".weight"):
            _, C, R, _ = weight.shape
            mask = MaskTensor.of(weight != 0, bits=1 if R == 1 else 8)
            data = DensityTensor((1, C, 27, 27), 0.4, len(operators))
            operators.append(Conv2d(name.removesuffix(".weight"), data, weight=mask, padding=R // 2))
    real = Trace("squeezenet", tuple(operators))
    fitted = fit_profile(real)
    profile = Profile("fitted", {key: part for key, part in fitted.tensors.items() if key.endswith(".weight")})
    chip = load_arch("escalate")
    plain = Trace("independent", tuple(independent(o, ("weight",)) for o in operators))
    runs = [simulate(trace, chip).operators for trace in (real, replay(real, profile), plain)]
    errors = []
    print("\nlayer             cycles  fitted  independent")
    for true, drawn, naive in zip(*runs, strict=True):
        errors.append(drawn.cycles / true.cycles - 1)
        print(f"{true.name:16} {true.cycles:7} {errors[-1]:+7.2%} {naive.cycles / true.cycles - 1:+12.2%}")
    assert max(map(abs, errors)) < 0.03


@needs_data
def test_cora_is_replayed_as_a_graph_of_any_size() -> None:
    edges = np.load(DATA / "cora.npz")["edges"].astype(np.int64)
    nodes = int(np.load(DATA / "cora.npz")["shape"][0])
    both = np.unique(np.concatenate((edges[:, 0] * nodes + edges[:, 1], edges[:, 1] * nodes + edges[:, 0])))
    starts = np.searchsorted(both, np.arange(nodes + 1) * nodes)
    given = {"indptr": ValueTensor(starts, bits=32), "indices": ValueTensor(both % nodes, bits=32)}
    profile = fit_profile(Trace("cora", (SpMM("aggregate", DensityTensor((nodes, 16), 1, 0), **given),)))
    assert profile.tensors["aggregate.matrix"].model_dump()["per_row"] == pytest.approx(10556 / 2708, abs=1e-3)
    larger = SpMM("aggregate", DensityTensor((10 * nodes, 16), 1, 0), nonzeros=1)
    drawn = replay(Trace("larger", (larger,)), profile).operators[0]
    assert isinstance(drawn, SpMM)
    assert drawn.nonzeros == pytest.approx(105_560, abs=10)
    found = drawn.matrix()
    assert found is not None
    real, twin = np.diff(starts), np.diff(found[0])
    for part in (90, 99):
        assert np.percentile(twin, part) == pytest.approx(np.percentile(real, part), rel=0.35)
