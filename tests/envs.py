"""Small environments and policies, so that a test takes seconds."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: a circuit of 3 qubits and 2 layers, and small networks
SMALL: dict[str, Any] = dict(n_qubits=3, n_layers=2, n_links=2, qtdnn_arch=[16], net_arch=[16, 16])


class CountingEnv(gym.Env):
    """
    Every observation is unlike every other one, so that a row of the replay buffer can be told from its neighbours.

    :param dictionary: whether the observation is a dictionary
    :param length: steps of an episode
    """

    def __init__(self, dictionary: bool = False, length: int = 7):
        box = spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)
        small = spaces.Box(-np.inf, np.inf, (2,), dtype=np.float32)
        self.observation_space = spaces.Dict({"a": box, "b": small}) if dictionary else box
        self.action_space = spaces.Box(-2.0, 1.0, (2,), dtype=np.float32)
        self.dictionary = dictionary
        self.length = length
        self.steps = 0

    def _observe(self) -> Any:
        rng = self.np_random
        if self.dictionary:
            return {"a": rng.normal(size=3), "b": rng.normal(size=2).astype(np.float32)}
        return rng.normal(size=3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self._observe(), float(-np.square(action).sum()), False, self.steps >= self.length, {}


class TinyImageEnv(gym.Env):
    """Random images of 36 x 36 pixels, for the CnnPolicy."""

    observation_space = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        image = self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8)
        return image, float(action.sum()), bool(self.np_random.random() < 0.05), False, {}
