"""Compiled kernels on several threads, and how much memory there is."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def memory_bytes() -> int:
    """
    :return: physical memory of this machine in bytes (16 GiB where the system does not say)
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


@lru_cache(maxsize=4)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that last; ``process`` because a forked child must not wait for those of its parent."""
    return ThreadPoolExecutor(threads)


def in_shares(task: Callable[[slice], Any], rows: int, threads: int) -> list[Any]:
    """
    Cut rows into shares, and work on them at the same time.

    :param task: what to do with a share of the rows; a compiled kernel releases the interpreter's lock
    :param rows: how many there are
    :param threads: how many shares to make
    :return: what the task returned, share by share
    """
    if threads <= 1:
        return [task(slice(0, rows))]
    own, *others = [slice(rows * i // threads, rows * (i + 1) // threads) for i in range(threads)]
    handed = [_workers(os.getpid(), threads - 1).submit(task, share) for share in others]
    return [task(own), *(other.result() for other in handed)]
