"""Every stored row's circuit pair is that of the row's own observation."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_quantum import QuantumTD3
from sb3_quantum.circuits.wrapping import wrap_angles
from sb3_quantum.common import QuantumReplayBuffer
from tests.envs import SMALL, CountingEnv


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("n_steps, dictionary", [(1, False), (3, False), (1, True)])
@pytest.mark.parametrize("warm_up", [True, False])
def test_stored_inputs_equal_the_prednns(n_envs: int, n_steps: int, dictionary: bool, warm_up: bool) -> None:
    """With an EvalCallback every 5 steps, which calls the actor between acting and storing. The PreDNN stands still."""
    env = make_vec_env(CountingEnv, n_envs, env_kwargs={"dictionary": dictionary})
    policy = "MultiInputPolicy" if dictionary else "MlpPolicy"
    model = QuantumTD3(
        policy,
        env,
        buffer_size=40 * n_envs,
        n_steps=n_steps,
        learning_starts=1000 if warm_up else 0,
        gradient_steps=0,
        probe_std=0.2,
        policy_kwargs={**SMALL, "normalize_observations": False},
        seed=0,
    )
    callback = EvalCallback(make_vec_env(CountingEnv, 1, env_kwargs={"dictionary": dictionary}), eval_freq=5, verbose=0)
    model.learn(55 * n_envs, callback=callback)  # the buffer has gone round

    buffer: Any = model.replay_buffer
    assert isinstance(buffer, QuantumReplayBuffer) and buffer.circuit is not None and buffer.probe is not None and buffer.full
    ansatz = model.policy.ansatz
    for env_index in range(n_envs):
        rows = np.arange(40)
        envs = np.full(40, env_index)
        if dictionary:
            obs: Any = {
                key: th.as_tensor(value[rows, envs], device=model.device) for key, value in buffer.observations.items()
            }
        else:
            obs = th.as_tensor(buffer.observations[rows, envs], device=model.device)
        with th.no_grad():
            inputs, _ = model.actor.encode(obs)
        stored, outputs = buffer.circuit.load(rows, envs, model.device)
        angles, indices = ansatz.split(inputs)
        stored_angles, stored_indices = ansatz.split(stored)
        assert th.allclose(wrap_angles(angles - stored_angles), th.zeros((), device=model.device), atol=2e-3)
        assert th.equal(ansatz.round_indices(indices).float(), stored_indices)
        assert len(stored_angles.unique(dim=0)) == 40, "every observation is another one"
        # And what came out belongs to what went in
        assert model.policy.quantum_layer is not None
        expected = model.policy.quantum_layer.backend.expected_bits(stored)
        assert th.allclose(outputs, expected, atol=5e-3)
        probe_inputs, probe_outputs = buffer.probe.load(rows, envs, model.device)
        deviation = wrap_angles(ansatz.split(probe_inputs)[0] - stored_angles)
        # 480 normal numbers: their standard deviation is within 20 % of probe_std (6 sigma, false-alarm rate 1e-9)
        assert abs(float(deviation.std()) / model.probe_std - 1) < 0.2
        assert th.allclose(probe_outputs, model.policy.quantum_layer.backend.expected_bits(probe_inputs), atol=5e-3)


def test_sampled_bits_are_stored_as_they_acted() -> None:
    """With the paper's targets, the recorded bits are those that the PostDNN saw."""
    env = make_vec_env(CountingEnv, 2)
    model = QuantumTD3(
        "MlpPolicy",
        env,
        buffer_size=60,
        learning_starts=0,
        gradient_steps=0,
        action_noise=None,
        fit_targets="sample",
        probe_std=0.0,
        policy_kwargs={**SMALL, "readout": "sample", "normalize_observations": False},
        seed=0,
    )
    model.learn(60)
    buffer: Any = model.replay_buffer
    for env_index in range(2):
        rows, envs = np.arange(30), np.full(30, env_index)
        bits = th.as_tensor(buffer.circuit.outputs[rows, envs], device=model.device).float()
        assert set(bits.unique().tolist()) == {0.0, 1.0}
        with th.no_grad():
            _, links = model.actor.encode(th.as_tensor(buffer.observations[rows, envs], device=model.device))
            actions = model.actor.decode(bits, links)
        assert np.allclose(actions.cpu().numpy(), buffer.actions[rows, envs], atol=1e-5)
