"""The notebooks run from their beginning, and what they keep is what they give.

After a change that moves a number: ``python -m tests.refresh_notebooks``.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.refresh_notebooks import FOLDER, ROOT, executed, plain, written

NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LONGEST = 60
"""Seconds of one core."""
LARGEST = 500_000
"""Bytes."""
notebooks = pytest.mark.parametrize("name", NAMES)


def kept(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell: Any) -> list[tuple[str, str]]:
    """What a cell says in words and numbers; of an image, that there is one.

    A table is compared as text: its HTML says the same, in a way that is of pandas' version.
    """
    found: list[tuple[str, str]] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if found and found[-1][0] == output.name:
                found[-1] = (output.name, found[-1][1] + output.text)
            else:
                found.append((output.name, output.text))
        else:
            said = {kind: "" if kind.startswith("image/") else text for kind, text in output.data.items()}
            said.pop("text/html", None)
            found += sorted(said.items())
    return found


def test_there_are_notebooks() -> None:
    assert set(NAMES) == {"first_run", "comparison", "design_space", "own_accelerator"}


def timed(name: str, folder: Path) -> tuple[Any, float]:
    """Execute a notebook; return it and the processor time of its kernel and of what that starts."""
    folder.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = executed(FOLDER / f"{name}.ipynb", folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return made, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@notebooks
def test_a_notebook_gives_what_it_keeps(name: str, tmp_path: Path) -> None:
    made, spent = timed(name, tmp_path / "first")
    if spent > LONGEST:  # kernels were compiled
        made, spent = timed(name, tmp_path / "second")
    assert spent < LONGEST
    for place, (new, old) in enumerate(zip(code(made), code(kept(name)), strict=True)):
        assert texts(new) == texts(old), f"cell {place}: python -m tests.refresh_notebooks {name}\n{new.source}"


@notebooks
def test_what_is_kept_was_executed_in_order_and_without_complaint(name: str) -> None:
    notebook = kept(name)
    nbformat.validate(notebook)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.get("name", "") for cell in cells for output in cell.outputs} <= {"", "stdout"}
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


@notebooks
def test_a_notebook_is_small_and_holds_nothing_of_the_machine_it_ran_on(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text("utf-8")
    assert len(text.encode()) < LARGEST
    assert text == written(plain(kept(name)))
    words = "".join(said for cell in code(kept(name)) for _, said in texts(cell))
    assert not re.search(r"(?<![\w.<])/\w+/\w+|[A-Z]:\\|0x[0-9a-f]{6,}", words)
    assert str(ROOT) not in text


@notebooks
def test_a_notebook_opens_with_what_the_reader_will_learn(name: str) -> None:
    first = kept(name).cells[0]
    assert first.cell_type == "markdown"
    title, _, sentence = first.source.partition("\n\n")
    assert title.startswith("# ")
    assert sentence.startswith("You will learn ")


def test_the_links_of_notebooks_lead_somewhere() -> None:
    for name in NAMES:
        for target in re.findall(r"\]\(([^)#]+)", "\n".join(cell.source for cell in kept(name).cells)):
            if not target.startswith("http"):
                assert (FOLDER / target).exists(), target
