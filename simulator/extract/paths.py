"""Where in a model an operation happens, and what its operator is called."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["Paths"]

torch: Any = import_module("torch")


class Paths:
    """The path of the module that runs: `layer1.0.conv1`."""

    def __init__(self, model: Any) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._stack: list[tuple[str, bool]] = []
        self.failed = ""
        """Path of the innermost module that raised an exception."""
        self.elsewhere = ""
        """Path of a module that ran in another thread, where nothing is watched."""
        self._thread = threading.get_ident()

    @property
    def module(self) -> str:
        """Path of the innermost module that runs, empty for the model itself."""
        return self._stack[-1][0] if self._stack else ""

    def name(self, op: str) -> str:
        """Return how an operation is called: by the module where this is PyTorch's own and whole, else with op."""
        path, whole = self._stack[-1] if self._stack else ("", False)
        return path if whole and path else f"{path}.{op}" if path else op

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the modules as they run."""
        hooks = torch.nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: Any, inputs: Any) -> None:
        path = self._names.get(module)
        if threading.get_ident() != self._thread:
            self.elsewhere = self.elsewhere or path or ""
            return
        if path is None:  # made while the model runs
            path = f"{self.module}.{type(module).__name__}" if self.module else type(module).__name__
        own = type(module).__module__.startswith("torch.nn.modules.")
        self._stack.append((path, own and not any(True for _ in module.children())))

    def _leave(self, module: Any, inputs: Any, outputs: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        path, _ = self._stack.pop()
        if sys.exc_info()[0] is not None and not self.failed:
            self.failed = path
