"""How a kernel is compiled: once, to machine code, kept on disk beside the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import extending
from numba.core import cgutils as _cgutils

cgutils: Any = _cgutils
F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile ``function`` with Numba at its first call and keep the machine code for later processes."""
    return cast(F, numba.njit(cache=True)(function))


def inlined_kernel(function: F) -> F:
    """Compile a part of a kernel, which is copied into each of its callers: many arrays are dear to hand over."""
    return cast(F, numba.njit(cache=True, forceinline=True)(function))


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that kernels call out of one that emits LLVM instructions (its first argument is Numba's)."""
    return cast(Callable[..., Any], extending.intrinsic(function))


@intrinsic
def borrow(typingctx: Any, array: Any) -> Any:
    """Return the array without its count of references, for use while the caller holds it.

    Counting is an atomic instruction at each use as an argument: in a kernel of many small steps, most of the time.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), codegen
