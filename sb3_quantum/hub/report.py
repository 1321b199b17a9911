"""Evaluation of a model for publication: returns on stated seeds, and the fidelity of its quantum layer's gradient."""

import datetime
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecVideoRecorder

from sb3_quantum.circuits.wording import counted
from sb3_quantum.common import interquartile_mean, interval, warn_if_not_normalized
from sb3_quantum.layers import CLAIMS
from sb3_quantum.qtd3 import QuantumTD3, measure_fidelity

#: number of states on which the gradient is compared
N_STATES = 256


@dataclass
class Report:
    """
    An evaluation.

    :param returns: returns of the episodes
    :param first_seed: reset seed of the first episode; the i-th has ``first_seed + i``
    :param deterministic: whether actions were those of the policy's ``eval_readout``
    :param backend: the backend of the circuits; ``None`` without a circuit
    :param fidelity: see docs/metrics.md; empty without a fitted qtDNN; without a cosine if
        the circuit joins too many qubits for an exact reference
    :param date: date of the evaluation
    :param gradient: description of the gradient of the block between the actor's networks
    """

    returns: list[float]
    first_seed: int
    deterministic: bool
    backend: str | None
    fidelity: dict[str, float] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    gradient: str = ""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the returns."""
        return float(np.std(self.returns))

    def as_dict(self) -> dict[str, Any]:
        """
        Return everything as plain data for JSON, under the zoo's names where it has them.
        """
        return {
            "mean_reward": self.mean,
            "std_reward": self.std,
            "is_deterministic": self.deterministic,
            "n_eval_episodes": len(self.returns),
            "eval_datetime": self.date,
            "returns": self.returns,
            "first_seed": self.first_seed,
            "interquartile_mean": interquartile_mean(np.array(self.returns)),
            "interval_95": list(interval(np.array([self.returns]))),
            "backend": self.backend,
            "gradient": self.gradient,
            "fidelity": self.fidelity,
        }


def evaluate(model: QuantumTD3, env: VecEnv, n_eval_episodes: int, first_seed: int, deterministic: bool = True) -> Report:
    """
    Run episodes on stated reset seeds, and compare the qtDNN's gradient with the circuit's on the visited states.

    :param model: the model
    :param env: one environment, whose observations are normalized as the model expects
    :param n_eval_episodes: number of episodes
    :param first_seed: reset seed of the first
    :param deterministic: whether to act on the policy's ``eval_readout``, or on its ``readout``
    :return: the report
    :raises ValueError: if there are several environments, or no episodes
    """
    if env.num_envs != 1 or n_eval_episodes < 1:
        raise ValueError(
            f"an evaluation needs one environment and n_eval_episodes >= 1, got {counted(env.num_envs, 'environment')} "
            f"and n_eval_episodes={n_eval_episodes}"
        )
    warn_if_not_normalized(model, env)
    states: list[Any] = []
    returns: list[float] = []

    def remember(local: dict[str, Any], _: dict[str, Any]) -> None:
        states.append(local["observations"])

    for episode in range(n_eval_episodes):
        env.seed(first_seed + episode)
        rewards, _ = evaluate_policy(model, env, 1, deterministic, callback=remember, return_episode_rewards=True)
        returns += cast(list[float], rewards)
    block = model.policy.block
    fidelity = {}
    if block.backend is not None and block.fitted:
        chosen = np.random.default_rng(first_seed).permutation(len(states))[:N_STATES]
        try:
            fidelity = measure_fidelity(model, _batch(model, [states[i] for i in chosen]))
        except Exception as error:
            warnings.warn(f"the gradient's fidelity was not measured: {type(error).__name__}: {error}", stacklevel=2)
    return Report(
        [round(float(value), 3) for value in returns],
        first_seed,
        deterministic,
        None if block.backend is None else block.backend.name,
        fidelity,
        gradient=CLAIMS[block.claim],
    )


def _batch(model: QuantumTD3, states: list[Any]) -> th.Tensor | dict[str, th.Tensor]:
    """Stack states into one batch on the model's device."""
    if isinstance(states[0], dict):
        stacked: Any = {key: np.concatenate([state[key] for state in states]) for key in states[0]}
    else:
        stacked = np.concatenate(states)
    return model.policy.obs_to_tensor(stacked)[0]


def film(model: QuantumTD3, env: VecEnv, path: Path, length: int, seed: int) -> None:
    """
    Film a model.

    :param model: the model
    :param env: one environment, its render mode ``"rgb_array"``
    :param path: the video, an mp4 file
    :param length: in steps
    :param seed: reset seed of the first episode
    :raises ImportError: if moviepy is missing
    """
    env.seed(seed)
    recorder = VecVideoRecorder(env, str(path.parent), lambda step: step == 0, video_length=length, name_prefix=path.stem)
    observations = recorder.reset()
    for _ in range(length):
        observations, _, _, _ = recorder.step(model.predict(observations, deterministic=True)[0])  # type: ignore[arg-type]
    Path(recorder.video_path).rename(path)
