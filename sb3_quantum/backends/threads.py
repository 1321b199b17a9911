"""Compiled kernels on several threads, and the size of this machine's memory."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def memory_bytes() -> int:
    """
    Return the physical memory of this machine in bytes (16 GiB if the system does not say).
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


@lru_cache(maxsize=4)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Return a persistent pool of threads; ``process`` because a forked child must not wait for its parent's."""
    return ThreadPoolExecutor(threads)


def in_shares(task: Callable[[slice], Any], rows: int, threads: int) -> list[Any]:
    """
    Cut rows into shares, and process them in parallel.

    :param task: processes a share of the rows; a compiled kernel releases the interpreter's lock
    :param rows: number of rows
    :param threads: number of shares
    :return: the task's results, share by share
    """
    if threads <= 1:
        return [task(slice(0, rows))]
    own, *others = [slice(rows * i // threads, rows * (i + 1) // threads) for i in range(threads)]
    handed = [_workers(os.getpid(), threads - 1).submit(task, share) for share in others]
    return [task(own), *(other.result() for other in handed)]
