"""
Storage of a replay buffer's rows in append-only files: a save appends new rows, a load maps the files.

The files are in a separate folder. ``<stream>/<lap>/<array>`` contains the rows of one round of the ring: row number ``n``
(counted from 0) of a ring of ``size`` rows is row ``n % size`` of lap ``n // size``. A later save never overwrites a row to
which an earlier one refers, so a crash in between does not damage the earlier save. :class:`SavedRows` describes a save, with
its checksums, and is written after the rows are on the disk.
"""

import ctypes
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common.durable import sync

#: accepted values of a replay buffer's ``storage``
STORAGES = ("ram", "memmap")
_BLOCK = 1 << 22


class StorageError(OSError):
    """A file of a replay buffer or a checkpoint is missing, damaged or cannot be written. The message names it."""


@dataclass(frozen=True)
class Segment:
    """
    Rows that were appended at once.

    :param lap: round of the ring, counted from 0
    :param start: first row in the ring
    :param stop: one after the last
    :param checksums: CRC-32 of the bytes of these rows, for every array
    """

    lap: int
    start: int
    stop: int
    checksums: Mapping[str, int]


@dataclass(frozen=True)
class SavedRows:
    """
    Description of a save.

    :param stream: name of the subfolder with the files
    :param size: rows of the ring
    :param count: number of rows added so far, of which the newest ``size`` are kept
    :param segments: the appended pieces, oldest first
    """

    stream: str
    size: int
    count: int
    segments: tuple[Segment, ...]

    @property
    def first(self) -> int:
        """Number of the oldest row that is kept."""
        return max(0, self.count - self.size)


