"""Saves of models and replay buffers that keep the old file if they fail or are interrupted; the paths of both directions."""

import glob
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import save_to_pkl

from sb3_quantum.common.buffers import QuantumReplayBuffer
from sb3_quantum.common.durable import replacing
from sb3_quantum.common.row_files import RowFiles


def file_path(path: Any, suffix: str) -> Path | None:
    """
    Return the file to which SB3 saves for a path.

    :param path: the user's path
    :param suffix: suffix that is added if there is none
    :return: the file, or ``None`` if it cannot be replaced: file objects, pipes, devices and the like
    """
    if not isinstance(path, str | Path):
        return None
    path = Path(path)
    if path.suffix == "":
        path = Path(f"{path}{suffix}")
    if path.is_dir():
        warnings.warn(f"Path '{path}' is a folder. Will save instead to {path}_2", stacklevel=3)
        return file_path(f"{path}_2", suffix)
    # The target of a link is replaced, not the link
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_is_zip(path: Any) -> None:
    """
    Refuse a folder where a zip is expected, and say what to do with it; name a missing file as it was given.

    :param path: what ``load`` was given
    :raises IsADirectoryError: if it is a folder
    :raises FileNotFoundError: if there is no such file, with or without ``.zip``
    """
    if not isinstance(path, str | Path):
        return
    if not Path(path).is_dir():
        # SB3 adds .zip to a missing file's name, and its message names what it tried last
        if not Path(path).exists() and not Path(f"{path}.zip").exists():
            added = "" if Path(path).suffix == ".zip" else f", and no {path}.zip"
            raise FileNotFoundError(f"there is no file {path}{added}")
        return
    if (Path(path) / "model.json").is_file():
        hint = "it is a model without pickle: sb3_quantum.hub.load_safe loads it"
    else:
        found = sorted([*Path(path).glob("*.zip"), *Path(path).parent.glob(f"{glob.escape(Path(path).name)}.zip")])
        hint = f"did you mean {str(found[0])!r}?" if found else "it contains none"
    raise IsADirectoryError(f"{path} is a folder, not a zip file; {hint}")


def save_buffer(buffer: ReplayBuffer, path: Any, verbose: int = 0, folder: Path | None = None) -> None:
    """
    Save a replay buffer. With ``storage="memmap"``, rows that are not in the folder yet are appended.

    :param buffer: the replay buffer
    :param path: the pickle, or a file object, which then always contains the rows
    :param verbose: verbosity level
    :param folder: folder for the rows' files, ``<path>.rows`` by default. If you name one, call
        ``buffer.row_files.give_back()`` once nothing refers to older saves
    :raises StorageError: if a file of the rows cannot be written; the previous save stays intact
    """
    target = file_path(path, ".pkl")
    if target is None:
        save_to_pkl(path, buffer, verbose)
        return
    if not isinstance(buffer, QuantumReplayBuffer) or buffer.storage != "memmap":
        with replacing(target) as partial:
            save_to_pkl(partial, _Filled(buffer) if type(buffer) in _PLAIN else buffer, verbose)
        return
    rows_folder = (target.with_name(target.name + ".rows") if folder is None else folder).resolve()
    if buffer.n_added % buffer.buffer_size != buffer.pos or buffer.full != (buffer.n_added >= buffer.buffer_size):
        # The user moved it
        buffer.n_added, buffer.row_files = buffer.pos + buffer.full * buffer.buffer_size, None
    if buffer.row_files is None or buffer.row_files.folder != rows_folder:
        buffer.row_files = RowFiles(rows_folder)
    files = buffer.row_files
    files.append(buffer.row_arrays(), buffer.n_added)
    with files.referring_from(target.parent), replacing(target) as partial:
        save_to_pkl(partial, buffer, verbose)
    if folder is None:
        files.previous = None
        files.give_back()


#: SB3's buffers, which would be saved with the rows that were never written: 6 GB for Humanoid's million
_PLAIN = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer)


class _Filled:
    """
    A replay buffer of SB3, pickled without the rows that were never written. Unpickled, it is the buffer.

    :param buffer: one of :data:`_PLAIN`
    """

    def __init__(self, buffer: ReplayBuffer):
        self.buffer = buffer

    def __reduce__(self) -> tuple[Any, ...]:
        # One more row than written: with optimize_memory_usage it contains the last transition's next observation
        used = self.buffer.buffer_size if self.buffer.full else self.buffer.pos + 1
        return _whole, (type(self.buffer), _map_arrays(vars(self.buffer), lambda array: array[:used]))


def _whole(kind: type[ReplayBuffer], state: dict[str, Any]) -> ReplayBuffer:
    """Return the buffer of a pickle of :class:`_Filled`."""
    size = state["buffer_size"]

    def fill(array: np.ndarray) -> np.ndarray:
        if len(array) == size:
            return array
        rows = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
        rows[: len(array)] = array
        return rows

    buffer = kind.__new__(kind)
    vars(buffer).update(_map_arrays(state, fill))
    return buffer


def _map_arrays(state: dict[str, Any], function: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Apply a function to every array of a buffer's state, also inside dictionaries of observations."""
    return {
        key: (
            function(value)
            if isinstance(value, np.ndarray)
            else _map_arrays(value, function) if isinstance(value, dict) else value
        )
        for key, value in state.items()
    }


class DurableSaves(OffPolicyAlgorithm):
    """Off-policy algorithm whose saves are complete and on the disk before they replace older ones."""

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """
        Save the model in a zip-file, as SB3 does.

        :param path: path to the file, or a file object
        :param args: see ``BaseAlgorithm.save``
        :param kwargs: likewise
        """
        target = file_path(path, ".zip")
        if target is None:
            super().save(path, *args, **kwargs)
        else:
            with replacing(target) as partial:
                super().save(partial, *args, **kwargs)

    def save_replay_buffer(self, path: Any) -> None:
        """
        Save the replay buffer; see :func:`save_buffer`.

        :param path: path to the pickle, or a file object
        """
        assert self.replay_buffer is not None, "The replay buffer is not defined"
        save_buffer(self.replay_buffer, path, self.verbose)

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer, with the files of its rows if it has any. It continues with the model's ``storage``.

        :param path: path to the pickle, or a file object
        :param truncate_last_traj: see ``OffPolicyAlgorithm.load_replay_buffer``
        :raises StorageError: if one of the files is missing or damaged
        """
        storage = getattr(self.replay_buffer, "storage", "ram")
        is_path = isinstance(path, str | Path)
        with RowFiles.beside(Path(path).resolve().parent) if is_path else nullcontext():
            super().load_replay_buffer(path, truncate_last_traj)
        if isinstance(self.replay_buffer, QuantumReplayBuffer):
            self.replay_buffer.storage = storage
