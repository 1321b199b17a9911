"""Files that are either the old ones or the new ones, whole, after a kill or a power cut."""

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
    Ask the operating system to bring a file's contents, or a folder's entries, to the disk.

    :param path: a file or a folder
    :raises OSError: if the disk fails. File systems that cannot synchronize folders are passed over
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
    :func:`sync` for a folder and everything in it.

    :param folder: the folder
    """
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root) / name)
        sync(Path(root))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """
    Write a file beside its final name, synchronize it, and rename it at the end. A failure inside leaves the old file. What a
    kill leaves behind is removed by a later call, after an hour.

    :param path: where the file will be, in a folder that is there
    :return: where to write; same folder, same suffix
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
        # mkstemp's files are private; a new file has what the user's umask says, a replaced one what it had
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """
    Write a text file in place of an older one; see :func:`replacing`.

    :param path: the file
    :param text: what is in it
    """
    with replacing(path) as partial:
        partial.write_text(text)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """
    Fill a folder beside its final name, synchronize it, and rename it at the end. It is complete or it is not there.

    :param target: where the folder will be; it must not exist yet
    :return: where to write: ``<target>.partial``, empty
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
        partial.rename(target)
    except BaseException:
        # On a full disk, the place is needed
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
