"""How a kernel is compiled: once, to machine code, kept on disk beside the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import extending

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` with Numba at its first call and keep the machine code for later processes."""
    return cast(F, numba.njit(cache=True)(function))


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that kernels call out of one that emits LLVM instructions (its first argument is Numba's)."""
    return cast(Callable[..., Any], extending.intrinsic(function))
