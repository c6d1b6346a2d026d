"""The folder of what the RTL tests build."""

from __future__ import annotations

import os

import pytest

from tests.rtl.bench import Builds


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Under pytest-xdist the processes have folders of their own, side by side in the one that they share."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "rtl_builds"
    root.mkdir(exist_ok=True)
    return Builds(root)
