"""Python functions over arrays, compiled: at the first call on a machine, from then on out of a cache on disk."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], *, nogil: bool = True) -> Any:
    """The function as machine code, which by default releases the GIL."""
    try:
        return njit(cache=True, nogil=nogil)(function)
    except RuntimeError:  # numba finds no folder it may write to: then each process compiles for itself
        return njit(nogil=nogil)(function)
