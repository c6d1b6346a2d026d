"""The project's own rules: ruff's lint and format, mypy strict on the package, nothing newer than the oldest Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


MYPY = pytest.param(
    ("-m", "mypy"),
    id="types",
    marks=pytest.mark.skipif(
        sys.version_info < (3, 11), reason="the types of NumPy and pandas that are checked are those for Python >= 3.11"
    ),
)
OLDEST_PYTHON = ("-c", "import vermin; vermin.main()", "simulator", "workloads", "tests")


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(("-m", "ruff", "check"), id="lint"),
        pytest.param(("-m", "ruff", "format", "--check"), id="format"),
        MYPY,
        pytest.param(OLDEST_PYTHON, id="oldest_python"),
    ],
)
def test_style(tool: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, *tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
