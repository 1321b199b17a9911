"""Hindsight experience replay: goals are relabelled, circuit pairs are those that were recorded."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_quantum import QuantumTD3
from sb3_quantum.common import QuantumHerReplayBuffer
from sb3_quantum.hub.safe_files import load_safe, save_safe
from tests.envs import SMALL


class ReachEnv(gym.Env):
    """A point on a line that has to be at a goal, within 0.1; every step elsewhere costs 1."""

    observation_space = spaces.Dict({key: spaces.Box(-1, 1, (1,)) for key in ("observation", "achieved_goal", "desired_goal")})
    action_space = spaces.Box(-1, 1, (1,))

    def _observe(self) -> dict[str, np.ndarray]:
        return {"observation": self.position, "achieved_goal": self.position, "desired_goal": self.goal}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.goal = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        self.position, self.steps = np.zeros(1, dtype=np.float32), 0
        return self._observe(), {}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return -(np.abs(achieved - desired) > 0.1).any(-1).astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.position = np.clip(self.position + 0.4 * action, -1, 1).astype(np.float32)
        self.steps += 1
        return self._observe(), float(self.compute_reward(self.position, self.goal, {})), False, self.steps >= 8, {}


def make(n_envs: int = 1, **kwargs: Any) -> QuantumTD3:
    policy_kwargs = {**SMALL, "net_arch": [32, 32], "normalize_observations": False}
    arguments: dict[str, Any] = dict(
        learning_starts=50,
        batch_size=64,
        gamma=0.8,
        learning_rate=2e-3,
        tau=0.02,
        action_noise=0.2,
        buffer_size=2000,
        replay_buffer_class=HerReplayBuffer,
        seed=0,
    )
    env = make_vec_env(ReachEnv, n_envs, seed=0)
    return QuantumTD3("MultiInputPolicy", env, policy_kwargs=policy_kwargs, **{**arguments, **kwargs})


def test_it_learns() -> None:
    model = make()
    before, _ = evaluate_policy(model, model.get_env(), 20, warn=False)
    model.learn(800)
    after, _ = evaluate_policy(model, model.get_env(), 20, warn=False)
    assert isinstance(model.replay_buffer, QuantumHerReplayBuffer) and model.replay_buffer_class is HerReplayBuffer
    assert before < -5 and after > -2
    assert model.logger.name_to_value["qtdnn/loss"] < np.log(2)


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_pairs_are_those_of_the_transition(strategy: str) -> None:
    """Whatever goal a transition gets, its circuit inputs are what the actor had made of the recorded observation."""
    model = make(3, replay_buffer_kwargs={"goal_selection_strategy": strategy}, gradient_steps=0, probe_std=0.1).learn(120)
    buffer = model.replay_buffer
    assert isinstance(buffer, QuantumHerReplayBuffer)
    batch = buffer.sample(200)
    rows, envs = buffer._last_batch
    assert len(rows) == 200 and len(buffer.held_out()) == 3 * 40 - len(set(zip(rows, envs, strict=True)))
    np.testing.assert_array_equal(batch.observations["observation"].cpu(), buffer.observations["observation"][rows, envs])
    np.testing.assert_array_equal(batch.actions.cpu(), buffer.actions[rows, envs])
    goals = batch.observations["desired_goal"].cpu().numpy()
    relabelled = (goals != buffer.observations["desired_goal"][rows, envs]).any(1)
    assert 100 < relabelled.sum() <= 160
    recorded = {key: array[rows, envs] for key, array in buffer.observations.items()}
    expected, _ = model.actor.encode(model.policy.obs_to_tensor(recorded)[0])
    angles, _ = model.policy.ansatz.split(expected)
    found, _ = model.policy.ansatz.split(batch.circuit_inputs)
    # Nothing has been trained; angles are stored wrapped, in half precision
    np.testing.assert_allclose(np.cos((found - angles).detach().cpu().numpy()), 1, atol=1e-4)
    assert batch.probe_inputs is not None


def test_saved_and_continued(tmp_path: Path) -> None:
    model = make(3).learn(200)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    with pytest.raises(AssertionError, match="must pass an environment when using"):
        QuantumTD3.load(tmp_path / "model")
    for n_envs, truncate in ((3, True), (3, False), (1, True), (2, False)):
        again = QuantumTD3.load(tmp_path / "model", env=make_vec_env(ReachEnv, n_envs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SB3's of the truncated trajectory
            again.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=truncate)
        buffer = again.replay_buffer
        assert isinstance(buffer, QuantumHerReplayBuffer) and buffer.env is again.get_env()
        assert buffer.size() * n_envs > 3 * (200 // 3) - n_envs
        again.learn(20, reset_num_timesteps=False)
        assert again.num_timesteps >= model.num_timesteps + 20

    save_safe(model, tmp_path / "safe")
    assert load_safe(tmp_path / "safe", env=make_vec_env(ReachEnv, 1)).replay_buffer_class is HerReplayBuffer
