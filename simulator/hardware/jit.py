"""How a kernel is compiled: once, to machine code, kept on disk beside the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` with Numba at its first call and keep the machine code for later processes."""
    return cast(F, numba.njit(cache=True)(function))
