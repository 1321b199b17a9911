"""Checkpoints of the zoo's runs."""

import pickle
import random
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_quantum.common.buffers import QuantumReplayBuffer
from sb3_quantum.common.durable import replacing_folder
from sb3_quantum.common.saving import save_buffer
from sb3_quantum.common.storage import StorageError


def checkpoints(run: Path) -> list[Path]:
    """
    List the complete checkpoints of a run.

    :param run: the run's folder
    :return: the checkpoints' folders, newest first
    """
    found = {int(m[1]): path for path in run.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", path.name))}
    return [found[steps] for steps in sorted(found, reverse=True)]


def latest_checkpoint(run: Path) -> Path | None:
    """
    Find the newest complete checkpoint of a run.

    :param run: the run's folder
    :return: the checkpoint's folder, or ``None``
    """
    found = checkpoints(run)
    return found[0] if found else None


def write_checkpoint(model: BaseAlgorithm, run: Path, env_name: str, texts: Mapping[str, str] | None = None) -> Path:
    """
    Write a checkpoint: agent, optimizers, replay buffer, normalizer, step count and random generators, in the layout that the
    zoo's ``-i`` reads.

    It is written under another name, synchronized and renamed at the end, so a checkpoint is complete or does not exist, also
    after a power cut. The previous checkpoint is removed afterwards. Rows of a replay buffer with ``storage="memmap"`` are in
    the run's folder ``rows``, which all checkpoints share.

    :param model: the model, between two rollouts
    :param run: the run's folder
    :param env_name: name of the environment, as in the zoo's file names
    :param texts: further files, contents by name
    :return: the checkpoint's folder
    :raises StorageError: if a file cannot be written; the previous checkpoint stays intact
    """
    target = run / f"checkpoint-{model.num_timesteps}"
    try:
        if target.exists() and _is_intact(target):
            return target
        shutil.rmtree(target, ignore_errors=True)
        with replacing_folder(target) as partial:
            _fill(partial, model, run, env_name, texts or {})
    # torch raises its own errors for files that cannot be written
    except (OSError, RuntimeError) as error:
        raise StorageError(f"{target} could not be written: {error}") from error
    for path in run.glob("checkpoint-*"):
        if path != target:
            shutil.rmtree(path)
    buffer = getattr(model, "replay_buffer", None)
    if isinstance(buffer, QuantumReplayBuffer) and buffer.row_files is not None:
        buffer.row_files.give_back()
    return target


def _fill(folder: Path, model: BaseAlgorithm, run: Path, env_name: str, texts: Mapping[str, str]) -> None:
    """Write the files of a checkpoint."""
    model.save(folder / "model.zip")
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        save_buffer(model.replay_buffer, folder / "replay_buffer.pkl", model.verbose, run / "rows")
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        (folder / env_name).mkdir()
        normalizer.save(str(folder / env_name / "vecnormalize.pkl"))
    for name, text in texts.items():
        (folder / name).write_text(text)
    generators = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": th.get_rng_state()}
    checksums = {path.relative_to(folder).as_posix(): _checksum(path) for path in folder.rglob("*") if path.is_file()}
    (folder / "generators.pkl").write_bytes(pickle.dumps({**generators, "checksums": checksums}))


def damaged_files(checkpoint: Path) -> dict[str, str]:
    """
    Compare a checkpoint's files with their checksums. Checksums of a replay buffer's rows are compared when it is loaded.
    Checkpoints of version 0.1.0 have none.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    :return: problems, by the file's name in the checkpoint; if ``generators.pkl`` is damaged, nothing is known about the
        others
    """
    path = checkpoint / "generators.pkl"
    try:
        generators = pickle.loads(path.read_bytes())
        checksums = dict(generators.get("checksums", {}))
    except FileNotFoundError:
        return {path.name: f"{path} is missing"}
    # A damaged pickle may raise anything
    except Exception as error:
        return {path.name: f"{path} is damaged: {error!r}"}
    problems = {}
    for name, expected in checksums.items():
        path = checkpoint / name
        try:
            if _checksum(path) != expected:
                problems[name] = f"{path} is damaged: it does not have the checksum that was saved"
        except FileNotFoundError:
            problems[name] = f"{path} is missing"
        except OSError as error:
            problems[name] = f"{path} cannot be read: {error.strerror or error}"
    return problems


def check_checkpoint(checkpoint: Path) -> None:
    """
    Refuse a damaged checkpoint, see :func:`damaged_files`.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    :raises StorageError: if a file is missing or damaged
    """
    for problem in damaged_files(checkpoint).values():
        raise StorageError(problem)


def _is_intact(checkpoint: Path) -> bool:
    try:
        check_checkpoint(checkpoint)
    except StorageError:
        return False
    return True


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def restore_generators(checkpoint: Path) -> None:
    """
    Restore python's, numpy's and torch's generators.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    """
    generators = pickle.loads((checkpoint / "generators.pkl").read_bytes())
    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])
    th.set_rng_state(generators["torch"])
