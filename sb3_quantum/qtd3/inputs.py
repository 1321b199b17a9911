"""TD3 that checks numbers from environments and files before a normalizer, a buffer or a network takes them."""

import math
import traceback
from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn
from stable_baselines3.td3.td3 import TD3

from sb3_quantum.common.finite import (
    REWARD_LIMIT,
    check_array,
    check_observations,
    check_replay_buffer,
    check_terminal_observations,
    damaged_statistics,
)


class CheckedTD3(TD3):
    """
    TD3 that refuses observations, rewards and replay buffers with NaN, infinity or numbers beyond float32. The model stays
    finite, can be saved, and starts a new episode when it continues.
    """

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        try:
            result = super()._setup_learn(*args, **kwargs)
        except (OSError, EOFError, TypeError, ValueError) as error:
            self._explain(error)
            raise
        try:
            if self._vec_normalize_env is not None and self._last_original_obs is not None:
                check_observations("observation", self._last_original_obs)
            check_observations("observation", self._last_obs)
        except ValueError as error:
            raise self._refusal(error, "reset()") from None
        return result

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        try:
            return super().collect_rollouts(*args, **kwargs)
        except (OSError, EOFError, TypeError, ValueError) as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Add to SB3's error for a faulty environment which environment failed."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = None
        if isinstance(error, EOFError | ConnectionError):
            message = "the process of an environment has ended, its own output may say why"
        elif "stable_baselines3" in last.filename and last.name == "_save_obs":
            message = f"an observation does not fit into {self.observation_space}: {error}"
        elif last.filename.endswith(("monitor.py", "dummy_vec_env.py")) and last.name in ("step", "step_wait"):
            message = f"a reward must be a number: {error}"
        if message is not None:
            self._last_obs = self._last_original_obs = None
            raise ValueError(message) from error

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        try:
            check_array("action", np.asarray(buffer_action), 1e6)
            if self._vec_normalize_env is not None:
                check_array("reward", np.asarray(self._vec_normalize_env.get_original_reward()), REWARD_LIMIT)
                check_observations("observation", self._vec_normalize_env.get_original_obs())
            check_array("reward", np.asarray(reward), REWARD_LIMIT)
            if dones.any():
                check_terminal_observations(dones, infos)
            check_observations("observation", new_obs)
        except ValueError as error:
            raise self._refusal(error, f"step {self.num_timesteps}") from None
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)

    def _refusal(self, error: ValueError, when: str) -> ValueError:
        """Make the error for the user, and drop the environment's last observation."""
        # The environment is a step ahead of the model: reset it before the training continues
        self._last_obs = self._last_original_obs = None
        if self.ep_info_buffer is not None:
            episodes = [episode for episode in self.ep_info_buffer if math.isfinite(episode["r"])]
            self.ep_info_buffer = deque(episodes, maxlen=self.ep_info_buffer.maxlen)
        hint = damaged_statistics(self._vec_normalize_env)
        return ValueError(f"{error} ({when}); it was refused and did not reach the model{hint}")

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer from a pickle file.

        :param path: path to the pickled replay buffer
        :param truncate_last_traj: for ``HerReplayBuffer`` only
        :raises ValueError: if it contains NaN or infinity
        """
        previous = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        if getattr(self.replay_buffer, "row_files", None) is not None:
            # Rows were checked when added, and their checksums now; reading the mapped arrays would fetch them into memory
            return
        try:
            check_replay_buffer(f"the replay buffer in {path}", self.replay_buffer)
        except ValueError:
            self.replay_buffer = previous
            raise
