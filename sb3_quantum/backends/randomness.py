"""Random number generators that no two processes share."""

import multiprocessing
import os
from typing import Any

import numpy as np

#: place of this process among its siblings: the number of its fork, of its parent's fork, and so on
_lineage: tuple[int, ...] = ()
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


def _begin_life() -> None:
    global _forks, _lineage
    _lineage, _forks = (*_lineage, _forks), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork, after_in_child=_begin_life)


class Stream:
    """
    A numpy generator whose copy in another process (forked, spawned, or a worker of torch's ``DataLoader``) continues as a
    different generator. Otherwise siblings would repeat each other's bits.

    The new generator follows from the state and from the place of the process among its siblings: the worker's seed in a
    ``DataLoader``, which comes from torch's generator, and elsewhere the number of processes started so far. The process in
    which it was made is not affected, and neither is a state that is loaded from a file.

    :param seed: the seed; fresh entropy if ``None``
    """

    def __init__(self, seed: int | None = None):
        self.seed(seed)

    def seed(self, seed: int | None) -> None:
        """
        Restart the generator.

        :param seed: the seed; fresh entropy if ``None``
        """
        self.replace(np.random.default_rng(seed))

    def replace(self, generator: np.random.Generator) -> None:
        """
        Use another generator from now on.

        :param generator: the generator
        """
        self._generator = generator
        self._home: Any = _lineage

    @property
    def generator(self) -> np.random.Generator:
        """The generator of this process."""
        if self._home is not _lineage:
            words = self._generator.integers(2**63, size=4).tolist()
            self._generator, self._home = np.random.default_rng([*words, *_place()]), _lineage
        return self._generator

    def get_state(self) -> dict[str, Any]:
        """
        Return the generator's state.

        :return: a dictionary that JSON can hold
        """
        return self.generator.bit_generator.state  # type: ignore[return-value]

    def set_state(self, state: dict[str, Any]) -> None:
        """
        Restore the generator's state.

        :param state: return value of :meth:`get_state`
        """
        self.seed(None)
        self._generator.bit_generator.state = state

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.get_state(), "process": os.getpid()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.set_state(state["state"])
        # Unpickled in a process that multiprocessing started: there may be other copies
        if state["process"] != os.getpid() and multiprocessing.current_process().name != "MainProcess":
            self._home = None


def _place() -> list[int]:
    """Identify this process among its siblings by numbers that are the same in every run of a program."""
    from torch.utils.data import get_worker_info

    worker = get_worker_info()
    if worker is not None:
        return [worker.seed % 2**63]
    return [*_lineage, *getattr(multiprocessing.current_process(), "_identity", ())] or [os.getpid()]
