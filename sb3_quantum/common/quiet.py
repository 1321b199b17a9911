"""Suppression of what renderers and encoders print, unless they fail."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """
    Suppress standard output and standard error, also of drivers, which bypass Python. If an error ends the block, everything
    is shown.
    """
    with tempfile.TemporaryFile() as kept:
        try:
            with _redirected(kept.fileno()):
                yield
        except BaseException:
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[None]:
    """Redirect Python's streams, which may be a notebook's or a test's, and the process's own."""
    saved = {}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A process without a terminal may have closed its streams
    with contextlib.suppress(OSError):
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with open(os.dup(target), "w", encoding="utf-8", errors="replace") as text:
        try:
            for descriptor in saved:
                os.dup2(target, descriptor)
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                yield
        finally:
            text.flush()
            for descriptor, original in saved.items():
                os.dup2(original, descriptor)
                os.close(original)
