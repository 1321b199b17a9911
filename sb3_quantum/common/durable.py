"""Durable writes: after a kill or a power cut, a file is either the whole old one or the whole new one."""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sync(path: Path) -> None:
    """
    Ask the operating system to write a file's contents, or a folder's entries, to the disk.

    :param path: a file or a folder
    :raises OSError: if the disk fails. File systems that cannot synchronize folders are ignored
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if path.is_dir():
            with suppress(OSError):
                os.fsync(descriptor)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """
    Synchronize a folder and everything in it, see :func:`sync`.

    :param folder: the folder
    """
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root) / name)
        sync(Path(root))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Write a file beside its final name, synchronize it, and rename it at the end. A failure inside keeps the old file. A later
    call removes what a kill left behind, after an hour.

    :param path: the file, in an existing folder
    :return: the path to write to, with the same folder and suffix
    :raises OSError: if there is no such folder, or the disk fails
    """
    prefix, suffix = f".{path.stem[:40]}.", f".partial{path.suffix}"
    for left in path.parent.glob(glob.escape(prefix) + "????????" + glob.escape(suffix)):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        # mkstemp's files are private; a new file gets the permissions of the user's umask, a replaced one keeps its own
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """
    Write a text file durably, see :func:`replacing`.

    :param path: the file
    :param text: its contents
    """
    with replacing(path) as partial:
        partial.write_text(text)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """
    Fill a folder beside its final name, synchronize it, and rename it at the end. It is complete or does not exist.

    :param target: the folder, which must not exist yet
    :return: the empty folder to write to, ``<target>.partial``
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
        partial.rename(target)
    except BaseException:
        # On a full disk, the space is needed
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
