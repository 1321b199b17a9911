"""Messages about long waits: the reason, and the expected time."""

import logging
from typing import Any

from numba.core import event

LOGGER = logging.getLogger("sb3_quantum")
#: seconds without a message
PATIENCE = 5.0

_told: set[str] = set()


def announce(kind: str, message: str) -> None:
    """
    Announce once per process what a call will wait for. The logger ``sb3_quantum`` emits it as a warning, so it is visible by
    default and can be switched off.

    :param kind: kind of wait, announced once each
    :param message: a sentence
    """
    if kind not in _told:
        _told.add(kind)
        LOGGER.warning(message)


def duration(seconds: float) -> str:
    """
    Format a duration.

    :param seconds: rough duration in seconds
    :return: the duration in a suitable unit
    """
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


class Compiling(event.Listener):
    """Announce the first compilation of one of our loops; code from numba's cache is not announced."""

    def on_start(self, event: Any) -> None:
        """
        Announce the compilation if the function is ours.

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
        Do nothing.

        :param event: numba's
        """


event.register("numba:compile", Compiling())
