"""The committed page ``docs/reproduction.md`` is what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.reproduce import list_experiments, read_experiment, reproduce
from simulator.reproduce.text import page
from tests.real import DATA, needs_data

PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"
COMMAND = "make it again: skipper reproduce all --data FOLDER --page docs/reproduction.md"


def section(text: str, name: str) -> str:
    """Return an experiment's section of a page."""
    _, _, rest = text.partition(f"\n## {name}: ")
    return rest.partition("\n## ")[0].strip()


def test_a_quick_section_is_current() -> None:
    for name in ("eyeriss", "gpu_gpt3"):
        found = page([reproduce(read_experiment(name))])
        assert section(found, name) == section(PAGE.read_text("utf-8"), name), COMMAND


def test_the_page_has_every_experiment() -> None:
    text = PAGE.read_text("utf-8")
    assert [line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("## ")] == list(
        list_experiments()
    )
    assert "Left out:" not in text


@needs_data
@pytest.mark.slow
def test_the_page_is_current() -> None:
    found = [reproduce(read_experiment(name), DATA) for name in list_experiments()]
    assert page(found) == PAGE.read_text("utf-8"), COMMAND
