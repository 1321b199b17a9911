"""Checkpoints of the zoo's runs: what is in one, how it is written and which is the newest."""

import pickle
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


def latest_checkpoint(run: Path) -> Path | None:
    """
    The newest complete checkpoint of a run.

    :param run: the run's folder
    :return: the checkpoint's folder, or ``None``
    """
    found = {int(m[1]): path for path in run.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", path.name))}
    return found[max(found)] if found else None


def write_checkpoint(model: BaseAlgorithm, run: Path, env_name: str, texts: Mapping[str, str] | None = None) -> Path:
    """
    Write agent, optimizers, replay buffer, normalizer, step count and random generators, in the layout that the zoo's ``-i``
    reads.

    It is written under another name and renamed at the end, so a checkpoint is complete or it is not there; the one before it
    is removed afterwards.

    :param model: the model, between two rollouts
    :param run: the run's folder
    :param env_name: name of the environment, as in the zoo's file names
    :param texts: further files, contents by name
    :return: the checkpoint's folder
    """
    target = run / f"checkpoint-{model.num_timesteps}"
    if target.exists():
        return target
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save(partial / "model.zip")
    if isinstance(model, OffPolicyAlgorithm):
        model.save_replay_buffer(partial / "replay_buffer.pkl")
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        (partial / env_name).mkdir()
        normalizer.save(str(partial / env_name / "vecnormalize.pkl"))
    generators = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": th.get_rng_state()}
    (partial / "generators.pkl").write_bytes(pickle.dumps(generators))
    for name, text in (texts or {}).items():
        (partial / name).write_text(text)
    previous = [path for path in run.glob("checkpoint-*") if path != partial]
    partial.rename(target)
    for path in previous:
        shutil.rmtree(path)
    return target


def restore_generators(checkpoint: Path) -> None:
    """
    Put python's, numpy's and torch's generators back to where they were.

    :param checkpoint: a checkpoint's folder, from a run of one's own: its files are pickles
    """
    generators = pickle.loads((checkpoint / "generators.pkl").read_bytes())
    random.setstate(generators["python"])
    np.random.set_state(generators["numpy"])
    th.set_rng_state(generators["torch"])
