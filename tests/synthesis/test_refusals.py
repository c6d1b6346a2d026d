"""Profiles that cannot be used are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.errors import InputError
from simulator.library import load_trace
from simulator.synthesis import BlockProfile, GroupProfile, Profile, draw_blocks, draw_groups, replay

GOOD = "skipper: 1\nprofile: mine\ntensors:\n  conv1.input: {kind: activations, channels: [0.2, 0.8]}\n"
WEIGHT = "{kind: blocks, density: 0.5, filters: 4}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("skipper: 1", "skipper: 2", "key 'skipper' is 2; expected 1"),
        ("tensors:", "tensor:", "expected a profile, with the keys"),
        (GOOD, "- 1", "expected a profile, with the keys"),
        (GOOD, "a: [", "not valid YAML"),
        ("kind: activations", "kind: activation", "unknown kind 'activation' (did you mean 'activations'?)"),
        ("kind: activations, ", "", "'conv1.input' must be a mapping with the key 'kind'"),
        ("channels", "chanels", "unknown key 'chanels' (did you mean 'channels'?)"),
        ("channels: [0.2, 0.8]", "channels: []", "'conv1.input': key 'channels'"),
        ("[0.2, 0.8]", "[0.2, 1.8]", "'conv1.input': key 'channels"),
        ("[0.2, 0.8]", "[0.2, .nan]", "'conv1.input': key 'channels"),
        ("[0.2, 0.8]", "[0.2, 0.8], own: {reach: 1}", "'conv1.input': key 'own.reach'"),
        ("[0.2, 0.8]", "[0.2], own: {local: 0.7, image: 0.6}", "add up to 1.3, expected at most 1"),
        ("skipper: 1", "skipper: true", "key 'skipper' is True; expected 1"),
        ("tensors:", "tensor: 1\ntensors:", "unknown key 'tensor' (did you mean 'tensors'?)"),
        ("kind: activations", "kind: [activations]", "unknown kind ['activations']"),
        (
            "activations, channels: [0.2, 0.8]",
            "graph, per_row: 3, exponent: 1",
            "exponent is 1, expected 0 or a number above 2",
        ),
        ("conv1.input", "conv0.input", "no tensor of the trace is profiled: 'conv0.input' (did you mean"),
        ("{kind: activations, channels: [0.2, 0.8]}", WEIGHT, "a profile of another kind of tensor than input"),
        (
            "conv1.input: {kind: activations, channels: [0.2, 0.8]}",
            "conv1.weight: {kind: n_of_m, keep: 3, of: 2}",
            "keep is 3",
        ),
    ],
)
def test_files(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in GOOD
    path = tmp_path / "profile.yaml"
    path.write_text(GOOD.replace(old, new), "utf-8")
    done = CliRunner().invoke(main, ["inspect", "resnet20_cifar10", "--set", f"profile={path}"])
    assert done.exit_code == 2
    assert words in done.stderr
    assert str(path) in done.stderr
    assert done.stderr.count("\n") == 1


def test_commands(tmp_path: Path, small_trace: Path) -> None:
    path = tmp_path / "profile.yaml"
    done = CliRunner().invoke(main, ["profile", str(small_trace), "-o", str(path)])
    assert done.exit_code == 0, done.stderr
    assert "decomposed.coefficients" in path.read_text("utf-8")
    again = CliRunner().invoke(main, ["profile", str(small_trace), "-o", str(path)])
    assert (again.exit_code, again.stderr) == (2, f"skipper: {path}: the file exists already; --force replaces it\n")
    absent = CliRunner().invoke(main, ["inspect", "resnet20_cifar10", "--set", "profile=absent.yaml"])
    assert "absent.yaml: cannot read the profile: No such file" in absent.stderr


def test_kinds_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="keep is 3, expected at most the 2"):
        draw_groups(GroupProfile(keep=3, of=2), (4, 4), 0)
    trace = load_trace("gcn_cora")
    with pytest.raises(InputError, match=r"another kind than 'last\.aggregate'"):
        replay(trace, Profile("mine", {"last.aggregate.matrix": GroupProfile(keep=1, of=2)}))


def test_blocks_and_groups_beyond_the_weight_are_all_of_it() -> None:
    """Sizes far beyond any weight cost no memory."""
    far = 10**12
    blocks = draw_blocks(BlockProfile(density=1, filters=far, channels=far), (4, 8, 3), 0)
    assert blocks.all()
    groups = draw_groups(GroupProfile(keep=3, of=far), (4, 8, 3), 0)
    assert (groups.sum(axis=1) == 3).all()


def test_tensors_too_large_to_draw() -> None:
    trace = load_trace("llama3_8b", {"depth": 1})
    with pytest.raises(InputError, match="525336576 elements, more than the 2\\^28"):
        replay(trace, Profile("mine", {"logits.weight": GroupProfile(keep=2, of=4)}))


def test_the_example_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
    names: dict[str, object] = {}
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/profiles.md", "exec"), names)
    assert isinstance(names["profile"], Profile)
