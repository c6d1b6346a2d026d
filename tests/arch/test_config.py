"""Configurations: what is written is what is read, and every parameter says where it comes from."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from simulator.accelerators import accelerator, load_arch
from simulator.arch import Arch, list_configs, parse_config, read_config, validate
from simulator.arch.shipped import read_shipped
from simulator.errors import InputError


def again(arch: Arch, name: str = "again") -> Arch:
    """Write a configuration and read it back."""
    config = parse_config(arch.config.dump(), name, f"{name}.yaml")
    return validate(config, type(arch.chip))


def leaves(chip: BaseModel, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name in type(chip).model_fields:
        value = getattr(chip, name)
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}"}
    return found


@pytest.mark.parametrize("name", list_configs())
class TestShipped:
    def test_every_parameter_says_where_it_comes_from(self, name: str) -> None:
        arch = load_arch(name)
        assert set(arch.config.provenance) == leaves(arch.chip)
        for key, given_ in arch.config.provenance.items():
            assert given_.source in ("paper", "derived", "assumed"), key
            assert len(given_.why) > 10, key
            assert given_.why.endswith("."), key

    def test_round_trip_keeps_digest_and_provenance(self, name: str) -> None:
        arch = load_arch(name)
        back = again(arch)
        assert back.digest == arch.digest
        assert back.chip == arch.chip
        assert back.name == arch.name
        assert back.config.provenance == arch.config.provenance
        assert (back.config.accelerator, back.config.description) == (arch.config.accelerator, arch.config.description)
        assert back.config.dump() == arch.config.dump()

    def test_every_field_is_documented(self, name: str) -> None:
        def undocumented(model: type[BaseModel]) -> list[str]:
            sections = [f.annotation for f in model.model_fields.values()]
            nested = [s for s in sections if isinstance(s, type) and issubclass(s, BaseModel)]
            own = [
                f"{model.__name__}.{key}"
                for key, field in model.model_fields.items()
                if not field.description and field.annotation not in nested
            ]
            return own + [key for section in nested for key in undocumented(section)]

        assert undocumented(accelerator(load_arch(name).config.accelerator).Chip) == []


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "array.blocks": st.integers(1, 4096).map(str),
        "array.slices_own": st.sampled_from(["bases", "rows"]),
        "clock": st.integers(1, 5000).map(lambda n: f"{n} MHz"),
        "activation_buffer.size": st.integers(1, 4096).map(lambda n: f"{n} KiB"),
        "dram.energy_pj_per_bit": st.floats(0, 100).map(repr),
        "dram.latency": st.integers(0, 10**6).map(lambda n: f"{n} ps"),
        "channel_accumulation.offsets": st.lists(st.tuples(st.integers(1, 2), st.integers(-9, 9)), max_size=4).map(
            lambda pairs: str([list(pair) for pair in pairs])
        ),
    },
)


@settings(max_examples=25)
@given(SETTINGS)
def test_round_trip_with_parameters_set(chosen: dict[str, str]) -> None:
    arch = load_arch("escalate", chosen)
    back = again(arch)
    assert back.digest == arch.digest
    assert back.config.provenance == arch.config.provenance


class TestOverrides:
    def test_a_set_parameter_is_the_users(self) -> None:
        arch = load_arch("escalate", {"array.blocks": "16", "dram.bandwidth": "12.8 GB/s"})
        assert (arch.chip.array.blocks, arch.chip.dram.bandwidth) == (16, 12_800_000_000)
        for key, given_ in arch.config.provenance.items():
            assert (given_.source == "user") == (key in ("array.blocks", "dram.bandwidth"))

    def test_the_shipped_one_is_not_touched(self) -> None:
        config = read_config("escalate")
        before = config.dump()
        config.overridden({"array.blocks": "16"})
        assert config.dump() == before

    def test_spelling_and_provenance_do_not_matter_to_the_digest(self) -> None:
        shipped = load_arch("escalate")
        assert load_arch("escalate", {"activation_buffer.size": "0.25 MiB"}).digest == shipped.digest
        assert load_arch("escalate", {"activation_buffer.size": "128 KiB"}).digest != shipped.digest

    @pytest.mark.parametrize("key", ["array", "array.block", "blocks", "", "array.blocks.value", "array.blocks.more"])
    def test_what_is_no_parameter_is_refused(self, key: str) -> None:
        with pytest.raises(InputError, match=r"escalate\.yaml has no such parameter"):
            load_arch("escalate", {key: "1"})


def test_a_file_by_any_path_has_the_digest_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(read_config("escalate").dump(), "utf-8")
    arch = load_arch(tmp_path / "mine.yml")
    assert arch.digest == load_arch("escalate").digest


def test_a_name_in_the_file_goes_before_the_files_own_and_is_none_of_its_content() -> None:
    text = importlib.resources.files("simulator.arch_configs").joinpath("escalate.yaml").read_text("utf-8")
    chip = type(load_arch("escalate").chip)
    unnamed, named = (validate(parse_config(t, "file", "file.yaml"), chip) for t in (text, f"{text}\nname: mine\n"))
    assert (unnamed.name, named.name) == ("file", "mine")
    assert unnamed.digest == named.digest
    assert again(named).name == "mine"
    assert again(unnamed, "config").name == "file"


def test_what_is_set_in_one_run_is_not_set_in_the_next() -> None:
    """The text of a file is parsed once; each configuration made of it is its own."""
    before = read_config("escalate")
    changed = before.overridden({"dram.bandwidth": "1 GB/s", "array.blocks": "3"})
    after = read_config("escalate")
    assert changed.values["dram"]["bandwidth"] == "1 GB/s" != after.values["dram"]["bandwidth"]
    assert after == parse_config.__wrapped__(*read_shipped("escalate", "", (".yaml",), "architecture"))
    assert after.provenance["array.blocks"].source != "user"
