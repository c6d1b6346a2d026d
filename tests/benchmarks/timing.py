"""Times of the fastest of several runs."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(function: Callable[[], object], runs: int = 5) -> float:
    """Return the shortest of several runs, in seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
