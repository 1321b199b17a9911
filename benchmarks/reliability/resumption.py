"""
Exact resumption over a matrix of settings: one run is trained straight through, another is killed half-way and continued by
``--resume``. Parameters, optimizers, counters, replay buffer, normalizer, episodes and evaluations are compared bit by bit.

Environments are not part of a checkpoint. So the kill comes at the end of an episode, in an environment whose episodes begin
alike; or in the middle of one, and then the run that is trained straight through abandons its episodes at that step too.
"""

import importlib
import os
import pickle
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pandas
import torch as th
import yaml
from gymnasium import spaces
from gymnasium.envs.classic_control import PendulumEnv
from stable_baselines3.common.monitor import get_monitor_files

from benchmarks.reliability.outcome import Outcome

#: steps of an episode, of the run when it is killed (at the end of an episode, or in the middle of one), and of the whole run
EPISODE, END, MIDDLE, TOTAL = 40, 160, 176, 320
ENVIRONMENT, DICTIONARY = "SteadyPendulum-v0", "SteadyDictPendulum-v0"
POLICY = dict(n_qubits=3, n_layers=2, n_links=2, qtdnn_arch=[16], net_arch=[16, 16])


class SteadyPendulum(PendulumEnv):
    """
    A pendulum that always starts hanging.

    :param dictionary: whether the observation is a dictionary
    """

    def __init__(self, dictionary: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.dictionary = dictionary
        if dictionary:
            parts = {"angle": spaces.Box(-1, 1, (2,)), "speed": spaces.Box(-8, 8, (1,))}
            self.observation_space = spaces.Dict({**parts})

    def _get_obs(self) -> Any:
        observation = super()._get_obs()
        return {"angle": observation[:2], "speed": observation[2:]} if self.dictionary else observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.state = np.array([np.pi, 0.0])
        return self._get_obs(), {}


@dataclass
class Setting:
    """
    :param name: what is special
    :param hyperparams: hyperparameters of the run, beside the common ones
    :param policy_kwargs: likewise
    :param env: the environment
    :param words: further words of the command line
    :param middle: whether the kill comes in the middle of an episode
    """

    name: str
    hyperparams: dict[str, Any] = field(default_factory=dict)
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    env: str = ENVIRONMENT
    words: tuple[str, ...] = ()
    middle: bool = False


NO_TIMEOUTS = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
SETTINGS = [
    Setting("default"),
    Setting("middle, n_steps=3, VecNormalize, 2 envs", {"n_steps": 3, "n_envs": 2, "normalize": True}, middle=True),
    Setting("memmap, Dict", {"replay_buffer_kwargs": {"storage": "memmap"}, "policy": "MultiInputPolicy"}, env=DICTIONARY),
    *(Setting(f"block={block}", policy_kwargs={"block": block}) for block in ("fc", "rbg", "zeros")),
    *(Setting(f"gradient={name}", {"gradient": name}) for name in ("exact", "parameter_shift", "spsa", "noise", "frozen")),
    Setting("backend=sampler", {"backend": "sampler", "backend_kwargs": {"shots": 10}, "gradient_steps": 1}),
    Setting("backend=aer", {"backend": "aer", "backend_kwargs": {"shots": 10}}),
    Setting("bits, 3 shots", {"fit_targets": "sample", "backend_kwargs": {"shots": 3}}),
    Setting("readout=mean", policy_kwargs={"readout": "mean"}),
    Setting("encoding=rms", policy_kwargs={"encoding": "rms"}),
    Setting("normalize_observations", policy_kwargs={"normalize_observations": True}),
    Setting("probes", {"probe_std": 0.1, "qtdnn_gradient_steps": 2}),
    Setting("recent pairs", {"qtdnn_recent_pairs": 32}),
    Setting("2 envs", {"n_envs": 2}),
    Setting("2 envs in processes", {"n_envs": 2}, words=("--vec-env", "subproc")),
    Setting("train_freq=4, gradient_steps=2", {"train_freq": 4, "gradient_steps": 2}),
    Setting("train_freq of an episode", {"train_freq": [1, "episode"], "gradient_steps": -1}),
    Setting("linear learning rates", {"learning_rate": "lin_1e-3", "qtdnn_learning_rate": "lin_3e-3"}),
    Setting("Ornstein-Uhlenbeck noise", {"noise_type": "ornstein-uhlenbeck"}),
    Setting("n_steps=3", {"n_steps": 3}),
    Setting("Dict", {"policy": "MultiInputPolicy"}, env=DICTIONARY),
    Setting("Dict, VecNormalize", {"policy": "MultiInputPolicy", "normalize": True}, env=DICTIONARY),
    Setting("VecNormalize", {"normalize": True}),
    Setting("VecNormalize, 2 envs", {"normalize": True, "n_envs": 2}),
    Setting("optimize_memory_usage", NO_TIMEOUTS),
    Setting("a buffer that is full", {"buffer_size": 100}),
    Setting("memmap", {"replay_buffer_kwargs": {"storage": "memmap"}}),
    Setting("memmap, full", {"replay_buffer_kwargs": {"storage": "memmap"}, "buffer_size": 100}),
    Setting("memmap, n_steps=3, 2 envs", {"replay_buffer_kwargs": {"storage": "memmap"}, "n_steps": 3, "n_envs": 2}),
    Setting("killed before learning", {"learning_starts": 200}),
    Setting("middle", middle=True),
    Setting("middle, n_steps=3", {"n_steps": 3}, middle=True),
    Setting("middle, memmap, n_steps=3", {"n_steps": 3, "replay_buffer_kwargs": {"storage": "memmap"}}, middle=True),
    Setting("middle, VecNormalize", {"normalize": True}, middle=True),
    Setting("middle, optimize_memory_usage", NO_TIMEOUTS, middle=True),
    Setting("middle, in another environment", env="Pendulum-v1", middle=True),
]
QUICK = 3


def train(folder: Path, setting: Setting) -> None:
    """
    Run ``python -m sb3_quantum.train --resume`` in this process.

    :param folder: the current folder of the command
    :param setting: the setting that is trained
    """
    import rl_zoo3.train

    from sb3_quantum.train import main

    hyperparams = {
        "policy": "MlpPolicy", "n_timesteps": TOTAL, "learning_starts": 60, "batch_size": 16, "buffer_size": 1000,
        "train_freq": 1, "gradient_steps": 1, "gamma": 0.95, "noise_type": "normal", "noise_std": 0.1,
        **setting.hyperparams, "policy_kwargs": {**POLICY, **setting.policy_kwargs},
    }  # fmt: skip
    (folder / "settings.yml").write_text(yaml.dump({setting.env: hyperparams}))
    stop = MIDDLE if setting.middle else END
    command = ["train", "--algo", "qtd3", "--env", setting.env, "--seed", "7", "--resume", "--checkpoint-freq", str(stop)]
    command += ["-conf", "settings.yml", "--eval-freq", "80", "--eval-episodes", "1", "--device", "cpu", *setting.words]
    previous = os.getcwd()
    os.chdir(folder)
    try:
        with (
            patch.object(sys, "argv", command),
            patch.object(rl_zoo3.train, "ExperimentManager", rl_zoo3.train.ExperimentManager),
            open(os.devnull, "w") as nowhere,
            redirect_stdout(nowhere),
            # Of what a setting brings with it, e.g. evaluations without VecNormalize
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            main()
    finally:
        os.chdir(previous)


@contextmanager
def copied_at_checkpoint(folder: Path, copy: Path, middle: bool) -> Iterator[None]:
    """
    Keep what a kill right after the first checkpoint would leave.

    :param folder: folder of the training
    :param copy: folder of the copy
    :param middle: whether the run that goes on abandons its episodes at that point
    """
    writer = importlib.import_module("sb3_quantum.zoo.writer")
    continuation = importlib.import_module("sb3_quantum.zoo.continuation")
    original: Callable[..., Path] = writer.write_checkpoint

    def write_checkpoint(model: Any, *args: Any, **kwargs: Any) -> Path:
        path = original(model, *args, **kwargs)
        if not copy.exists():
            shutil.copytree(folder, copy)
            if middle:
                continuation.begin_episodes(model, continuation.generator_state(model))
        return path

    with patch.object(writer, "write_checkpoint", write_checkpoint):
        yield


def state(folder: Path, setting: Setting) -> dict[str, Any]:
    """
    :param folder: folder of the training
    :param setting: the setting
    :return: all that a run ends with, by name
    """
    from sb3_quantum import QuantumTD3

    (run,) = (folder / "logs" / "qtd3").glob(f"{setting.env}_*")
    checkpoint = run / f"checkpoint-{TOTAL}"
    model = QuantumTD3.load(checkpoint / "model.zip", device="cpu")
    model.load_replay_buffer(checkpoint / "replay_buffer.pkl")
    buffer = model.replay_buffer
    assert buffer is not None
    # By file: processes end their episodes in any order. One that the run straight through abandons is not in its file
    files = [] if setting.middle else sorted(get_monitor_files(str(run)))
    episodes = {Path(file).name: pandas.read_csv(file, skiprows=1)[["r", "l"]].to_numpy() for file in files}
    assert setting.middle or len(episodes) > 0
    normalizer = checkpoint / setting.env / "vecnormalize.pkl"
    statistics = {}
    if normalizer.is_file():
        statistics = {"VecNormalize": _statistics(normalizer)}
    # Environments of evaluations begin with their seed again, which is seen where they begin at random
    names = ("timesteps", "results") if setting.env in (ENVIRONMENT, DICTIONARY) else ("timesteps",)
    with np.load(run / "evaluations.npz") as evaluations:
        evaluated = {name: evaluations[name] for name in names}
    return {
        "parameters": model.get_parameters(),
        "counters": [model.num_timesteps, model._n_updates, model._episode_num],
        "rows": [buffer.pos, buffer.full, _rows(buffer)],
        "evaluations": evaluated,
        "episodes": episodes,
        **statistics,
    }


def _statistics(path: Path) -> list[Any]:
    normalizer = pickle.loads(path.read_bytes())
    observations = normalizer.obs_rms if isinstance(normalizer.obs_rms, dict) else {"": normalizer.obs_rms}
    return [vars(statistics) for statistics in (*observations.values(), normalizer.ret_rms)]


def _rows(buffer: Any) -> dict[str, Any]:
    used = buffer.buffer_size if buffer.full else buffer.pos
    return {name: np.asarray(array[:used]) for name, array in buffer.row_arrays().items()}


def differences(one: Any, other: Any, name: str) -> list[str]:
    """
    :param one: a value of any depth
    :param other: another one
    :param name: for the answers
    :return: names of what is not the same, bit by bit
    """
    if type(one) is not type(other):
        return [name]
    if isinstance(one, Mapping):
        if one.keys() != other.keys():
            return [name]
        return [found for key in one for found in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [name]
        return [found for i, pair in enumerate(zip(one, other, strict=True)) for found in differences(*pair, f"{name}[{i}]")]
    if isinstance(one, th.Tensor):
        return [] if th.equal(one, other) else [name]
    if isinstance(one, np.ndarray):
        return [] if one.dtype == other.dtype and np.array_equal(one, other) else [name]
    return [] if one == other else [name]


def compare(folder: Path, setting: Setting) -> str | None:
    """
    :param folder: an empty one
    :param setting: the setting that is trained
    :return: a sentence if the two runs do not end alike
    """
    straight, continued = folder / "straight", folder / "continued"
    straight.mkdir()
    with copied_at_checkpoint(straight, continued, setting.middle):
        train(straight, setting)
    train(continued, setting)
    found = differences(state(straight, setting), state(continued, setting), "")
    return f"{setting.name}: {len(found)} differ, {', '.join(found[:5])}" if found else None


def run(quick: bool, folder: Path) -> Outcome:
    """
    :param quick: whether to try a few settings only
    :param folder: an empty one
    :return: what came of it
    """
    for name, dictionary in ((ENVIRONMENT, False), (DICTIONARY, True)):
        if name not in gym.registry:
            gym.register(name, SteadyPendulum, max_episode_steps=EPISODE, kwargs={"dictionary": dictionary})
    outcome = Outcome()
    with ExitStack() as stack:
        threads = th.get_num_threads()
        th.set_num_threads(1)
        stack.callback(th.set_num_threads, threads)
        for index, setting in enumerate(SETTINGS[:QUICK] if quick else SETTINGS):
            outcome.cases += 1
            where = folder / str(index)
            where.mkdir()
            try:
                failure = compare(where, setting)
            # A setting that cannot be trained or continued at all is a failure of that one
            except Exception as error:
                failure = f"{setting.name}: {error!r} at {traceback.extract_tb(error.__traceback__)[-1].name}"
            if failure is not None:
                outcome.failures.append(failure)
            shutil.rmtree(where)
    outcome.figures = {"steps": TOTAL, "killed_at": [END, MIDDLE]}
    return outcome
