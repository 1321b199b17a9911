"""Evaluation on fixed reset seeds, and statistics of the returns."""

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize


def returns_of(
    model: BaseAlgorithm,
    make_env: Callable[[], gym.Env | VecEnv],
    episodes: int,
    first_seed: int,
    deterministic: bool = True,
    after_step: Callable[[], Any] | None = None,
) -> np.ndarray:
    """
    Compute returns of episodes without exploration noise.

    The i-th episode starts from ``env.reset(seed=first_seed + i)``, so every model meets the same initial states. All episodes
    run in parallel, so their circuits are one batch.

    :param model: the model; if its environment has a ``VecNormalize``, observations are normalized as in training
    :param make_env: makes the environment, or one environment with all wrappers of the model's training
    :param episodes: number of episodes
    :param first_seed: reset seed of the first
    :param deterministic: whether to act on the policy's ``eval_readout``, or on its ``readout``
    :param after_step: called after every step of all episodes
    :return: ``(episodes,)``
    """
    envs = [make_env() for _ in range(episodes)]
    # A VecEnv's own wrappers give the observations
    normalizer = None if isinstance(envs[0], VecEnv) else model.get_vec_normalize_env()
    if normalizer is None:
        warn_if_not_normalized(model, envs[0])
    observations: dict[int, Any] = {i: reset(env, first_seed + i) for i, env in enumerate(envs)}
    returns = np.zeros(episodes)
    while observations:
        running = list(observations)
        batch = _stack(list(observations.values()))
        actions, _ = model.predict(
            batch if normalizer is None else normalizer.normalize_obs(batch), deterministic=deterministic
        )
        for i, action in zip(running, actions, strict=True):
            observations[i], reward, done = step(envs[i], action)
            returns[i] += reward
            if done:
                del observations[i]
                envs[i].close()
        if after_step is not None:
            after_step()
    return returns


def first_observations(make_env: Callable[[], gym.Env | VecEnv], episodes: int, first_seed: int) -> tuple[Any, int | None]:
    """
    Reset environments as :func:`returns_of` does.

    :param make_env: makes the environment
    :param episodes: number of episodes
    :param first_seed: reset seed of the first
    :return: a batch of first observations, and the episodes' time limit in steps, ``None`` without one
    """
    env = make_env()
    batch = _stack([reset(env, first_seed + i) for i in range(episodes)])
    spec = env.get_attr("spec")[0] if isinstance(env, VecEnv) else env.spec
    env.close()
    return batch, None if spec is None else spec.max_episode_steps


def trained_with_vec_normalize(model: BaseAlgorithm) -> bool | None:
    """
    Tell whether a model was trained with observations of a ``VecNormalize``. A model file does not contain its statistics, but
    ``QuantumTD3`` records there that it had one.

    :param model: the model
    :return: ``None`` if that is unknown, as for most models of 0.1.0
    """
    noted: bool | None = getattr(model, "observations_normalized", None)
    seen, original = model._last_obs, model._last_original_obs
    if noted is not None or seen is None or original is None:
        return noted
    # VecNormalize converts everything to float32; a VecEnv alone keeps the environment's dtype
    return True if _dtypes(seen) != _dtypes(original) else None


def _dtypes(observations: np.ndarray | dict[str, np.ndarray]) -> list[np.dtype]:
    """Return the dtypes of an array, or of the arrays in a dictionary."""
    return [part.dtype for part in (observations.values() if isinstance(observations, dict) else [observations])]


def warn_if_not_normalized(model: BaseAlgorithm, env: gym.Env | VecEnv) -> None:
    """
    Warn if a model that was trained on normalized observations is evaluated on raw ones.

    :param model: the model
    :param env: the environment of the evaluation
    """
    normalized = isinstance(env, VecEnv) and unwrap_vec_normalize(env) is not None
    if trained_with_vec_normalize(model) and not normalized:
        warnings.warn(
            "this model was trained with VecNormalize, but is evaluated on observations that are not normalized: its returns "
            "mean nothing. Load the statistics: VecNormalize.load(path, env)",
            stacklevel=3,
        )


def reset(env: gym.Env | VecEnv, seed: int) -> Any:
    """
    Start an episode.

    :param env: an environment, or one environment behind a ``VecEnv``'s wrappers
    :param seed: reset seed
    :return: the first observation, without a batch dimension
    """
    if isinstance(env, VecEnv):
        env.seed(seed)
        return _first(env.reset())
    return env.reset(seed=seed)[0]


def step(env: gym.Env | VecEnv, action: np.ndarray) -> tuple[Any, float, bool]:
    """
    Take one step.

    :param env: an environment, or one environment behind a ``VecEnv``'s wrappers
    :param action: without a batch dimension
    :return: the next observation, the reward, and whether the episode is over
    """
    if isinstance(env, VecEnv):
        observations, rewards, dones, _ = env.step(action[None])
        return _first(observations), float(rewards[0]), bool(dones[0])
    observation, reward, terminated, truncated, _ = env.step(action)
    return observation, float(reward), terminated or truncated


def _first(observations: Any) -> Any:
    """Return the first of a batch of observations."""
    if isinstance(observations, dict):
        return {key: part[0] for key, part in observations.items()}
    return observations[0]


def _stack(observations: list[Any]) -> Any:
    """Stack observations, arrays or dictionaries of arrays, into a batch."""
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


def interquartile_mean(values: np.ndarray) -> float:
    """
    Compute the interquartile mean: the mean of the middle half.

    :param values: any shape
    :return: the mean
    """
    ordered = np.sort(values, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def interval(returns: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """
    Compute a bootstrap interval of the interquartile mean; models and episodes are both resampled.

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
