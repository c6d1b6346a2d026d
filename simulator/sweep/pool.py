"""Processes of this machine that run chunks; they end with their parent, however it ends."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from typing import Any


class Pool(Executor):
    """A pool that can be made anew when one of its processes was killed."""

    def __init__(self, count: int):
        self.count = count
        self._others = active_children()
        """Processes that are none of its own."""
        self._made = self._make()

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.count, get_context("spawn"), initializer=_begin)

    def renew(self) -> None:
        """Leave what was given out, and begin with new processes."""
        self._made.shutdown(cancel_futures=True)
        self._made = self._make()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Give out a call."""
        return self._made.submit(function, *arguments, **named)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End all processes; where somebody interrupts, in the middle of what they do."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for process in active_children():
                if process not in self._others:
                    process.kill()
        self.shutdown()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End all processes."""
        self._made.shutdown(wait, cancel_futures=cancel_futures)


def _begin() -> None:
    """Let signals reach the parent alone, which ends its workers in order; end when it is killed; then make ready.

    A worker has one core: NumPy's library for matrices takes one thread, for with more they hinder each other.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = sys.stderr  # stdout is the parent's, for what scripts read
    atexit.register(os._exit, 0)  # at once: taking an interpreter apart that leaves nothing behind takes half a second

    from numba.core.registry import cpu_target  # and NumPy, whose library is then there to be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    cpu_target.target_context.refresh()  # what Numba reads before its first kernel, which is no part of a point's time


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