def append_rows(folder: Path, arrays: Mapping[str, np.ndarray], count: int, saved: SavedRows | None) -> SavedRows:
    """
    Write the rows that the last save does not have, and wait until they are on the disk.

    :param folder: folder of the streams
    :param arrays: the ring's arrays, ``(size, ...)``
    :param count: rows that were added since the beginning
    :param saved: the last save, or ``None`` to start a stream
    :return: the description of this save
    :raises StorageError: if a file cannot be written; the previous save stays intact
    """
    size = len(next(iter(arrays.values())))
    arrays = {name: array for name, array in arrays.items() if array.size > 0}
    if saved is not None and not all(path.is_file() for path in _files(folder, saved, arrays)):
        saved = None
    stream = secrets.token_hex(4) if saved is None else saved.stream
    first = max(0, count - size)
    start = first if saved is None else max(first, saved.count)
    kept = [] if saved is None else [piece for piece in saved.segments if piece.lap * size + piece.stop > first]
    for lap in range(start // size, -(-count // size)):
        rows = slice(max(start - lap * size, 0), min(count - lap * size, size))
        target = folder / stream / str(lap)
        with _naming(target):
            target.mkdir(parents=True, exist_ok=True)
        paths = {name: target / _file_name(name) for name in arrays}
        kept.append(Segment(lap, rows.start, rows.stop, {n: _write(paths[n], array, rows) for n, array in arrays.items()}))
        # After all were written, when the disk has already started with the first ones
        for path in (*paths.values(), target, target.parent, folder, folder.parent):
            with _naming(path):
                sync(path)
    return SavedRows(stream, size, count, tuple(kept))


def check_rows(folder: Path, saved: SavedRows, arrays: Mapping[str, np.ndarray]) -> None:
    """
    Compare the files with the checksums, without keeping them in memory.

    :param folder: folder of the streams
    :param saved: description of the save
    :param arrays: arrays of any length with the rows' shapes and types
    :raises StorageError: if a file is missing, or not what was written
    """
    arrays = {name: array for name, array in arrays.items() if _row_bytes(array) > 0}
    for path, array in _files(folder, saved, arrays).items():
        with _naming(path):
            expected, found = saved.size * _row_bytes(array), path.stat().st_size
        if expected != found:
            raise StorageError(f"{path} is damaged: it has {counted(found, 'byte')}, and was written with {expected}")
    for piece in saved.segments:
        for name, array in arrays.items():
            path = folder / saved.stream / str(piece.lap) / _file_name(name)
            if name not in piece.checksums:
                raise StorageError(f"{path}: the replay buffer was saved without {name!r}")
            if _checksum(path, piece.start * _row_bytes(array), piece.stop * _row_bytes(array)) != piece.checksums[name]:
                raise StorageError(
                    f"{path} is damaged: rows {piece.start} to {piece.stop} do not have the checksum that was saved"
                )


def map_rows(folder: Path, saved: SavedRows, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Map the files of a save. Writes to the arrays stay in memory, page by page, and do not reach the files.

    Of two laps, the one with more of the rows is mapped; the rows of the other one are read.

    :param folder: folder of the streams
    :param saved: description of the save
    :param arrays: arrays of any length with the rows' shapes and types
    :return: the ring's arrays, ``(size, ...)``
    :raises StorageError: if a file is missing, or not what was written
    """
    check_rows(folder, saved, arrays)
    lap, row = divmod(saved.count, saved.size)
    newer, older = slice(0, row), slice(row, saved.size)
    mapped, read, rows = lap, lap - 1, older
    if lap > 0 and row <= saved.size // 2:
        mapped, read, rows = lap - 1, lap, newer
    result: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        shape = (saved.size, *array.shape[1:])
        if saved.count == 0 or _row_bytes(array) == 0:
            result[name] = np.zeros(shape, dtype=array.dtype)
            continue
        path = folder / saved.stream / str(mapped) / _file_name(name)
        with _naming(path), path.open("rb") as file:
            # The mapping keeps the file open, and with it the lock, see give_back
            _lock(file.fileno(), exclusive=False)
            result[name] = np.memmap(file, dtype=array.dtype, mode="c", shape=shape)
        if lap > 0 and rows.start < rows.stop:
            path = folder / saved.stream / str(read) / _file_name(name)
            with _naming(path), path.open("rb", buffering=0) as raw:
                raw.seek(rows.start * _row_bytes(array))
                target = _as_bytes(result[name][rows])
                for begin in range(0, len(target), _BLOCK):
                    raw.readinto(target[begin : begin + _BLOCK])
    return result


def give_back(folder: Path, saved: SavedRows, previous: SavedRows | None) -> None:
    """
    Free the disk space to which neither of two saves refers: other streams, whole laps and, on Linux, the start of the oldest
    lap, unless a process has it mapped.

    :param folder: folder of the streams
    :param saved: the last save, complete and on the disk
    :param previous: the one before it
    """
    first = saved.first
    if previous is not None and previous.stream == saved.stream:
        first = min(first, previous.first)
    for stream in folder.glob("*"):
        if stream.name != saved.stream and re.fullmatch("[0-9a-f]{8}", stream.name):
            shutil.rmtree(stream, ignore_errors=True)
    for lap in (folder / saved.stream).glob("*"):
        if lap.name.isdecimal() and int(lap.name) < first // saved.size:
            shutil.rmtree(lap, ignore_errors=True)
    # Whole segments only: their checksums are compared as a whole
    pieces = (*saved.segments, *(() if previous is None or previous.stream != saved.stream else previous.segments))
    oldest = min(((piece.lap, piece.start) for piece in pieces if piece.lap * saved.size + piece.stop > first), default=(0, 0))
    for path in (folder / saved.stream / str(oldest[0])).glob("*"):
        _punch(path, path.stat().st_size // saved.size * oldest[1])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors that name the file."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error


def _file_name(name: str) -> str:
    return quote(name, safe="") + ".rows"


def _files(folder: Path, saved: SavedRows, arrays: Mapping[str, np.ndarray]) -> dict[Path, np.ndarray]:
    laps = sorted({piece.lap for piece in saved.segments})
    return {folder / saved.stream / str(lap) / _file_name(n): array for lap in laps for n, array in arrays.items()}


def _row_bytes(array: np.ndarray) -> int:
    return int(np.prod(array.shape[1:], dtype=int)) * array.itemsize


def _as_bytes(array: np.ndarray) -> memoryview:
    return array.view(np.ndarray).reshape(-1).view(np.uint8).data


def _write(path: Path, array: np.ndarray, rows: slice) -> int:
    """Write rows to their place, and return their checksum."""
    checksum = 0
    with _naming(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            length = len(array) * _row_bytes(array)
            if os.fstat(descriptor).st_size != length:
                # Unwritten parts take no space on the disk
                os.ftruncate(descriptor, length)
            file.seek(rows.start * _row_bytes(array))
            data = _as_bytes(array[rows])
            for begin in range(0, len(data), _BLOCK):
                block = data[begin : begin + _BLOCK]
                checksum = zlib.crc32(block, checksum)
                while len(block) > 0:
                    block = block[file.write(block) :]
    return checksum


def _checksum(path: Path, start: int, stop: int) -> int:
    checksum, block = 0, memoryview(bytearray(min(_BLOCK, max(stop - start, 1))))
    with _naming(path), path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < stop:
            read = file.readinto(block[: min(len(block), stop - start)])
            if not read:
                break
            checksum = zlib.crc32(block[:read], checksum)
            start += read
    return checksum


def _lock(descriptor: int, exclusive: bool) -> bool:
    """Lock an open file if the system can: shared to map it, exclusive to free a part of it."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _punch(path: Path, stop: int) -> None:
    """Free the disk blocks under the start of a file, whose length stays; does nothing where that is impossible."""
    fallocate = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "fallocate", None)
    if fallocate is None or stop == 0:
        return
    with suppress(OSError), path.open("r+b") as file:
        if _lock(file.fileno(), exclusive=True):
            # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
            fallocate(file.fileno(), 3, ctypes.c_long(0), ctypes.c_long(stop))
