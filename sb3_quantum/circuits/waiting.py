"""Waiting that is not silent: what it is for, and for about how long."""

import logging
from typing import Any

from numba.core import event

LOGGER = logging.getLogger("sb3_quantum")
#: seconds that nobody has to be told of
PATIENCE = 5.0

_told: set[str] = set()


def announce(kind: str, message: str) -> None:
    """
    Say once in a process what a call will wait for. It goes through the logger ``sb3_quantum``, as a warning, so that it is
    seen without any settings and can be switched off.

    :param kind: of waiting
    :param message: a sentence
    """
    if kind not in _told:
        _told.add(kind)
        LOGGER.warning(message)


def duration(seconds: float) -> str:
    """
    :param seconds: how long something takes, roughly
    :return: the same, in the unit that one would say
    """
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


class Compiling(event.Listener):
    """Says so when the first of our loops is compiled. What numba finds in its cache is not."""

    def on_start(self, event: Any) -> None:
        """
        :param event: numba's, when it begins to compile a function
        """
        if event.data["dispatcher"].py_func.__module__.startswith("sb3_quantum."):
            announce(
                "compile",
                "sb3-quantum compiles its simulator for this processor, about 10 s of one core; numba keeps the machine code "
                "(in NUMBA_CACHE_DIR, if that is set), and later processes load it in half a second",
            )

    def on_end(self, event: Any) -> None:
        """
        :param event: numba's
        """


event.register("numba:compile", Compiling())
