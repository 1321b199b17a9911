"""Checkpoints of the zoo's runs: what is in one, how it is written and which is the newest."""

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
    The complete checkpoints of a run.

    :param run: the run's folder
    :return: the checkpoints' folders, newest first
    """
    found = {int(m[1]): path for path in run.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", path.name))}
    return [found[steps] for steps in sorted(found, reverse=True)]


def latest_checkpoint(run: Path) -> Path | None:
    """
    The newest complete checkpoint of a run.

    :param run: the run's folder
    :return: the checkpoint's folder, or ``None``
    """
    found = checkpoints(run)
    return found[0] if found else None


def write_checkpoint(model: BaseAlgorithm, run: Path, env_name: str, texts: Mapping[str, str] | None = None) -> Path:
    """
    Write agent, optimizers, replay buffer, normalizer, step count and random generators, in the layout that the zoo's ``-i``
    reads.

    It is written under another name, brought to the disk and renamed at the end, so a checkpoint is complete or it is not
    there, after a power cut too; the one before it is removed afterwards. Rows of a replay buffer with ``storage="memmap"``
    are in the run's folder ``rows``, which all checkpoints share.

    :param model: the model, between two rollouts
    :param run: the run's folder
    :param env_name: name of the environment, as in the zoo's file names
    :param texts: further files, contents by name
    :return: the checkpoint's folder
    :raises StorageError: if something cannot be written; the checkpoint before stands
    """
    target = run / f"checkpoint-{model.num_timesteps}"
    try:
        if target.exists() and _is_intact(target):
            return target
        shutil.rmtree(target, ignore_errors=True)
        with replacing_folder(target) as partial:
            _fill(partial, model, run, env_name, texts or {})
    # torch has errors of its own for files that cannot be written
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
    """Write everything that is in a checkpoint."""
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
    Compare a checkpoint's files with the checksums that were written with them. Those of a replay buffer's rows are compared
    when it is loaded. Checkpoints of version 0.1.0 have none.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    :return: what is wrong, by the file's name in the checkpoint; if it is ``generators.pkl``, nothing is known of the others
    """
    path = checkpoint / "generators.pkl"
    try:
        generators = pickle.loads(path.read_bytes())
        checksums = dict(generators.get("checksums", {}))
    except FileNotFoundError:
        return {path.name: f"{path} is missing"}
    # Whatever a damaged pickle raises
    except Exception as error:
        return {path.name: f"{path} is damaged: {error!r}"}
    problems = {}
    for name, expected in checksums.items():
        path = checkpoint / name
        try:
            if _checksum(path) != expected:
                problems[name] = f"{path} is damaged: it does not have its checksum"
        except FileNotFoundError:
            problems[name] = f"{path} is missing"
        except OSError as error:
            problems[name] = f"{path} cannot be read: {error.strerror or error}"
    return problems


def check_checkpoint(checkpoint: Path) -> None:
    """
    Refuse a checkpoint that is not as it was written; see :func:`damaged_files`.

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
    Put python's, numpy's and torch's generators back to where they were.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    """
    generators = pickle.loads((checkpoint / "generators.pkl").read_bytes())
    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])
    th.set_rng_state(generators["torch"])
