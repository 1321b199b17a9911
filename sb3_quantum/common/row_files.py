"""The files of one replay buffer's rows, and the pickle's reference to them."""

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sb3_quantum.common.storage import SavedRows, StorageError, append_rows, give_back, map_rows


class RowFiles:
    """
    Files of one buffer's rows, and its last two saves.

    :param folder: folder of the streams
    :param saved: the last save, if there is one
    """

    #: base of relative paths in the pickle that is being loaded
    _beside: ClassVar[ContextVar[Path | None]] = ContextVar("_beside", default=None)

    def __init__(self, folder: Path, saved: SavedRows | None = None):
        self.folder = folder
        self.saved = saved
        self.previous: SavedRows | None = None
        #: numbers of rows that changed after they were saved
        self.changed: list[int] = []
        self._last_row = 0
        self._referring_from: Path | None = None

    @property
    def referring(self) -> bool:
        """Whether a pickle that is written now refers to the files instead of containing the rows."""
        return self._referring_from is not None

    @contextmanager
    def referring_from(self, folder: Path) -> Iterator[None]:
        """
        Let pickles written inside this context refer to the files, by paths relative to a folder.

        :param folder: folder of the pickle
        """
        self._referring_from = folder
        try:
            yield
        finally:
            self._referring_from = None

    def reference(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """
        Make the pickle's reference to the files.

        :param arrays: the ring's arrays, ``(size, ...)``
        :return: the files' folder, the save, and rows that differ from the files
        """
        assert self._referring_from is not None and self.saved is not None
        relative = os.path.relpath(self.folder.resolve(), self._referring_from.resolve())
        changed = {row: {n: array[row % len(array)].copy() for n, array in arrays.items()} for row in self.changed}
        return {"folder": Path(relative).as_posix(), "saved": self.saved, "changed": changed}

    @classmethod
    @contextmanager
    def beside(cls, folder: Path) -> Iterator[None]:
        """
        Let pickles loaded inside this context find their files from a folder.

        :param folder: folder of the pickle
        """
        token = cls._beside.set(folder)
        try:
            yield
        finally:
            cls._beside.reset(token)

    @classmethod
    def referred_to(cls, reference: dict[str, Any]) -> "RowFiles":
        """
        Find the files of a reference.

        :param reference: see :meth:`reference`
        :return: the files
        :raises StorageError: if the pickle's folder is unknown
        """
        beside = cls._beside.get()
        if beside is None:
            raise StorageError(
                f"the rows of this replay buffer are in {reference['folder']!r} beside the pickle; "
                f"load it by the file's path with QuantumTD3.load_replay_buffer"
            )
        return cls((beside / reference["folder"]).resolve(), reference["saved"])

    def append(self, arrays: Mapping[str, np.ndarray], count: int) -> None:
        """
        Write the rows that the last save does not have, see :func:`append_rows`. The last row of a save may have changed
        since, because SB3 changes it when a training restarts within an episode; this is recorded.

        :param arrays: the ring's arrays, ``(size, ...)``
        :param count: number of rows added so far
        """
        saved = append_rows(self.folder, arrays, count, self.saved)
        before = self.saved
        if before is not None and before.count > saved.first and self._checksum(arrays, before.count - 1) != self._last_row:
            self.changed.append(before.count - 1)
        self.changed = sorted({row for row in self.changed if row >= saved.first})
        self.previous, self.saved = before, saved
        self._last_row = self._checksum(arrays, count - 1)

    def map(self, arrays: Mapping[str, np.ndarray], changed: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """
        Map the files of the last save, see :func:`map_rows`.

        :param arrays: arrays of any length with the rows' shapes and types
        :param changed: rows that differ from the files, by number
        :return: the ring's arrays
        """
        assert self.saved is not None
        mapped = map_rows(self.folder, self.saved, arrays)
        for number, row in changed.items():
            for name, values in row.items():
                mapped[name][number % self.saved.size] = values
        self.changed = list(changed)
        self._last_row = self._checksum(mapped, self.saved.count - 1)
        return mapped

    @staticmethod
    def _checksum(arrays: Mapping[str, np.ndarray], number: int) -> int:
        checksum = 0
        for array in arrays.values():
            checksum = zlib.crc32(array[number % len(array)].tobytes(), checksum)
        return checksum

    def give_back(self) -> None:
        """Free the disk space that neither of the last two saves refers to, see :func:`give_back`."""
        assert self.saved is not None
        give_back(self.folder, self.saved, self.previous)
