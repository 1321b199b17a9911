"""The seam of a continued run: nothing runs across it, and nothing is counted twice."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_quantum import QuantumTD3
from sb3_quantum.zoo.continuation import begin_episodes, end_trajectories, generator_state, missing_transitions, refill
from tests.envs import SMALL, CountingEnv


def trained(steps: int = 24, normalized: bool = False, n_envs: int = 2, **kwargs: Any) -> QuantumTD3:
    env: Any = DummyVecEnv([CountingEnv for _ in range(n_envs)])
    env = VecNormalize(env) if normalized else env
    arguments: dict[str, Any] = dict(policy_kwargs=SMALL, batch_size=8, learning_starts=8, buffer_size=200, seed=0)
    return QuantumTD3("MlpPolicy", env, **{**arguments, **kwargs}).learn(steps)


def test_n_step_returns_end_at_the_seam() -> None:
    """The next observation of the newest transitions stays theirs, whatever is added afterwards."""
    model = trained(n_steps=3)
    buffer = model.replay_buffer
    assert buffer is not None
    last, next_observations = buffer.pos - 1, buffer.next_observations[buffer.pos - 1].copy()
    begin_episodes(model)
    model.learn(8, reset_num_timesteps=False)
    np.random.seed(0)
    samples = buffer._get_samples(np.repeat([last - 1, last], 20))
    ends = samples.next_observations.cpu().numpy()
    assert all(np.isclose(end, next_observations).all(1).any() for end in ends)
    # Cut off, but not terminal
    assert samples.discounts is not None and not samples.dones.any()
    assert np.allclose(np.unique(samples.discounts.cpu()), [0.99**2, 0.99])


def test_a_ring_that_reuses_next_observations_marks_the_seam() -> None:
    model = trained(optimize_memory_usage=True, replay_buffer_kwargs={"handle_timeout_termination": False})
    assert model.replay_buffer is not None and not model.replay_buffer.dones[model.replay_buffer.pos - 1].any()
    begin_episodes(model)
    assert model.replay_buffer.dones[model.replay_buffer.pos - 1].all()


def test_marks_are_made_again_on_rows_that_are_saved_once() -> None:
    """Row numbers of earlier seams, as long as the ring holds them."""
    buffer: Any = trained(n_envs=1, buffer_size=20).replay_buffer
    buffer.n_added = 24
    buffer.timeouts[:] = 0
    assert end_trajectories(buffer, [2, 9]) == [9, 23]
    assert np.flatnonzero(buffer.timeouts).tolist() == [3, 9]
    buffer.reset()
    assert end_trajectories(buffer, [2, 9]) == []


def test_first_observations_are_counted_once() -> None:
    """As many observations as steps, and one at the beginning, however often the run is continued."""
    model = trained(normalized=True)
    normalizer = model.get_vec_normalize_env()
    assert normalizer is not None
    before = normalizer.obs_rms.count
    begin_episodes(model)
    assert normalizer.obs_rms.count == before and normalizer.training
    assert np.array_equal(model._last_original_obs, normalizer.get_original_obs())
    model.learn(6, reset_num_timesteps=False)
    assert normalizer.obs_rms.count == before + 6


def test_episodes_begin_elsewhere_and_reproducibly() -> None:
    """The same starts for the same checkpoint, but not those of the run's beginning again."""
    model = trained()
    begin_episodes(model)
    first, state = model._last_obs, generator_state(model)
    model.action_space.sample()
    begin_episodes(model, state)
    assert np.array_equal(first, model._last_obs) and generator_state(model) == state
    model.num_timesteps = 0
    begin_episodes(model)
    assert not np.array_equal(first, model._last_obs)
    assert not np.array_equal(model._last_obs, trained(steps=0)._last_obs)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_an_empty_buffer_is_filled_before_anything_is_learnt(n_envs: int) -> None:
    model = trained(n_envs=n_envs, train_freq=2)
    assert missing_transitions(model, 100) == 0 and model.replay_buffer is not None
    model.replay_buffer.reset()
    assert missing_transitions(model, 100) == 8 and missing_transitions(model, 27) == 3
    updates = model._n_updates
    begin_episodes(model)
    refill(model, 8)
    assert model.replay_buffer.size() * n_envs == 8 and model.num_timesteps == 32 and model._n_updates == updates
    actions = model.replay_buffer.actions[: model.replay_buffer.pos]
    assert np.abs(actions - actions.mean()).max() < 0.7, "actions of the policy, not random ones"
    assert missing_transitions(trained(steps=8, learning_starts=8), 100) == 0, "learning has not started"


def test_other_algorithms() -> None:
    model = TD3("MlpPolicy", CountingEnv(), seed=0, buffer_size=50, policy_kwargs={"net_arch": [8]}).learn(10)
    assert begin_episodes(model) == [] and model.replay_buffer is not None and model.replay_buffer.timeouts[9]
