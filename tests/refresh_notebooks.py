"""Execute the notebooks and keep their outputs: ``python -m tests.refresh_notebooks [NAME...]``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
TIMEOUT = 600
"""Seconds after which a cell hangs; the first to run may compile kernels on a busy machine."""


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook executed from its beginning in a fresh kernel, in an empty ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell ends with an error, or takes too long.

    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with _this_checkout():
        client.execute()
    return plain(notebook)


@contextmanager
def _this_checkout() -> Iterator[None]:
    """Let kernels, and the processes that they start, import this checkout from whatever folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def plain(notebook: Any) -> Any:
    """Return a notebook without what differs from run to run or from machine to machine."""
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = nbformat.NotebookNode()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
        }
    )
    return notebook


def written(notebook: Any) -> str:
    """Return a notebook as its file holds it."""
    return nbformat.writes(notebook) + "\n"


def main(names: list[str]) -> None:
    """Refresh the notebooks of these names, or all."""
    for path in [FOLDER / f"{name.removesuffix('.ipynb')}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        path.write_text(written(notebook), "utf-8")
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
