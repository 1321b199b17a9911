"""Compilation of inner loops with numba."""

from collections.abc import Callable
from typing import Any

from numba import njit

import sb3_quantum.circuits.waiting  # noqa: F401  says so when something is compiled

#: error_model="numpy" lets LLVM vectorize: no exceptions for divisions by zero
OPTIONS: dict[str, Any] = dict(fastmath=True, nogil=True, error_model="numpy")


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """
    Compile on first use, and keep the machine code on disk if numba finds a writable folder.

    :param function: loops over numpy arrays
    :param options: numba's, in place of :data:`OPTIONS`
    :return: the compiled function
    """
    try:
        return njit(cache=True, **{**OPTIONS, **options})(function)
    except RuntimeError:  # "cannot cache function": neither the package's nor the user's cache folder is writable
        return njit(**{**OPTIONS, **options})(function)


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Compile as :func:`jit` does, but with correct comparisons with NaN and infinity; by default the compiler may assume that
    there are none.

    :param function: loops over numpy arrays
    :return: the compiled function
    """
    # Explicit, because a function without options inherits its caller's in numba
    return jit(function, fastmath=False)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Compile inline into each function that calls it. A call with arrays costs about 20 ns, more than many short loops.

    :param function: a short loop; its callers must be in the same file, the only one that numba's cache checks
    :return: a function that compiled functions can call
    """
    return njit(inline="always", **OPTIONS)(function)
