"""Hindsight experience replay with circuit pairs."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_quantum.common.buffers import QuantumDictReplayBuffer, QuantumReplayBufferSamples


class QuantumHerReplayBuffer(QuantumDictReplayBuffer, HerReplayBuffer):  # type: ignore[misc]
    """
    SB3's ``HerReplayBuffer`` with fields for the circuit's inputs and outputs.

    Sampling relabels goals, but not circuit pairs: the circuit's outputs for an input are valid whatever goal led to the
    input. So every transition of a batch, real or virtual, has the pair that was recorded when it happened.

    :param buffer_size: max number of transitions
    :param observation_space: a dictionary with ``observation``, ``achieved_goal`` and ``desired_goal``
    :param action_space: action space
    :param env: the training environment, with ``compute_reward``
    :param kwargs: see :class:`~sb3_quantum.common.QuantumReplayBuffer` and ``HerReplayBuffer``
    """

    def __init__(
        self, buffer_size: int, observation_space: spaces.Dict, action_space: spaces.Space, env: VecEnv, **kwargs: Any
    ):
        super().__init__(buffer_size, observation_space, action_space, env=env, **kwargs)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> QuantumReplayBufferSamples:  # type: ignore[override]
        """
        Sample transitions, some of them with goals that were reached later, and the circuit pairs recorded with them.

        :param batch_size: number of transitions
        :param env: normalizes observations and rewards if given
        :return: the samples
        """
        drawn: list[tuple[np.ndarray, np.ndarray]] = []
        self._drawn = drawn
        with self._on_cpu():
            samples = HerReplayBuffer.sample(self, batch_size, env)
        # In SB3's order: real ones, then virtual ones
        rows, envs = (np.concatenate(part) for part in zip(*drawn, strict=True))
        return self._with_circuits(samples, rows, envs)

    def _get_real_samples(
        self, batch_indices: np.ndarray, env_indices: np.ndarray, env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        self._drawn.append((batch_indices, env_indices))
        return super()._get_real_samples(batch_indices, env_indices, env)

    def _get_virtual_samples(
        self, batch_indices: np.ndarray, env_indices: np.ndarray, env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        self._drawn.append((batch_indices, env_indices))
        return super()._get_virtual_samples(batch_indices, env_indices, env)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # It is not an array of rows, and the environment cannot be pickled
        state.update(_current_ep_start=self._current_ep_start, _drawn=[])
        del state["env"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        current = state["_current_ep_start"]
        super().__setstate__(state)
        self._current_ep_start = current
        self.env = None
