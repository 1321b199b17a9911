"""Compiling the inner loops, with numba."""

from collections.abc import Callable
from typing import Any

from numba import njit

import sb3_quantum.circuits.waiting  # noqa: F401  says so when something is compiled

#: numpy's error model has no exceptions for divisions by zero, which nothing could vectorize
OPTIONS: dict[str, Any] = dict(fastmath=True, nogil=True, error_model="numpy")


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """
    Compile on first use, and keep the machine code on disk where numba finds a folder it may write to.

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
    Compile as :func:`jit` does, but so that comparisons with NaN and infinity are what they are: otherwise the compiler has
    leave to assume that there are none.

    :param function: loops over numpy arrays
    :return: the compiled function
    """
    # Said, because numba hands its caller's options down to a function that says nothing
    return jit(function, fastmath=False)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Compile as a part of each function that calls it. A call with arrays costs some 20 ns, more than many a short loop.

    :param function: a short loop; its callers are in the same file, at which numba's cache looks
    :return: what compiled functions can call
    """
    return njit(inline="always", **OPTIONS)(function)
