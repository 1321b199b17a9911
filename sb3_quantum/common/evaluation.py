"""Evaluation on fixed reset seeds, and what is said about the returns."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm


def returns_of(
    model: BaseAlgorithm, make_env: Callable[[], gym.Env], episodes: int, first_seed: int, deterministic: bool = True
) -> np.ndarray:
    """
    Returns of episodes without exploration noise. The i-th episode starts from ``env.reset(seed=first_seed + i)``, so that
    every model meets the same initial states. All episodes run side by side, so that their circuits are one batch.

    :param model: the model; if a ``VecNormalize`` is around its environment, observations are normalized as in training
    :param make_env: makes the environment
    :param episodes: how many
    :param first_seed: reset seed of the first
    :param deterministic: whether to act on the policy's ``eval_readout``, or on its ``readout``
    :return: ``(episodes,)``
    """
    normalizer = model.get_vec_normalize_env()
    envs = [make_env() for _ in range(episodes)]
    observations: dict[int, Any] = {i: env.reset(seed=first_seed + i)[0] for i, env in enumerate(envs)}
    returns = np.zeros(episodes)
    while observations:
        running = list(observations)
        batch = _stack(list(observations.values()))
        actions, _ = model.predict(
            batch if normalizer is None else normalizer.normalize_obs(batch), deterministic=deterministic
        )
        for i, action in zip(running, actions, strict=True):
            observations[i], reward, terminated, truncated, _ = envs[i].step(action)
            returns[i] += float(reward)
            if terminated or truncated:
                del observations[i]
                envs[i].close()
    return returns


def _stack(observations: list[Any]) -> Any:
    """One batch of observations, arrays or dictionaries of arrays."""
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


def interquartile_mean(values: np.ndarray) -> float:
    """
    :param values: any shape
    :return: the mean of the middle half
    """
    ordered = np.sort(values, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def interval(returns: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """
    Stratified bootstrap of the interquartile mean: models and episodes are both drawn anew.

    :param returns: ``(models, episodes)``
    :param draws: bootstrap draws
    :return: the 95 % interval
    """
    rng = np.random.default_rng(0)
    models, episodes = returns.shape
    values = []
    for _ in range(draws):
        rows = rng.integers(models, size=(models, 1))
        values.append(interquartile_mean(returns[rows, rng.integers(episodes, size=(models, episodes))]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
