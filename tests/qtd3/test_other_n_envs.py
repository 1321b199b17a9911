"""A model continues with another number of environments than it was saved with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise, VectorizedActionNoise

from sb3_quantum import QuantumTD3
from tests.envs import SMALL, CountingEnv

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "n_steps": dict(n_steps=3),
    "noise": dict(action_noise=OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2))),
    "no noise": dict(action_noise=None),
    "memory": dict(optimize_memory_usage=True, replay_buffer_kwargs=dict(handle_timeout_termination=False)),
    "mapped": dict(replay_buffer_kwargs=dict(storage="memmap")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("old, new", [(3, 1), (1, 3), (3, 2)])
def test_model_and_buffer(old: int, new: int, case: str, tmp_path: Path) -> None:
    kwargs = dict(learning_starts=10, batch_size=16, buffer_size=60, policy_kwargs=SMALL, seed=0)
    model = QuantumTD3("MlpPolicy", make_vec_env(CountingEnv, old), **{**kwargs, **CASES[case]}).learn(30)  # type: ignore[arg-type]
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    # With and without a reset of the environments, which SB3 leaves to the caller
    for force_reset in (True, False):
        again = QuantumTD3.load(tmp_path / "model", env=make_vec_env(CountingEnv, new), force_reset=force_reset)
        again.load_replay_buffer(tmp_path / "buffer")
        assert again.replay_buffer.n_envs == new and again.replay_buffer.size() == 30 // new
        again.learn(12, reset_num_timesteps=False)
        assert again.num_timesteps == model.num_timesteps + 12
        assert again.replay_buffer.size() == min(30 // new + 12 // new, 60 // new)
        if again.action_noise is not None:
            assert isinstance(again.action_noise, VectorizedActionNoise) == (new > 1)
        again.save_replay_buffer(tmp_path / "again")
        again.load_replay_buffer(tmp_path / "again")
        assert again.replay_buffer.n_envs == new
