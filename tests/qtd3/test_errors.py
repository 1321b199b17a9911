"""Bad input gets a clear error: the argument, the value, and what is accepted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback

from sb3_quantum import QuantumTD3
from tests.envs import CountingEnv
from tests.qtd3.test_train import pendulum


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"policy_kwargs": {"block": "rnn"}}, "block='rnn' is unknown, accepted are 'pqc', 'fc', 'rbg', 'zeros'"),
        ({"policy_kwargs": {"encoding": "amplitude"}}, "encoding='amplitude' is unknown, accepted are 'raw', 'rms'"),
        ({"policy_kwargs": {"readout": "max"}}, "readout='max' is unknown, accepted are 'sample', 'majority', 'mean'"),
        ({"policy_kwargs": {"eval_readout": "max"}}, "eval_readout='max' is unknown"),
        ({"policy_kwargs": {"qtdnn_features": "x"}}, "qtdnn_features='x' is unknown"),
        ({"policy_kwargs": {"qtdnn_prior": "x"}}, "qtdnn_prior='x' is unknown"),
        ({"policy_kwargs": {"n_qubits": 0}}, "n_qubits must be an integer >= 1, got 0"),
        ({"policy_kwargs": {"n_layers": 0}}, "n_layers must be an integer >= 1, got 0"),
        ({"policy_kwargs": {"n_links": -1}}, "n_links must be an integer >= 0, got -1"),
        ({"backend_kwargs": {"engine": "x"}}, "engine='x' is unknown, accepted are 'auto', 'split'"),
        ({"backend": "ibm-q"}, "backend='ibm-q' is unknown, accepted are 'statevector', 'aer'"),
        ({"backend": "aer", "backend_kwargs": {"shots": 0}}, "shots must be an integer >= 1, got 0"),
        ({"backend": "aer", "fit_targets": "exact"}, "needs an exact backend, and 'aer' is not"),
        ({"fit_targets": "mean"}, r"fit_targets='mean' is unknown, accepted are 'auto', 'exact', 'sample'"),
        ({"policy_kwargs": {"backend": "aer"}}, "backend, backend_kwargs, gradient are arguments of QuantumTD3"),
        ({"gradient": "adjoint"}, "gradient='adjoint' is unknown, accepted are 'qtdnn', 'exact', 'parameter_shift', 'spsa'"),
        ({"gradient": "exact", "backend": "aer"}, "needs a differentiable backend, and 'aer' is not"),
        ({"probe_std": -1.0}, r"probe_std must be a number >= 0 \(radians\), got -1.0"),
        ({"qtdnn_gradient_steps": 0}, "qtdnn_gradient_steps must be an integer >= 1, got 0"),
        ({"qtdnn_batch_size": 0}, "qtdnn_batch_size must be an integer >= 1, got 0"),
        ({"qtdnn_recent_pairs": 0}, "qtdnn_recent_pairs must be an integer >= 1, got 0"),
        ({"backend_kwargs": {"max_circuits": 0}}, "max_circuits must be an integer >= 1, got 0"),
        (
            {"qf_learning_rate": "exp_1e-3"},
            "qf_learning_rate must be a number >= 0, a schedule, or 'lin_x'.* got 'exp_1e-3'",
        ),
        ({"qtdnn_learning_rate": []}, r"qtdnn_learning_rate must be a number >= 0, .*, got \[\]"),
        ({"replay_buffer_class": ReplayBuffer}, "replay_buffer_class=ReplayBuffer has no fields for circuit pairs"),
        ({"replay_buffer_class": type("Mine", (HerReplayBuffer,), {})}, "replay_buffer_class=Mine has no fields for circuit"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pendulum(**kwargs)


def test_n_steps_with_dictionaries() -> None:
    with pytest.raises(AssertionError, match="N-step returns are not supported for Dict"):
        QuantumTD3("MultiInputPolicy", CountingEnv(dictionary=True), n_steps=3, buffer_size=10)


def test_discrete_actions() -> None:
    with pytest.raises(AssertionError, match=r"only supports .*Box.* as action spaces but Discrete"):
        QuantumTD3("MlpPolicy", "CartPole-v1")


def test_nan_in_the_actor_names_the_layer() -> None:
    model = pendulum()
    with th.no_grad():
        model.actor.pre[0].weight.fill_(np.nan)
    with pytest.raises(ValueError, match="theta of qubit 0 in circuit layer 0"):
        model.learn(10)


def test_huge_observations_work() -> None:
    model = pendulum(policy_kwargs={"normalize_observations": False, "encoding": "raw"})
    for size in (1e30, -1e30):
        actions, _ = model.predict(np.full((2, 3), size, dtype=np.float32), deterministic=True)
        assert np.all(np.isfinite(actions))


def test_set_backend_without_a_circuit() -> None:
    with pytest.raises(ValueError, match="the block 'zeros' runs no circuit, so it has no backend to set"):
        pendulum(policy_kwargs={"block": "zeros"}).set_backend("aer")


def test_probing_beyond_the_circuit_budget() -> None:
    """Known before anything runs; without probes the same budget suffices."""
    budget = {"backend_kwargs": {"max_circuits": 150}}
    model = pendulum(probe_std=0.2, **budget)
    message = r"probe_std=0.2 runs two circuits .* \(200 circuits were asked for, but only 150 of max_circuits=150 are left"
    with pytest.raises(ValueError, match=message):
        model.learn(100)
    assert model.num_timesteps == 0
    model = pendulum(**budget).learn(150)
    assert model.policy.quantum_layer is not None and model.policy.quantum_layer.backend.usage.circuits == 150


class Ended(BaseCallback):
    """Record whether the training ended as callbacks expect."""

    ended = False

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("limit", [{"max_circuits": 60}, {"max_shots": 60}, {"max_chip_seconds": 60.5 * 140e-9}])
def test_a_spent_budget_ends_the_training_and_leaves_a_model(tmp_path: Path, limit: dict[str, float]) -> None:
    """One shot of one circuit a step, on the paper's chip 40 ns for its one layer and 100 ns for the readout."""
    policy_kwargs = {"n_qubits": 2, "n_layers": 1}
    model, callback = pendulum(policy_kwargs=policy_kwargs, backend_kwargs=limit), Ended()
    with pytest.warns(UserWarning, match=r"training ends at 60 of 200 steps: .* asked for, .* of max_\w+=.* are left"):
        model.learn(200, callback=callback)
    backend = model.policy.quantum_layer.backend
    assert (model.num_timesteps, backend.usage.circuits, backend.usage.shots, backend.usage.jobs) == (60, 60, 60, 60)
    assert callback.ended and model.replay_buffer.size() == 60
    model.save(tmp_path / "model")
    again = QuantumTD3.load(tmp_path / "model", backend_kwargs={}).policy.quantum_layer.backend
    assert again.usage == backend.usage and again.limits == {}


def test_a_budget_spent_in_updates_ends_the_training() -> None:
    model = pendulum(gradient="spsa", batch_size=8, policy_kwargs={"n_qubits": 2}, backend_kwargs={"max_circuits": 200})
    with pytest.warns(UserWarning, match="training ends at"):
        model.learn(400)
    assert model.policy.quantum_layer.backend.usage.circuits <= 200


@pytest.mark.parametrize("wrong", [0, -1.0, float("inf"), float("nan"), True, "many"])
def test_budget_of_seconds_must_be_positive(wrong: object) -> None:
    with pytest.raises(ValueError, match=f"max_chip_seconds must be a number > 0, got {wrong!r}"):
        pendulum(backend_kwargs={"max_chip_seconds": wrong})
