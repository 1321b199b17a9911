"""
Continuation of a run. Environments are not part of a checkpoint, so it continues with fresh episodes.

Otherwise three things would go wrong silently: transitions and n-step returns across the interruption, a first observation
that the normalizer counts as a step, and start states that repeat after each continuation.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer


def generator_state(model: BaseAlgorithm) -> dict[str, Any] | None:
    """
    Return the state of the model's generator of random actions.

    :param model: the model
    :return: plain data; ``None`` if there is no generator yet
    """
    generator = model.action_space._np_random
    return None if generator is None else dict(generator.bit_generator.state)


def seed_of(model: BaseAlgorithm) -> int:
    """
    Derive a seed from the model's seed and its steps.

    :param model: the model
    :return: the seed, for generators that restart after an interruption
    """
    return int(np.random.SeedSequence([model.seed or 0, model.num_timesteps]).generate_state(1)[0] // 2)


def end_trajectories(buffer: ReplayBuffer, earlier: Sequence[int] = ()) -> list[int]:
    """
    Mark the newest transitions as the last ones of their trajectories, because the next transition does not follow them.

    They are truncated, not terminal: values continue beyond them. ``optimize_memory_usage`` has no such mark and overwrites
    their next observations, so there they become terminal, as in SB3 (DLR-RM/stable-baselines3#46).

    :param buffer: the model's replay buffer
    :param earlier: what an earlier continuation returned, because rows that are saved only once do not keep their marks
    :return: numbers of the marked rows that still exist, counted from the first row ever added
    """
    # HER knows its episodes, and ends the last one at load
    if buffer.size() == 0 or isinstance(buffer, HerReplayBuffer):
        return []
    count = getattr(buffer, "n_added", None)
    numbers = [] if count is None else [number for number in earlier if number >= count - buffer.buffer_size]
    rows = [number % buffer.buffer_size for number in numbers] + [(buffer.pos - 1) % buffer.buffer_size]
    if buffer.optimize_memory_usage:
        buffer.dones[rows] = 1
    else:
        buffer.timeouts[rows] = np.logical_or(buffer.timeouts[rows], buffer.dones[rows] == 0)
    return [] if count is None else [*numbers, count - 1]


def begin_episodes(
    model: BaseAlgorithm, random_actions: Mapping[str, Any] | None = None, ends: Sequence[int] = ()
) -> list[int]:
    """
    Start fresh episodes, with which ``learn(reset_num_timesteps=False)`` continues.

    Their start states come from the run's seed and its steps: the same for the same checkpoint, but different from those at
    the run's start. ``VecNormalize`` does not count them, because it has seen the observations that they replace.

    :param model: the model
    :param random_actions: see :func:`generator_state`; if it is unknown, the generator of random actions is seeded too
    :param ends: return value of the last continuation
    :return: see :func:`end_trajectories`
    """
    assert model.env is not None
    seed = seed_of(model)
    model.env.seed(seed)
    if random_actions is None:
        model.action_space.seed(seed)
    else:
        model.action_space.np_random.bit_generator.state = dict(random_actions)
    if isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        ends = end_trajectories(model.replay_buffer, ends)
    normalizer = model.get_vec_normalize_env()
    training = normalizer is not None and normalizer.training
    if normalizer is not None:
        normalizer.training = False
    model._last_obs = model.env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(model.env.num_envs, dtype=bool)
    if normalizer is not None:
        normalizer.training = training
        model._last_original_obs = normalizer.get_original_obs()
    return list(ends)


def missing_transitions(model: BaseAlgorithm, total_timesteps: int) -> int:
    """
    Count the transitions to collect before learning may continue.

    :param model: a model that continues without its replay buffer, or with all of it
    :param total_timesteps: total timesteps of the whole run
    :return: missing transitions up to ``learning_starts`` and a mini-batch; 0 if there are enough, or learning has not started
    """
    if not isinstance(model, OffPolicyAlgorithm) or model.replay_buffer is None:
        return 0
    if model.replay_buffer.size() > 0 or model.num_timesteps <= model.learning_starts:
        return 0
    return min(max(model.learning_starts, model.batch_size), total_timesteps - model.num_timesteps)


def refill(model: OffPolicyAlgorithm, n_transitions: int) -> None:
    """
    Collect transitions with the current policy; they count as steps of the training.

    :param model: the model, after :func:`begin_episodes`
    :param n_transitions: number of transitions, over all environments
    """
    assert model.env is not None and model.replay_buffer is not None
    noise = model.action_noise
    if noise is not None and model.env.num_envs > 1 and not isinstance(noise, VectorizedActionNoise):
        noise = VectorizedActionNoise(noise, model.env.num_envs)
    callback = CallbackList([])
    callback.init_callback(model)
    model.collect_rollouts(
        model.env,
        callback=callback,
        train_freq=TrainFreq(math.ceil(n_transitions / model.env.num_envs), TrainFrequencyUnit.STEP),
        replay_buffer=model.replay_buffer,
        action_noise=noise,
        learning_starts=0,
    )
