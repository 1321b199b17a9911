"""What renderers and encoders print, kept back as long as they work."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """
    Keep back what is written to standard output and standard error, by drivers too, which do not ask Python. If an error ends
    the block, all of it is shown.
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
    """Python's streams, which may be a notebook's or a test's, and the process's own."""
    saved = {}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A process without a terminal may have closed its own
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
